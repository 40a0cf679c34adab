"""Dense layers, their examples, and engines that differentiate: real bugs in the backward passes of whole programs."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from proof.exhibits.frame import exhibit
from proof.mistakes import MISTAKES
from proof.mutants import in_dense, in_sum

PLANTED = {mistake.name: mistake.rule for mistake in MISTAKES}
LENGTHS = np.array([1, 3], np.int32)  # tokens of each micro-batch; the rest is padding


def dense(params):
    return params["x"] @ params["W"].T + params["b"]


def dense_backward(db):
    """db: from dz, (B, out)."""

    def backward(params, dz):
        return {"x": dz @ params["W"], "W": dz.T @ params["x"], "b": db(dz)}

    return backward


def summed(dz):
    return jnp.sum(dz, axis=0)


def bias_averaged(g):
    right = jp.sum_over_examples(g)
    return right if isinstance(g, jp.Outer) else right / len(g)


def two_layers(params):
    return jax.nn.sigmoid(params["V"] @ jax.nn.sigmoid(params["W"] @ params["x"]))


def two_layers_backward(last_slope=True, step=0.0):
    """step: how far V is moved along its gradient before it is used for the layer before."""

    def backward(params, dy):
        x, W, V = params["x"], params["W"], params["V"]
        h = jax.nn.sigmoid(W @ x)
        y = jax.nn.sigmoid(V @ h)
        dz = dy * y * (1 - y) if last_slope else dy
        dV = jnp.outer(dz, h)
        dh = (V - step * dV).T @ dz
        before = dh * h * (1 - h)
        return {"x": W.T @ before, "W": jnp.outer(before, x), "V": dV}

    return backward


def used_twice(params):
    """u is used by two later results."""
    u = params["x"] * params["y"]
    return u**2 + 3 * u


def used_twice_backward(u_times):
    """u_times: how often what has come to u so far is passed on to x and y."""

    def backward(params, dy):
        x, y = params["x"], params["y"]
        first, second = dy * 3, dy * 2 * x * y
        du = u_times(first, second)
        return {"x": du * y, "y": du * x}

    return backward


def minus_backward(sign):
    return lambda params, dy: {"x": dy, "y": sign * dy}


def token_mean(params):
    """The mean over all tokens of micro-batches of unlike lengths."""
    tokens = np.arange(3) < LENGTHS[:, None]
    return jnp.sum(jnp.where(tokens, params["x"] ** 2, 0)) / LENGTHS.sum()


def token_mean_backward(weights):
    tokens = np.arange(3) < LENGTHS[:, None]
    return lambda params, dy: {"x": dy * jnp.where(tokens, 2 * params["x"], 0) * weights[:, None]}


DENSE = {"x": (3, 4), "W": (2, 4), "b": (2,)}
TWO = {"x": (3,), "W": (3, 3), "V": (3, 3)}
SCALARS = {"x": (3,), "y": (3,)}

EXHIBITS = [
    exhibit(
        "bias: a sum without its axis",
        "All errors of all outputs are added up to one number, which every bias gets.",
        "rasbt/stat453-deep-learning-ss21/issues/5",
        operation=dense,
        shipped=dense_backward(lambda dz: jnp.full_like(dz[0], jnp.sum(dz))),
        mended=dense_backward(summed),
        shapes=DENSE,
        dy=(3, 2),
        wrong="b",
        rule=in_dense(db=lambda p, a, dz: jnp.full_like(dz, jnp.sum(dz))),
    ),
    exhibit(
        "bias: the mean of what is divided already",
        "The gradient of the bias is averaged over the examples where the other gradients are summed.",
        "kvfrans/notes/issues/5",
        operation=dense,
        shipped=dense_backward(lambda dz: jnp.mean(dz, axis=0)),
        mended=dense_backward(summed),
        shapes=DENSE,
        dy=(3, 2),
        wrong="b",
        rule=in_sum(bias_averaged),
    ),
    exhibit(
        "the outputs' slope left out",
        "The sigmoid of the outputs is not differentiated.",
        "Bot-Academy/NeuralNetworkFromScratch/pull/3",
        operation=two_layers,
        shipped=two_layers_backward(last_slope=False),
        mended=two_layers_backward(),
        shapes=TWO,
        dy=(3,),
        wrong=["x", "W", "V"],
        rule=PLANTED["σ′ of the outputs skipped"],
    ),
    exhibit(
        "weights stepped before they are used",
        "A layer's weights are updated first, and the gradient of the layer before is computed with the new ones.",
        "VikParuchuri/zero_to_gpt/issues/12",
        "kim-marcel/basic_neural_network/issues/7",
        operation=two_layers,
        shipped=two_layers_backward(step=0.1),
        mended=two_layers_backward(),
        shapes=TWO,
        dy=(3,),
        wrong=["x", "W"],
        rule=PLANTED["weights updated before da"],
    ),
    exhibit(
        "a result used twice is passed on twice",
        "Each time something comes to a node, all that it has so far is passed on once more.",
        "sebgao/cTensor/issues/5",
        "karpathy/micrograd/issues/2",
        operation=used_twice,
        shipped=used_twice_backward(lambda first, second: first + (first + second)),
        mended=used_twice_backward(lambda first, second: first + second),
        shapes=SCALARS,
        dy=(3,),
        wrong=["x", "y"],
    ),
    exhibit(
        "minus: the sign of the second",
        "The derivative of x − y by y is taken for 1.",
        "KhawajaAbaid/micrograd_c/issues/1",
        operation=lambda p: p["x"] - p["y"],
        shipped=minus_backward(1),
        mended=minus_backward(-1),
        shapes=SCALARS,
        dy=(3,),
        wrong="y",
    ),
    exhibit(
        "the mean of means",
        "Each micro-batch is averaged over its own tokens, and then they are averaged, whatever their lengths.",
        "ml-explore/mlx-lm/pull/1413",
        "meta-pytorch/torchtune/pull/1875",
        operation=token_mean,
        shipped=token_mean_backward(np.float32(1 / (2 * LENGTHS))),
        mended=token_mean_backward(np.full(2, 1 / LENGTHS.sum(), np.float32)),
        shapes={"x": (2, 3)},
        dy=(),
        wrong="x",
    ),
]
