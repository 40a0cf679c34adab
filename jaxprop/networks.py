"""Networks: a layer, usually a chain of them, with the shape of its input."""

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop import layers
from jaxprop.batches import Batch, check_batch
from jaxprop.comparable import by_path
from jaxprop.errors import BadInput
from jaxprop.layers import Layer, Params, Shape

Activation = Literal["sigmoid", "relu", "tanh", "identity"]

# How much a dense layer's weights must grow to keep the size of the activations through the layer that follows.
_GAIN = {"relu": 2**0.5}


class Network(NamedTuple):
    """A layer with the shape of its input, for one example."""

    layer: Layer
    in_shape: Shape

    def init(self, key: PRNGKeyArray) -> Params:
        """Draws the parameters, in JAX's default float type: float32, or float64 under `jax.enable_x64(True)`."""
        params, _ = self.layer.init(key, self.in_shape)
        return params

    def apply(self, params: Params, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """The outputs for one example; `jax.vmap(network.apply, (None, 0))` gives them for a batch."""
        y, _ = self.layer.forward(params, x)
        return y

    def check(self, params: Params, batch: Batch) -> None:
        """Raises `BadInput` unless these are parameters of this network, and a batch that it can be trained on."""
        expected = self.check_params(params)
        outputs = jax.eval_shape(self.apply, expected, jax.ShapeDtypeStruct(self.in_shape, jnp.float32))
        check_batch(batch, self.in_shape, outputs.shape)

    def check_params(self, params: Params, kind: Any = jnp.inexact) -> Params:
        """Raises `BadInput` unless these are parameters of this network. Returns their shapes.

        kind: what numbers they may be. `jnp.floating` leaves out the complex ones, which a complex step takes.

        Under `jit` the numbers are not known, so finiteness is left to whoever holds them.
        """
        expected = jax.eval_shape(lambda: self.init(jax.random.key(0)))
        given, wanted = jax.tree.map(np.shape, params), jax.tree.map(np.shape, expected)
        if given != wanted:
            raise BadInput(f"params have shapes {given}: this network expects {wanted}")
        for path, leaf in by_path(params).items():
            if not jnp.issubdtype(leaf.dtype, kind):
                raise BadInput(f"params are {leaf.dtype} at {path}: expected floats")
            if not isinstance(leaf, Tracer) and not np.isfinite(np.asarray(leaf)).all():
                raise BadInput(f"params hold a NaN or an infinity at {path}: every number must be finite")
        return expected


def mlp(sizes: Sequence[int], activation: Activation = "sigmoid") -> Network:
    """A multi-layer perceptron, `mlp((784, 16, 16, 10))`: dense layers, each followed by its activation.

    sizes: the number of inputs, of neurons in each hidden layer, and of outputs; at least two numbers.
    activation: of the hidden layers. The outputs are always sigmoids, so that each lies between 0 and 1.

    Raises `BadInput` on fewer than two sizes, a size that is not a whole number above 0, or an unknown activation.
    """
    return Network(layers.chain(*mlp_layers(sizes, activation)), (operator.index(sizes[0]),))


def mlp_layers(sizes: Sequence[int], activation: Activation = "sigmoid") -> list[Layer]:
    """The layers that `mlp` chains, dense ones and activations by turns, for whoever walks through them one by one."""
    if activation not in get_args(Activation):
        raise BadInput(f"activation is {activation!r}: expected one of {', '.join(get_args(Activation))}")
    _, *hidden_widths, out_width = _check_sizes(sizes)
    stack: list[Layer] = []
    for width in hidden_widths:
        stack += [layers.dense(width, gain=_GAIN.get(activation, 1.0)), getattr(layers, activation)()]
    return [*stack, layers.dense(out_width), layers.sigmoid()]


def _check_sizes(sizes: Sequence[int]) -> list[int]:
    try:
        whole = [operator.index(size) for size in sizes]
    except TypeError:
        whole = []
    if len(whole) < 2 or min(whole) < 1:
        raise BadInput(f"sizes are {sizes!r}: expected at least two whole numbers above 0, such as (784, 16, 16, 10)")
    return whole


def count_parameters(params: Params) -> int:
    """How many numbers a network learns: 13,002 for `mlp((784, 16, 16, 10))`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
