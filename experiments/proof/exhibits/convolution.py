"""Convolution in one dimension: real bugs in its backward pass. Sizes: B examples, C channels in, K out, window 3."""

import jax
import jax.numpy as jnp

from proof.exhibits.frame import exhibit


def conv(stride=1, dilation=1):
    """params: x (B, L, C) and W (3, C, K). y[b, i] = Σ x[b, stride i + dilation j] W[j]."""
    return lambda params: jax.lax.conv_general_dilated(
        params["x"],
        params["W"],
        (stride,),
        "VALID",
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision="highest",
    )


def conv_backward(stride=1, dilation=1, x_stride=None, changed=lambda dW, dy: dW):
    """Window by window.

    stride, dilation: with which dW is computed. x_stride: with which dx is, where it is another.
    """

    def windows(i, j, stride):
        return stride * i + dilation * j

    def backward(params, dy):
        x, W = params["x"], params["W"]
        dx, dW = jnp.zeros_like(x), jnp.zeros_like(W)
        for i in range(dy.shape[1]):
            for j in range(len(W)):
                dW = dW.at[j].add(x[:, windows(i, j, stride)].T @ dy[:, i])
                dx = dx.at[:, windows(i, j, x_stride or stride)].add(dy[:, i] @ W[j].T)
        return {"x": dx, "W": changed(dW, dy)}

    return backward


def both(by_x, by_W):
    """The gradient by x from one backward pass, and that by W from another."""
    return lambda params, dy: {"x": by_x(params, dy)["x"], "W": by_W(params, dy)["W"]}


PLAIN = {"x": (2, 6, 2), "W": (3, 2, 2)}
STRIDED = {"x": (2, 7, 2), "W": (3, 2, 2)}

EXHIBITS = [
    exhibit(
        "convolution: the window's gradient reversed",
        "The two arguments of the correlation are exchanged, and the gradient comes out back to front.",
        "https://end-to-end-machine-learning.teachable.com/courses/322-convolutional-neural-networks-in-two-dimensions/"
        "lectures/24726662",
        operation=conv(),
        shipped=conv_backward(changed=lambda dW, dy: dW[::-1]),
        mended=conv_backward(),
        shapes=PLAIN,
        dy=(2, 4, 2),
        wrong="W",
    ),
    exhibit(
        "convolution: divided by the number of places",
        "The gradient of the window is averaged over examples and places: expected their sum.",
        "sebgao/cTensor/issues/3",
        operation=conv(),
        shipped=conv_backward(changed=lambda dW, dy: dW / (dy.shape[0] * dy.shape[1])),
        mended=conv_backward(),
        shapes=PLAIN,
        dy=(2, 4, 2),
        wrong="W",
    ),
    exhibit(
        "convolution: stride and dilation exchanged",
        "The gradient of the window is computed with the stride for the dilation, and the other way round.",
        "iree-org/iree-turbine/pull/1223",
        "huggingface/candle/pull/2337",
        operation=conv(stride=2),
        shipped=both(conv_backward(stride=2), conv_backward(stride=1, dilation=2)),
        mended=conv_backward(stride=2),
        shapes=STRIDED,
        dy=(2, 3, 2),
        wrong="W",
    ),
    exhibit(
        "convolution: the stride forgotten",
        "The forward pass moves by the stride, the backward pass by 1.",
        "Kulbear/deep-learning-coursera/pull/34",
        operation=conv(stride=2),
        shipped=conv_backward(stride=1),
        mended=conv_backward(stride=2),
        shapes=STRIDED,
        dy=(2, 3, 2),
        wrong=["x", "W"],
    ),
]
