"""Recurrent layers: one position after another, and backpropagation through time.

The loop backwards carries only what one position hands to the one before. The weights are shared by all positions, and
their gradients are products outside of the loop (Werbos, "Backpropagation through time", 1990).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_whole
from jaxprop.structured import OuterSum


class Recurrent(NamedTuple):
    """The parameters of a recurrent layer. An LSTM stacks those of its four gates: out is four times its width."""

    W: Any  # (out, in) floats, from the input; in the gradient of one example an `OuterSum`
    U: Any  # (out, width) floats, from the state before
    b: Float[Array, " out"]


def rnn(width: int) -> Layer:
    """`h[t] = tanh(W x[t] + U h[t-1] + b)`, from (T, in) to all states (T, width); before the first one, h is 0.

    Backwards, a state counts for the output at its position and for the state after it:

        dz[t] = (dy[t] + U^T dz[t+1]) (1 - h[t]^2)
        dW = sum_t dz[t] x[t]^T      dU = sum_t dz[t] h[t-1]^T      db = sum_t dz[t]      dx[t] = W^T dz[t]

    (Elman, "Finding structure in time", 1990.)

    Raises `BadInput` on a width that is none, and `init` on an input that is no (T, in).
    """
    check_whole("the width of an rnn is", width)

    def forward(params: Recurrent, x: Array) -> tuple[Array, tuple[Array, Array]]:
        from_input = x @ params.W.T + params.b

        def step(h: Array, at_input: Array) -> tuple[Array, Array]:
            h = jnp.tanh(at_input + params.U @ h)
            return h, h

        _, h = lax.scan(step, jnp.zeros_like(from_input[0]), from_input)
        return h, (x, h)

    def backward(params: Recurrent, residuals: tuple[Array, Array], dy: Array) -> tuple[Recurrent, Array]:
        x, h = residuals

        def step(dh: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
            h, dy = here
            dz = (dy + dh) * (1 - h * h)
            return dz @ params.U, dz

        _, dz = lax.scan(step, jnp.zeros_like(dy[0]), (h, dy), reverse=True)
        return _shared(params, x, h, dz)

    return Layer(f"rnn({width})", _init(f"rnn({width})", width, 1), forward, backward)


def lstm(width: int) -> Layer:
    """Long short-term memory, from (T, in) to all states (T, width); before the first one, h and c are 0.

        z = W x[t] + U h[t-1] + b        the pre-activations of four gates, in the order i, f, g, o
        c[t] = f c[t-1] + i g            with i, f, o = sigmoid(z), g = tanh(z)
        h[t] = o tanh(c[t])

    The cell c is changed by sums, not by a matrix, so that its derivative can travel far. Backwards, with dh from the
    output at t and from the position after it, and dc from the position after it,

        dc <- dc + dh o (1 - tanh(c)^2)
        dz = (dc g i (1 - i),  dc c[t-1] f (1 - f),  dc i (1 - g^2),  dh tanh(c) o (1 - o))

    and dc f and U^T dz go to the position before. (Hochreiter and Schmidhuber, "Long short-term memory", 1997; the
    forget gate f by Gers et al., "Learning to forget", 2000, whose bias starts at 1 here, so that at first it keeps.)

    Raises `BadInput` on a width that is none, and `init` on an input that is no (T, in).
    """
    check_whole("the width of an lstm is", width)

    def forward(params: Recurrent, x: Array) -> tuple[Array, tuple]:
        from_input = x @ params.W.T + params.b
        nothing = jnp.zeros_like(from_input[0, :width])

        def step(before: tuple[Array, Array], at_input: Array) -> tuple[tuple[Array, Array], tuple]:
            h, c = before
            i, f, g, o = jnp.split(at_input + params.U @ h, 4)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            c = f * c + i * g
            h = o * jnp.tanh(c)
            return (h, c), (h, c, jnp.concatenate([i, f, g, o]))

        _, (h, c, gates) = lax.scan(step, (nothing, nothing), from_input)
        return h, (x, h, c, gates)

    def backward(params: Recurrent, residuals: tuple, dy: Array) -> tuple[Recurrent, Array]:
        x, h, c, gates = residuals

        def step(after: tuple[Array, Array], here: tuple) -> tuple[tuple[Array, Array], Array]:
            dh, dc = after
            dy, c, c_before, gates = here
            i, f, g, o = jnp.split(gates, 4)
            tanh_c = jnp.tanh(c)
            dh = dh + dy
            dc = dc + dh * o * (1 - tanh_c * tanh_c)
            dz = jnp.concatenate(
                [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o)]
            )
            return (dz @ params.U, dc * f), dz

        nothing = jnp.zeros_like(dy[0])
        _, dz = lax.scan(step, (nothing, nothing), (dy, c, _before(c), gates), reverse=True)
        return _shared(params, x, h, dz)

    return Layer(f"lstm({width})", _init(f"lstm({width})", width, 4), forward, backward)


def _init(name: str, width: int, gates: int):
    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Recurrent, Shape]:
        if len(in_shape) != 2:
            raise BadInput(f"{name} takes a sequence (T, numbers), not an input of shape {in_shape}")
        positions, fan_in = in_shape
        key_w, key_u = jax.random.split(key)
        W = jax.random.normal(key_w, (gates * width, fan_in)) / fan_in**0.5
        U = jax.random.normal(key_u, (gates * width, width)) / width**0.5
        b = jnp.zeros((gates, width), W.dtype)
        if gates > 1:
            b = b.at[1].set(1)  # of the forget gate
        return Recurrent(W, U, b.reshape(-1)), (positions, width)

    return init


def _before(states: Float[Array, "T width"]) -> Float[Array, "T width"]:
    """For each position the state of the one before; 0 for the first."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])


def _shared(params: Recurrent, x: Array, h: Array, dz: Array) -> tuple[Recurrent, Array]:
    """The gradients of what all positions share, and of the inputs, from each position's dz."""
    return Recurrent(OuterSum(dz, x), OuterSum(dz, _before(h)), jnp.sum(dz, axis=0)), dz @ params.W
