"""Attention and recurrence: real bugs in backward passes through a sequence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from proof.exhibits.frame import exhibit

KEPT = np.array([[2, 0, 2], [2, 2, 0], [0, 2, 2]], np.float32)  # dropout of attention: half is kept, and doubled


def attention(params):
    P = jax.nn.softmax(params["q"] @ params["k"].T)
    return (P * KEPT) @ params["v"]


def attention_backward(of_what_was_kept, passed_back):
    """of_what_was_kept: whether the softmax is differentiated with the probabilities after dropout."""

    def backward(params, dy):
        q, k, v = params["q"], params["k"], params["v"]
        P = jax.nn.softmax(q @ k.T)
        dP = (dy @ v.T) * passed_back
        p = P * KEPT if of_what_was_kept else P
        dS = p * (dP - jnp.sum(dP * p, axis=-1, keepdims=True))
        return {"q": dS @ k, "k": dS.T @ q, "v": (P * KEPT).T @ dy}

    return backward


def attention_without_the_sum(params, dy):
    q, k, v = params["q"], params["k"], params["v"]
    P = jax.nn.softmax(q @ k.T)
    dS = P * ((dy @ v.T) * KEPT)
    return {"q": dS @ k, "k": dS.T @ q, "v": (P * KEPT).T @ dy}


class Cell(NamedTuple):
    """The gates of one step, and what they leave."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array
    c: jax.Array


def step(params, c, h):
    i, f, g, o = (params["b"] + params["U"] @ h).reshape(4, -1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * c + i * g
    return Cell(i, f, g, o, c), o * jnp.tanh(c)


def lstm(params):
    """Two steps, of which the state of the cell is carried; the output is that of both."""
    c = h = params["h"]
    outputs = []
    for _ in range(2):
        cell, h = step(params, c, h)
        c = cell.c
        outputs.append(h)
    return jnp.stack(outputs)


def lstm_backward(forget=lambda f: f * (1 - f), gates=lambda d: d, carried=True):
    """forget: the slope of the forget gate. gates: what becomes of the gradients of the four gates for the bias."""

    def backward(params, dy):
        c0 = h0 = params["h"]
        first, h1 = step(params, c0, h0)
        second, _ = step(params, first.c, h1)
        db, dU, dh, dc = 0, 0, jnp.zeros_like(h0), jnp.zeros_like(h0)
        for cell, c_before, h_before, upstream in ((second, first.c, h1, dy[1]), (first, c0, h0, dy[0])):
            i, f, g, o, c = cell
            dh = dh + upstream
            through = dh * o * (1 - jnp.tanh(c) ** 2)
            dc = dc + through if carried else through
            d = jnp.stack(
                [
                    dc * g * i * (1 - i),
                    dc * c_before * forget(f),
                    dc * i * (1 - g**2),
                    dh * jnp.tanh(c) * o * (1 - o),
                ]
            )
            db = db + gates(d).reshape(-1)
            dU = dU + jnp.outer(d.reshape(-1), h_before)
            dh, dc = d.reshape(-1) @ params["U"], dc * f
        return {"b": db, "U": dU, "h": dh + dc}

    return backward


def forget_gate_for_all(d):
    """The gradients of the biases of input and output gate, copied from the forget gate."""
    return jnp.stack([d[1], d[1], d[2], d[1]])


ATTENTION = {"q": (3, 2), "k": (3, 2), "v": (3, 2)}
LSTM = {"b": (8,), "U": (8, 2), "h": (2,)}

EXHIBITS = [
    exhibit(
        "attention: dropout's zeros in the softmax",
        "The softmax is differentiated with the probabilities after dropout, and its upstream gradient is not dropped.",
        "aws-neuron/nki-samples/pull/81",
        operation=attention,
        shipped=attention_backward(True, 1),
        mended=attention_backward(False, KEPT),
        shapes=ATTENTION,
        dy=(3, 2),
        wrong=["q", "k"],
    ),
    exhibit(
        "softmax without its sum",
        "The sum of the upstream gradient times the probabilities is not taken away.",
        "HomericIntelligence/Odyssey/issues/2134",
        operation=attention,
        shipped=attention_without_the_sum,
        mended=attention_backward(False, KEPT),
        shapes=ATTENTION,
        dy=(3, 2),
        wrong=["q", "k"],
    ),
    exhibit(
        "LSTM: σ for σ′ at the forget gate",
        "The sigmoid is applied once more where its derivative was meant.",
        "CaptainE/RNN-LSTM-in-numpy/issues/1",
        operation=lstm,
        shipped=lstm_backward(forget=jax.nn.sigmoid),
        mended=lstm_backward(),
        shapes=LSTM,
        dy=(2, 2),
        wrong=["b", "U", "h"],
    ),
    exhibit(
        "LSTM: one gate's biases copied to others",
        "The biases of the input and the output gate get the gradient of the forget gate.",
        "hanbt/learn_dl/issues/53",
        operation=lstm,
        shipped=lstm_backward(gates=forget_gate_for_all),
        mended=lstm_backward(),
        shapes=LSTM,
        dy=(2, 2),
        wrong=["b"],
    ),
    exhibit(
        "LSTM: the state's gradient not carried",
        "= where += was meant: what the later step says of the state is overwritten.",
        "apache/mxnet/issues/4057",
        operation=lstm,
        shipped=lstm_backward(carried=False),
        mended=lstm_backward(),
        shapes=LSTM,
        dy=(2, 2),
        wrong=["b", "U", "h"],
    ),
]
