"""Layers: the forward pass of each, and beside it the backward pass that a person derives.

A layer is a record of three pure functions for ONE example; `jax.vmap` makes a batch of it. In every `backward`,
`dx` names the derivative of the cost by `x`, whatever `x` is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.outer import Outer

Shape = tuple[int, ...]
Params = Any  # a pytree of float arrays
Grads = Any  # the same tree; for one example, an `Outer` stands for each weight matrix


class Layer(NamedTuple):
    """A layer of a network, for one example.

    init: `(key, in_shape) -> (params, out_shape)`. Draws the parameters. Raises `ValueError` on a shape that the layer
        cannot take.
    forward: `(params, x) -> (y, residuals)`. The residuals are whatever `backward` needs to remember.
    backward: `(params, residuals, dy) -> (dparams, dx)`. Given how the cost changes with the output, says how it
        changes with the parameters and with the input. A weight matrix may come back as an `Outer`.
    """

    init: Callable[[PRNGKeyArray, Shape], tuple[Params, Shape]]
    forward: Callable[[Params, Array], tuple[Array, Any]]
    backward: Callable[[Params, Any, Array], tuple[Grads, Array]]


class Dense(NamedTuple):
    """The parameters of a dense layer: `W[j, k]` leads from neuron k of the layer before to neuron j of this one."""

    W: Any  # (out, in) floats; in the gradient of one example an `Outer` of that shape
    b: Float[Array, " out"]


def dense(width: int, gain: float = 1.0) -> Layer:
    """Weighted sums: `z = W a + b`, from any number of activations to `width` pre-activations.

    Weights start as Normal(0, gain / sqrt(fan_in)), biases at 0. A gain of 1 keeps the variance of the activations
    from layer to layer where the activation has slope 1 (LeCun et al., "Efficient BackProp", 1998); sqrt(2) makes up
    for the half that a ReLU cuts off (He et al., "Delving deep into rectifiers", 2015).
    """

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Dense, Shape]:
        if len(in_shape) != 1:
            raise ValueError(f"a dense layer takes a vector, not an input of shape {in_shape}: flatten it first")
        (fan_in,) = in_shape
        W = jax.random.normal(key, (width, fan_in)) * (gain / fan_in**0.5)
        return Dense(W, jnp.zeros(width, W.dtype)), (width,)

    def forward(params: Dense, a: Array) -> tuple[Array, Array]:
        return params.W @ a + params.b, a

    def backward(params: Dense, a: Array, dz: Array) -> tuple[Dense, Array]:
        # The three avenues by which a cost is lowered: the bias, the weights, the activations of the layer before.
        db = dz
        dW = Outer(dz, a)
        da = dz @ params.W  # W^T dz; written with .T, XLA's CPU compiler copies the transposed matrix for one example
        return Dense(dW, db), da

    return Layer(init, forward, backward)


def _activation(forward: Callable, backward: Callable) -> Layer:
    """A layer that works on each number by itself and has no parameters.

    forward: `z -> (a, residuals)`; backward: `(residuals, da) -> dz`.
    """
    return Layer(
        init=lambda key, in_shape: ((), in_shape),
        forward=lambda params, z: forward(z),
        backward=lambda params, residuals, da: ((), backward(residuals, da)),
    )


def sigmoid() -> Layer:
    """`a = 1 / (1 + exp(-z))`, so `da/dz = a (1 - a)`. `jax.nn.sigmoid` does not overflow and takes complex numbers."""

    def forward(z: Array) -> tuple[Array, Array]:
        a = jax.nn.sigmoid(z)
        return a, a

    return _activation(forward, lambda a, da: a * (1 - a) * da)


def relu() -> Layer:
    """`a = max(z, 0)`, so `da/dz` is 1 where z > 0 and 0 elsewhere: 0 at 0 too, the choice of `jax.nn.relu`."""

    def forward(z: Array) -> tuple[Array, Array]:
        return jax.nn.relu(z), z > 0

    return _activation(forward, lambda awake, da: jnp.where(awake, da, 0))


def tanh() -> Layer:
    """`a = tanh(z)`, so `da/dz = 1 - a^2`."""

    def forward(z: Array) -> tuple[Array, Array]:
        a = jnp.tanh(z)
        return a, a

    return _activation(forward, lambda a, da: (1 - a * a) * da)


def identity() -> Layer:
    """`a = z`, so `da/dz = 1`."""
    return _activation(lambda z: (z, ()), lambda residuals, da: da)


def chain(*layers: Layer) -> Layer:
    """Layers one after another, named after the chain rule: a layer itself, with a tuple of theirs as parameters.

    Its backward pass is backpropagation: from the last layer to the first, each turning the derivative of the cost by
    its output into the derivative by its parameters, which is kept, and by its input, which is passed back.
    """

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[tuple, Shape]:
        params, shape = [], in_shape
        for layer, layer_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
            layer_params, shape = layer.init(layer_key, shape)
            params.append(layer_params)
        return tuple(params), shape

    def forward(params: tuple, x: Array) -> tuple[Array, tuple]:
        residuals = []
        for layer, layer_params in zip(layers, params, strict=True):
            x, layer_residuals = layer.forward(layer_params, x)
            residuals.append(layer_residuals)
        return x, tuple(residuals)

    def backward(params: tuple, residuals: tuple, dx: Array) -> tuple[tuple, Array]:
        grads = []
        for layer, layer_params, layer_residuals in reversed(list(zip(layers, params, residuals, strict=True))):
            dparams, dx = layer.backward(layer_params, layer_residuals, dx)
            grads.append(dparams)
        return tuple(reversed(grads)), dx

    return Layer(init, forward, backward)
