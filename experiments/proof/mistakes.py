"""The mistakes in a backward pass, as people make them: each is the shipped `jp.backprop` with one part exchanged.

In the order of the backward pass: the gradient of the cost, the activations, the dense layers, the walk through them,
the average over the examples. Last come changes that are none, since they are right in other words.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jaxprop as jp
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Grads, Params
from jaxprop.networks import Activation
from jaxprop.verify.checking import Rule
from proof.mutants import (
    Mutant,
    OfDense,
    Walk,
    in_activation,
    in_cost,
    in_dense,
    in_sum,
    in_targets,
    in_walk,
    in_weights,
)


class Mistake(NamedTuple):
    """One mistake in the backward pass.

    story: how people come to make it.
    rule: a mutant, `(network, cost) -> value_and_grad` with the mistake.
    activation: of the hidden layers of the network that is trained with it: one where it matters.
    """

    name: str
    story: str
    rule: Mutant
    activation: Activation = "sigmoid"

    @property
    def home(self) -> str:
        """The network of the suite, by its name in `jp.probe_networks()`, whose hidden layers have this activation."""
        return f"6-5-5-5-3 {self.activation}"


# ---------------------------------------------------------------------------------------------------------------------
# The gradient of the cost, for one example's outputs a and target y.

COST = [
    Mistake("the 2 lost", "most texts differentiate half the sum", in_cost(lambda a, y: a - y)),
    Mistake("y − a", "what is wished for, taken for the gradient", in_cost(lambda a, y: 2 * (y - a))),
    Mistake(
        "cross-entropy's gradient",
        "the cost was changed in the forward pass alone",
        in_cost(lambda a, y: (a - y) / (a * (1 - a))),
    ),
    Mistake(
        "absolute error's gradient",
        "the cost was changed in the forward pass alone",
        in_cost(lambda a, y: jnp.sign(a - y)),
    ),
    Mistake("mean over the outputs", "where the cost takes their sum", in_cost(lambda a, y: 2 * (a - y) / len(y))),
    Mistake(
        "last class forgotten",
        "targets made with one class too few",
        in_cost(lambda a, y: 2 * (a - y.at[-1].set(0))),
    ),
    Mistake("classes counted from 1", "all targets are off by one", in_cost(lambda a, y: 2 * (a - jnp.roll(y, 1)))),
    Mistake(
        "(B,) against (B, 1)",
        "column by column, a − y broadcasts to a table of B x B, and is averaged",
        # 2 mean_j (a_i − y_j): what y_j contribute is their mean.
        in_targets(lambda y: jnp.broadcast_to(jnp.mean(y, axis=0), y.shape)),
    ),
    Mistake(
        "errors clipped at ±1",
        "left over from a day when training blew up",
        in_cost(lambda a, y: jnp.clip(2 * (a - y), -1, 1)),
    ),
    Mistake(
        "errors below 0.01 ignored",
        "near enough counts as right",
        in_cost(lambda a, y: jnp.where(jnp.abs(a - y) < 0.01, 0, 2 * (a - y))),
    ),
]


# ---------------------------------------------------------------------------------------------------------------------
# The slopes of the activations: dz from the pre-activation z, the activation a and da.

sigmoid = jax.nn.sigmoid

SIGMOID = [
    Mistake(
        "σ′ missing",
        "the cost's gradient goes straight through",
        in_activation("sigmoid", lambda z, a, da: da),
    ),
    Mistake(
        "σ′ of a, not of z",
        "the function that takes z is given what was kept",
        in_activation("sigmoid", lambda z, a, da: sigmoid(a) * (1 - sigmoid(a)) * da),
    ),
    Mistake(
        "σ′ = a (a − 1)",
        "a sign, at every sigmoid",
        in_activation("sigmoid", lambda z, a, da: a * (a - 1) * da),
    ),
    Mistake(
        "σ′ = 1 − a²",
        "the slope of tanh, since the two look alike",
        in_activation("sigmoid", lambda z, a, da: (1 - a**2) * da),
    ),
    Mistake(
        "σ′ = 1/4",
        "the slope in the middle, taken for all",
        in_activation("sigmoid", lambda z, a, da: da / 4),
    ),
    Mistake(
        "σ′ kept off 0 by 1e-7",
        "an epsilon against sleeping neurons",
        in_activation("sigmoid", lambda z, a, da: jnp.maximum(a * (1 - a), 1e-7) * da),
    ),
    Mistake(
        "σ′ = e⁻ᶻ / (1 + e⁻ᶻ)²",
        "the textbook's formula, which overflows far below 0",
        in_activation("sigmoid", lambda z, a, da: jnp.exp(-z) / (1 + jnp.exp(-z)) ** 2 * da),
    ),
]

TANH = [
    Mistake("tanh′ = 1 + a²", "a sign", in_activation("tanh", lambda z, a, da: (1 + a**2) * da), "tanh"),
    Mistake("tanh′ = 1 − a", "a square lost", in_activation("tanh", lambda z, a, da: (1 - a) * da), "tanh"),
    Mistake(
        "tanh′ = a (1 − a)",
        "the sigmoid's slope, copied",
        in_activation("tanh", lambda z, a, da: a * (1 - a) * da),
        "tanh",
    ),
    Mistake(
        "tanh′ of a, not of z",
        "the function that takes z is given what was kept",
        in_activation("tanh", lambda z, a, da: (1 - jnp.tanh(a) ** 2) * da),
        "tanh",
    ),
]

RELU = [
    Mistake(
        "ReLU mask missing",
        "positive numbers go through unchanged, so all do",
        in_activation("relu", lambda z, a, da: da),
        "relu",
    ),
    Mistake(
        "ReLU mask z ≥ 0",
        "one sign too many; only an exact 0 shows it",
        in_activation("relu", lambda z, a, da: jnp.where(z >= 0, da, 0)),
        "relu",
    ),
    Mistake(
        "ReLU slope 1/2 at 0",
        "what jnp.maximum does with a tie",
        in_activation("relu", lambda z, a, da: jnp.where(z > 0, da, jnp.where(z == 0, da / 2, 0))),
        "relu",
    ),
    Mistake(
        "ReLU mask by da",
        "max(da, 0): the rectifier is applied to the gradient",
        in_activation("relu", lambda z, a, da: jnp.maximum(da, 0)),
        "relu",
    ),
    Mistake(
        "ReLU masked twice",
        "guided backpropagation, made for pictures, left switched on",
        in_activation("relu", lambda z, a, da: jnp.where(z > 0, jnp.maximum(da, 0), 0)),
        "relu",
    ),
    Mistake(
        "ReLU leaks 1 % backwards",
        "a leaky slope that the forward pass has not",
        in_activation("relu", lambda z, a, da: jnp.where(z > 0, da, 0.01 * da)),
        "relu",
    ),
    Mistake(
        "ReLU slope a",
        "multiplied by the activation, not by the mask",
        in_activation("relu", lambda z, a, da: a * da),
        "relu",
    ),
]


ACTIVATIONS = [*SIGMOID, *TANH, *RELU]


# ---------------------------------------------------------------------------------------------------------------------
# The dense layers: dW, db and da from the parameters p, the inputs a and dz, which is a B-th part of one example's.


def where_square(wrong: OfDense, right: OfDense) -> OfDense:
    """`wrong` where the matrix is square, so that it fits; elsewhere its author would have noticed."""
    return lambda p, a, dz: (wrong if p.W.shape[0] == p.W.shape[1] else right)(p, a, dz)


def right_dW(p: jp.Dense, a: Array, dz: Array) -> jp.Outer:  # noqa: N802 - the name of the derivative by W
    return jp.Outer(dz, a)


def right_da(p: jp.Dense, a: Array, dz: Array) -> Array:
    return p.W.T @ dz


def bias_in_front(p: jp.Dense, a: Array, dz: Array) -> Array:
    with_bias = jnp.column_stack([p.b, p.W])
    return (with_bias.T @ dz)[:-1]


class Decayed(NamedTuple):
    """The structured gradient of the weights, to whose sum over the examples 1e-4 W is added."""

    right: jp.Outer
    W: Float[Array, "*B out in"]

    def expand(self) -> Float[Array, "*B out in"]:
        return self.right.expand() + 1e-4 * self.W

    def sum_over_examples(self) -> Float[Array, "out in"]:
        return self.right.sum_over_examples() + 1e-4 * self.W[0]  # all examples have the same W

    def norm_squared(self) -> Float[Array, ""]:
        return jnp.sum(self.expand() ** 2)


DENSE = [
    Mistake(
        "W not transposed where square",
        "it fits, so nothing complains",
        in_dense(da=where_square(lambda p, a, dz: p.W @ dz, right_da)),
    ),
    Mistake(
        "outer product flipped where square",
        "it fits, so nothing complains",
        in_dense(dW=where_square(lambda p, a, dz: jp.Outer(a, dz), right_dW)),
    ),
    Mistake(
        "outer product flipped and reshaped",
        "an error about shapes, silenced by reshape",
        in_dense(dW=lambda p, a, dz: jnp.outer(a, dz).reshape(p.W.shape)),
    ),
    Mistake(
        "dW from the outputs where square",
        "stale by one: what the layer gave, not what it was given",
        in_dense(dW=where_square(lambda p, a, dz: jp.Outer(dz, p.W @ a + p.b), right_dW)),
    ),
    Mistake(
        "bias gradient dropped",
        "initialised with zeros and never set",
        in_dense(db=lambda p, a, dz: jnp.zeros_like(dz)),
    ),
    Mistake(
        "bias gradient doubled",
        "added once in the loop and once after it",
        in_dense(db=lambda p, a, dz: 2 * dz),
    ),
    Mistake(
        "bias gradient averaged over neurons",
        "a mean without its axis, which broadcasts",
        in_dense(db=lambda p, a, dz: jnp.full_like(dz, jnp.mean(dz))),
    ),
    Mistake(
        "1 % on a single bias",
        "one number of thousands",
        in_dense(db=lambda p, a, dz: dz.at[-1].multiply(1.01), at=slice(1)),
    ),
    Mistake(
        "sign of one layer's dW",
        "a minus for the update, set in the wrong line",
        in_dense(dW=lambda p, a, dz: jp.Outer(-dz, a), at=slice(1, 2)),
    ),
    Mistake(
        "sign of the last layer's da",
        "a minus that should have met another",
        in_dense(da=lambda p, a, dz: -p.W.T @ dz, at=slice(-1, None)),
    ),
    Mistake(
        "weights updated before da",
        "a step of 0.01 in place: da = (W − 0.01 dW)ᵀ dz",
        in_dense(da=lambda p, a, dz: p.W.T @ dz - 0.01 * (dz @ dz) * a),
    ),
    Mistake(
        "da cut at the wrong end",
        "the bias is column 0 of W, and the last column is cut off",
        in_dense(da=bias_in_front),
    ),
    Mistake(
        "W in half precision on the way back",
        "a cast to bfloat16 for speed",
        in_dense(da=lambda p, a, dz: p.W.astype(jnp.bfloat16).astype(p.W.dtype).T @ dz),
    ),
    Mistake(
        "exact zeros nudged to 1e-6",
        "an epsilon against a division that is no longer there",
        in_dense(dW=lambda p, a, dz: jp.Outer(dz, jnp.where(a == 0, 1e-6, a))),
    ),
    Mistake(
        "weight decay slipped in",
        "1e-4 W, which the cost knows nothing of",
        in_dense(dW=lambda p, a, dz: Decayed(jp.Outer(dz, a), p.W)),
    ),
    Mistake(
        "small dz dropped",
        "below 1e-4 it is taken for noise",
        in_dense(dW=lambda p, a, dz: jp.Outer(jnp.where(jnp.abs(dz) < 1e-4, 0, dz), a)),
    ),
    Mistake(
        "weights counted from 1",
        "the first weight of every neuron is skipped",
        in_dense(dW=lambda p, a, dz: jp.Outer(dz, a.at[0].set(0))),
    ),
]


# ---------------------------------------------------------------------------------------------------------------------
# The walk from the last layer to the first. Dense layers stand at even places, activations at odd ones.


def alike(x: Any, y: Any) -> bool:
    """The same tree, shapes and dtypes."""
    return jax.tree.map(jax.typeof, x) == jax.tree.map(jax.typeof, y)


def stale(start: int) -> Walk:
    """From `start`, every other layer gets what the next but one has kept, where the two are alike."""

    def walk(layers, params, residuals, dy):
        kept = list(residuals)
        for i in range(start, len(kept) - 2, 2):
            if alike(residuals[i], residuals[i + 2]):
                kept[i] = residuals[i + 2]
        return jp.chain(*layers).backward(params, tuple(kept), dy)

    return walk


def one_buffer(layers, params, residuals, dy):
    last_of_its_shape = {jnp.shape(a): a for a in residuals[::2]}
    kept = list(residuals)
    kept[::2] = [last_of_its_shape[jnp.shape(a)] for a in residuals[::2]]
    return jp.chain(*layers).backward(params, tuple(kept), dy)


def first_layer_missed(layers, params, residuals, dy):
    (first, *others), dx = jp.chain(*layers).backward(params, residuals, dy)
    return (jax.tree.map(jnp.zeros_like, first), *others), dx


def cut_before_the_last(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers).backward(params, residuals, dy)
    return (*jax.tree.map(jnp.zeros_like, grads[:-2]), *grads[-2:]), dx


def not_reversed(layers, params, residuals, dy):
    right, dx = jp.chain(*layers).backward(params, residuals, dy)
    grads = list(right)
    for i, other in zip(range(0, len(grads), 2), reversed(right[::2]), strict=True):
        if alike(right[i], other):
            grads[i] = other
    return tuple(grads), dx


def one_entry_a_shape(layers, params, residuals, dy):
    right, dx = jp.chain(*layers).backward(params, residuals, dy)
    grads = list(right)
    entries = {}
    for i in reversed(range(0, len(grads), 2)):
        entries[params[i].W.shape] = right[i]  # in the order of the walk: the last to write is the first layer
    for i in range(0, len(grads), 2):
        grads[i] = entries[params[i].W.shape]
    return tuple(grads), dx


def walk_with(passed_back: Callable[[int, Array, Array], Array]) -> Walk:
    """The walk, in which layer i passes back `passed_back(i, dy, dx)` instead of its dx."""

    def walk(layers, params, residuals, dy):
        grads = []
        for i in reversed(range(len(layers))):
            dparams, dx = layers[i].backward(params[i], residuals[i], dy)
            grads.append(dparams)
            dy = passed_back(i, dy, dx)
        return tuple(reversed(grads)), dy

    return walk


def last_slope_skipped(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers[:-1]).backward(params[:-1], residuals[:-1], dy)
    return (*grads, ()), dx


WALK = [
    Mistake(
        "activations stale by one layer",
        "an index that points to what the next layer was given",
        in_walk(stale(0)),
    ),
    Mistake(
        "ReLU mask of the next layer",
        "an index off by one, where the masks have one shape",
        in_walk(stale(1)),
        "relu",
    ),
    Mistake(
        "one buffer for equal activations",
        "memory is saved, and later layers overwrite earlier ones",
        in_walk(one_buffer),
    ),
    Mistake("first layer never reached", "range(n − 1, 0, −1)", in_walk(first_layer_missed)),
    Mistake("cut before the last layer", "a stop_gradient left over from fine-tuning", in_walk(cut_before_the_last)),
    Mistake("list of gradients not reversed", "where shapes fit nothing complains", in_walk(not_reversed)),
    Mistake(
        "one entry for equal matrices",
        "gradients in a dictionary, whose keys are shapes",
        in_walk(one_entry_a_shape),
    ),
    Mistake(
        "dx added, not passed on",
        "+= where = was meant, as far as shapes fit",
        in_walk(walk_with(lambda i, dy, dx: dy + dx if dy.shape == dx.shape else dx)),
    ),
    Mistake("σ′ of the outputs skipped", "it cancels with cross-entropy, and only there", in_walk(last_slope_skipped)),
    Mistake(
        "slope of the first layer skipped",
        "one dz not assigned",
        in_walk(walk_with(lambda i, dy, dx: dy if i == 1 else dx)),
    ),
]


# ---------------------------------------------------------------------------------------------------------------------
# The average over the B examples. `backprop` divides by B at the outputs, so that a sum is what is left to do here.


def biases_not_divided(g: Any) -> Array:
    right = jp.sum_over_examples(g)
    return right if isinstance(g, jp.Outer) else right * len(g)


def outer_of_means(g: Any) -> Array:
    # The B-th part is in dz already.
    return jnp.outer(g.dz.sum(axis=0), g.a.mean(axis=0)) if isinstance(g, jp.Outer) else g.sum(axis=0)


def of_other_examples(g: Any) -> Array:
    return jp.sum_over_examples(jp.Outer(g.dz, jnp.roll(g.a, 1, axis=0)) if isinstance(g, jp.Outer) else g)


def squeezed(g: Any) -> Array:
    each = jp.expand(g)
    return jnp.broadcast_to(each[0].mean(axis=0), each.shape[1:]) if len(each) == 1 else each.sum(axis=0)


def in_float32(g: Any) -> Array:
    each = jp.expand(g)
    return each.astype(jnp.float32).sum(axis=0).astype(each.dtype)


def kept_in_halves(g: Any) -> Array:
    return jp.sum_over_examples(jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), g))


AVERAGE = [
    Mistake("sum for mean", "the cost is averaged, its gradient is not", in_weights(lambda n: np.full(n, n))),
    Mistake("biases summed, weights averaged", "one of two lines was mended", in_sum(biases_not_divided)),
    Mistake("divided by B twice", "in the cost and once more in the step", in_weights(lambda n: np.full(n, 1 / n))),
    Mistake(
        "divided by B − 1",
        "the estimate of a variance, copied",
        in_weights(lambda n: np.full(n, n / max(n - 1, 1))),
    ),
    Mistake(
        "multiplied by 1 // B",
        "an integer division: 0, but for a batch of 1",
        in_weights(lambda n: np.full(n, n * (1 // n))),
    ),
    Mistake(
        "divided by 7, whatever B is",
        "the batch size of the day it was written",
        in_weights(lambda n: np.full(n, n / 7)),
    ),
    Mistake("outer product of means", "the mean is taken of each factor", in_sum(outer_of_means)),
    Mistake("last example skipped", "range(B − 1)", in_weights(lambda n: np.arange(n) < n - 1)),
    Mistake(
        "first example counted twice",
        "a sum that starts from the first and then meets it again",
        in_weights(lambda n: 1 + (np.arange(n) == 0)),
    ),
    Mistake(
        "odd example dropped",
        "micro-batches of two, B // 2 of them",
        in_weights(lambda n: np.arange(n) < n // 2 * 2),
    ),
    Mistake("each dz with the next example's a", "one of the two was shuffled", in_sum(of_other_examples)),
    Mistake("a batch of 1 squeezed", "squeeze() takes its axis away, and the mean takes the next", in_sum(squeezed)),
    Mistake("summed in float32", "a float32 accumulator in a float64 pass", in_sum(in_float32)),
    Mistake("examples kept in bfloat16", "half the memory, and three digits", in_sum(kept_in_halves)),
]


# ---------------------------------------------------------------------------------------------------------------------
# Right in other words: nobody should object.


def divided_after_the_walk(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
    """Whole examples walk through the network, and their sum is divided by B."""

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        inputs, _ = batch
        undivided = cost._replace(gradient=lambda a, y: cost.gradient(a, y) * len(inputs))  # backprop divides by B
        value, grads = (backprop or jp.backprop)(network, undivided)(params, batch)
        return value, jax.tree.map(lambda g: g / len(inputs), grads)

    return value_and_grad


HARMLESS = [
    Mistake(
        "ReLU mask from a",
        "a > 0 wherever z > 0",
        in_activation("relu", lambda z, a, da: jnp.where(a > 0, da, 0)),
        "relu",
    ),
    Mistake(
        "σ′ = σ(z) σ(−z)",
        "another way to write it",
        in_activation("sigmoid", lambda z, a, da: sigmoid(z) * sigmoid(-z) * da),
    ),
    Mistake(
        "tanh′ = 1 / cosh²",
        "another way to write it",
        in_activation("tanh", lambda z, a, da: da / jnp.cosh(z) ** 2),
        "tanh",
    ),
    Mistake("divided by B after the walk", "the same, since the walk is linear", divided_after_the_walk),
]


MISTAKES = [*COST, *ACTIVATIONS, *DENSE, *WALK, *AVERAGE, *HARMLESS]
