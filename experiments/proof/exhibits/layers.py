"""The layers of jaxprop, each with a bug that a real project shipped in its backward pass.

The other exhibits are operations by themselves. Here each bug is put into a layer of the library, which stands in a
small network: a wrong derivative by the input spoils every layer before it, and no layer after it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jaxprop as jp
from jaxprop.layers import Conv, Layer, Norm, Recurrent
from jaxprop.structured import OuterSum
from proof.exhibits.frame import GITHUB, Exhibit

Backward = Callable[[Any, Any, Any], tuple[Any, Any]]  # of a layer: (params, residuals, dy) -> (dparams, dx)
# Points of the suite; a network has those of them that fit it. All are of one size, so that an exhibit compiles once.
POINTS = ("batch of 7", "zeros", "window ties", "each token twice")


def in_network(
    name: str,
    story: str,
    *links: str,
    layers: Sequence[Layer],
    in_shape: tuple[int, ...],
    shipped: Mapping[int, Backward],
    wrong: Sequence[str],
) -> Exhibit:
    """An exhibit of one network with the cross-entropy as its cost.

    shipped: the backward pass that was wrong, by the place of its layer.
    wrong: the paths of the leaves whose derivative it spoils.
    """
    network = jp.Network(tuple(layers), in_shape)
    with_bug = [layer._replace(backward=shipped.get(i, layer.backward)) for i, layer in enumerate(layers)]
    cost = jp.softmax_cross_entropy

    def points() -> list[jp.Probe]:
        return [probe for probe in jp.probes_for(network, cost, quick=True) if probe.name in POINTS]

    return Exhibit(
        name,
        story,
        tuple(GITHUB + link for link in links),
        jp.loss(network, cost),
        jp.backprop(jp.Network(tuple(with_bug), in_shape), cost),
        jp.backprop(network, cost),
        points,
        frozenset(wrong),
    )


def with_dx(layer: Layer, change: Callable[[Any, Any, Any, Any], Any]) -> Backward:
    """The derivatives by the parameters are right. change: `(params, residuals, dy, dx) -> dx`."""

    def backward(params: Any, residuals: Any, dy: Any) -> tuple[Any, Any]:
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams, change(params, residuals, dy, dx)

    return backward


def with_dparams(layer: Layer, change: Callable[[Any, Any, Any, Any], Any]) -> Backward:
    """The derivative by the input is right. change: `(params, residuals, dy, dparams) -> dparams`."""

    def backward(params: Any, residuals: Any, dy: Any) -> tuple[Any, Any]:
        dparams, dx = layer.backward(params, residuals, dy)
        return change(params, residuals, dy, dparams), dx

    return backward


# Convolution and pooling. Two convolutions, so that the derivative by the input of the second shows in the first.

FIRST, STRIDED, PLAIN = jp.conv2d(2, 2), jp.conv2d(3, 2, stride=2, padding="VALID"), jp.conv2d(3, 3)
ONE_SIDED = jp.conv2d(3, 2, padding=((1, 0), (1, 0)))
READ = (jp.flatten(), jp.dense(3))
PICTURE = (5, 5, 1)  # of which windows of 2 leave a row and a column over
OF_CONV = ["[0].W", "[0].b"]


def divided_by_places(params, x, dy, dparams):
    return Conv(dparams.W.expand() / (dy.shape[0] * dy.shape[1]), dparams.b)


def stride_for_dilation(params, x, dy, dparams):
    """The window of dy is moved by the stride over x, where it should be spread out by it."""
    layout = ("CHWN", "IHWO", "HWNC")
    kernel = params.W.shape[:2]
    dW = lax.conv_general_dilated(x[None], dy[None], (2, 2), "VALID", dimension_numbers=layout)
    rows, columns = (min(a, b) for a, b in zip(kernel, dW.shape[:2], strict=True))
    return Conv(jnp.zeros_like(params.W).at[:rows, :columns].set(dW[:rows, :columns]), dparams.b)


def without_stride(params, x, dy):
    """As if the windows lay side by side: each entry of dy belongs to the window that begins at its own place."""
    kh, kw = params.W.shape[:2]
    dW, dx = jnp.zeros_like(params.W), jnp.zeros_like(x)
    rows, columns = dy.shape[:2]
    for i in range(kh):
        for j in range(kw):
            dW = dW.at[i, j].set(jnp.einsum("hwc,hwo->co", x[i : i + rows, j : j + columns], dy))
            dx = dx.at[i : i + rows, j : j + columns].add(dy @ params.W[i, j].T)
    return Conv(dW, jnp.sum(dy, axis=(0, 1))), dx


def rows_left_over_in_front(params, x, dy, dx):
    """What no window reached is at the end; here all is moved by that, and the gap is in front."""
    return jnp.roll(dx, 1, axis=(0, 1))


def padding_forgotten(params, x, dy):
    """The forward pass begins one row and one column before the picture, the backward pass at its corner."""
    at_corner = jp.conv2d(3, 2, padding=((0, 1), (0, 1)))
    return at_corner.backward(params, x, dy)


def to_all_that_tie(params, residuals, dy, dx):
    x, y = residuals
    rows, columns = (2 * n for n in y.shape[:2])
    spread = [jnp.repeat(jnp.repeat(z, 2, axis=0), 2, axis=1) for z in (y, dy)]
    ties = x[:rows, :columns] == spread[0]
    return jnp.zeros_like(x).at[:rows, :columns].set(jnp.where(ties, spread[1], 0))


def divisor_rounded_up(params, x, dy, dx):
    """The size of a window is taken to be the height over the number of rows, rounded up."""
    height, width = (-(-n // m) for n, m in zip(x.shape[:2], dy.shape[:2], strict=True))
    return dx * (2 * 2) / (height * width)


# Normalisation

WIDE = jp.positionwise(jp.dense(4))
NORM, RMS, GROUPS = jp.layer_norm(), jp.rms_norm(), jp.group_norm(2)
TO_CLASSES = jp.positionwise(jp.dense(3))
SEQUENCE = (3, 2)  # three positions of two numbers
BEFORE = ["[0].W", "[0].b"]


def normalised_backward(mean):
    """mean: how the two means of the backward pass are taken."""

    def dx(params, residuals, dy, right):
        h, s = residuals
        dh = params.g * dy
        return s * (dh - mean(dh) - h * mean(h * dh))

    return dx


def over_everything(x):
    return jnp.mean(x)


def over_a_block_of_rows(x):
    return jnp.sum(x) / x.shape[-1]


def weight_forgotten(g, residuals, dy, dx):
    h, s = residuals
    return s * (dy - h * jnp.mean(h * dy, axis=-1, keepdims=True))


def weight_twice(g, residuals, dy, dx):
    h, s = residuals
    dh = g * dy
    return s * (dh - g * h * jnp.mean(h * dh, axis=-1, keepdims=True))


def group_of_another_channel(params, residuals, dy, dparams):
    """Channel c is looked up in group c mod 2: expected c // 2. So its h has the mean and the size of the other."""
    h, s = residuals
    x = h / s  # without the mean, which is not kept: the size alone is taken from the wrong group
    others = jnp.arange(4) % 2
    wrong = x.reshape(dy.shape) * s[0, others, 0]
    return Norm(jnp.sum(dy * wrong, axis=(0, 1)), dparams.b)


