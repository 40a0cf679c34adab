"""Anybody's gradients: functions from a user's own files, compared with autodiff or with finite differences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxprop.errors import BadInput
from jaxprop.verify.checking import Check, cast, check
from jaxprop.verify.comparison import (
    Measuring,
    ValueAndGrad,
    as_array,
    check_point,
    compare,
    dtype_of,
    is_like,
    is_number,
    name_of,
    on_host,
)
from jaxprop.verify.differences import finite_differences
from jaxprop.verify.naming import ROUNDING
from jaxprop.verify.oracles import in_float64
from jaxprop.verify.suite import Probe
from lab.user_code import load_function

# Differences ask for the cost some tens of times for each parameter. More of these would take many minutes.
MOST = 50_000


class OwnComparison(NamedTuple):
    """What was found of the gradient that somebody brought along."""

    reference: str  # what the gradient was compared with
    check: Check
    by_differences: dict[str, Check]  # where the two part: each of them against finite differences
    conclusion: str  # what these say in a sentence; empty where they were not asked
    right: bool  # whether nothing is wrong: the two agree, or part at kinks alone


def compare_own(loss: str | None, gradient: str | None, inputs: str | None) -> OwnComparison:
    """Compares what the options --loss, --gradient and --inputs name, each as `FILE.py:function`.

    Without a gradient, autodiff of the loss is the candidate, and finite differences are the reference. With one,
    autodiff is the reference; where the two part, finite differences say which of them is right.

    Raises `BadInput` where a function is missing or raises something, and where nothing can be compared.
    """
    if loss is None or inputs is None:
        raise BadInput(
            "comparing your own needs --loss FILE.py:f and --inputs FILE.py:h, and mostly --gradient FILE.py:g"
        )
    loss_function = load_function("--loss", loss)
    params, batch = load_point(inputs)
    check_point(params, batch)
    check_loss(loss, loss_function(params, batch))
    autodiff = jax.value_and_grad(loss_function)
    if gradient is None:
        found = against_differences(loss_function, autodiff, params, batch)
        return OwnComparison("finite differences", found, {}, "" if found else _verdict_on_a_rule(found), bool(found))

    gradient_function = load_function("--gradient", gradient)

    def by_user(params: Any, batch: Any) -> tuple[Any, Any]:
        grads = gradient_function(params, batch)
        check_gradient(gradient, grads, params)
        return loss_function(params, batch), grads

    found = check(autodiff, by_user, [Probe("your inputs", params, batch)])
    if found:
        return OwnComparison("autodiff", found, {}, "", right=True)
    ways = {"your gradient": by_user, "autodiff of your loss": autodiff}
    return OwnComparison("autodiff", found, *break_the_tie(loss_function, ways, params, batch, found))


def _verdict_on_a_rule(found: Check) -> str:
    right = [path for path in found.leaves if path not in found.failing_leaves and path != "value"]
    spared = f"; {', '.join(right)} {'is' if len(right) == 1 else 'are'} right" if right else ""
    return (
        "Autodiff of your loss does not agree with finite differences of it: a rule inside of it (custom_vjp or "
        f"custom_jvp) is wrong, somewhere between {', '.join(found.failing_leaves)} and the cost{spared}."
    )


def load_point(place: str) -> tuple[Any, Any]:
    """Where to compare: what the user's `h()` gives."""
    point = load_function("--inputs", place)()
    if not isinstance(point, tuple) or len(point) != 2:
        raise BadInput(f"--inputs {place} returned a {type(point).__name__}: expected a pair (params, batch)")
    return point


def check_loss(place: str, cost: Any) -> None:
    """Raises `BadInput` unless the loss has returned one real number."""
    if isinstance(cost, tuple):
        raise BadInput(f"--loss {place} returned a tuple: expected one number; return the cost, and nothing beside it")
    if not is_number(cost):
        array = as_array(cost)
        kind = "None" if cost is None else f"a {type(cost).__name__}"
        what = kind if array.dtype == object else f"an array of shape {array.shape}"
        raise BadInput(f"--loss {place} returned {what}: expected one number, such as the mean over the examples")
    if not jnp.issubdtype(dtype_of(cost), jnp.floating):
        raise BadInput(f"--loss {place} returned {dtype_of(cost)}: expected a float, since nothing else has a gradient")


def check_gradient(place: str, grads: Any, params: Any) -> None:
    """Raises `BadInput` where the gradient returned nothing, or the cost too."""
    if grads is None:
        raise BadInput(f"--gradient {place} returned None: expected a tree like the parameters; is a return missing?")
    if not isinstance(grads, tuple) or len(grads) != 2 or is_like(grads, params):
        return
    for cost, gradient, order in ((*grads, "(value, grads)"), (*reversed(grads), "(grads, value)")):
        if is_number(cost) and is_like(gradient, params):
            raise BadInput(f"--gradient {place} returned a pair {order}: expected the gradient alone; return that part")


