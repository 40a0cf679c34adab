"""What a layer is, the dense layer, and the chain of layers: the heart of backpropagation.

A layer is a record of three pure functions for ONE example; `jax.vmap` makes a batch of it. In every `backward`,
`dx` names the derivative of the cost by `x`, whatever `x` is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.structured import Outer

Shape = tuple[int, ...]
Params = Any  # a pytree of float arrays
Grads = Any  # the same tree; for one example, an `Outer` may stand for a weight matrix


class Layer(NamedTuple):
    """A layer of a network, for one example.

    name: what the layer is and what it was made with, such as "relu" or "dense(16)". A network is known by these names:
        two layers that compute different things should not share one.
    init: `(key, in_shape) -> (params, out_shape)`. Draws the parameters. Raises `BadInput` on a shape that the layer
        cannot take.
    forward: `(params, x) -> (y, residuals)`. The residuals are whatever `backward` needs to remember.
    backward: `(params, residuals, dy) -> (dparams, dx)`. Given how the cost changes with the output, says how it
        changes with the parameters and with the input. It is linear in dy. `dparams` has the tree of `params`, but that
        an `Outer` may stand for a weight matrix.
    """

    name: str
    init: Callable[[PRNGKeyArray, Shape], tuple[Params, Shape]]
    forward: Callable[[Params, Array], tuple[Array, Any]]
    backward: Callable[[Params, Any, Array], tuple[Grads, Array]]

    def __repr__(self) -> str:
        return self.name


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
            raise BadInput(
                f"a dense layer takes a vector, not an input of shape {in_shape}: put jaxprop.flatten() first"
            )
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

    return Layer(f"dense({width})" if gain == 1 else f"dense({width}, gain={gain:.4g})", init, forward, backward)


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

    def backward(params: tuple, residuals: tuple, dy: Array) -> tuple[tuple, Array]:
        grads, dx = [], dy
        for layer, layer_params, layer_residuals in reversed(list(zip(layers, params, residuals, strict=True))):
            dparams, dx = layer.backward(layer_params, layer_residuals, dx)
            grads.append(dparams)
        return tuple(reversed(grads)), dx

    return Layer(f"chain({', '.join(layer.name for layer in layers)})", init, forward, backward)
