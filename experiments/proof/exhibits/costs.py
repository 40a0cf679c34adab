"""Costs, penalties and softmax: real bugs in their backward passes."""

import jax
import jax.numpy as jnp
import numpy as np

from proof.exhibits.frame import exhibit
from proof.mutants import in_cost

TARGETS = np.eye(4, dtype=np.float32)[[0, 3, 1]]  # of 3 examples in 4 classes
DECAY = 0.1


def softmax_backward(coupled):
    def backward(params, dy):
        y = jax.nn.softmax(params["x"])
        return {"x": y * (dy - (jnp.sum(dy * y, axis=-1, keepdims=True) if coupled else y * dy))}

    return backward


def huber(x):
    return jnp.sum(jnp.where(jnp.abs(x) <= 1, x**2 / 2, jnp.abs(x) - 0.5))


def cross_entropy(params):
    return -jnp.sum(jax.nn.log_softmax(params["x"]) * TARGETS)


def penalised(params):
    return jnp.sum(params["x"] @ params["W"]) + DECAY * jnp.sum(params["W"] ** 2)


def penalised_backward(factor):
    def backward(params, dy):
        x, W = params["x"], params["W"]
        ones = jnp.ones((len(x), W.shape[1]), x.dtype)
        return {"x": dy * (ones @ W.T), "W": dy * (x.T @ ones + factor * DECAY * W)}

    return backward


PENALISED = {"x": (3, 4), "W": (4, 2)}

EXHIBITS = [
    exhibit(
        "mean over the outputs, in the loss alone",
        "The loss divides by the number of outputs, its gradient does not.",
        "scikit-learn/scikit-learn/issues/8349",
        operation=lambda p: jnp.mean((p["a"] - TARGETS) ** 2) / 2,
        shipped=lambda p, dy: {"a": dy * (p["a"] - TARGETS) / 3},
        mended=lambda p, dy: {"a": dy * (p["a"] - TARGETS) / (3 * 4)},
        shapes={"a": (3, 4)},
        dy=(),
        wrong="a",
        rule=in_cost(lambda a, y: 2 * (a - y) * len(y)),
    ),
    exhibit(
        "softmax: the diagonal alone",
        "Each output is differentiated by its own input; how they hold each other down is left out.",
        "deeplearning4j/libnd4j/issues/440",
        operation=lambda p: jax.nn.softmax(p["x"]),
        shipped=softmax_backward(coupled=False),
        mended=softmax_backward(coupled=True),
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "log-softmax: added where it is taken away",
        "The softmax is added to the upstream gradient: expected minus the softmax times the sum of it.",
        "mlpack/mlpack/issues/2360",
        operation=lambda p: jax.nn.log_softmax(p["x"]),
        shipped=lambda p, dy: {"x": dy + jax.nn.softmax(p["x"])},
        mended=lambda p, dy: {"x": dy - jax.nn.softmax(p["x"]) * jnp.sum(dy, axis=-1, keepdims=True)},
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "a sum over the batch, averaged on the way back",
        "The user asks for the sum over the batch, and gets the gradient of the mean.",
        "paiml/aprender/pull/2182",
        operation=cross_entropy,
        shipped=lambda p, dy: {"x": dy * (jax.nn.softmax(p["x"]) - TARGETS) / 3},
        mended=lambda p, dy: {"x": dy * (jax.nn.softmax(p["x"]) - TARGETS)},
        shapes={"x": (3, 4)},
        dy=(),
        wrong="x",
    ),
    exhibit(
        "a loss that ignores what comes after it",
        "The Huber loss returns its own slope, whatever the upstream gradient is.",
        "chainer/chainer/issues/1175",
        "chainer/chainer/pull/1178",
        operation=lambda p: huber(p["x"]),
        shipped=lambda p, dy: {"x": jnp.clip(p["x"], -1, 1)},
        mended=lambda p, dy: {"x": dy * jnp.clip(p["x"], -1, 1)},
        shapes={"x": (3, 4)},
        dy=(),
        wrong="x",
    ),
    exhibit(
        "the penalty's 2 lost",
        "The derivative of a penalty on the squared weights is taken for the weights, not for twice the weights.",
        "jingtinghuang/CS231n-Spring-2017/issues/3",
        operation=penalised,
        shipped=penalised_backward(1),
        mended=penalised_backward(2),
        shapes=PENALISED,
        dy=(),
        wrong="W",
    ),
    exhibit(
        "weight decay that makes weights grow",
        "The penalty's derivative is subtracted from the gradient, and so the step adds to the weights.",
        "chainer/chainer/issues/261",
        "andersbll/nnet/issues/4",
        operation=penalised,
        shipped=penalised_backward(-2),
        mended=penalised_backward(2),
        shapes=PENALISED,
        dy=(),
        wrong="W",
    ),
]
