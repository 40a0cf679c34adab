"""Mutants of the shipped `jp.backprop`: one part of it exchanged for another, through the seams that it has anyway.

A part is the slope of an activation, a gradient of the dense layers, the walk of the chain, the gradient of the cost,
the sum over the examples, or the targets. What a function here returns is a rule, as `jp.backprop` is one:
`(network, cost) -> value_and_grad`. Each calls `jp.backprop`; with the right part in the place of the right part it is
`jp.backprop` to the bit. The forward pass and the value of the cost stay right in every mutant.

A mutant may hand what it has changed to another mutant instead of to `jp.backprop`: `together` makes two mistakes at
once.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import jaxprop as jp
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Grads, Params
from jaxprop.networks import Activation
from jaxprop.verify.checking import Rule

Slope = Callable[[Array, Array, Array], Array]  # (z, a, da) -> dz
OfDense = Callable[[jp.Dense, Array, Array], Any]  # (params, a, dz) -> dW, db or da
Walk = Callable[[tuple[jp.Layer, ...], tuple, tuple, Array], tuple[tuple, Array]]
Total = Callable[[Any], Array]


class Mutant(Protocol):
    """A rule with something exchanged: `mutant(network, cost) -> value_and_grad`.

    backprop: what differentiates the changed network, or the changed cost: `jp.backprop` where it is left out.
    """

    def __call__(self, network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad: ...


def together(first: Mutant, second: Mutant) -> Mutant:
    """Both mistakes at once: what the first one has changed, the second one changes too.

    Each finds its place by what is there: an activation that the first has exchanged the second leaves alone. So give
    mistakes of different parts, in the order of the backward pass.
    """

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        return first(network, cost, partial(second, backprop=backprop))

    return rule


def backprop_or(backprop: Rule | None) -> Rule:
    return backprop or jp.backprop  # looked up when it is called


def in_activation(name: Activation, slope: Slope) -> Mutant:
    """Wherever the activation `name` is, `dz = slope(z, a, da)`."""

    def backward(layer: jp.Layer, params: tuple, residuals: tuple[Array, Array], da: Array) -> tuple[tuple, Array]:
        z, a = residuals
        return (), slope(z, a, da)

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        places = [i for i, layer in enumerate(network.layers) if layer.name == name]
        return backprop_or(backprop)(with_backward(network, places, backward), cost)

    return rule


def in_dense(
    *,
    dW: OfDense | None = None,
    db: OfDense | None = None,
    da: OfDense | None = None,
    at: slice = slice(None),
) -> Mutant:
    """Another gradient by the weights, the biases or the inputs of the dense layers.

    at: of which of them, counted from the input of the network.
    """

    def backward(layer: jp.Layer, params: jp.Dense, a: Array, dz: Array) -> tuple[jp.Dense, Array]:
        (right_dW, right_db), right_da = layer.backward(params, a, dz)
        grads = jp.Dense(
            W=dW(params, a, dz) if dW else right_dW,
            b=db(params, a, dz) if db else right_db,
        )
        return grads, da(params, a, dz) if da else right_da

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        places = [i for i, layer in enumerate(network.layers) if layer.name.startswith("dense")]
        return backprop_or(backprop)(with_backward(network, places[at], backward), cost)

    return rule


def with_backward(network: jp.Network, places: Iterable[int], backward: Callable) -> jp.Network:
    """The same network, in which the layers at these places have another backward pass.

    backward: `(layer, params, residuals, dy) -> (dparams, dx)`, where `layer` is the right one.
    """
    layers = list(network.layers)
    for i in places:
        right = layers[i]
        layers[i] = right._replace(name=f"changed {right.name}", backward=partial(backward, right))
    return jp.Network(tuple(layers), network.in_shape)


def in_walk(walk: Walk) -> Mutant:
    """Another walk from the last layer to the first than that of `jp.chain`.

    walk: `(layers, params, residuals, dy) -> (grads, dx)`, with a tuple of one entry for each layer wherever `jp.chain`
        has one.
    """

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        # A network of one layer, which is the whole chain: its backward pass is then the walk.
        whole = network.layer._replace(name="changed chain", backward=partial(walk, network.layers))
        changed = backprop_or(backprop)(jp.Network((whole,), network.in_shape), cost)

        def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
            value, (grads,) = changed((params,), batch)
            return value, grads

        return value_and_grad

    return rule


def in_cost(gradient: Callable[[Array, Array], Array]) -> Mutant:
    """`dC/da = gradient(a, y)` for one example's outputs and target, both (out,)."""

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        return backprop_or(backprop)(network, cost._replace(gradient=gradient))

    return rule


def in_targets(targets: Callable[[Array], Array]) -> Mutant:
    """The gradient is that of other targets, `targets(y)` of the whole batch (B, out); the value is the right one."""

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        right_value, changed = jp.loss(network, cost), backprop_or(backprop)(network, cost)

        def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
            inputs, y = batch
            _, grads = changed(params, (inputs, targets(y)))
            return right_value(params, batch), grads

        return value_and_grad

    return rule


def in_sum(total: Total) -> Mutant:
    """Another sum over the examples, of each leaf of the gradient.

    total: of one leaf of the B per-example gradients, each of which is a B-th part already: an `Outer` with B rows in
        each factor, or an array (B, ...). It returns an array of the parameter's shape.
    """

    class Summed(NamedTuple):
        """A structured gradient, as `jaxprop.Structured` asks, whose sum over the examples is another one."""

        right: Any

        def expand(self) -> Array:
            return jp.expand(self.right)

        def sum_over_examples(self) -> Array:
            return total(self.right)

        def norm_squared(self) -> Float[Array, ""]:
            return jp.norm_squared(self.right)

    def backward(layer: jp.Layer, params: Params, residuals: Any, dy: Array) -> tuple[Grads, Array]:
        grads, dx = layer.backward(params, residuals, dy)
        return jax.tree.map(Summed, grads, is_leaf=lambda g: isinstance(g, jp.Structured)), dx

    def rule(network: jp.Network, cost: jp.Cost, backprop: Rule | None = None) -> ValueAndGrad:
        return backprop_or(backprop)(with_backward(network, range(len(network.layers)), backward), cost)

    return rule


def in_weights(weights: Callable[[int], Any]) -> Mutant:
    """The sum over the B examples with `weights(B)`, (B,), each of which should be 1."""

    def total(g: Any) -> Array:
        def weighted(x: Array) -> Array:
            return jax.vmap(jnp.multiply)(jnp.asarray(weights(len(x)), x.dtype), x)

        return jp.sum_over_examples(g._replace(dz=weighted(g.dz)) if isinstance(g, jp.Outer) else weighted(g))

    return in_sum(total)
