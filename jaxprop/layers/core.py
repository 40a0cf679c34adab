"""What a layer is, the dense layer, and how layers are put together: the heart of backpropagation.

A layer is a record of three pure functions for ONE example; `jax.vmap` makes a batch of it. In every `backward`,
`dx` names the derivative of the cost by `x`, whatever `x` is.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.structured import Outer, sum_over_positions

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
        an `Outer` may stand for a weight matrix. `dx` has the shape of x; where x are integers, which have no
        derivative, it is None.
    takes_integers: whether x are integers, such as tokens; otherwise they are floats.
    tokens: how many different ones it knows, where it does: x are then whole numbers from 0 to `tokens - 1`. They are
        looked at where data come in, as in `fit` and `compare`, and never in here.
    slopes: `(params, residuals) -> slopes`, where there are neurons to look at: for each activation in it one array, of
        the derivative of each number that it gives by the one that it takes. A layer of layers asks those inside.
    """

    name: str
    init: Callable[[PRNGKeyArray, Shape], tuple[Params, Shape]]
    forward: Callable[[Params, Array], tuple[Array, Any]]
    backward: Callable[[Params, Any, Array], tuple[Grads, Array]]
    takes_integers: bool = False
    tokens: int | None = None
    slopes: Callable[[Params, Any], tuple[Array, ...]] | None = None

    def __repr__(self) -> str:
        return self.name


def check_whole(what: str, given: Any) -> None:
    """Raises `BadInput` unless this is a whole number above 0. True and 2.0 are numbers to Python, and none here."""
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise BadInput(f"{what} {given!r}: expected a whole number above 0")


def check_number(what: str, given: Any, above_zero: bool = False) -> None:
    """Raises `BadInput` unless this is a finite number; where only those above 0 have a meaning, one of them."""
    kind = isinstance(given, int | float) and not isinstance(given, bool)
    if not kind or not math.isfinite(given) or (above_zero and given <= 0):
        raise BadInput(f"{what} {given!r}: expected a finite number{' above 0' * above_zero}")


def check_layer(whose: str, given: Any) -> None:
    """Raises `BadInput` unless this is a layer; a function that makes one is none yet."""
    if not isinstance(given, Layer):
        raise BadInput(f"{whose} is given {given!r}: expected a Layer record, such as jaxprop.dense(10)")


class Dense(NamedTuple):
    """The parameters of a dense layer: `W[j, k]` leads from neuron k of the layer before to neuron j of this one."""

    W: Any  # (out, in) floats; in the gradient of one example an `Outer` of that shape
    b: Float[Array, " out"]


def dense(width: int, gain: float = 1.0) -> Layer:
    """Weighted sums: `z = W a + b`, from any number of activations to `width` pre-activations.

    Weights start as Normal(0, gain / sqrt(fan_in)), biases at 0. A gain of 1 keeps the variance of the activations
    from layer to layer where the activation has slope 1 (LeCun et al., "Efficient BackProp", 1998); sqrt(2) makes up
    for the half that a ReLU cuts off (He et al., "Delving deep into rectifiers", 2015).

    (in,) to (width,). Raises `BadInput` on a width or a gain that are none, and `init` on an input that is no vector.
    """

    check_whole("the width of a dense layer is", width)
    check_number("the gain of a dense layer is", gain)

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
    A chain of no layers is the identity: what goes in comes out, forwards and backwards.

    The output of one has the shape that the next takes. Raises `BadInput` where one of them is no `Layer`; `init`,
    where one cannot take what the one before gives.
    """

    for layer in layers:
        check_layer("chain", layer)

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

    def slopes(params: tuple, residuals: tuple) -> tuple[Array, ...]:
        parts = zip(layers, params, residuals, strict=True)
        return tuple(slope for layer, *at in parts if layer.slopes for slope in layer.slopes(*at))

    name = f"chain({', '.join(layer.name for layer in layers)})"
    takes_integers, tokens = (layers[0].takes_integers, layers[0].tokens) if layers else (False, None)
    shown = slopes if any(layer.slopes for layer in layers) else None
    return Layer(name, init, forward, backward, takes_integers, tokens, shown)


def residual(layer: Layer) -> Layer:
    """`y = x + f(x)`: the layer learns a change of its input (He et al., "Deep residual learning", 2016).

    Whatever comes back goes both ways, `dx = dy + f'(x)^T dy`, so that it also reaches the layers before unchanged.

    x and f(x) have one shape. Raises `BadInput` where f is no `Layer`; `init`, where its output has another shape.
    """
    check_layer("residual", layer)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Params, Shape]:
        params, out_shape = layer.init(key, in_shape)
        if out_shape != in_shape:
            raise BadInput(
                f"residual({layer.name}) adds its input of shape {in_shape} to an output of shape {out_shape}: "
                "expected one shape"
            )
        return params, out_shape

    def forward(params: Params, x: Array) -> tuple[Array, Any]:
        change, residuals = layer.forward(params, x)
        return x + change, residuals

    def backward(params: Params, residuals: Any, dy: Array) -> tuple[Grads, Array]:
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams, dy + dx

    return Layer(f"residual({layer.name})", init, forward, backward, slopes=layer.slopes)


def positionwise(layer: Layer) -> Layer:
    """The same layer, with the same parameters, at each position: each entry along the first axis of the input.

    The gradient of the parameters is the sum over the positions; a dense layer's stays in its factors (`OuterSum`).

    (T, *in) to (T, *out), for a layer from `in` to `out`. Raises `BadInput` where that is no `Layer`, and `init` where
    the input has no axis.
    """
    check_layer("positionwise", layer)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Params, Shape]:
        if not in_shape:
            raise BadInput(f"positionwise({layer.name}) takes a first axis of positions: the input is one number")
        positions, *rest = in_shape
        params, out_shape = layer.init(key, tuple(rest))
        return params, (positions, *out_shape)

    def forward(params: Params, x: Array) -> tuple[Array, Any]:
        return jax.vmap(layer.forward, (None, 0))(params, x)

    def backward(params: Params, residuals: Any, dy: Array) -> tuple[Grads, Array]:
        dparams, dx = jax.vmap(layer.backward, (None, 0, 0))(params, residuals, dy)
        return sum_over_positions(dparams), dx

    slopes = layer.slopes and jax.vmap(layer.slopes, (None, 0))
    return Layer(f"positionwise({layer.name})", init, forward, backward, layer.takes_integers, layer.tokens, slopes)
