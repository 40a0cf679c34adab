"""Normalisation of one example: its numbers brought to one size, then scaled and shifted as is learned.

Batch norm is not here: it has no gradient of one example (see the chapter on layers).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_number, check_whole


class Norm(NamedTuple):
    """The parameters of a normalisation: a gain and a bias for each entry of the last axis."""

    g: Float[Array, " width"]
    b: Float[Array, " width"]


def layer_norm(eps: float = 1e-5) -> Layer:
    """`y = g h + b` with `h = (x - mean) / sqrt(variance + eps)`, both along the last axis (Ba et al., "Layer
    normalization", 2016).

    The mean and the variance depend on every x. With `dh = g dy` and `s = 1 / sqrt(variance + eps)`,

        dx = s (dh - mean(dh) - h mean(h dh))

    takes out of dh what would only move the mean, and what would only change the size: neither reaches y. dg and db are
    summed over whatever axes come before the last.

    eps: above 0, so that a row of equal numbers is divided by no 0.

    `init` raises `BadInput` where the input has no axis.
    """
    check_number("the eps of layer_norm is", eps, above_zero=True)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Norm, Shape]:
        width = _last_axis("layer_norm", in_shape)
        return Norm(jnp.ones(width), jnp.zeros(width)), in_shape

    def forward(params: Norm, x: Array) -> tuple[Array, tuple[Array, Array]]:
        h, s = _normalise(x, (-1,), eps)
        return params.g * h + params.b, (h, s)

    def backward(params: Norm, residuals: tuple[Array, Array], dy: Array) -> tuple[Norm, Array]:
        h, s = residuals
        dg, db = _over_the_last_axis(dy * h), _over_the_last_axis(dy)
        return Norm(dg, db), _normalise_backward(h, s, params.g * dy, (-1,))

    return Layer(_name("layer_norm", eps), init, forward, backward)


def rms_norm(eps: float = 1e-5) -> Layer:
    """`y = g h` with `h = x / sqrt(mean(x^2) + eps)`, along the last axis (Zhang and Sennrich, "Root mean square layer
    normalization", 2019).

    As in `layer_norm`, but no mean is taken off: `dx = s (dh - h mean(h dh))`. The parameters are g alone.

    `init` raises `BadInput` where the input has no axis.
    """
    check_number("the eps of rms_norm is", eps, above_zero=True)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Array, Shape]:
        return jnp.ones(_last_axis("rms_norm", in_shape)), in_shape

    def forward(g: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
        s = lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)
        h = x * s
        return g * h, (h, s)

    def backward(g: Array, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
        h, s = residuals
        dh = g * dy
        dx = s * (dh - h * jnp.mean(h * dh, axis=-1, keepdims=True))
        return _over_the_last_axis(dy * h), dx

    return Layer(_name("rms_norm", eps), init, forward, backward)


def group_norm(groups: int, eps: float = 1e-5) -> Layer:
    """`layer_norm` of a picture (..., channels), over all positions and the channels of one group together (Wu and He,
    "Group normalization", 2018).

    The formulas are those of `layer_norm`, with means over the numbers of a group.

    Raises `BadInput` on a number of groups that is none, and `init` where the channels do not make so many equal ones.
    """
    check_whole("groups are", groups)
    check_number("the eps of group_norm is", eps, above_zero=True)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Norm, Shape]:
        channels = _last_axis(f"group_norm({groups})", in_shape)
        if channels % groups:
            raise BadInput(f"{channels} channels do not make {groups} equal groups: expected a multiple")
        return Norm(jnp.ones(channels), jnp.zeros(channels)), in_shape

    def grouped(x: Array) -> Float[Array, "positions groups each"]:
        return x.reshape(-1, groups, x.shape[-1] // groups)

    def forward(params: Norm, x: Array) -> tuple[Array, tuple[Array, Array]]:
        h, s = _normalise(grouped(x), (0, 2), eps)
        return params.g * h.reshape(x.shape) + params.b, (h, s)

    def backward(params: Norm, residuals: tuple[Array, Array], dy: Array) -> tuple[Norm, Array]:
        h, s = residuals
        dg, db = _over_the_last_axis(dy * h.reshape(dy.shape)), _over_the_last_axis(dy)
        dx = _normalise_backward(h, s, grouped(params.g * dy), (0, 2))
        return Norm(dg, db), dx.reshape(dy.shape)

    return Layer(_name(f"group_norm({groups})", eps), init, forward, backward)


def _normalise(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """`h = (x - mean) s` and `s = 1 / sqrt(variance + eps)`, over these axes."""
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    s = lax.rsqrt(jnp.mean(centred * centred, axis=axes, keepdims=True) + eps)
    return centred * s, s


def _normalise_backward(h: Array, s: Array, dh: Array, axes: tuple[int, ...]) -> Array:
    mean = jnp.mean(dh, axis=axes, keepdims=True)
    return s * (dh - mean - h * jnp.mean(h * dh, axis=axes, keepdims=True))


def _over_the_last_axis(dy: Array) -> Float[Array, " width"]:
    """The sum over all positions: the parameters are shared between them."""
    return jnp.sum(dy, axis=tuple(range(dy.ndim - 1)))


def _last_axis(name: str, in_shape: Shape) -> int:
    if not in_shape:
        raise BadInput(f"{name} takes an axis of numbers to normalise: the input is one number")
    return in_shape[-1]


def _name(name: str, eps: float) -> str:
    return name if eps == 1e-5 else f"{name}[eps={eps:.4g}]"