def norm_before_the_residual(params, residuals, dy):
    """Of `x + f(norm(x))`: dy, which goes past the norm, is added before the norm's backward pass."""
    (of_norm, of_f), (kept_by_norm, kept_by_f) = params, residuals
    df, dh = WIDE_AGAIN.backward(of_f, kept_by_f, dy)
    dnorm, dx = RMS.backward(of_norm, kept_by_norm, dh + dy)
    return (dnorm, df), dx


WIDE_AGAIN = jp.positionwise(jp.dense(4))

# Attention and activations

CAUSAL, HEADS = jp.attention(2, causal=True), jp.attention(2)


def attention_backward(weights=lambda P, q, k: P, scale=lambda d: d**0.5, row_sums=True):
    """weights: the P that the backward pass uses. scale: what it divides the scores by, from the width of a head."""

    def backward(params, residuals, dy):
        x, q, k, v, P, o = residuals
        dWo = OuterSum(dy, o.reshape(len(x), -1))
        do = (dy @ params.Wo).reshape(o.shape)
        P = weights(P, q, k)
        dv = jnp.einsum("hts,thd->shd", P, do)
        dP = jnp.einsum("thd,shd->hts", do, v)
        D = jnp.sum(P * dP, axis=-1, keepdims=True) if row_sums else 0
        dS = P * (dP - D) / scale(q.shape[-1])
        dq, dk = jnp.einsum("hts,shd->thd", dS, k), jnp.einsum("hts,thd->shd", dS, q)
        dq, dk, dv = (d.reshape(len(x), -1) for d in (dq, dk, dv))
        dx = dq @ params.Wq + dk @ params.Wk + dv @ params.Wv
        return type(params)(OuterSum(dq, x), OuterSum(dk, x), OuterSum(dv, x), dWo), dx

    return backward


