"""Networks: layers one after another, with the shape of what the first one takes."""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxprop.contracts import check_layers, like, shapes_of, takes_integers
from jaxprop.errors import BadInput
from jaxprop.layers import (
    Layer,
    Params,
    Shape,
    attention,
    chain,
    conv2d,
    dense,
    embedding,
    flatten,
    gelu,
    identity,
    layer_norm,
    max_pool,
    positions,
    positionwise,
    relu,
    residual,
    sigmoid,
    tanh,
)
from jaxprop.layers.core import check_whole

Activation = Literal["sigmoid", "relu", "tanh", "identity"]

_ACTIVATIONS: dict[str, Callable[[], Layer]] = {"sigmoid": sigmoid, "relu": relu, "tanh": tanh, "identity": identity}
# A ReLU cuts half of its inputs off: weights that are larger by this keep the size of the activations.
_GAIN = {"relu": 2**0.5}


@dataclasses.dataclass(frozen=True, repr=False)
class Network:
    """Layers one after another, for one example.

    layers: any `Layer` records, the first one at the input.
    in_shape: the shape of one example's inputs: `(784,)`, or `(8, 8, 1)` for a small grey picture with its channel.

    Raises `BadInput` where there is no layer, or one does not keep its contract (see `jaxprop.contracts`).
    """

    layers: tuple[Layer, ...]
    in_shape: Shape
    params_like: Params = dataclasses.field(init=False, compare=False)  # shapes and types of what `init` draws
    out_shape: Shape = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        layers = tuple(self.layers) if isinstance(self.layers, tuple | list) else ()
        if not layers or not all(isinstance(layer, Layer) for layer in layers):
            raise BadInput(f"layers are {self.layers!r}: expected one or more Layer records, such as jaxprop.dense(10)")
        in_shape = _whole_numbers("in_shape is", self.in_shape, at_least=0)
        params_like, out_shape = check_layers(layers, in_shape)
        derived = {"layers": layers, "in_shape": in_shape, "params_like": params_like, "out_shape": out_shape}
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Which network it is: two networks of one `repr` have the same layers and take the same inputs."""
        return f"Network([{', '.join(layer.name for layer in self.layers)}], in_shape={self.in_shape})"

    @property
    def layer(self) -> Layer:
        """All layers as one: their `chain`."""
        return chain(*self.layers)

    def init(self, key: PRNGKeyArray) -> Params:
        """Draws the parameters, in JAX's default float type: float32, or float64 under `jax.enable_x64(True)`."""
        return self.layer.init(key, self.in_shape)[0]

    def apply(self, params: Params, x: Array) -> Array:
        """The outputs for one example; `jax.vmap(network.apply, (None, 0))` gives them for a batch.

        Raises `BadInput` on parameters or an input that do not fit this network, by their shapes and types.
        """
        self.check_params(params, jnp.inexact)
        params, x = jax.tree.map(jnp.asarray, (params, x))  # as under jit, so that NumPy's numbers do the same
        if jnp.shape(x) != self.in_shape:
            many = len(jnp.shape(x)) > 1 and jnp.shape(x)[1:] == self.in_shape
            hint = "; of a batch, jax.vmap(network.apply, (None, 0))(params, inputs)" if many else ""
            given = f"an input has shape {jnp.shape(x)}"
            raise BadInput(f"{given}: this network expects {self.in_shape}, of one example{hint}")
        if takes_integers(self.layers):
            self._check_kind("an input is", x.dtype)
        return self.layer.forward(params, x)[0]

    def check_params(self, params: Params, kind: Any = jnp.floating) -> None:
        """Raises `BadInput` unless these are parameters of this network. Looks at the tree, shapes and dtypes alone.

        kind: what numbers they may be. `jnp.inexact` takes in the complex ones too, by which a complex step is made.
        """
        given, expected = shapes_of(params), shapes_of(self.params_like)
        if not like(params, self.params_like):
            raise BadInput(f"params have shapes {given}: this network expects {expected}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if not jnp.issubdtype(jnp.result_type(leaf), kind):
                name = jax.tree_util.keystr(path)
                raise BadInput(f"params are {jnp.result_type(leaf)} at {name}: expected floats, which have a gradient")

    def _check_kind(self, what: str, dtype: Any) -> None:
        if takes_integers(self.layers):
            if not jnp.issubdtype(dtype, jnp.integer):
                raise BadInput(f"{what} {dtype}: this network expects integers, as {self.layers[0]} takes them")
        elif not jnp.issubdtype(dtype, jnp.floating):
            raise BadInput(f"{what} {dtype}: expected floats; jaxprop.as_batch makes them from images")

    def check_batch(self, batch: Any) -> None:
        """Raises `BadInput` unless this is a pair `(inputs, targets)` of B > 0 examples, with inputs of this network.

        Looks at shapes and dtypes alone. What a target is, the cost says.
        """
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise BadInput(f"batch is a {type(batch).__name__}: expected a pair (inputs, targets)")
        inputs, targets = batch
        for name, x in (("inputs", inputs), ("targets", targets)):
            if not hasattr(x, "shape") or not hasattr(x, "dtype"):
                raise BadInput(f"{name} are a {type(x).__name__}: expected an array")
        self._check_kind("inputs are", inputs.dtype)
        if inputs.ndim == 0 or inputs.shape[1:] != self.in_shape or len(inputs) == 0:
            wanted = ", ".join(["B", *map(str, self.in_shape)])
            raise BadInput(f"inputs have shape {inputs.shape}: this network expects ({wanted}) with B at least 1")
        if targets.shape[:1] != inputs.shape[:1]:
            given = f"a batch of {len(inputs)} inputs came with targets of shape {targets.shape}"
            raise BadInput(f"{given}: expected one for each")


def mlp(sizes: Sequence[int], activation: Activation = "sigmoid") -> Network:
    """A multi-layer perceptron, `mlp((784, 16, 16, 10))`: dense layers, each followed by its activation.

    sizes: the number of inputs, of neurons in each hidden layer, and of outputs; at least two numbers.
    activation: of the hidden layers. The outputs are always sigmoids, so that each lies between 0 and 1.

    Raises `BadInput` on fewer than two sizes, a size that is not a whole number above 0, or an unknown activation.

    Inputs have the shape (sizes[0],), outputs (sizes[-1],).
    """
    if activation not in get_args(Activation):
        raise BadInput(f"activation is {activation!r}: expected one of {', '.join(get_args(Activation))}")
    whole = _whole_numbers("sizes are", sizes, at_least=2)
    layers: list[Layer] = []
    for width in whole[1:-1]:
        layers += [dense(width, gain=_GAIN.get(activation, 1.0)), _ACTIVATIONS[activation]()]
    return Network((*layers, dense(whole[-1]), sigmoid()), whole[:1])


def lenet(in_shape: Shape = (28, 28, 1), classes: int = 10) -> Network:
    """A small convolutional network for pictures, after LeNet-5: two convolutions, each made smaller by the largest
    number of 2 x 2, then two dense layers and the outputs, whose softmax is the answer.

    LeCun et al., "Gradient-based learning applied to document recognition" (1998), had 6 and 16 channels, 120 and 84
    neurons, as here; its tanh and mean pooling are ReLU and the largest here, its distances a softmax.

    Inputs (height, width, channels), outputs (classes,). Raises `BadInput` on an input that is too small for the
    windows.
    """
    he = 2**0.5
    return Network(
        (
            *(conv2d(6, 5, gain=he), relu(), max_pool(2)),
            *(conv2d(16, 5, padding="VALID", gain=he), relu(), max_pool(2)),
            flatten(),
            *(dense(120, gain=he), relu()),
            *(dense(84, gain=he), relu()),
            dense(classes),
        ),
        in_shape,
    )


def transformer(tokens: int, length: int, classes: int, width: int = 64, heads: int = 4, depth: int = 2) -> Network:
    """A causal transformer: after each of `length` tokens, what comes next, as `classes` outputs for a softmax.

    Each of `depth` blocks adds to its input what the positions say to each other, then what each makes of that; both
    look at a normalised input (Radford et al., "Language models are unsupervised multitask learners", 2019).

    tokens: how many different ones go in. No position sees a later one.

    Inputs are tokens (length,), outputs (length, classes). Raises `BadInput` as its layers do, such as on a width that
    the heads do not divide.
    """
    check_whole("the depth of a transformer is", depth)
    check_whole("the width of a transformer is", width)
    # Every block adds two terms to what passes through, so that each is made smaller by the root of their number.
    smaller = (2 * depth) ** -0.5
    block = (
        residual(chain(layer_norm(), attention(heads, causal=True))),
        residual(chain(layer_norm(), positionwise(chain(dense(4 * width), gelu(), dense(width, gain=smaller))))),
    )
    ends = (layer_norm(), positionwise(dense(classes)))
    return Network((embedding(tokens, width), positions(length), *block * depth, *ends), (length,))


def count_parameters(params: Params) -> int:
    """How many numbers a network learns: 13,002 for `mlp((784, 16, 16, 10))`."""
    return sum(getattr(leaf, "size", 1) for leaf in jax.tree.leaves(params))


def _whole_numbers(what: str, numbers: Any, at_least: int) -> tuple[int, ...]:
    """These numbers, so many of them at least and each above 0. Raises `BadInput` otherwise."""
    try:
        whole = tuple(operator.index(number) for number in numbers)
    except TypeError:
        whole = None
    if whole is None or len(whole) < at_least or any(number < 1 for number in whole):
        example = "(784,)" if at_least < 2 else "at least two of them, as (784, 16, 16, 10)"
        raise BadInput(f"{what} {numbers!r}: expected whole numbers above 0, such as {example}")
    return whole
