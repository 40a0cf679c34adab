"""The convolution: one small dense layer, moved over a picture."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_number, check_whole
from jaxprop.structured import Correlation, convolve

Pair = tuple[int, int]
Padding = Literal["SAME", "VALID"] | tuple[Pair, Pair]

_LAYOUT = ("NHWC", "HWIO", "NHWC")  # of the input, the kernel and the output


class Conv(NamedTuple):
    """The parameters of a convolution: `W[i, j, c, o]` leads from channel c, i rows down and j columns right in the
    window, to channel o."""

    W: Any  # (kh, kw, in, out) floats; in the gradient of one example a `Correlation` of that shape
    b: Float[Array, " out"]


def conv2d(
    channels: int,
    kernel: int | Pair = 3,
    stride: int | Pair = 1,
    padding: Padding = "SAME",
    gain: float = 1.0,
) -> Layer:
    """`y[h, w, o] = b[o] + sum_ijc W[i, j, c, o] x[s h + i - p, s w + j - q, c]`, from (height, width, in) to
    (rows, columns, channels).

    kernel, stride: one number for both directions, or the vertical and the horizontal one.
    padding: "SAME": zeros all around, so that ceil(height / stride) rows come out, the odd one at the bottom; "VALID":
        none; or the rows of zeros to add at the (top, bottom) and the columns at the (left, right).
    gain: weights start as Normal(0, gain / sqrt(fan_in)), the fan-in being kh * kw * in; biases at 0.

    Each weight is used at every position, so its gradient is a sum over them (Dumoulin and Visin, "A guide to
    convolution arithmetic for deep learning", 2016, draw all cases):

        db[o] = sum_hw dy[h, w, o]
        dW    = x correlated with dy, see `Correlation`
        dx    = dy, spread out by the stride, convolved with W turned by half a turn, in and out exchanged

    The input and the weights may be of two types, as in a dense layer: the wider one is what is computed in.
    `BadInput` where the input is no (height, width, channels), has other channels than the weights, or is smaller than
    the kernel, padding included.
    """
    size, step = _pair("kernel", kernel), _pair("stride", stride)
    check_whole("channels are", channels)
    check_number("the gain of a convolution is", gain)
    if padding not in ("SAME", "VALID") and not _is_explicit(padding):
        raise BadInput(f'padding is {padding!r}: expected "SAME", "VALID", or ((top, bottom), (left, right))')

    def pads(height: int, width: int) -> tuple[Pair, Pair]:
        if isinstance(padding, tuple):
            return padding
        vertical, horizontal = lax.padtype_to_pads((height, width), size, step, padding)
        return vertical, horizontal

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Conv, Shape]:
        if len(in_shape) != 3:
            raise BadInput(f"a convolution takes (height, width, channels), not an input of shape {in_shape}")
        height, width, channels_in = in_shape
        around = pads(height, width)
        padded = [n + sum(pad) for n, pad in zip((height, width), around, strict=True)]
        if any(k > n for k, n in zip(size, padded, strict=True)):
            raise BadInput(
                f"a kernel of {size[0]} x {size[1]} does not fit into a picture of {padded[0]} x {padded[1]}, padding "
                "included"
            )
        rows, columns = ((n - k) // s + 1 for n, k, s in zip(padded, size, step, strict=True))
        shape = (*size, channels_in, channels)
        W = jax.random.normal(key, shape) * (gain / math.prod(shape[:3]) ** 0.5)
        return Conv(W, jnp.zeros(channels, W.dtype)), (rows, columns, channels)

    def forward(params: Conv, x: Array) -> tuple[Array, Array]:
        if x.ndim != 3 or x.shape[2] != params.W.shape[2]:
            wanted = f"(height, width, {params.W.shape[2]})"
            raise BadInput(f"an input has shape {x.shape}: the weights of this convolution expect {wanted}")
        y = convolve(x[None], params.W, step, pads(*x.shape[:2]), dimension_numbers=_LAYOUT)[0]
        return y + params.b, x

    def backward(params: Conv, x: Array, dy: Array) -> tuple[Conv, Array]:
        around = pads(*x.shape[:2])
        db = jnp.sum(dy, axis=(0, 1))
        dW = Correlation(x, dy, size, step, around)

        # Every entry of dy goes back to the window that made it. The more x was padded, the fewer windows lie around
        # dy, so the less of that is padded. Rows that no window reached get 0 at the end.
        back = [
            (k - 1 - low, n + low - s * (windows - 1) - 1)
            for k, s, n, (low, _), windows in zip(size, step, x.shape[:2], around, dy.shape[:2], strict=True)
        ]
        turned = jnp.swapaxes(params.W[::-1, ::-1], 2, 3)
        dx = convolve(dy[None], turned, (1, 1), back, lhs_dilation=step, dimension_numbers=_LAYOUT)[0]
        return Conv(dW, db), dx

    details = [f"{channels}", "x".join(map(str, size))]
    details += [f"stride={'x'.join(map(str, step))}"] * (step != (1, 1))
    details += [f"padding={padding}"] * (padding != "SAME")
    details += [f"gain={gain:.4g}"] * (gain != 1)
    return Layer(f"conv2d({', '.join(details)})", init, forward, backward)


def _pair(name: str, given: int | Pair) -> Pair:
    pair = given if isinstance(given, tuple) else (given, given)
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in pair):
        raise BadInput(f"{name} is {given!r}: expected a whole number above 0, or two of them")
    return pair


def _is_explicit(padding: Any) -> bool:
    """Whether these are two pairs of whole numbers of at least 0."""
    return (
        isinstance(padding, tuple)
        and len(padding) == 2
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in padding)
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for pair in padding for n in pair)
    )