def without_mask(P, q, k):
    return jax.nn.softmax(jnp.einsum("thd,shd->hts", q, k) / q.shape[-1] ** 0.5)


def diagonal_alone(params, y, dy, dx):
    return y * (1 - y) * dy


def into_row_0(params, x, dy, dx):
    return jnp.zeros_like(dx).at[0].set(dx[-1])


def sigmoid_by_division(params, residuals, dy, dx):
    z, a = residuals
    s = a / z  # 0 / 0 where z is 0
    return dy * s * (1 + z * (1 - s))


def erf_in_halves(params, residuals, dy, dx):
    z, _ = residuals
    below = jax.lax.erf(z / 2**0.5).astype(jnp.bfloat16).astype(z.dtype)
    return dy * ((1 + below) / 2 + z * jnp.exp(-z * z / 2) / (2 * jnp.pi) ** 0.5)


# Tokens

EMBEDDING, POSITIONS = jp.embedding(4, 2), jp.positions(3)


def scattered(scatter):
    """scatter: `(zeros, ids, dy) -> dE`."""
    return lambda E, ids, dy: (scatter(jnp.zeros_like(E), ids, dy), None)


def constant_positions(P, residuals, dy, dP):
    return jnp.zeros_like(P)


# Recurrence

RNN, LSTM = jp.rnn(3), jp.lstm(3)


def not_passed_on(params, residuals, dy):
    """Each position counts for its own output alone, and not for the states after it."""
    x, h = residuals
    dz = dy * (1 - h * h)
    before = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])
    return Recurrent(OuterSum(dz, x), OuterSum(dz, before), jnp.sum(dz, axis=0)), dz @ params.W


def lstm_backward(forget=lambda f: f * (1 - f), carried=True, for_bias=lambda dz: dz):
    """forget: the slope of the forget gate. for_bias: what becomes of the gates' dz, (4, width), for the bias."""

    def backward(params, residuals, dy):
        x, h, c, gates = residuals
        dh = dc = jnp.zeros_like(dy[0])
        dz = []
        for t in reversed(range(len(x))):
            i, f, g, o = jnp.split(gates[t], 4)
            before = c[t - 1] if t else jnp.zeros_like(c[0])
            dh = dh + dy[t]
            through = dh * o * (1 - jnp.tanh(c[t]) ** 2)
            dc = dc + through if carried else through
            of_gates = (dc * g * i * (1 - i), dc * before * forget(f), dc * i * (1 - g * g))
            dz.insert(0, jnp.concatenate([*of_gates, dh * jnp.tanh(c[t]) * o * (1 - o)]))
            dh, dc = dz[0] @ params.U, dc * f
        dz = jnp.stack(dz)
        h_before = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])
        db = jnp.sum(jnp.stack([for_bias(one.reshape(4, -1)).reshape(-1) for one in dz]), axis=0)
        return Recurrent(OuterSum(dz, x), OuterSum(dz, h_before), db), dz @ params.W

    return backward


def forget_gate_for_all(dz):
    return jnp.stack([dz[1], dz[1], dz[2], dz[1]])


OF_RECURRENT = ["[1].W", "[1].U", "[1].b"]
OF_ATTENTION = [f"[1].{name}" for name in ("Wq", "Wk", "Wv", "Wo")]

