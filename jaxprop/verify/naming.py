"""How a wrong leaf follows from a right one: a factor, a transposition, another order, another leaf in its place.

For anybody's gradient. A relation is told where it holds to rounding at every point at which the leaf is wrong, and
nothing is guessed: what follows from the right gradient in none of these ways is not named.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxprop.verify.comparison import ValueAndGrad, on_host
from jaxprop.verify.suite import Probe

Leaves = dict[str, np.ndarray]  # each under its name

# Of a leaf's largest number, in float64: the tolerance of `jaxprop.compare`, and for the same reason.
ROUNDING = 1e-11
# Of the gradient at the yardstick. Below it, rounding of 1e-16 in the outputs is more than `ROUNDING` of what is left.
LOST = 1e-5


class Point(NamedTuple):
    """What is compared at one point, by path; `examples` is the batch's leading axis, where its arrays share one."""

    params: Leaves
    right: Leaves
    given: Leaves
    examples: int | None


class Case(NamedTuple):
    """One leaf at one point: the right one, what was given instead, the parameter itself, and where this is."""

    right: np.ndarray
    given: np.ndarray
    path: str
    point: Point


Relation = Callable[[Sequence[Case]], str | None]  # what holds at all these points, in words; None where it does not


def name_relations(
    reference: ValueAndGrad, candidate: ValueAndGrad, probes: Iterable[Probe]
) -> dict[str, tuple[str, ...]]:
    """For each wrong leaf, by its path, how it follows from the reference; nothing where it follows in no simple way.

    reference, candidate: `(params, batch) -> (value, grads)`, called at each probe with floats in float64. More than
        one answer where several relations hold: a factor of 5 in a batch of 5 may be a sum for a mean.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        points = [_point(reference, candidate, probe) for probe in probes if has_digits(reference, probe)]
    found = {}
    for path in points[0].right if points else ():
        cases = [
            Case(point.right[path], point.given[path], path, point)
            for point in points
            if path in point.given and not _same(point.given[path], point.right[path])
        ]
        if cases and all(np.isfinite(case.given).all() for case in cases):
            found[path] = tuple(said for relation in RELATIONS if (said := relation(cases)))
    return {path: said for path, said in found.items() if said}


def has_digits(reference: ValueAndGrad, probe: Probe) -> bool:
    """Whether each leaf at this point is more than what is left where outputs meet their targets, or a layer is closed.

    There it is a difference of near numbers, of which two ways to compute it share few digits, and none can be known by
    its numbers. Called under `jax.enable_x64(True)`.
    """
    if probe.yardstick is None:
        return True
    points = jax.tree.map(_in_float64, ((probe.params, probe.batch), probe.yardstick))
    here, there = (
        {path: np.max(np.abs(leaf), initial=0) for path, leaf in on_host(reference(*point)[1]).items()}
        for point in points
    )
    return all(here[path] > LOST * size or not size for path, size in there.items())


def _point(reference: ValueAndGrad, candidate: ValueAndGrad, probe: Probe) -> Point:
    params, batch = jax.tree.map(_in_float64, (probe.params, probe.batch))
    sizes = {x.shape[0] if x.ndim else None for x in jax.tree.leaves(batch)}
    examples = sizes.pop() if len(sizes) == 1 else None
    right, given = (on_host(function(params, batch)[1]) for function in (reference, candidate))
    return Point(on_host(params), right, given, examples)


def _in_float64(x: Any) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _same(given: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to rounding, and of one shape."""
    if given.shape != expected.shape:
        return False
    return bool(np.all(np.abs(given - expected) <= ROUNDING * np.max(np.abs(expected), initial=0)))


# The relations


def zero(cases: Sequence[Case]) -> str | None:
    if all(case.given.shape == case.right.shape and not case.given.any() for case in cases):
        return "it is 0 everywhere"
    return None


def factor(cases: Sequence[Case]) -> str | None:
    """The same multiple everywhere, or the number of examples times, or by it. One number alone proves no factor."""
    factors = _factors([(case.given, case.right, case.right) for case in cases])
    if factors is None or sum(np.count_nonzero(case.right) for case in cases) < 2:
        return None
    examples = [case.point.examples for case in cases if case.point.examples is not None]
    constant = all(_close(c, factors[0]) for c in factors)
    said = [_times(factors[0])] if constant else []
    if len(examples) == len(cases):
        if all(_close(c, n) for c, n in zip(factors, examples, strict=True)):
            said.append("it is the sum over the examples: expected the mean")
        elif all(_close(c, 1 / n) for c, n in zip(factors, examples, strict=True)):
            said.append("it is divided by the number of examples once too often")
    return ", or ".join(said) or None


def transposed(cases: Sequence[Case]) -> str | None:
    if any(case.right.ndim != 2 for case in cases):
        return None
    if all(_same(case.given, case.right.T) for case in cases):
        return "it is transposed"
    if all(_same(case.given, case.right.T.reshape(case.right.shape)) for case in cases if _fits(case)):
        return "it is transposed, and then reshaped" if all(map(_fits, cases)) else None
    return None


def permuted(cases: Sequence[Case]) -> str | None:
    """The same slices in another order along one axis, which is the same order at every point."""
    if not all(map(_fits, cases)):
        return None
    for axis in range(cases[0].right.ndim):
        orders = [_order(case.given, case.right, axis) for case in cases]
        if any(order is None for order in orders) or any(order != orders[0] for order in orders):
            continue
        return f"it is in another order along axis {axis}: {_in_words(orders[0])}"
    return None


