"""For the tests of other people: one assertion, for pytest, unittest and anything else that knows `AssertionError`."""

import warnings
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp

from jaxprop.verify.checking import cast
from jaxprop.verify.comparison import ValueAndGrad, called, compare, is_number
from jaxprop.verify.differences import finite_differences
from jaxprop.verify.oracles import Loss, in_float64
from jaxprop.verify.report import Comparison


def assert_gradients_agree(
    reference: ValueAndGrad | Loss,
    candidate: ValueAndGrad | Loss,
    params: Any,
    batch: Any,
    tolerance: float | None = None,
    scale: Any = None,
) -> Comparison:
    """Raises `AssertionError` with the table of all leaves, and the leaf to look at first, where two gradients part.

    Returns the comparison where they agree. What could not be judged, at a kink or because rounding hides it, is a
    warning (`UserWarning`), once for each note of the comparison: an assertion that passes has not seen that part.

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
    judge: Any = reference
    precision = nullcontext()
    if is_number(called("reference", reference, params, batch)):
        judge = in_float64(finite_differences(judge))
        precision = jax.enable_x64(True)
    with precision:
        if judge is not reference:
            params, batch = cast((params, batch), jnp.float64)
        gradient: Any = candidate
        if is_number(called("candidate", candidate, params, batch)):
            gradient = jax.value_and_grad(gradient)
        found = compare(judge, gradient, params, batch, tolerance, scale)
    if not found:
        first = found.failures[0]
        raise AssertionError(f"the gradients do not agree: look at {first.path} first, which {first.verdict}\n{found}")
    for note in found.notes:
        warnings.warn(f"the gradients agree, but for this: {note}", UserWarning, stacklevel=2)
    return found