def against_differences(loss: Callable, candidate: ValueAndGrad, params: Any, batch: Any) -> Check:
    """A gradient of the user's loss against finite differences of it, in float64: they need the digits."""
    return _against(in_float64(finite_differences(loss)), candidate, params, batch)


def _against(truth: ValueAndGrad, candidate: ValueAndGrad, params: Any, batch: Any) -> Check:
    with jax.enable_x64(True):
        found = compare(truth, candidate, *cast((params, batch), jnp.float64))
    return Check((("your inputs", found),))


def break_the_tie(
    loss: Callable, ways: dict[str, ValueAndGrad], params: Any, batch: Any, parting: Check
) -> tuple[dict[str, Check], str, bool]:
    """Two ways that part, each against finite differences; a sentence that says which of them is right; and whether
    both are, because they part at kinks alone.

    parting: what was found of the two, in both dtypes.
    """
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    if size > MOST:
        return (
            {},
            f"Finite differences could say which is right, but take long for {size:,} parameters: try fewer.",
            False,
        )
    try:
        with jax.enable_x64(True):
            measured = in_float64(finite_differences(loss).measured)(*cast((params, batch), jnp.float64))
        truth = Measuring(lambda params, batch: measured)
        found = {name: _against(truth, way, params, batch) for name, way in ways.items()}
    except BadInput as error:
        return {}, f"Finite differences cannot say which is right: {error}.", False
    right = [name for name, checked in found.items() if checked]
    if right == ["your gradient"]:
        said = "side with your gradient: autodiff of your loss is wrong, so look for a rule of its own inside, as of "
        return found, f"Finite differences {said}jax.custom_vjp.", False
    if right == ["autodiff of your loss"]:
        return found, "Finite differences side with autodiff: your gradient is wrong.", False
    if not right:
        said = "agree with neither: your gradient is wrong, and so is autodiff of your loss"
        return found, f"Finite differences {said}.", False
    kinks = _kinks_where_they_part(loss, ways, measured.bends, params, batch, parting)
    if kinks:
        named = f"{', '.join(kinks[:_NAMED])}{' and more' * (len(kinks) > _NAMED)}"
        said = "where your loss has a kink at this very point, and both take a slope between those on its two sides"
        return found, f"Neither is wrong. They part at {named} alone, {said}.", True
    in_float64_too = any(comparison.dtype == "float64" and not comparison for _, comparison in parting.results)
    why = "by less than differences can see" if in_float64_too else "in float32 only, by what is rounded there"
    return found, f"Finite differences agree with both, in float64: the two part {why}.", False


# How many kinks a sentence names.
_NAMED = 5


def _kinks_where_they_part(
    loss: Callable, ways: dict[str, ValueAndGrad], bends: Any, params: Any, batch: Any, parting: Check
) -> list[str]:
    """The names of the numbers at which two ways part, if at each of them the loss bends and both slopes lie between
    those on its two sides; otherwise none.

    In float32 they may part in the leaves in which they do in float64, and in no other.
    """
    with jax.enable_x64(True):
        point = cast((params, batch), jnp.float64)
        one, other = (on_host(way(*point)[1]) for way in ways.values())
        scales = {
            path: max(np.max(np.abs(x), initial=0), np.max(np.abs(other[path]), initial=0)) for path, x in one.items()
        }
        apart = {path: np.abs(x - other[path]) > ROUNDING * scales[path] for path, x in one.items()}
        if any((apart[path] & ~bend).any() for path, bend in on_host(bends).items()):
            return []
        below, above = (on_host(slopes) for slopes in _slopes_on_both_sides(loss, *point))
    for path, there in apart.items():
        # The slopes are taken over a step of a millionth: six digits of a smooth side.
        low, high = np.minimum(below[path], above[path]), np.maximum(below[path], above[path])
        margin = 1e-4 * max(scales[path], np.max(np.abs([low, high]), initial=0))
        if any((there & ((x[path] < low - margin) | (x[path] > high + margin))).any() for x in (one, other)):
            return []
    failed = {leaf.path for _, comparison in parting.results for leaf in comparison.failures}
    if not failed <= {path for path, there in apart.items() if there.any()}:
        return []
    return [name_of(path, tuple(map(int, at))) for path, there in apart.items() for at in np.argwhere(there)]


def _slopes_on_both_sides(loss: Callable, params: Any, batch: Any) -> tuple[Any, Any]:
    """The slopes of the loss along each parameter, below and above it: trees like the parameters."""
    flat, unravel = ravel_pytree(params)
    value = loss(params, batch)

    def along(i: Any) -> tuple[Any, Any]:
        h = 1e-6 * jnp.maximum(1, jnp.abs(flat[i]))
        below, above = (loss(unravel(flat.at[i].add(step)), batch) for step in (-h, h))
        return (value - below) / h, (above - value) / h

    below, above = jax.lax.map(along, jnp.arange(flat.size))
    return unravel(below), unravel(above)
