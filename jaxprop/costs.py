"""Costs: how far one example's outputs are from what was wanted, and beside it the gradient that a person derives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.errors import BadInput


class Cost(NamedTuple):
    """The cost of one example.

    value: `(outputs, target) -> ()`, the cost.
    gradient: `(outputs, target) -> d value / d outputs`, of the shape of the outputs.
    takes_labels: whether the target of an example is its class, one integer, or where the outputs are (T, classes) one
        for each of T positions; otherwise it has the outputs' shape.
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


squared_error = Cost(value=_squared_error, gradient=_squared_error_gradient)
"""`C = sum_j (a_j - y_j)^2`, so `dC/da = 2 (a - y)`; outputs and target of any one shape, the target of floats.

The sum of the squares, not half of it: hence the 2, and steps twice as long as those of programs that take half, as
Rumelhart, Hinton and Williams do ("Learning representations by back-propagating errors", 1986). Raises `BadInput` on a
target of another shape or type.
"""


def _as_distribution(z: Float[Array, "*T classes"], target: Array) -> Float[Array, "*T classes"]:
    """What the softmax of z should be: 1 for the class that a label names, or the target itself."""
    if jnp.issubdtype(jnp.result_type(target), jnp.integer) and jnp.shape(target) == z.shape[:-1] and z.ndim:
        return jax.nn.one_hot(target, z.shape[-1], dtype=z.dtype)
    if jnp.issubdtype(jnp.result_type(target), jnp.floating) and jnp.shape(target) == z.shape and z.ndim:
        return jnp.asarray(target)
    raise BadInput(
        f"an example's target is {jnp.result_type(target)} of shape {jnp.shape(target)}, and its outputs have shape "
        f"{z.shape}: the cross-entropy expects whole numbers, a class for each row of outputs, or a float for each"
    )


def _cross_entropy(z: Float[Array, "*T classes"], target: Array) -> Float[Array, ""]:
    z = jnp.asarray(z)
    y = _as_distribution(z, target)
    # A class that is ruled out by a logit of -inf costs nothing where nobody asks for it.
    return jnp.mean(jax.nn.logsumexp(z, axis=-1) * jnp.sum(y, axis=-1) - jnp.sum(jnp.where(y == 0, 0, y * z), axis=-1))


def _cross_entropy_gradient(z: Float[Array, "*T classes"], target: Array) -> Float[Array, "*T classes"]:
    z = jnp.asarray(z)
    y = _as_distribution(z, target)
    rows = z.size // z.shape[-1]
    return (jax.nn.softmax(z) * jnp.sum(y, axis=-1, keepdims=True) - y) / rows


softmax_cross_entropy = Cost(value=_cross_entropy, gradient=_cross_entropy_gradient, takes_labels=True)
"""`C = -sum_j y_j log softmax(z)_j`, so `dC/dz = softmax(z) - y`; outputs (*T, classes), labels of shape T.

Averaged over the positions T where there are many: nats for each of them. Written with logsumexp, so that no
probability is rounded to 0 before its logarithm is taken (Bridle, "Probabilistic interpretation of feedforward
classification network outputs", 1990). Soft targets, floats that add up to 1 along the classes, may stand in the place
of labels. Raises `BadInput` on a target that is neither.
"""
