"""The hand-derived gradient, taken apart, so that one part can be exchanged for one that people get wrong.

Put together with nothing exchanged it is `jp.backprop`, but that it divides by the batch size after the walk and not
before it: per-example gradients and their average are two parts here. The forward pass and the cost stay right in every
mutant.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import jaxprop as jp
from jaxprop.gradients import ValueAndGrad
from jaxprop.data.batches import Batch
from jaxprop.layers.core import Grads, Params
from jaxprop.networks import Activation, mlp_layers

Slope = Callable[[Array, Array], Array]  # (z, da) -> dz
Avenue = Callable[[jp.Dense, Array, Array], Any]  # (params, a, dz) -> dW, db or da


class Hand(NamedTuple):
    """The parts of a hand-derived gradient.

    layers: dense ones and activations by turns, as `mlp_layers` gives them.
    kinds: the names of the activations among them.
    chain: what makes one layer of them all; its backward is the walk from the last to the first.
    errors: `(a, y) -> dC/da` of a batch, all three (B, out).
    average: per-example gradients, with a leading axis of examples and an `Outer` for each matrix, to their mean.
    """

    layers: list[jp.Layer]
    kinds: list[str]
    chain: Callable[..., jp.Layer] = jp.chain
    errors: Callable[[Array, Array], Array] = jp.squared_error.gradient
    average: Callable[[Grads], Grads] = jp.mean_over_examples


Change = Callable[[Hand], Hand]


class Mistake(NamedTuple):
    """One mistake in the backward pass.

    story: how people come to make it.
    activation: of the hidden layers of the network that is trained with it, one where it matters.
    """

    name: str
    story: str
    change: Change
    activation: Activation = "sigmoid"


def by_hand(sizes: Sequence[int], activation: Activation, change: Change = lambda hand: hand) -> ValueAndGrad:
    """`value_and_grad` of `jp.mlp(sizes, activation)` with squared error: right, but for the change."""
    hidden = len(sizes) - 2
    hand = change(Hand(mlp_layers(sizes, activation), [activation] * hidden + ["sigmoid"]))
    layer = hand.chain(*hand.layers)

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        inputs, targets = map(jnp.asarray, batch)
        a, residuals = jax.vmap(layer.forward, (None, 0))(params, inputs)
        grads, _ = jax.vmap(layer.backward, (None, 0, 0))(params, residuals, hand.errors(a, targets))
        return jnp.mean(jax.vmap(jp.squared_error.value)(a, targets)), hand.average(grads)

    return value_and_grad


def in_activation(name: Activation, slope: Slope) -> Change:
    """Wherever the activation `name` is, `dz = slope(z, da)`."""

    def change(hand: Hand) -> Hand:
        layers = list(hand.layers)
        for i, kind in enumerate(hand.kinds):
            if kind == name:
                layers[2 * i + 1] = with_slope(layers[2 * i + 1], slope)
        return hand._replace(layers=layers)

    return change


def with_slope(layer: jp.Layer, slope: Slope) -> jp.Layer:
    """The same activation, which keeps z for its backward pass."""
    return layer._replace(
        forward=lambda params, z: (layer.forward(params, z)[0], z),
        backward=lambda params, z, da: ((), slope(z, da)),
    )


def in_dense(
    *, dW: Avenue | None = None, db: Avenue | None = None, da: Avenue | None = None, at: slice = slice(None)
) -> Change:
    """One avenue of the dense layers, or of those `at` these places, counted from the input."""

    def wrong(layer: jp.Layer) -> jp.Layer:
        def backward(params: jp.Dense, a: Array, dz: Array) -> tuple[jp.Dense, Array]:
            (right_dW, right_db), right_da = layer.backward(params, a, dz)
            grads = jp.Dense(dW(params, a, dz) if dW else right_dW, db(params, a, dz) if db else right_db)
            return grads, da(params, a, dz) if da else right_da

        return layer._replace(backward=backward)

    def change(hand: Hand) -> Hand:
        layers, dense = list(hand.layers), range(0, len(hand.layers), 2)
        for i in dense[at]:
            layers[i] = wrong(layers[i])
        return hand._replace(layers=layers)

    return change


def in_walk(backward: Callable[..., tuple[tuple, Array]]) -> Change:
    """`backward(layers, params, residuals, dy) -> (grads, dx)` instead of the walk of `jp.chain`."""

    def chain(*layers: jp.Layer) -> jp.Layer:
        return jp.chain(*layers)._replace(backward=lambda *args: backward(layers, *args))

    return lambda hand: hand._replace(chain=chain)


def in_errors(errors: Callable[[Array, Array], Array]) -> Change:
    """`dC/da = errors(a, y)` of the batch, all three (B, out)."""
    return lambda hand: hand._replace(errors=errors)


def in_average(average: Callable[[Grads], Grads]) -> Change:
    """Another average of the per-example gradients, whose matrices are `Outer`."""
    return lambda hand: hand._replace(average=average)


def in_weights(weights: Callable[[int], Any]) -> Change:
    """The sum over the B examples with `weights(B)`, (B,), of which each should be 1 / B."""

    def average(grads: Grads) -> Grads:
        def leaf(g: Any) -> Array:
            factor = g.dz if isinstance(g, jp.Outer) else g
            w = jnp.asarray(weights(len(factor)), factor.dtype)
            return (w[:, None] * g.dz).T @ g.a if isinstance(g, jp.Outer) else w @ g

        return jax.tree.map(leaf, grads, is_leaf=lambda g: isinstance(g, jp.Outer))

    return in_average(average)


def in_mean(mean: Callable[[Array], Array]) -> Change:
    """Another mean over the first axis of every leaf, multiplied out: (B, out, in) or (B, out)."""
    return in_average(lambda grads: jax.tree.map(mean, jp.expand(grads)))
