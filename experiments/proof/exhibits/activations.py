"""Activations: real bugs in their backward passes, and reports of bugs that are none."""

import jax
import jax.numpy as jnp

from proof.exhibits.frame import exhibit
from proof.mutants import in_activation

NEGATIVE = -0.5  # a slope below 0 that is not positive: the output has another sign than the input
LIMIT = 1.5


def elu(x):
    return jnp.where(x > 0, x, NEGATIVE * jnp.expm1(jnp.minimum(x, 0)))


def elu_backward(by):
    """by: tells from (x, y) where the slope is 1."""

    def backward(params, dy):
        x = params["x"]
        return {"x": dy * jnp.where(by(x, elu(x)), 1, elu(x) + NEGATIVE)}

    return backward


def prelu(params):
    return jnp.where(params["x"] > 0, params["x"], params["slope"] * params["x"])


def prelu_backward(by):
    def backward(params, dy):
        x, slope = params["x"], params["slope"]
        above = by(x, prelu(params))
        return {
            "x": dy * jnp.where(above, 1, slope),
            "slope": jnp.sum(dy * jnp.where(above, 0, x), axis=(0, 2), keepdims=True),
        }

    return backward


def slope_along(axis):
    """The backward pass of PReLU with the slopes laid along an axis."""

    def backward(params, dy):
        x, slope = params["x"], params["slope"]
        along = jnp.moveaxis(slope, 1, axis)
        by_slope = jnp.sum(dy * jnp.where(x > 0, 0, x), axis=tuple({0, 1, 2} - {axis}))
        return {"x": dy * jnp.where(x > 0, 1, along), "slope": by_slope[None, :, None]}

    return backward


def soft_relu(x):
    return jnp.log1p(jnp.exp(jnp.clip(x, -LIMIT, LIMIT)))


def soft_relu_backward(by):
    def backward(params, dy):
        x = params["x"]
        y = soft_relu(x)
        return {"x": dy * jnp.where(jnp.abs(by(x, y)) < LIMIT, 1 - jnp.exp(-y), 0)}

    return backward


def gelu_backward(in_halves):
    def backward(params, dy):
        x = params["x"]
        below = jax.lax.erf(x / 2**0.5)
        if in_halves:
            below = below.astype(jnp.bfloat16).astype(x.dtype)
        return {"x": dy * ((1 + below) / 2 + x * jnp.exp(-(x**2) / 2) / (2 * jnp.pi) ** 0.5)}

    return backward


ONE = {"x": (3, 4)}
PRELU = {"x": (2, 3, 3), "slope": (1, 3, 1)}

