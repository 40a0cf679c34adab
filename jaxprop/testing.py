"""For the tests of other people: one assertion, for pytest, unittest and anything else that knows `AssertionError`."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxprop.errors import BadInput
from jaxprop.verify.checking import cast
from jaxprop.verify.comparison import ValueAndGrad, compare, is_number
from jaxprop.verify.differences import finite_differences
from jaxprop.verify.oracles import Loss, in_float64


def assert_gradients_agree(
    reference: ValueAndGrad | Loss,
    candidate: ValueAndGrad | Loss,
    params: Any,
    batch: Any,
    tolerance: float | None = None,
    scale: Any = None,
) -> None:
    """Raises `AssertionError` with the table of all leaves, and the leaf to look at first, where two gradients part.

    reference: `(params, batch) -> (value, grads)`, such as `jax.value_and_grad(loss)`; or the loss itself,
        `(params, batch) -> cost`: then finite differences of it, which no rule of yours can mislead.
    candidate: `(params, batch) -> (value, grads)`; or a loss: then autodiff of it, which follows the rules of
        `jax.custom_vjp` and `jax.custom_jvp` inside. `assert_gradients_agree(loss, loss, params, batch)` tests these.
    params, batch, tolerance, scale: as of `jaxprop.compare`. The comparison is made in the types that are given; in
        float64, whatever they are, where the reference is a loss, because differences need its digits.

    A function `f` of your own with a rule is tested as a loss: `lambda params, batch: jnp.sum(f(params) * batch)`, with
    random numbers of the shape of f's result as the batch.

    JAX's global x64 switch is left alone. Raises `BadInput` as `compare` does.
    """
    by_reference: Any = reference
    in_types_given = jax.enable_x64(jax.config.jax_enable_x64)
    if by_differences := _is_loss("reference", reference, params, batch):
        by_reference = in_float64(finite_differences(by_reference))
    with jax.enable_x64(True) if by_differences else in_types_given:
        point = cast((params, batch), jnp.float64) if by_differences else (params, batch)
        found = compare(by_reference, _as_gradient(candidate, *point), *point, tolerance, scale)
    if not found:
        first = found.failures[0]
        raise AssertionError(f"the gradients do not agree: look at {first.path} first, which {first.verdict}\n{found}")


def _as_gradient(function: Any, params: Any, batch: Any) -> ValueAndGrad:
    return jax.value_and_grad(function) if _is_loss("candidate", function, params, batch) else function


def _is_loss(name: str, function: Any, params: Any, batch: Any) -> bool:
    """Whether a function returns one number, and no pair."""
    try:
        return is_number(function(params, batch))
    except BadInput:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "nothing")
        raise BadInput(f"the {name} raised {type(error).__name__}, which says: {said}") from error
