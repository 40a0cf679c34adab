"""Layers that change the shape of what they are given, or take a part of it, and no number of it."""

import math

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxprop.errors import BadInput
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


def last() -> Layer:
    """The last position of a sequence, where a recurrent layer has seen everything: (T, ...) to (...).

    All of dy belongs there; the positions before it get 0.

    `init` raises `BadInput` where the input has no axis.
    """

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[tuple, Shape]:
        if not in_shape:
            raise BadInput("last takes a first axis of positions: the input is one number")
        return (), in_shape[1:]

    def forward(params: tuple, x: Array) -> tuple[Array, Array]:
        return x[-1], x  # only its shape is needed

    def backward(params: tuple, x: Array, dy: Array) -> tuple[tuple, Array]:
        return (), jnp.zeros_like(x).at[-1].set(dy)

    return Layer("last", init, forward, backward)
