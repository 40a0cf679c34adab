"""The layers: `core` says what one is, and each other file holds a family, forward beside backward."""

from jaxprop.layers.activations import elementwise, identity, relu, sigmoid, tanh
from jaxprop.layers.core import Dense, Grads, Layer, Params, Shape, chain, dense
from jaxprop.layers.shapes import flatten

__all__ = [
    "Dense",
    "Grads",
    "Layer",
    "Params",
    "Shape",
    "chain",
    "dense",
    "elementwise",
    "flatten",
    "identity",
    "relu",
    "sigmoid",
    "tanh",
]
