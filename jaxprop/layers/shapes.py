"""Layers that change the shape of what they are given, and no number of it."""

import math

from jaxtyping import Array, PRNGKeyArray

from jaxprop.layers.core import Layer, Shape


def flatten() -> Layer:
    """All numbers of an input of any shape as one vector, as a dense layer takes it."""

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[tuple, Shape]:
        return (), (math.prod(in_shape),)

    def forward(params: tuple, x: Array) -> tuple[Array, Array]:
        return x.reshape(-1), x  # only its shape is needed, but `jax.custom_vjp` takes no residuals but arrays

    def backward(params: tuple, x: Array, dy: Array) -> tuple[tuple, Array]:
        return (), dy.reshape(x.shape)

    return Layer("flatten", init, forward, backward)