EXHIBITS = [
    in_network(
        "conv2d: divided by the number of places",
        "The gradient of the window is averaged over examples and places: expected their sum.",
        "sebgao/cTensor/issues/3",
        layers=(FIRST, PLAIN, *READ),
        in_shape=PICTURE,
        shipped={1: with_dparams(PLAIN, divided_by_places)},
        wrong=["[1].W"],
    ),
    in_network(
        "conv2d: stride for dilation",
        "For the gradient of the window, stride and dilation are exchanged.",
        "iree-org/iree-turbine/pull/1223",
        "huggingface/candle/pull/2337",
        layers=(FIRST, STRIDED, *READ),
        in_shape=PICTURE,
        shipped={1: with_dparams(STRIDED, stride_for_dilation)},
        wrong=["[1].W"],
    ),
    in_network(
        "conv2d: the stride only forward",
        "The forward pass multiplies the place by the stride, the backward pass does not.",
        "enggen/Deep-Learning-Coursera/issues/7",
        "Kulbear/deep-learning-coursera/pull/34",
        layers=(FIRST, STRIDED, *READ),
        in_shape=PICTURE,
        shipped={1: without_stride},
        wrong=["[0].W", "[1].W"],  # what is laid elsewhere has the same sum, and so the bias is right
    ),
    in_network(
        "conv2d: rows that are left over",
        "Where the stride leaves rows over, the gradient by the input is laid at the wrong places.",
        "flagos-ai/FlagGems/pull/1576",
        "f-dangel/backpack/issues/30",
        layers=(FIRST, STRIDED, *READ),
        in_shape=PICTURE,
        shipped={1: with_dx(STRIDED, rows_left_over_in_front)},
        wrong=["[0].W"],
    ),
    in_network(
        "conv2d: the offset of the padding only forward",
        "The forward pass begins at the offset that the padding makes, the backward pass does not.",
        "tensorflow/tensorflow/issues/11092",
        layers=(FIRST, ONE_SIDED, *READ),
        in_shape=PICTURE,
        shipped={1: padding_forgotten},
        wrong=[*OF_CONV, "[1].W"],
    ),
    in_network(
        "max_pool: to all that tie",
        "Every number that equals the largest of its window gets the whole gradient: together more than there is.",
        "Theano/Theano/issues/4568",
        "Theano/Theano/issues/5248",
        layers=(FIRST, jp.max_pool(2), *READ),
        in_shape=PICTURE,
        shipped={1: with_dx(jp.max_pool(2), to_all_that_tie)},
        wrong=OF_CONV,
    ),
    in_network(
        "avg_pool: the divisor rounded up",
        "The size of a window is computed back from the two heights, and rounded up.",
        "PaddlePaddle/Paddle/pull/74077",
        layers=(FIRST, jp.avg_pool(2), *READ),
        in_shape=PICTURE,
        shipped={1: with_dx(jp.avg_pool(2), divisor_rounded_up)},
        wrong=OF_CONV,
    ),
    in_network(
        "layer_norm: all axes for one",
        "The forward pass normalises the last axis, the backward pass takes all axes for one.",
        "flagos-ai/FlagGems/issues/5392",
        layers=(WIDE, NORM, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: with_dx(NORM, normalised_backward(over_everything))},
        wrong=BEFORE,
    ),
    in_network(
        "layer_norm: sums over all rows of a block",
        "The two sums of one row run over all rows that are worked on together.",
        "flagos-ai/FlagGems/pull/59",
        layers=(WIDE, NORM, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: with_dx(NORM, normalised_backward(over_a_block_of_rows))},
        wrong=BEFORE,
    ),
    in_network(
        "rms_norm: its weight forgotten",
        "The gradient is not multiplied by the weight before it goes on.",
        "karpathy/llm.c/pull/763",
        layers=(WIDE, RMS, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: with_dx(RMS, weight_forgotten)},
        wrong=BEFORE,
    ),
    in_network(
        "rms_norm: its weight twice",
        "In the term by way of the size, the weight stands inside the sum and once more outside.",
        "NVIDIA/Megatron-LM/pull/6859",
        layers=(WIDE, RMS, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: with_dx(RMS, weight_twice)},
        wrong=BEFORE,
    ),
    in_network(
        "group_norm: the group of another channel",
        "The gradient of the weight takes the statistics of group c mod G for channel c.",
        "tenstorrent/tt-metal/pull/56202",
        layers=(jp.conv2d(4, 2), GROUPS, *READ),
        in_shape=(3, 3, 1),
        shipped={1: with_dparams(GROUPS, group_of_another_channel)},
        wrong=["[1].g"],
    ),
    in_network(
        "residual: dy goes through the norm",
        "What passes the norm by is added before the norm's backward pass: expected after it.",
        "Dao-AILab/quack/pull/53",
        layers=(WIDE, jp.residual(jp.chain(RMS, WIDE_AGAIN)), TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: norm_before_the_residual},
        wrong=[*BEFORE, "[1][0]"],
    ),
    in_network(
        "attention: causal only forward",
        "The backward pass computes the weights again, and forgets that no position looks at a later one.",
        "triton-lang/triton/issues/4541",
        layers=(WIDE, CAUSAL, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: attention_backward(weights=without_mask)},
        wrong=[*BEFORE, *OF_ATTENTION[:3]],
    ),
    in_network(
        "attention: the scale of a padded head",
        "The forward pass divides by the root of the head's width, the backward pass by that of a rounded one.",
        "tile-ai/tilelang-ascend/pull/1670",
        layers=(WIDE, HEADS, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: attention_backward(scale=lambda d: (-(-d // 16) * 16) ** 0.5)},
        wrong=[*BEFORE, *OF_ATTENTION[:2]],
    ),
    in_network(
        "attention: no row sums",
        "In the derivative of the softmax, the sum over the row is not taken away.",
        "HomericIntelligence/Odyssey/issues/2134",
        layers=(WIDE, HEADS, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: attention_backward(row_sums=False)},
        wrong=[*BEFORE, *OF_ATTENTION[:2]],
    ),
    in_network(
        "softmax: its diagonal alone",
        "That raising one input lowers all other outputs is left out.",
        "deeplearning4j/libnd4j/issues/440",
        "Apiquet/DeepLearningFrameworkFromScratchCpp/issues/1",
        layers=(jp.dense(4), jp.softmax(), jp.dense(3)),
        in_shape=(3,),
        shipped={1: with_dx(jp.softmax(), diagonal_alone)},
        wrong=BEFORE,
    ),
    in_network(
        "swiglu: every row into row 0",
        "The results of all rows are written to the first one, and the last to come stays.",
        "ByteDance-Seed/Triton-distributed/issues/180",
        layers=(WIDE, jp.swiglu(), TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: with_dx(jp.swiglu(), into_row_0)},
        wrong=BEFORE,
    ),
    in_network(
        "swish: 0 / 0",
        "The sigmoid is computed back as the output over the input, which is no number where both are 0.",
        "huggingface/candle/issues/2082",
        layers=(jp.dense(4), jp.swish(), jp.dense(3)),
        in_shape=(3,),
        shipped={1: with_dx(jp.swish(), sigmoid_by_division)},
        wrong=BEFORE,
    ),
    in_network(
        "gelu: erf in half precision",
        "1 + erf loses its digits far below 0, and takes the wrong sign there.",
        "tenstorrent/tt-metal/issues/35971",
        "tenstorrent/tt-metal/issues/38643",
        layers=(jp.dense(4), jp.gelu(exact=True), jp.dense(3)),
        in_shape=(3,),
        shipped={1: with_dx(jp.gelu(exact=True), erf_in_halves)},
        wrong=BEFORE,
    ),
    in_network(
        "embedding: the last of a row's places wins",
        "A token that occurs twice gets the gradient of one of its places: expected their sum.",
        "pytorch/pytorch/issues/1631",
        "FluxML/Zygote.jl/pull/1131",
        layers=(EMBEDDING, TO_CLASSES),
        in_shape=(3,),
        shipped={0: scattered(lambda zeros, ids, dy: zeros.at[ids].set(dy))},
        wrong=["[0]"],
    ),
    in_network(
        "embedding: gathers where it should scatter",
        "Row v gets the gradient at the place that the v-th token names: expected that of the places that hold v.",
        "ooples/AiDotNet.Tensors/pull/894",
        layers=(EMBEDDING, TO_CLASSES),
        in_shape=(3,),
        shipped={0: scattered(lambda zeros, ids, dy: dy[ids[jnp.arange(len(zeros)) % len(ids)] % len(ids)])},
        wrong=["[0]"],
    ),
    in_network(
        "positions: taken for constants",
        "What is added to each place is learned, and its gradient is cut off.",
        "TrenTorch/TrenTorch/pull/240",
        layers=(EMBEDDING, POSITIONS, TO_CLASSES),
        in_shape=(3,),
        shipped={1: with_dparams(POSITIONS, constant_positions)},
        wrong=["[1]"],
    ),
    in_network(
        "rnn: nothing is passed back in time",
        "The gradient of a state is not handed to the one before.",
        "qixianbiao/RNN/issues/2",
        layers=(WIDE, RNN, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: not_passed_on},
        wrong=[*BEFORE, *OF_RECURRENT],
    ),
    in_network(
        "lstm: the forget gate's sigmoid for its slope",
        "The sigmoid is applied once more where its derivative was meant.",
        "CaptainE/RNN-LSTM-in-numpy/issues/1",
        layers=(WIDE, LSTM, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: lstm_backward(forget=jax.nn.sigmoid)},
        wrong=[*BEFORE, *OF_RECURRENT],
    ),
    in_network(
        "lstm: the cell's gradient overwritten",
        "= where += was meant: what later positions say of the cell is lost.",
        "apache/mxnet/issues/4057",
        layers=(WIDE, LSTM, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: lstm_backward(carried=False)},
        wrong=[*BEFORE, *OF_RECURRENT],
    ),
    in_network(
        "lstm: the forget gate's bias for three",
        "The biases of the input and the output gate get the gradient of the forget gate.",
        "hanbt/learn_dl/issues/53",
        layers=(WIDE, LSTM, TO_CLASSES),
        in_shape=SEQUENCE,
        shipped={1: lstm_backward(for_bias=forget_gate_for_all)},
        wrong=["[1].b"],
    ),
]
