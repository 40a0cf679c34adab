"""The layers: `core` says what one is, and each other file holds a family, forward beside backward."""

from jaxprop.layers.activations import (
    elementwise,
    gelu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    softmax,
    softplus,
    swiglu,
    swish,
    tanh,
)
from jaxprop.layers.convolution import Conv, conv2d
from jaxprop.layers.core import Dense, Grads, Layer, Params, Shape, chain, dense, positionwise, residual
from jaxprop.layers.embeddings import embedding, positions
from jaxprop.layers.normalisation import Norm, group_norm, layer_norm, rms_norm
from jaxprop.layers.pooling import avg_pool, max_pool
from jaxprop.layers.recurrence import Recurrent, lstm, rnn
from jaxprop.layers.self_attention import Attention, attend, attend_backward, attention
from jaxprop.layers.shapes import flatten, last

__all__ = [
    "Attention",
    "Conv",
    "Dense",
    "Grads",
    "Layer",
    "Norm",
    "Params",
    "Recurrent",
    "Shape",
    "attend",
    "attend_backward",
    "attention",
    "avg_pool",
    "chain",
    "conv2d",
    "dense",
    "elementwise",
    "embedding",
    "flatten",
    "gelu",
    "group_norm",
    "identity",
    "last",
    "layer_norm",
    "leaky_relu",
    "lstm",
    "max_pool",
    "positions",
    "positionwise",
    "relu",
    "residual",
    "rms_norm",
    "rnn",
    "sigmoid",
    "softmax",
    "softplus",
    "swiglu",
    "swish",
    "tanh",
]