EXHIBITS = [
    exhibit(
        "ReLU overwrites the gradient",
        "It returns its slope, 0 or 1, in the place of the slope times the upstream gradient.",
        "haifengl/smile/issues/528",
        operation=lambda p: jax.nn.relu(p["x"]),
        shipped=lambda p, dy: {"x": jnp.where(p["x"] > 0, 1, jnp.zeros_like(dy))},
        mended=lambda p, dy: {"x": jnp.where(p["x"] > 0, dy, 0)},
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
        rule=in_activation("relu", lambda z, a, da: jnp.where(z > 0, 1, jnp.zeros_like(da))),
        activation="relu",
    ),
    exhibit(
        "leaky ReLU overwrites it below 0",
        "Below 0 the slope is returned without the upstream gradient.",
        "SilasMarvin/dnns-from-scratch-in-zig/issues/5",
        operation=lambda p: jnp.where(p["x"] > 0, p["x"], 0.01 * p["x"]),
        shipped=lambda p, dy: {"x": jnp.where(p["x"] > 0, dy, 0.01)},
        mended=lambda p, dy: {"x": jnp.where(p["x"] > 0, dy, 0.01 * dy)},
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "ELU: the side is told by the output",
        "With a negative alpha the output is positive below 0, and the slope of the other side is taken.",
        "pytorch/pytorch/issues/47671",
        operation=lambda p: elu(p["x"]),
        shipped=elu_backward(lambda x, y: y > 0),
        mended=elu_backward(lambda x, y: x > 0),
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "PReLU: the side is told by the output",
        "Where a learnt slope has become negative, outputs below 0 are taken for ones above.",
        "apache/mxnet/pull/3277",
        "apache/mxnet/issues/2856",
        operation=prelu,
        shipped=prelu_backward(lambda x, y: y > 0),
        mended=prelu_backward(lambda x, y: x > 0),
        shapes=PRELU,
        dy=(2, 3, 3),
        wrong=["x", "slope"],
    ),
    exhibit(
        "PReLU: slopes of the wrong axis",
        "The slopes are laid along the last axis, not along the channels; where both have one size nothing complains.",
        "flagos-ai/FlagGems/issues/4992",
        operation=prelu,
        shipped=slope_along(2),
        mended=slope_along(1),
        shapes=PRELU,
        dy=(2, 3, 3),
        wrong=["x", "slope"],
    ),
    exhibit(
        "soft ReLU: clipping told by the output",
        "Whether the input was clipped is read off the output, which has other limits.",
        "PaddlePaddle/Paddle/pull/18678",
        operation=lambda p: soft_relu(p["x"]),
        shipped=soft_relu_backward(lambda x, y: y),
        mended=soft_relu_backward(lambda x, y: x),
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
        spread=2.0,
    ),
    exhibit(
        "gelu: 1 + erf in half precision",
        "Far below 0 erf is rounded to −1, and what is left after 1 is added has lost its digits.",
        "tenstorrent/tt-metal/issues/35971",
        "tenstorrent/tt-metal/issues/38643",
        operation=lambda p: jax.nn.gelu(p["x"], approximate=False),
        shipped=gelu_backward(in_halves=True),
        mended=gelu_backward(in_halves=False),
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
        spread=2.0,
    ),
    exhibit(
        "tanh′ of the output",
        "The derivative takes the pre-activation, and is given the activation.",
        "davidrmiller/neural2d/issues/40",
        operation=lambda p: jnp.tanh(p["x"]),
        shipped=lambda p, dy: {"x": dy * (1 - jnp.tanh(jnp.tanh(p["x"])) ** 2)},
        mended=lambda p, dy: {"x": dy * (1 - jnp.tanh(p["x"]) ** 2)},
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
        rule=in_activation("tanh", lambda z, a, da: (1 - jnp.tanh(a) ** 2) * da),
        activation="tanh",
    ),
    exhibit(
        "tanh′ is tanh",
        "The function called the derivative computes tanh itself.",
        "andersbll/nnet/issues/4",
        operation=lambda p: jnp.tanh(p["x"]),
        shipped=lambda p, dy: {"x": dy * jnp.tanh(p["x"])},
        mended=lambda p, dy: {"x": dy * (1 - jnp.tanh(p["x"]) ** 2)},
        shapes=ONE,
        dy=(3, 4),
        wrong="x",
        rule=in_activation("tanh", lambda z, a, da: a * da),
        activation="tanh",
    ),
]

# Reported, and right.
NONE = [
    exhibit(
        "tanh′ from the activation",
        "Reported: 1 − a² should use the pre-activation. It is the derivative, written with what was kept.",
        "lazyprogrammer/facial-expression-recognition/issues/2",
        operation=lambda p: jnp.tanh(p["x"]),
        shipped=lambda p, dy: {"x": dy * (1 - jnp.tanh(p["x"]) * jnp.tanh(p["x"]))},
        mended=None,
        shapes=ONE,
        dy=(3, 4),
        wrong=(),
    ),
    exhibit(
        "ELU′ = y + 1 below 0",
        "Reported: below 0 the derivative should be exp(x). It is, since y + 1 = exp(x).",
        "hughperkins/DeepCL/issues/46",
        operation=lambda p: jax.nn.elu(p["x"]),
        shipped=lambda p, dy: {"x": dy * jnp.where(p["x"] > 0, 1, jax.nn.elu(p["x"]) + 1)},
        mended=lambda p, dy: {"x": dy * jnp.where(p["x"] > 0, 1, jnp.exp(p["x"]))},
        shapes=ONE,
        dy=(3, 4),
        wrong=(),
    ),
    exhibit(
        "exp′ from the output",
        "Reported: the gradient of exp should use the input. The output is the derivative.",
        "karpathy/nn-zero-to-hero/issues/52",
        operation=lambda p: jnp.exp(p["x"]),
        shipped=lambda p, dy: {"x": dy * jnp.exp(p["x"])},
        mended=None,
        shapes=ONE,
        dy=(3, 4),
        wrong=(),
    ),
    exhibit(
        "sigmoid′ times what comes from above",
        "Reported: the backward pass does not give σ′. It gives σ′ times the upstream gradient, as it should.",
        "torch/torch7/issues/232",
        operation=lambda p: jax.nn.sigmoid(p["x"]),
        shipped=lambda p, dy: {"x": dy * jax.nn.sigmoid(p["x"]) * (1 - jax.nn.sigmoid(p["x"]))},
        mended=None,
        shapes=ONE,
        dy=(3, 4),
        wrong=(),
    ),
]
