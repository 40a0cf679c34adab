"""Normalisation: real bugs in backward passes, and the term that was reported missing to many projects and is 0."""

import jax.numpy as jnp

from proof.exhibits.frame import exhibit

EPS = 1e-5
LARGE_EPS = 0.5


def rms(x):
    return jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPS)


def rms_norm(params):
    return params["x"] / rms(params["x"]) * params["w"]


def rms_norm_backward(first, second=None, weight_again=False):
    """first, second: from (dy, w), the upstream gradient of the first term, and of that by way of the rms, if any."""

    def backward(params, dy):
        x, w = params["x"], params["w"]
        h = x / rms(x)
        dh = first(dy, w)
        if second:
            by_rms = h * jnp.mean(second(dy, w) * h, axis=-1, keepdims=True)
            dh = dh - (w * by_rms if weight_again else by_rms)
        return {"x": dh / rms(x), "w": jnp.sum(dy * h, axis=0)}

    return backward


def weighted(dy, w):
    return dy * w


def layer_norm(params):
    x = params["x"]
    mean = jnp.mean(x, axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(jnp.var(x, axis=-1, keepdims=True) + EPS)


def layer_norm_backward(mean):
    """mean: how the two sums of the backward pass are taken."""

    def backward(params, dy):
        x = params["x"]
        h = layer_norm(params)
        s = 1 / jnp.sqrt(jnp.var(x, axis=-1, keepdims=True) + EPS)
        return {"x": s * (dy - mean(dy) - h * mean(dy * h))}

    return backward


def over_the_last(x):
    return jnp.mean(x, axis=-1, keepdims=True)


def over_all_but_the_first(x):
    return jnp.mean(x, axis=(1, 2), keepdims=True)


def over_the_whole_block(x):
    return jnp.sum(x) / x.shape[-1]


def unit(x):
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + LARGE_EPS)


def unit_backward(with_eps):
    def backward(params, dy):
        x = params["x"]
        length = jnp.linalg.norm(x, axis=-1, keepdims=True)
        kept = length + LARGE_EPS
        along = jnp.sum(dy * x, axis=-1, keepdims=True) * x / (kept if with_eps else length)
        return {"x": dy / kept - along / kept**2}

    return backward


def pre_norm(params):
    """What goes on as the residual, and what is normalised: both outputs of one block, side by side."""
    residual = params["x"]
    return jnp.stack([residual, residual / rms(residual)])


def pre_norm_backward(residual_through_the_norm):
    def backward(params, dy):
        x = params["x"]
        h = x / rms(x)

        def through(d):
            return (d - h * jnp.mean(d * h, axis=-1, keepdims=True)) / rms(x)

        kept, normalised = dy
        return {"x": through(kept + normalised) if residual_through_the_norm else kept + through(normalised)}

    return backward


def batch_norm(params):
    x = params["x"]
    return (x - jnp.mean(x, axis=0)) / jnp.sqrt(jnp.var(x, axis=0) + EPS)


def batch_norm_backward(by_variance_too):
    """As the paper lays it out: by way of the variance, of the mean, and straight through."""

    def backward(params, dy):
        x = params["x"]
        n = len(x)
        apart, s = x - jnp.mean(x, axis=0), 1 / jnp.sqrt(jnp.var(x, axis=0) + EPS)
        by_variance = jnp.sum(dy * apart, axis=0) * -(s**3) / 2
        by_mean = -s * jnp.sum(dy, axis=0)
        if by_variance_too:
            by_mean = by_mean + by_variance * jnp.sum(-2 * apart, axis=0) / n
        return {"x": dy * s + by_variance * 2 * apart / n + by_mean / n}

    return backward


RMS = {"x": (3, 4), "w": (4,)}

EXHIBITS = [
    exhibit(
        "layer norm: backwards in two dimensions",
        "The forward pass normalises the last axis; the backward pass takes all axes but the first for one.",
        "flagos-ai/FlagGems/issues/5392",
        operation=layer_norm,
        shipped=layer_norm_backward(over_all_but_the_first),
        mended=layer_norm_backward(over_the_last),
        shapes={"x": (2, 3, 4)},
        dy=(2, 3, 4),
        wrong="x",
    ),
    exhibit(
        "layer norm: sums over a block of rows",
        "The two sums of one row run over all rows that are worked on together.",
        "flagos-ai/FlagGems/pull/59",
        operation=layer_norm,
        shipped=layer_norm_backward(over_the_whole_block),
        mended=layer_norm_backward(over_the_last),
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "RMS norm: the weight forgotten",
        "The upstream gradient is not multiplied by the weight before it goes on.",
        "karpathy/llm.c/pull/763",
        operation=rms_norm,
        shipped=rms_norm_backward(lambda dy, w: dy, lambda dy, w: dy),
        mended=rms_norm_backward(weighted, weighted),
        shapes=RMS,
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "RMS norm: the weight twice",
        "In the term by way of the rms the weight stands once outside and once inside the sum.",
        "NVIDIA/Megatron-LM/pull/6859",
        operation=rms_norm,
        shipped=rms_norm_backward(weighted, weighted, weight_again=True),
        mended=rms_norm_backward(weighted, weighted),
        shapes=RMS,
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "RMS norm: the rms taken for a constant",
        "That the rms depends on the input is left out.",
        "ooples/AiDotNet/pull/695",
        operation=rms_norm,
        shipped=rms_norm_backward(weighted),
        mended=rms_norm_backward(weighted, weighted),
        shapes=RMS,
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "pre-norm: the residual goes through the norm",
        "The gradient of the residual is added before the norm's backward pass: expected after it.",
        "Dao-AILab/quack/pull/53",
        operation=pre_norm,
        shipped=pre_norm_backward(residual_through_the_norm=True),
        mended=pre_norm_backward(residual_through_the_norm=False),
        shapes={"x": (3, 4)},
        dy=(2, 3, 4),
        wrong="x",
    ),
    exhibit(
        "unit length: epsilon where it does not belong",
        "The length is taken with its epsilon where the derivative has the length alone.",
        "chainer/chainer/pull/4190",
        operation=lambda p: unit(p["x"]),
        shipped=unit_backward(with_eps=True),
        mended=unit_backward(with_eps=False),
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
]

# Reported, and right.
NONE = [
    exhibit(
        "batch norm without the mean's second term",
        "Reported missing: the mean's derivative by way of the variance. It is 0, for Σ (x − mean) = 0.",
        "BVLC/caffe/issues/3878",
        "BVLC/caffe/issues/4110",
        "pjreddie/darknet/pull/29",
        "pjreddie/darknet/issues/1723",
        "AlexeyAB/darknet/issues/4605",
        "tensorflow/tensorflow/pull/24508",
        operation=batch_norm,
        shipped=batch_norm_backward(by_variance_too=False),
        mended=batch_norm_backward(by_variance_too=True),
        shapes={"x": (5, 3)},
        dy=(5, 3),
        wrong=(),
    ),
    exhibit(
        "unit length from the output",
        "Reported: the norm should divide twice. It does, for the output that is used has been divided already.",
        "zhreshold/mxnet-ssd/issues/48",
        operation=lambda p: p["x"] / jnp.linalg.norm(p["x"], axis=-1, keepdims=True),
        shipped=lambda p, dy: {"x": unit_from_output(p["x"], dy)},
        mended=None,
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong=(),
    ),
]


def unit_from_output(x, dy):
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    y = x / length
    return (dy - y * jnp.sum(dy * y, axis=-1, keepdims=True)) / length
