"""Activations: layers that work on each number by itself, from a function and its derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxprop.layers.core import Layer, Shape


def elementwise(name: str, function: Callable[[Array], Array], derivative: Callable[[Array, Array], Array]) -> Layer:
    """A layer without parameters that works on each number by itself: `a = function(z)`.

    derivative: `(z, a) -> da/dz`, number by number; it may use whichever of the two makes it shorter.
    """

    def forward(params: tuple, z: Array) -> tuple[Array, tuple[Array, Array]]:
        a = function(z)
        return a, (z, a)

    def backward(params: tuple, residuals: tuple[Array, Array], da: Array) -> tuple[tuple, Array]:
        return (), derivative(*residuals) * da

    def init(key: Array, in_shape: Shape) -> tuple[tuple, Shape]:
        return (), in_shape

    return Layer(name, init, forward, backward)


def sigmoid() -> Layer:
    """`a = 1 / (1 + exp(-z))`, so `da/dz = a (1 - a)`. `jax.nn.sigmoid` does not overflow and takes complex numbers."""
    return elementwise("sigmoid", jax.nn.sigmoid, lambda z, a: a * (1 - a))


def relu() -> Layer:
    """`a = max(z, 0)`, so `da/dz` is 1 where z > 0 and 0 elsewhere: 0 at 0 too, the choice of `jax.nn.relu`."""
    return elementwise("relu", jax.nn.relu, lambda z, a: z > 0)


def tanh() -> Layer:
    """`a = tanh(z)`, so `da/dz = 1 - a^2`."""
    return elementwise("tanh", jnp.tanh, lambda z, a: 1 - a * a)


def identity() -> Layer:
    """`a = z`, so `da/dz = 1`."""
    return elementwise("identity", lambda z: z, lambda z, a: jnp.ones_like(z))
