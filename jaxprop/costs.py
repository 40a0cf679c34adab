"""Costs: how far one example's outputs are from what was wanted, and beside it the gradient that a person derives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.errors import BadInput


class Cost(NamedTuple):
    """The cost of one example.

    value: `(outputs, target) -> ()`, the cost.
    gradient: `(outputs, target) -> d value / d outputs`, of the shape of the outputs.
    takes_labels: whether the target of an example is its class, one integer; otherwise it has the outputs' shape.
    """

    value: Callable[[Array, Any], Float[Array, ""]]
    gradient: Callable[[Array, Any], Array]
    takes_labels: bool = False


def _check(a: Array, y: Array) -> None:
    """A target of another shape would broadcast, and a cost of something else be minimised."""
    if jnp.shape(a) != jnp.shape(y):
        raise BadInput(
            f"an example's target has shape {jnp.shape(y)} and its outputs {jnp.shape(a)}: the squared error expects "
            "a number for each output"
        )
    if not jnp.issubdtype(jnp.result_type(y), jnp.floating):
        given = jnp.result_type(y)
        raise BadInput(f"targets are {given}: the squared error expects floats, such as jaxprop.as_batch makes")


def _squared_error(a: Float[Array, "*out"], y: Float[Array, "*out"]) -> Float[Array, ""]:
    _check(a, y)
    return jnp.sum((a - y) ** 2)


def _squared_error_gradient(a: Float[Array, "*out"], y: Float[Array, "*out"]) -> Float[Array, "*out"]:
    _check(a, y)
    return 2 * (a - y)


# The sum of the squares, not half of it: hence the 2, and steps twice as long as those of programs that take half.
squared_error = Cost(value=_squared_error, gradient=_squared_error_gradient)
