"""A dozen ways to write the right gradient of a multi-layer perceptron's squared error, as people write it.

Each is made as `way(sizes, activation) -> value_and_grad`, for the parameters of `jaxprop.mlp(sizes, activation)`. They
add up in different orders and write the same functions differently, so their rounding differs; nothing else may.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Params
from jaxprop.networks import Activation

Way = Callable[[tuple[int, ...], Activation], ValueAndGrad]
Matrices = list[tuple[Any, Any]]  # W and b of each dense layer

MICRO_BATCH = 4


# Activations, in the words of JAX and of NumPy, with the slope by z and a.


def by_tanh(z: Any) -> Any:
    return 0.5 * (1 + jnp.tanh(0.5 * z))


def by_softplus(z: Any) -> Any:
    return jnp.exp(-jax.nn.softplus(-z))


def by_exp(z: Any) -> Any:
    with np.errstate(over="ignore"):  # exp(800) is infinite, and 1 / infinity the 0 that it should be
        return 1 / (1 + np.exp(-z))


FUNCTIONS: dict[str, Callable] = {
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "identity": lambda z: z,
}
IN_NUMPY: dict[str, Callable] = {
    "sigmoid": by_exp,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "identity": lambda z: z,
}
SLOPES: dict[str, Callable] = {
    "sigmoid": lambda z, a: a * (1 - a),
    "relu": lambda z, a: (z > 0).astype(z.dtype),
    "tanh": lambda z, a: 1 - a * a,
    "identity": lambda z, a: a * 0 + 1,
}


def matrices(params: Params) -> Matrices:
    return [(layer.W, layer.b) for layer in params if isinstance(layer, jp.Dense)]


def as_grads(params: Params, found: list) -> Params:
    """A gradient like the parameters, of `[(dW, db), ...]`."""
    dense = iter(found)
    return tuple(jp.Dense(*next(dense)) if isinstance(layer, jp.Dense) else () for layer in params)


def names_of(sizes: tuple[int, ...], activation: Activation) -> list[str]:
    """The activation of each layer."""
    return [activation] * (len(sizes) - 2) + ["sigmoid"]


# By autodiff of the loss, written in another way.


def cost_of(outputs: Any, targets: Any) -> Any:
    return jnp.sum((outputs - targets) ** 2) / len(outputs)


def from_loss(outputs_of: Callable[[Params, Any, list[str]], Any]) -> Way:
    """outputs_of: `(params, inputs, names)` -> the outputs of the whole batch."""

    def way(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
        names = names_of(sizes, activation)

        def loss(params: Params, batch: Batch) -> Any:
            inputs, targets = batch
            return cost_of(outputs_of(params, inputs, names), targets)

        return jax.jit(jax.value_and_grad(loss))

    return way


def with_sigmoid(sigmoid: Callable) -> Callable:
    def outputs_of(params: Params, a: Any, names: list[str]) -> Any:
        for (W, b), name in zip(matrices(params), names, strict=True):
            z = a @ W.T + b
            a = sigmoid(z) if name == "sigmoid" else FUNCTIONS[name](z)
        return a

    return outputs_of


def by_einsum(params: Params, a: Any, names: list[str]) -> Any:
    for (W, b), name in zip(matrices(params), names, strict=True):
        a = FUNCTIONS[name](jnp.einsum("jk,ik->ij", W, a) + b)
    return a


def with_remat(params: Params, a: Any, names: list[str]) -> Any:
    for (W, b), name in zip(matrices(params), names, strict=True):
        a = jax.checkpoint(lambda W, b, a, f=FUNCTIONS[name]: f(a @ W.T + b))(W, b, a)
    return a


def with_custom_vjp(params: Params, a: Any, names: list[str]) -> Any:
    for (W, b), name in zip(matrices(params), names, strict=True):
        a = rule_of(name)(W, b, a)
    return a


def rule_of(name: str) -> Callable:
    """A dense layer with its activation, and its own backward pass."""

    @jax.custom_vjp
    def layer(W: Any, b: Any, a: Any) -> Any:
        return FUNCTIONS[name](a @ W.T + b)

    def forward(W: Any, b: Any, a: Any) -> tuple[Any, Any]:
        z = a @ W.T + b
        return FUNCTIONS[name](z), (W, a, z)

    def backward(kept: Any, da: Any) -> tuple[Any, Any, Any]:
        W, a, z = kept
        dz = SLOPES[name](z, FUNCTIONS[name](z)) * da
        return dz.T @ a, dz.sum(axis=0), dz @ W

    layer.defvjp(forward, backward)
    return layer


def scan_over_layers(params: Params, a: Any, names: list[str]) -> Any:
    """One loop over layers of one size: small ones are filled up with zeros, which nobody reads."""
    width = max(max(W.shape) for W, _ in matrices(params))
    filled = [
        (jnp.pad(W, [(0, width - n) for n in W.shape]), jnp.pad(b, (0, width - len(b)))) for W, b in matrices(params)
    ]
    a = jnp.pad(a, [(0, 0), (0, width - a.shape[1])])
    hidden = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled[:-1]) if filled[:-1] else None

    def layer(a: Any, W_and_b: Any) -> tuple[Any, None]:
        W, b = W_and_b
        return FUNCTIONS[names[0]](a @ W.T + b), None

    if hidden is not None:
        a, _ = jax.lax.scan(layer, a, hidden)
    W, b = filled[-1]
    outputs = matrices(params)[-1][1].size
    return FUNCTIONS[names[-1]](a @ W.T + b)[:, :outputs]


# Example by example, or a few at a time.


def of_each(sizes: tuple[int, ...], activation: Activation) -> Callable:
    """`(params, x, y) -> (cost, grads)` of one example."""
    network = jp.mlp(sizes, activation)

    def cost(params: Params, x: Any, y: Any) -> Any:
        return jnp.sum((network.apply(params, x) - y) ** 2)

    return jax.value_and_grad(cost)


def mean_of_each(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    each = jax.vmap(of_each(sizes, activation), (None, 0, 0))

    @jax.jit
    def value_and_grad(params: Params, batch: Batch) -> Any:
        return jax.tree.map(lambda g: jnp.mean(g, axis=0), each(params, *batch))

    return value_and_grad


def running_mean(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    each = of_each(sizes, activation)

    @jax.jit
    def value_and_grad(params: Params, batch: Batch) -> Any:
        def step(mean: Any, numbered: Any) -> tuple[Any, None]:
            i, x, y = numbered
            found = each(params, x, y)
            return jax.tree.map(lambda m, g: m + (g - m) / (i + 1).astype(m.dtype), mean, found), None

        inputs, targets = batch
        none = jnp.zeros((), inputs.dtype), jax.tree.map(jnp.zeros_like, params)
        mean, _ = jax.lax.scan(step, none, (jnp.arange(len(inputs)), inputs, targets))
        return mean

    return value_and_grad


def micro_batches(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    """Sums over micro-batches, of which the last one is filled up with examples that count 0 times."""
    each = jax.vmap(of_each(sizes, activation), (None, 0, 0))

    @jax.jit
    def value_and_grad(params: Params, batch: Batch) -> Any:
        examples = len(batch[0])
        blocks = -(-examples // MICRO_BATCH)
        counted = (jnp.arange(blocks * MICRO_BATCH) < examples).astype(batch[0].dtype)

        def in_blocks(x: Any) -> Any:
            x = jnp.pad(x, [(0, blocks * MICRO_BATCH - len(x)), *[(0, 0)] * (x.ndim - 1)])
            return x.reshape(blocks, MICRO_BATCH, *x.shape[1:])

        def step(total: Any, block: Any) -> tuple[Any, None]:
            weights, inputs, targets = block
            found = each(params, inputs, targets)
            return jax.tree.map(lambda t, g: t + jnp.tensordot(weights, g, 1), total, found), None

        none = jnp.zeros((), batch[0].dtype), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(step, none, tuple(map(in_blocks, (counted, *batch))))
        return jax.tree.map(lambda t: t / examples, total)

    return value_and_grad


# By hand.


def by_hand(
    params: Params, batch: Batch, names: list[str], functions: dict[str, Callable]
) -> tuple[Any, list[tuple[Any, Any]]]:
    """The batched products of a textbook, in NumPy or in JAX, as the arrays are."""
    inputs, targets = batch
    kept, a = [], inputs
    for (W, b), name in zip(matrices(params), names, strict=True):
        z = a @ W.T + b
        kept.append((W, a, z, functions[name](z)))
        a = kept[-1][-1]
    value = ((a - targets) ** 2).sum() / len(inputs)
    grads, da = [], 2 * (a - targets) / len(inputs)
    for (W, before, z, a), name in zip(reversed(kept), reversed(names), strict=True):
        dz = SLOPES[name](z, a) * da
        grads.append((dz.T @ before, dz.sum(axis=0)))
        da = dz @ W
    return value, grads[::-1]


def batched(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    @jax.jit
    def value_and_grad(params: Params, batch: Batch) -> Any:
        value, grads = by_hand(params, batch, names_of(sizes, activation), FUNCTIONS)
        return value, as_grads(params, grads)

    return value_and_grad


def in_numpy(sizes: tuple[int, ...], activation: Activation, wide: bool = False) -> ValueAndGrad:
    """wide: in float64, and back to the type of the parameters."""

    def value_and_grad(params: Params, batch: Batch) -> Any:
        dtype = np.asarray(batch[0]).dtype
        params, batch = jax.tree.map(lambda x: np.asarray(x, np.float64 if wide else dtype), (params, batch))
        value, grads = by_hand(params, batch, names_of(sizes, activation), IN_NUMPY)
        return jax.tree.map(lambda x: np.asarray(x, dtype), (value, as_grads(params, grads)))

    return value_and_grad


def numpy_example_by_example(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    names = names_of(sizes, activation)

    def value_and_grad(params: Params, batch: Batch) -> Any:
        params, (inputs, targets) = jax.tree.map(np.asarray, (params, tuple(batch)))
        total, sums = 0.0, [(np.zeros_like(W), np.zeros_like(b)) for W, b in matrices(params)]
        for i in reversed(range(len(inputs))):
            value, grads = by_hand(params, (inputs[i : i + 1], targets[i : i + 1]), names, IN_NUMPY)
            total += value
            for of_layer, found in zip(sums, grads, strict=True):
                for s, g in zip(of_layer, found, strict=True):
                    s += g
        means = [(dW / len(inputs), db / len(inputs)) for dW, db in sums]
        return jax.tree.map(lambda x: np.asarray(x, inputs.dtype), (total / len(inputs), as_grads(params, means)))

    return value_and_grad


def shipped(sizes: tuple[int, ...], activation: Activation) -> ValueAndGrad:
    return jax.jit(jp.backprop(jp.mlp(sizes, activation), jp.squared_error))


WAYS: dict[str, Way] = {
    "jaxprop.backprop": shipped,
    "batched products": batched,
    "sigmoid by tanh": from_loss(with_sigmoid(by_tanh)),
    "sigmoid by softplus": from_loss(with_sigmoid(by_softplus)),
    "einsum": from_loss(by_einsum),
    "remat": from_loss(with_remat),
    "custom_vjp": from_loss(with_custom_vjp),
    "scan over layers": from_loss(scan_over_layers),
    "mean of each example's": mean_of_each,
    "running mean": running_mean,
    "micro-batches": micro_batches,
    "NumPy": in_numpy,
    "NumPy in float64": partial(in_numpy, wide=True),
    "NumPy, example by example": numpy_example_by_example,
}
