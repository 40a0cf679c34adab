"""Anybody's gradients: functions from a user's own files, compared with autodiff or with finite differences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxprop.errors import BadInput
from jaxprop.verify.checking import Check, check
from jaxprop.verify.comparison import compare
from jaxprop.verify.oracles import finite_differences, in_float64
from jaxprop.verify.suite import Probe
from lab.user_code import load_function

# Extrapolated differences of a smooth loss in float64 keep nine digits or more; a mistake leaves none or two.
DIFFERENCES = 1e-6


class OwnComparison(NamedTuple):
    """What was found of the gradient that somebody brought along."""

    reference: str  # what the gradient was compared with
    check: Check


def compare_own(loss: str | None, gradient: str | None, inputs: str | None) -> OwnComparison:
    """Compares what the options --loss, --gradient and --inputs name, each as `FILE.py:function`.

    Without a gradient, autodiff of the loss is the candidate, and finite differences are the reference.

    Raises `BadInput` where a function is missing or raises something, and where nothing can be compared.
    """
    if loss is None or inputs is None:
        raise BadInput(
            "comparing your own needs --loss FILE.py:f and --inputs FILE.py:h, and mostly --gradient FILE.py:g"
        )
    loss_function = load_function("--loss", loss)
    params, batch = load_point(inputs)
    if gradient is None:
        return OwnComparison("finite differences", against_differences(loss_function, params, batch))
    gradient_function = load_function("--gradient", gradient)
    return OwnComparison("autodiff", against_autodiff(loss_function, gradient_function, params, batch))


def load_point(place: str) -> tuple[Any, Any]:
    """Where to compare: what the user's `h()` gives."""
    point = load_function("--inputs", place)()
    if not isinstance(point, tuple) or len(point) != 2:
        raise BadInput(f"--inputs {place} returned a {type(point).__name__}: expected a pair (params, batch)")
    return point


def against_autodiff(loss: Callable, gradient: Callable, params: Any, batch: Any) -> Check:
    """The user's gradient against autodiff of the user's loss, in float64 and in float32."""

    def by_user(params: Any, batch: Any) -> tuple[Any, Any]:
        return loss(params, batch), gradient(params, batch)

    return check(jax.value_and_grad(loss), by_user, [Probe("your inputs", params, batch)])


def against_differences(loss: Callable, params: Any, batch: Any) -> Check:
    """Autodiff of the user's loss, with whatever rule of the user's is inside it, against finite differences."""
    truth = in_float64(finite_differences(loss))
    with jax.enable_x64(True):
        in_64 = jax.tree.map(lambda x: jnp.asarray(x, float), params)
        comparison = compare(truth, jax.value_and_grad(loss), in_64, batch, tolerance=DIFFERENCES)
    return Check((("your inputs", comparison),))