def of_another_leaf(cases: Sequence[Case]) -> str | None:
    """Where another leaf has the same shape: its gradient, given in this one's place."""
    for other in cases[0].point.right:
        if other == cases[0].path or not all(_same(case.given, case.point.right[other]) for case in cases):
            continue
        back = all(_same(case.point.given[other], case.right) for case in cases)
        return f"it is the gradient of {other}" + (", and the two are swapped" if back else "")
    return None


def penalty(cases: Sequence[Case]) -> str | None:
    """Off by a multiple of the parameter, as the derivative of a penalty on its square is."""
    if not all(map(_fits, cases)) or sum(case.right.size for case in cases) < 2:
        return None
    factors = _factors([(case.given - case.right, case.point.params[case.path], case.right) for case in cases])
    if factors is None or not all(_close(c, factors[0], 1e-6) for c in factors):
        return None
    how = "more" if factors[0] > 0 else "less"
    return f"it is {abs(factors[0]):.6g} times the parameter {how}: look at the derivative of a penalty on its size"


def reduced(cases: Sequence[Case]) -> str | None:
    """The sum or the mean of the right one, broadcast to its shape: a reduction without its axis, or over another."""
    if not all(map(_fits, cases)) or any(case.right.size < 2 for case in cases):
        return None
    for name, reduction in (("sum", np.sum), ("mean", np.mean)):
        for axis in (None, *range(cases[0].right.ndim if cases[0].right.ndim > 1 else 0)):
            if all(_same(case.given, _broadcast(reduction, case.right, axis)) for case in cases):
                over = "all of it" if axis is None else f"axis {axis}"
                return f"it holds in every place the {name} over {over}"
    return None


def clipped(cases: Sequence[Case]) -> str | None:
    """The right one, cut off at the largest number that was given."""
    if not all(map(_fits, cases)):
        return None
    limits = [np.max(np.abs(case.given)) for case in cases]
    if all(_same(case.given, np.maximum(case.right, 0)) for case in cases):
        return "its negative numbers are 0"
    if not limits[0] or not all(_close(limit, limits[0]) for limit in limits) or sum(_cut(case) for case in cases) < 2:
        return None
    if all(_same(case.given, np.clip(case.right, -limits[0], limits[0])) for case in cases):
        return f"it is clipped at {limits[0]:.6g}"
    return None


def partly_zero(cases: Sequence[Case]) -> str | None:
    """Right but for some slices along one axis, which are 0: the same ones at every point."""
    if not all(map(_fits, cases)):
        return None
    for axis in range(cases[0].right.ndim):
        missing = [_zero_slices(case, axis) for case in cases]
        if missing[0] and all(slices == missing[0] for slices in missing):
            return f"it is right but for index {', '.join(map(str, missing[0]))} of axis {axis}, where it is 0"
    return None


RELATIONS: tuple[Relation, ...] = (
    *(zero, factor, transposed, permuted, of_another_leaf, penalty, reduced, clipped, partly_zero),
)


# What they ask


def _fits(case: Case) -> bool:
    return case.given.shape == case.right.shape


def _factors(triples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[float] | None:
    """For each (x, y, scale) the number c with x = c y, to the rounding of scale; None where one has none, or 0."""
    factors = []
    for x, y, scale in triples:
        if x.shape != y.shape or not x.any() or not y.any():
            return None
        largest = np.unravel_index(np.argmax(np.abs(y)), y.shape)
        c = float(x[largest] / y[largest])
        if not c or np.any(np.abs(x - c * y) > ROUNDING * max(np.max(np.abs(x)), np.max(np.abs(scale)))):
            return None
        factors.append(c)
    return factors


def _close(a: Any, b: Any, tolerance: float = 1e-9) -> bool:
    return abs(a - b) <= tolerance * abs(b)


def _times(c: Any) -> str:
    if _close(c, -1):
        return "its sign is wrong"
    return f"it is {c:.6g} times the right one"


def _order(given: np.ndarray, right: np.ndarray, axis: int) -> tuple[int, ...] | None:
    """Which slice of the right one stands in each place; None where they are not the same slices, each once."""
    there = list(range(right.shape[axis]))
    order = []
    for i in range(right.shape[axis]):
        slice_ = np.take(given, i, axis)
        scale = np.max(np.abs(right))
        match = next((j for j in there if np.all(np.abs(slice_ - np.take(right, j, axis)) <= ROUNDING * scale)), None)
        if match is None:
            return None
        there.remove(match)
        order.append(match)
    return tuple(order)


def _in_words(order: Any) -> str:
    n = len(order)
    if order == tuple(reversed(range(n))):
        return "reversed"
    if order == tuple((i + order[0]) % n for i in range(n)):
        return f"place 0 holds what belongs to place {order[0]}, and so on round"
    return f"its places hold what belongs to {', '.join(map(str, order))}"


def _broadcast(reduction: Callable, right: np.ndarray, axis: int | None) -> np.ndarray:
    return np.broadcast_to(reduction(right, axis=axis, keepdims=True), right.shape)


def _cut(case: Case) -> int:
    return int(np.count_nonzero(np.abs(case.given - case.right) > ROUNDING * np.max(np.abs(case.right), initial=0)))


def _zero_slices(case: Case, axis: int) -> list[int]:
    """Where the right one is not 0 and the given one is; empty where anything else differs."""
    indices = range(case.right.shape[axis])
    missing = [i for i in indices if not np.take(case.given, i, axis).any() and np.take(case.right, i, axis).any()]
    mended = case.given.copy()
    at = (slice(None),) * axis + (missing,)
    mended[at] = case.right[at]
    return missing if len(missing) < len(indices) and _same(mended, case.right) else []
