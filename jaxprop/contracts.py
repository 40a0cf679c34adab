"""Do layers and costs keep their contracts? Found out from shapes alone, before anything is computed."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxprop.costs import Cost
from jaxprop.errors import BadInput
from jaxprop.layers import Layer, Params, Shape
from jaxprop.structured import expand


def check_layers(layers: tuple[Layer, ...], in_shape: Shape) -> tuple[Params, Shape]:
    """The shapes and types of the layers' parameters, and the shape of what the last one gives, for one example.

    Raises `BadInput` that names the first layer which cannot take what the one before gives, or whose three functions
    do not fit each other: an output of another shape than `init` said, or gradients of other shapes than the numbers
    that they are derivatives by.
    """
    params_like = []
    x = jax.ShapeDtypeStruct(in_shape, jnp.result_type(int if takes_integers(layers) else float))
    for i, layer in enumerate(layers):
        layer_params, x = _check_layer(f"layer {i} ({layer.name})", layer, x)
        params_like.append(layer_params)
    return tuple(params_like), x.shape


def takes_integers(layers: tuple[Layer, ...]) -> bool:
    """Whether the inputs of these layers are integers, such as tokens."""
    return layers[0].takes_integers


def shapes_of(tree: Any) -> Any:
    """The same tree with a shape in place of each array; a number of Python's own has the shape ()."""
    return jax.tree.map(lambda leaf: getattr(leaf, "shape", ()), tree)


def like(tree: Any, other: Any) -> bool:
    """Whether two trees have the same structure, and arrays of the same shapes."""
    shapes = [[getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(each)] for each in (tree, other)]
    return jax.tree.structure(tree) == jax.tree.structure(other) and shapes[0] == shapes[1]


def with_shapes_checked(cost: Cost) -> Cost:
    """The same cost, which raises `BadInput` unless it is one number with a gradient of the shape of the outputs.

    Numbers of other shapes would broadcast, and something else than the cost be lowered.
    """

    def value(outputs: Array, target: Any) -> Array:
        found = cost.value(outputs, target)
        if jnp.shape(found) != ():
            raise BadInput(f"the cost of one example has shape {jnp.shape(found)}: expected one number, such as a sum")
        return found

    def gradient(outputs: Array, target: Any) -> Array:
        found = cost.gradient(outputs, target)
        if jnp.shape(found) != jnp.shape(outputs):
            given = f"the cost's gradient for one example has shape {jnp.shape(found)}"
            raise BadInput(f"{given}: expected that of the outputs, {jnp.shape(outputs)}")
        return found

    return cost._replace(value=value, gradient=gradient)


def _check_layer(where: str, layer: Layer, x: jax.ShapeDtypeStruct) -> tuple[Params, jax.ShapeDtypeStruct]:
    """The parameters and the output of one layer, by their shapes, for an input like x."""

    def pair(name: str, expected: str, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple) or len(result) != 2:
            raise BadInput(f"{name} returned a {type(result).__name__}: expected {expected}")
        return result

    def arrays(name: str, tree: Any) -> Any:
        for leaf in jax.tree.leaves(tree):
            if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
                raise BadInput(f"{name} hold a {type(leaf).__name__}: expected arrays")
        return tree

    def once(x: Array) -> tuple[Params, Array]:
        params, out_shape = pair("init", "(params, out_shape)", layer.init(jax.random.key(0), x.shape))
        y, residuals = pair("forward", "(y, residuals)", layer.forward(arrays("its parameters", params), x))
        if arrays("its outputs", y).shape != tuple(out_shape):
            raise BadInput(f"forward gives an output of shape {y.shape}, where init said {tuple(out_shape)}")
        dparams, dx = pair("backward", "(dparams, dx)", layer.backward(params, residuals, y))
        dparams = expand(dparams)
        if not like(dparams, params):
            given = f"backward gives derivatives by the parameters of shapes {shapes_of(dparams)}"
            raise BadInput(f"{given}: expected {shapes_of(params)}")
        if layer.takes_integers:
            if dx is not None:
                raise BadInput("backward gives a derivative by the input, whose numbers are integers: expected None")
        elif jnp.shape(dx) != x.shape:
            raise BadInput(
                f"backward gives a derivative by the input of shape {jnp.shape(dx)}: expected {x.shape}, as the input"
            )
        return params, y

    if jnp.issubdtype(x.dtype, jnp.floating) == layer.takes_integers:
        expected = "integers, such as tokens: it can only be the first" if layer.takes_integers else "floats"
        raise BadInput(f"{where} is given {x.dtype}, and takes {expected}")
    try:
        return jax.eval_shape(once, x)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:  # what JAX raises where shapes do not fit
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{where}: one of its functions fails on an input of shape {x.shape}: {said}") from error
