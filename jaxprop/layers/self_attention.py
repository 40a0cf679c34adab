"""Attention: every position takes a weighted mean of what the others offer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_whole
from jaxprop.structured import OuterSum

Heads = Float[Array, "T heads d"]
Weights = Float[Array, "heads T S"]
Mask = Bool[Array, "T S"]


class Attention(NamedTuple):
    """The parameters of attention: four matrices (out, in), in the gradient of one example an `OuterSum` each."""

    Wq: Any  # (width, width) floats
    Wk: Any
    Wv: Any
    Wo: Any


def attend(q: Heads, k: Heads, v: Heads, mask: Mask) -> tuple[Heads, Weights]:
    """`o[t] = sum_s P[t, s] v[s]` with `P = softmax(q k^T / sqrt(d))` along s, head by head. Returns o and P.

    mask: which s each t may look at. Where it is none at all, o is 0.

    (Vaswani et al., "Attention is all you need", 2017.)
    """
    S = jnp.einsum("thd,shd->hts", q, k) / q.shape[-1] ** 0.5
    # -inf would be the shorter mask, but a row with nothing else has no largest number, and NaN for a softmax.
    S = jnp.where(mask, S, jnp.finfo(S.dtype).min)
    P = jnp.where(mask, jax.nn.softmax(S), 0)
    return jnp.einsum("hts,shd->thd", P, v), P


def attend_backward(q: Heads, k: Heads, v: Heads, P: Weights, do: Heads) -> tuple[Heads, Heads, Heads]:
    """`dq, dk, dv` from `do`.

    The weights are a softmax, so `dS = P (dP - D)` with the row sums `D[t] = sum_s P[t, s] dP[t, s]`. What is masked
    needs nothing of its own: P is 0 there, so dS is. D is also `do[t] . o[t]`, which spares P where that is not kept
    (Dao et al., "FlashAttention", 2022). Here P is kept, and this sum makes dS exactly 0 where t looks at one s alone.
    """
    dv = jnp.einsum("hts,thd->shd", P, do)
    dP = jnp.einsum("thd,shd->hts", do, v)
    D = jnp.sum(P * dP, axis=-1, keepdims=True)
    dS = P * (dP - D) / q.shape[-1] ** 0.5
    dq = jnp.einsum("hts,shd->thd", dS, k)
    dk = jnp.einsum("hts,thd->shd", dS, q)
    return dq, dk, dv


def attention(heads: int, causal: bool = False) -> Layer:
    """Self-attention: `y = attend(x Wq^T, x Wk^T, x Wv^T) Wo^T`, from (T, width) to the same.

    heads: so many parts of the width, each with its own weights P.
    causal: no position looks at a later one.

    The weights start as Normal(0, 1 / sqrt(width)). P, which is (heads, T, T), is kept for the backward pass.

    (Vaswani et al., "Attention is all you need", 2017.) Raises `BadInput` on a number of heads that is none, and `init`
    on an input that is no (T, width), or a width that the heads do not divide.
    """
    check_whole("the heads of attention are", heads)

    def mask(positions: int) -> Mask:
        everywhere = jnp.ones((positions, positions), bool)
        return jnp.tril(everywhere) if causal else everywhere

    def split(x: Float[Array, "T width"]) -> Heads:
        return x.reshape(len(x), heads, -1)

    def merge(x: Heads) -> Float[Array, "T width"]:
        return x.reshape(len(x), -1)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Attention, Shape]:
        if len(in_shape) != 2:
            raise BadInput(f"attention takes a sequence (T, width), not an input of shape {in_shape}")
        width = in_shape[1]
        if width % heads:
            raise BadInput(f"a width of {width} does not make {heads} equal heads: expected a multiple")
        W = jax.random.normal(key, (4, width, width)) / width**0.5
        return Attention(*W), in_shape

    def forward(params: Attention, x: Array) -> tuple[Array, tuple]:
        q, k, v = (split(x @ W.T) for W in params[:3])
        o, P = attend(q, k, v, mask(len(x)))
        return merge(o) @ params.Wo.T, (x, q, k, v, P, o)

    def backward(params: Attention, residuals: tuple, dy: Array) -> tuple[Attention, Array]:
        x, q, k, v, P, o = residuals
        dWo = OuterSum(dy, merge(o))
        do = split(dy @ params.Wo)

        dq, dk, dv = map(merge, attend_backward(q, k, v, P, do))
        dWq, dWk, dWv = OuterSum(dq, x), OuterSum(dk, x), OuterSum(dv, x)
        dx = dq @ params.Wq + dk @ params.Wk + dv @ params.Wv
        return Attention(dWq, dWk, dWv, dWo), dx

    return Layer(f"attention({heads}{', causal' if causal else ''})", init, forward, backward)
