"""Do two gradients agree? Leaf by leaf: a bias of ten numbers cannot hide behind a matrix of a hundred thousand.

In the order of reading: `compare`; calling somebody's function, and what may come back; the names of leaves; what may
be compared; one leaf against another, by largest difference, scaled difference, angle and ulps.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxprop.errors import BadInput
from jaxprop.structured import Outer, expand, is_structured, mean_over_examples
from jaxprop.verify.ranges import check_ranges
from jaxprop.verify.report import Comparison, LeafComparison

ValueAndGrad = Callable[[Any, Any], tuple[Any, Any]]  # of anybody's: any parameters, any batch
# Where a leaf is in its tree: its path, and how many leaves before it have the same path. A node that somebody has
# registered may give two children one name.
Key = tuple[tuple[Any, ...], int]
Leaves = dict[Key, np.ndarray]


class Measured(NamedTuple):
    """A gradient that was measured, with how far each number of it may be off: trees like the parameters."""

    value: Float[Array, ""]
    grads: Any
    errors: Any
    bends: Any  # of bools: the loss has a kink or a jump there, so that there is nothing to measure
    value_error: Any = 0.0  # how far rounding may take the value


@dataclasses.dataclass(frozen=True)
class Measuring:
    """A `value_and_grad` that also knows its errors. As the reference of `compare` it is judged by these."""

    measured: Callable[[Any, Any], Measured]

    def __call__(self, params: Any, batch: Any) -> tuple[Any, Any]:
        found = self.measured(params, batch)
        return found.value, found.grads


# Why these: see `compare`.
_TOLERANCES = {"float64": 1e-11, "float32": 1e-4, "float16": 0.15, "bfloat16": 0.25}
_MEASURED = 1e-6
_PRECISION = "highest"
# How often a reference is called again to see what rounding does to it, and what is allowed beside the most that was
# seen: two gradients differ by the rounding of both, and so few draws do not show the worst.
_DRAWS = 4
_BEYOND = 8


def compare(
    reference: ValueAndGrad,
    candidate: ValueAndGrad,
    params: Any,
    batch: Any,
    tolerance: float | None = None,
    scale: Any = None,
    value_scale: float | None = None,
) -> Comparison:
    """Calls both functions `(params, batch) -> (value, grads)` at one point, and says where they part.

    A leaf agrees if max |reference - candidate| <= tolerance * scale. The value is compared in the same way. The result
    is true where all agree, so that `assert jaxprop.compare(...)` is a test; `.agree` says the same.

    reference: of `jaxprop.finite_differences(loss)`, mostly inside `jaxprop.in_float64`, the estimated errors count
        too: |reference - candidate| <= tolerance * scale + error, coordinate by coordinate. Where the loss bends or
        jumps at the point itself, there is nothing to measure, nor is there where the error is as large as the leaf:
        such coordinates are named in `notes`, and not judged.
    params: any pytree of float arrays. A gradient has its paths, shapes and dtypes: a candidate that has not, or that
        holds a NaN or an infinity, fails with a verdict that names the leaf. The reference may be of a wider dtype.
    batch: any pytree.
    tolerance: by default from the dtype of each parameter. Rounding parts two correct gradients by some 4 ulps of what
        was added up: backprop and autodiff of 12 random networks of 1 to 5 layers, 30 draws each, by 8.2e-16 in
        float64, 4.2e-7 in float32, 2.7e-3 in float16 and 3.0e-2 in bfloat16 at most, by `per_example_scale`. Where a
        sum cancels, the same ulps weigh more beside what is left: there it was 2.1e-14, 3.0e-6, 0.25 and 1.2 of the
        largest |reference|. In float64 and float32 the defaults leave room for that: 1e-11, for sums that cancel to
        1/10,000; 1e-4, to 1/200. In the half types they do not: float16 0.15, for sums that cancel to 1/40, and
        bfloat16 0.25, to 1/8, can tell a wrong sign or a factor of 2 and no more, and a leaf that cancels further needs
        a scale. Beside finite differences at least 1e-6: they keep nine digits of a smooth loss, and a mistake leaves
        none or two.
    scale: what differences are measured by: a number, or a pytree like the gradients with a number for each leaf. By
        default the largest |reference| in the leaf. `per_example_scale` is the better yardstick where per-example
        gradients are at hand, since no cancellation between examples shortens it: tolerance=1e-13 is ample with it.
        With a scale of 0 the two must be equal. By default that is a leaf of zeros: a dead ReLU passes back nothing.
    value_scale: the same for the value; by default its size in the reference. Where a cost is nearly 0, rounding of
        what it is the difference of is large beside it.

    Both functions are called as they are (jit them first where that pays), with matrix products at the highest
    precision: TensorFloat-32, with its ten bits, is the classic false alarm. Each gets copies of NumPy's arrays, and
    what the reference gives is copied before the candidate is called. Where they do not agree both are called once
    more, and `notes` says if one of them does not give the same again.

    Raises `BadInput` on parameters that are not floats, an empty batch, tokens and labels that a network of this
    library does not have, a reference that is not finite or not like `params`, a tolerance or scale that is not a
    finite number of at least 0, a point where nothing can be judged along any parameter, and on a function that raises
    something (kept as the cause), changes its arguments, or returns no pair.
    """
    return compare_beyond_rounding(reference, candidate, params, batch, tolerance, scale, value_scale, allowed=False)


def compare_beyond_rounding(
    reference: ValueAndGrad,
    candidate: ValueAndGrad,
    params: Any,
    batch: Any,
    tolerance: float | None = None,
    scale: Any = None,
    value_scale: float | None = None,
    allowed: bool = True,
    yardstick: tuple[Any, Any] | None = None,
) -> Comparison:
    """`compare`, which where the two part also asks what rounding does to the reference.

    yardstick: a second point `(params, batch)`. The scale of each leaf, and of the value, is then the larger of those
        that the reference has at the two.
    allowed: whether it is asked. Where a sum cancels, or a softmax is saturated, a change of the last digits of the
        parameters and the batch changes the first ones of the gradient, and two right gradients differ. So the
        reference is called at `_DRAWS` points that are a few ulps away. What it changes by is its error, leaf by leaf,
        in the sense of a reference that was measured. A leaf that changes by as much as it is large is not judged.
    """
    dtypes = check_point(params, batch)
    for function in (reference, candidate):
        check_ranges(function, batch)
    names = names_of(dtypes)
    least = _MEASURED if _knows_errors(reference) else 0.0
    tolerances = {
        key: max(_default_tolerance(dtype), least) if tolerance is None else tolerance for key, dtype in dtypes.items()
    }
    check_number("tolerance", max(tolerances.values()))
    wanted = call("reference", reference, params, batch)
    check_reference(wanted.value, wanted.grads, params)
    scales = check_scale(scale, wanted.grads)
    if value_scale is not None:
        check_number("value_scale", value_scale)
    if yardstick is not None:
        beside = call("reference", reference, *yardstick)
        check_reference(beside.value, beside.grads, params)
        value_scale = max(_largest(wanted.value), _largest(beside.value))
        scales = {key: max(_largest(g), _largest(beside.grads[key])) for key, g in wanted.grads.items()}
    given = call("candidate", candidate, params, batch)

    def judged(wanted: Result) -> tuple[LeafComparison, tuple[LeafComparison, ...]]:
        whole = _largest_known(wanted, scales)
        extra = [key for key in given.grads if key not in wanted.grads]
        leaves = [_extra(name, given.grads[key]) for key, name in names_of(extra, taken=names.values()).items()]
        for key, b in wanted.grads.items():
            errors = None if wanted.errors is None else (wanted.errors[key], wanted.bends[key])
            candidates = given.grads.get(key), dtypes[key]
            leaves.append(compare_leaf(names[key], b, *candidates, tolerances[key], scales[key], errors, whole))
        value = _compare_values(wanted.value, given.value, max(tolerances.values()), value_scale, wanted.value_error)
        return value, tuple(leaves)

    def on_repeats(name: str, function: ValueAndGrad, before: Result) -> list[str]:
        if _knows_errors(function):
            return []
        return _note_on_repeats(name, before, call(name, function, params, batch), tolerances)

    value, leaves = judged(wanted)
    repeats = []
    if not _all_agree(value, leaves):
        repeats = on_repeats("reference", reference, wanted)
        # What is not repeatable changes by chance, of which nothing can be learnt about rounding.
        if allowed and not repeats and wanted.errors is None:
            value, leaves = judged(_with_rounding(wanted, reference, params, batch))
    agree = _all_agree(value, leaves)
    notes = _notes_on_unjudged(leaves, must_judge=not allowed)
    if not agree:
        notes += [*repeats, *on_repeats("candidate", candidate, given)]
    return Comparison(
        agree=agree,
        value=value,
        leaves=leaves,
        dtype=", ".join(sorted({str(dtype) for dtype in dtypes.values()})),
        device=given.device or wanted.device or "the host, by NumPy",
        matmul_precision=_PRECISION,
        notes=tuple(notes),
    )


def _all_agree(value: LeafComparison, leaves: Iterable[LeafComparison]) -> bool:
    return value.agree and all(leaf.agree for leaf in leaves)


def _largest_known(wanted: "Result", scales: Mapping[Key, float | None]) -> float:
    """How large the whole gradient is, for leaves that are 0 to within their errors; where all are, the value is it."""
    sizes = [0.0]
    for key, b in wanted.grads.items():
        b = np.abs(b.astype(np.float64))
        if wanted.errors is not None:
            b = np.where(wanted.bends[key] | (b <= wanted.errors[key]), 0, b)
        sizes.append(max(float(b.max(initial=0)), scales[key] or 0.0))
    return max(sizes) or abs(float(wanted.value))


def _with_rounding(wanted: "Result", reference: ValueAndGrad, params: Any, batch: Any) -> "Result":
    """The reference with its errors: what changes in each leaf when parameters and batch change by a few ulps.

    Each array is changed by a factor of its own, so that 0 stays 0 and equal numbers stay equal: whatever is exactly at
    a kink, or ties, still is. The factors are below 1, so that what has to be at most 1 still is.
    """
    random = np.random.RandomState(0)
    errors = dict.fromkeys(wanted.grads, 0.0)
    value_error = 0.0

    def nudged(x: Any) -> Any:
        if not jnp.issubdtype(dtype_of(x), jnp.floating):
            return x
        dtype = dtype_of(x)
        return np.asarray(1 - random.randint(1, 5) * float(jnp.finfo(dtype).eps)).astype(dtype) * x

    for _ in range(_DRAWS):
        try:
            other = call("reference", reference, *jax.tree.map(nudged, (params, batch)))
        except BadInput:  # such a point is not legal, and tells nothing
            continue
        for key, b in wanted.grads.items():
            errors[key] = max(errors[key], _largest_change(b, other.grads[key]))
        value_error = max(value_error, _largest_change(wanted.value, other.value))
    return wanted._replace(
        errors={key: np.full(b.shape, _BEYOND * errors[key]) for key, b in wanted.grads.items()},
        bends={key: np.zeros(b.shape, bool) for key, b in wanted.grads.items()},
        value_error=np.asarray(_BEYOND * value_error),
    )


def _largest(x: np.ndarray) -> float:
    """The largest absolute number of an array; 0 of an empty one."""
    return float(np.max(np.abs(x.astype(np.float64)), initial=0))


def _largest_change(b: np.ndarray, a: np.ndarray) -> float:
    """0 where the second is not finite."""
    change = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(change.max(where=np.isfinite(change), initial=0))


def per_example_scale(values_and_grads: ValueAndGrad, params: Any, batch: Any) -> Any:
    """The scale of each leaf, for `compare`: the largest element of mean_i |g_i|, g_i being the gradient of example i.

    It is how large the gradient would be if no two examples disagreed, so it measures what was added up, not what was
    left. For an `Outer`, mean_i |dz_i a_i^T| is one matrix product of absolute values.

    values_and_grads: as `jaxprop.per_example(network, cost)`: gradients with a leading axis of examples.
    """
    with jax.default_matmul_precision(_PRECISION):
        _, grads = values_and_grads(params, batch)
        return jax.tree.map(_largest_mean, grads, is_leaf=is_structured)


def _largest_mean(grads: Any) -> jax.Array:
    """The largest element of the mean over the examples of |gradient|, of one leaf."""
    if isinstance(grads, Outer):  # whose absolute value is the outer product of those of its factors
        return jnp.max(mean_over_examples(jax.tree.map(jnp.abs, grads)))
    return jnp.max(jnp.mean(jnp.abs(expand(grads)), axis=0))


# Calling somebody's function


class Result(NamedTuple):
    """What a function returned, copied to the host: nothing that is called later can change it."""

    value: np.ndarray
    grads: Leaves
    errors: Leaves | None  # of a reference that was measured; else None, and then there are no bends
    bends: Leaves
    device: str | None
    value_error: np.ndarray | None = None


def _knows_errors(function: ValueAndGrad) -> bool:
    # Compiled by `jax.jit` it is no `Measuring`, and still has what that has.
    return hasattr(function, "measured")


def call(name: str, function: ValueAndGrad, params: Any, batch: Any) -> Result:
    """Calls somebody's function, the reference or the candidate, with matrix products at the highest precision.

    Raises `BadInput` with that name where it raises something, changes its arguments, or returns no pair.
    """
    measured = getattr(function, "measured", None) if name == "reference" else None
    result = called(name, measured or function, params, batch)
    if isinstance(result, Measured):
        bends = _arrays(result.bends)
        arrays = as_array(result.value), _arrays(result.grads), _arrays(result.errors), bends
        return Result(*arrays, None, as_array(result.value_error))
    value, grads = _pair(name, result, params)
    return Result(as_array(value), _arrays(grads), None, {}, _device(value))


def called(name: str, function: Callable[[Any, Any], Any], params: Any, batch: Any) -> Any:
    """What a function returns for copies of these arguments.

    Raises `BadInput` with the name of the function where it raises something, which is the cause then, and where it
    changes its arguments.
    """
    point = _copied({"params": params, "batch": batch})
    try:
        # What overflows shows in the result.
        with np.errstate(all="ignore"), jax.default_matmul_precision(_PRECISION):
            result = function(point["params"], point["batch"])
    except BadInput:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "nothing")
        raise BadInput(f"the {name} raised {type(error).__name__}, which says: {said}") from error
    _check_unchanged(name, {"params": params, "batch": batch}, point)
    return result


def _copied(tree: Any) -> Any:
    """New containers, and new arrays for those of NumPy, which anybody may write into."""
    return jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, tree)


def _check_unchanged(name: str, given: Any, after: Any) -> None:
    """Raises `BadInput` if a function has written into what it was given, or used it up."""
    remedy = "a gradient leaves its arguments as they are; let it work on a copy"
    if jax.tree.structure(given) != jax.tree.structure(after):
        raise BadInput(f"the {name} added to its arguments or took something away: {remedy}")
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(after), strict=True):
        where = f"{path[0].key}{jax.tree_util.keystr(path[1:])}"
        if isinstance(x, np.ndarray):
            same = isinstance(y, np.ndarray) and (x.dtype, x.shape) == (y.dtype, y.shape)
            same = same and x.tobytes() == y.tobytes()
        else:
            same = x is y
        if not same:
            raise BadInput(f"the {name} changed {where} in place: {remedy}")
        if isinstance(x, jax.Array) and x.is_deleted():
            raise BadInput(f"the {name} used up the memory of {where}: compile it without donate_argnums")


def _pair(name: str, result: Any, params: Any) -> tuple[Any, Any]:
    """The value and the gradient. Raises `BadInput` where something else was returned, and says what it looks like."""

    def refusal(what: str, hint: str = "") -> BadInput:
        hint = hint and f"; {hint}"
        return BadInput(f"the {name} returned {what}: expected a pair (value, grads){hint}")

    what = "None" if result is None else f"a {type(result).__name__}"
    if result is None:
        raise refusal(what, "is a return missing?")
    if is_number(result):
        raise refusal(what, "of a loss, jax.value_and_grad(loss) makes one")
    alone = "this looks like the gradient alone: return the value before it"
    if not isinstance(result, tuple) or len(result) != 2:
        raise refusal(what, alone if is_like(result, params) else "")
    value, grads = result
    if not is_like(grads, params):
        if is_like(value, params) and is_number(grads):
            raise refusal("a pair (grads, value)", "swap the two")
        if is_like(result, params):
            raise refusal(what, alone)
    elif isinstance(value, tuple) and value and is_number(value[0]):
        raise refusal("the value with something beside it", "return the value alone, without what has_aux keeps")
    return value, grads


def is_number(x: Any) -> bool:
    """Whether this is one number, as a cost is: of any type, and no container of one."""
    return not isinstance(x, dict | list | tuple | str) and as_array(x).dtype != object and np.shape(x) == ()


def is_like(tree: Any, params: Any) -> bool:
    """Whether a tree has the leaves of the parameters, with their shapes."""
    # An array on a device has a shape without being copied from there.
    shapes = {
        key: leaf.shape if isinstance(leaf, jax.Array) else as_array(leaf).shape for key, leaf in keyed(tree).items()
    }
    return shapes == {key: np.shape(leaf) for key, leaf in keyed(params).items()}


def _notes_on_unjudged(leaves: Iterable[LeafComparison], must_judge: bool) -> list[str]:
    """Which coordinates were not judged. Raises `BadInput` where that is all of them, and something must be judged."""
    leaves = list(leaves)
    unjudged = sum(leaf.unjudged for leaf in leaves)
    unmeasured = sum(leaf.unmeasured for leaf in leaves)
    bending = unjudged - unmeasured
    coordinates = sum(math.prod(leaf.shape) for leaf in leaves)
    if must_judge and bending and bending == coordinates:
        raise BadInput(
            f"the loss bends or jumps at this point along each of its {coordinates} parameters, so differences have "
            "nothing to measure: try another point, such as parameters that are not 0"
        )
    if must_judge and unmeasured and unjudged == coordinates:
        raise BadInput(
            f"rounding of the loss hides its slopes along each of its {coordinates} parameters, so differences have "
            "nothing to measure: compute the loss in a wider type, or try another point"
        )
    notes = []
    if bending:
        named = [name_of(leaf.path, at) for leaf in leaves for at in leaf.kinks]
        more = bending - len(named[:_NAMED])
        named = named[:_NAMED] + ([f"and {more} more"] if more else [])
        notes.append(f"kink here, not judged: {bending} of {coordinates} coordinates: {', '.join(named)}")
    if unmeasured:
        named = [leaf.path for leaf in leaves if leaf.unmeasured]
        notes.append(f"lost in rounding, not judged: {unmeasured} of {coordinates} coordinates, in {', '.join(named)}")
    return notes


def _note_on_repeats(name: str, before: Result, again: Result, tolerances: Mapping[Key, float]) -> list[str]:
    """Whether a function that is called twice with the same numbers gives the same, as far as is tolerated."""
    pairs = [("its value", before.value, again.value, max(tolerances.values()))]
    names = names_of(before.grads)
    pairs += [(names[key], x, again.grads.get(key), tolerances.get(key, 0.0)) for key, x in before.grads.items()]
    for where, first, second, tolerance in pairs:
        if not jnp.issubdtype(first.dtype, jnp.floating) or not np.isfinite(first.astype(np.float64)).all():
            continue
        found = compare_leaf(where, first, second, first.dtype, tolerance, scale=None)
        if not found.agree:
            reason = "is there chance in it, as of dropout, or does it keep something from call to call?"
            twice = f"called twice with the same numbers, {where} {found.verdict}"
            return [f"the {name} is not repeatable: {twice}; {reason}"]
    return []


def _default_tolerance(dtype: np.dtype) -> float:
    if str(dtype) not in _TOLERANCES:
        raise BadInput(f"no default tolerance is known for {dtype}: give one, as tolerance=0.1")
    return _TOLERANCES[str(dtype)]


def _compare_values(
    b: np.ndarray, a: np.ndarray, tolerance: float, scale: float | None, error: np.ndarray | None
) -> LeafComparison:
    # A value may be summed up in a wider type than that of the parameters, but it is a real number.
    if a.dtype == np.longdouble:  # wider than anything that ulps are counted in
        a = a.astype(np.float64)
    dtype = a.dtype if jnp.issubdtype(a.dtype, jnp.floating) else b.dtype
    # It is computed, not measured, so there is always something to judge.
    measured = None if error is None else (error, np.zeros((), bool))
    return compare_leaf("value", b, a, dtype, tolerance, scale, measured, whole=np.inf)


def _extra(path: str, a: np.ndarray) -> LeafComparison:
    verdict = "is extra: there is no such parameter"
    return LeafComparison(path, a.shape, str(a.dtype), tolerance=0.0, agree=False, verdict=verdict)


def _device(value: Any) -> str | None:
    """Where a result lies; None for the host: the truth that a candidate is held against may have come back to it."""
    if isinstance(value, jax.Array):
        return ", ".join(f"{device.platform} ({device.device_kind})" for device in value.devices())
    return None


# Leaves and their names


def keyed(tree: Any) -> dict[Key, Any]:
    """The leaves of a tree by where they are: no two share a place, whatever their names look like in print."""
    try:
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    except ValueError as error:  # such as a dictionary whose keys cannot be put in order
        said = next(iter(str(error).splitlines()), "nothing")
        raise BadInput(f"a tree cannot be taken apart by JAX, which says: {said}") from error
    seen: Counter[Any] = Counter()
    found = {}
    for path, leaf in leaves:
        found[path, seen[path]] = leaf
        seen[path] += 1
    return found


def names_of(keys: Iterable[Key], taken: Iterable[str] = ()) -> dict[Key, str]:
    """A name to print for each place, as `[0].W`; a tree that is one array has the name "all".

    Where two would look alike, or like one that is taken, the later ones are numbered: `['a']`, `['a'] (2)`.
    """
    used = set(taken)
    names = {}
    for key in keys:
        path, _ = key
        plain = jax.tree_util.keystr(path) or "all"
        name = plain
        count = 1
        while name in used:
            count += 1
            name = f"{plain} ({count})"
        used.add(name)
        names[key] = name
    return names


def name_of(path: str, index: tuple[int, ...]) -> str:
    """The name of one number of a leaf, as `[0].W[3, 5]`; a leaf that is one number is called by its own."""
    return f"{path}{list(index)}" if index else path


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, each under its name, as `[0].W`; a tree that is one array has the name "all"."""
    found = keyed(tree)
    names = names_of(found)
    return {names[key]: leaf for key, leaf in found.items()}


def on_host(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree, copied to NumPy arrays, each under its name."""
    return {name: as_array(leaf) for name, leaf in by_path(tree).items()}


def _arrays(tree: Any) -> Leaves:
    """The leaves of a tree, copied to NumPy arrays, by where they are."""
    return {key: as_array(leaf) for key, leaf in keyed(tree).items()}


def as_array(x: Any) -> np.ndarray:
    """A copy in NumPy. What is no array of anything, as a ragged list or a dictionary, is put into one of objects."""
    try:
        return np.array(x)
    except (TypeError, ValueError):
        box = np.empty((), object)
        box[()] = x
        return box


def dtype_of(leaf: Any) -> np.dtype:
    """The type of an array or a number, as JAX takes it; `object` for what is neither."""
    if isinstance(leaf, str):  # which JAX would take for the name of a type
        return np.dtype(object)
    try:
        return jnp.result_type(leaf)
    except (TypeError, ValueError):
        return np.dtype(object)


# What may be compared


def check_point(params: Any, batch: Any) -> dict[Key, np.dtype]:
    """The dtype of each parameter. Raises `BadInput` if one is not a float, there is none, or the batch is empty."""
    leaves = keyed(params)
    names = names_of(leaves)
    dtypes = {key: dtype_of(leaf) for key, leaf in leaves.items()}
    if not dtypes:
        raise BadInput("params hold no array: expected a tree with at least one parameter")
    for key, dtype in dtypes.items():
        if not jnp.issubdtype(dtype, jnp.floating):
            raise BadInput(f"parameter {names[key]} is {dtype}: expected floats, since nothing else has a gradient")
    for path, x in by_path(batch).items():
        if 0 in np.shape(x):
            raise BadInput(f"the batch is empty: its array {path} has shape {np.shape(x)}; expected an example or more")
    return dtypes


def check_reference(value: np.ndarray, grads: Leaves, params: Any) -> None:
    """Raises `BadInput` unless the reference is one number and a gradient like the parameters, and finite."""
    wanted = keyed(params)
    names = names_of(wanted)
    expected = {names[key]: np.shape(leaf) for key, leaf in wanted.items()}
    given = {names.get(key, jax.tree_util.keystr(key[0])): leaf.shape for key, leaf in grads.items()}
    if given != expected or len(grads) != len(wanted):
        raise BadInput(f"the reference's gradient has shapes {given}: expected those of the parameters, {expected}")
    if value.shape != ():
        raise BadInput(f"the reference's value has shape {value.shape}: expected one number")
    for path, x in [("value", value), *((names[key], leaf) for key, leaf in grads.items())]:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise BadInput(f"the reference is {_kind(x)} at {path}: expected floats")
        if not np.isfinite(x.astype(np.float64)).all():
            raise BadInput(f"the reference is not finite at {path}: nothing can be measured by it; try another point")


def check_number(name: str, x: Any) -> None:
    """Raises `BadInput` unless x is finite and at least 0."""
    number = as_array(x)
    if number.ndim or not jnp.issubdtype(number.dtype, jnp.number) or not 0 <= x < math.inf:  # false for NaN too
        raise BadInput(f"{name} is {x}: expected a finite number of at least 0")


def check_scale(scale: Any, grads: Leaves) -> dict[Key, float | None]:
    """The scale of each leaf, None where none was given. Raises `BadInput` on anything but numbers for each."""
    if scale is None:
        return dict.fromkeys(grads)
    scales = _arrays(scale)
    everywhere = ((), 0)
    if scales.keys() == {everywhere}:
        scales = dict.fromkeys(grads, scales[everywhere])
    if scales.keys() != grads.keys() or any(x.shape for x in scales.values()):
        raise BadInput(f"scale is {scale!r}: expected a number, or a tree like the gradients with one for each leaf")
    for key, name in names_of(scales).items():
        check_number(f"the scale of {name}", scales[key])
    return {key: float(x) for key, x in scales.items()}


# One leaf against another


def compare_leaf(
    path: str,
    reference: np.ndarray,
    candidate: np.ndarray | None,
    dtype: Any,
    tolerance: float,
    scale: float | None,
    measured: tuple[np.ndarray, np.ndarray] | None = None,
    whole: float = 0.0,
) -> LeafComparison:
    """`candidate`, which may be anything at all, against a `reference` that is finite.

    dtype: what the candidate must be.
    scale: of the differences; None for the largest |reference|.
    measured: how far each number of the reference may be off, and where the loss bends, so that nothing was measured.
    whole: how large the gradient is, of which this is a leaf. A number whose error is as large as its leaf is judged
        only where that is within the tolerance beside the whole: it is 0 then, as below a dead layer.
    """
    shape = reference.shape

    def failed(verdict: str, **more: Any) -> LeafComparison:
        return LeafComparison(path, shape, str(dtype), tolerance, agree=False, verdict=verdict, **more)

    if candidate is None:
        return failed("is missing")
    if candidate.dtype != dtype:
        if candidate.shape != shape and candidate.dtype != object:
            return failed(f"has shape {candidate.shape}: expected {shape}")
        return failed(f"is {_kind(candidate)}: expected {dtype}")
    if candidate.shape != shape:
        return failed(f"has shape {candidate.shape}: expected {shape}")
    b = reference.astype(np.float64)
    a = candidate.astype(np.float64)
    if not np.isfinite(a).all():
        worst = _index(np.argmin(np.isfinite(a)), shape)
        where = f"holds {a[worst]}{_at(worst)}"
        return failed(where, worst_index=worst, worst_reference=float(b[worst]), worst_candidate=float(a[worst]))
    if not a.size:
        return LeafComparison(path, shape, str(dtype), tolerance, agree=True, verdict="agrees: both are empty")

    errors, bends = (np.zeros(shape), np.zeros(shape, bool)) if measured is None else measured
    # What is no larger than its error counts as 0.
    known = ~bends if measured is None else ~bends & (np.abs(b) > errors)
    scale = float(np.abs(b).max(where=known, initial=0)) if scale is None else scale
    within = errors <= tolerance * scale
    judged = np.where(bends, within, within | (errors < scale) | (errors <= tolerance * whole))
    # What the errors of a measured reference do not explain; without any, the distance itself.
    distance = np.where(judged, np.maximum(np.abs(a - b) - errors, 0), 0)
    worst = _index(np.argmax(distance), shape)
    largest = float(distance[worst])
    scaled = largest / scale if scale else (np.inf if largest else 0.0)
    ulps = ulps_between(reference.astype(candidate.dtype), candidate)
    agree = scaled <= tolerance
    if agree:
        verdict = _agreement(scale, tolerance, errors, bends, judged, measured is not None)
    else:
        verdict = _disagreement(scaled, scale, dtype, worst, float(a[worst]), float(b[worst]))
        verdict += _unjudged(bends, judged)
    return LeafComparison(
        path=path,
        shape=shape,
        dtype=str(dtype),
        tolerance=tolerance,
        agree=agree,
        verdict=verdict,
        max_difference=largest,
        scale=scale,
        scaled_difference=scaled,
        angle=angle_between(b, a),
        ulps_median=float(np.median(ulps)),
        ulps_max=float(ulps.max()),
        worst_index=worst,
        worst_reference=float(b[worst]),
        worst_candidate=float(a[worst]),
        error=None if measured is None or not judged.any() else float(errors[judged].max()),
        unjudged=int((~judged).sum()),
        unmeasured=int((~judged & ~bends).sum()),
        kinks=tuple(_index(i, shape) for i in np.flatnonzero(~judged & bends)[:_NAMED]),
    )


# How many coordinates a report names, of those that were not judged.
_NAMED = 10
# Of the scale: a difference between these is what rounding to float32 somewhere makes, and no mistake in a formula.
_FLOAT32 = (float(np.finfo(np.float32).eps) / 16, float(np.finfo(np.float32).eps) * 64)


def _agreement(
    scale: float, tolerance: float, errors: np.ndarray, bends: np.ndarray, judged: np.ndarray, measured: bool
) -> str:
    if not judged.any():
        return "not judged: " + "; ".join(_reasons(bends, judged))
    error = float(errors[judged].max())
    if error > tolerance * scale:
        return f"agrees to {error:.1g}, which is how well this could be measured{_unjudged(bends, judged)}"
    if not scale and not measured:
        return "agrees: equal, as a scale of 0 asks"
    return f"agrees{_unjudged(bends, judged)}"


def _reasons(bends: np.ndarray, judged: np.ndarray) -> list[str]:
    """Why some numbers of a leaf were not judged, and how many."""
    bending, lost = int((~judged & bends).sum()), int((~judged & ~bends).sum())
    return [
        f"{what} {'at each of' if n == judged.size else f'at {n} of'} {judged.size}"
        for what, n in (("kink", bending), ("lost in rounding", lost))
        if n
    ]


def _disagreement(scaled: float, scale: float, dtype: Any, worst: tuple[int, ...], a: float, b: float) -> str:
    numbers = _told_apart(a, b)
    most = f", most at {list(worst)}" if worst else ""
    if not scale:
        return f"is not 0, as the reference is{most}: {numbers}"
    verdict = f"differs by {scaled:.2g} of its scale{most}: {numbers}"
    if dtype == np.float64 and _FLOAT32[0] <= scaled <= _FLOAT32[1]:
        verdict += "; the difference is of the size of float32's rounding"
    return verdict


def _unjudged(bends: np.ndarray, judged: np.ndarray) -> str:
    bending, lost = int((~judged & bends).sum()), int((~judged & ~bends).sum())
    said = f"; kink here, not judged: {bending} of {judged.size}" if bending else ""
    return said + (f"; lost in rounding, not judged: {lost} of {judged.size}" if lost else "")


def _told_apart(a: float, b: float) -> str:
    """Two numbers with four digits, or as many as it takes to see that they differ."""
    digits = next((n for n in range(4, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{digits}g} for {b:.{digits}g}"


def _kind(x: np.ndarray) -> str:
    """The type of an array; of one that only holds some object, the type of that."""
    return f"a {type(x[()]).__name__}" if x.dtype == object and not x.shape else str(x.dtype)


def _at(index: tuple[int, ...]) -> str:
    return f" at {list(index)}" if index else ""


def _index(flat: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def angle_between(b: np.ndarray, a: np.ndarray) -> float | None:
    """Radians between two arrays, taken as vectors; None if one is all zeros.

    2 asin(|u - v| / 2) of the unit vectors u and v: the arc cosine of their product is blind below 1e-8, since a cosine
    is flat at 0.
    """
    if not a.any() or not b.any():
        return None
    half_chord = _norm(_unit(a) - _unit(b)) / 2
    return float(2 * np.arcsin(np.clip(half_chord, 0, 1)))  # rounding may lead beyond 1


def _unit(x: np.ndarray) -> np.ndarray:
    x = x / np.abs(x).max()  # squares of very large or small numbers leave the range of floats
    return x / _norm(x)


def _norm(x: np.ndarray) -> float:
    """Without `np.linalg.norm`, whose threads take longer to wake up than arrays of this size to be squared."""
    return float(np.sqrt(np.sum(np.square(x))))


def ulps_between(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """How many steps from one floating-point number to the next lead from b to a; of one dtype, elementwise, as floats.

    The bits of a float without its sign, read as an integer, count the steps from 0: that is how IEEE 754 orders them.
    """
    if not jnp.issubdtype(a.dtype, jnp.floating) or a.dtype != b.dtype:
        raise TypeError(f"ulps between {b.dtype} and {a.dtype}: expected the same float dtype twice")
    a_steps, a_negative = _steps_from_zero(a)
    b_steps, b_negative = _steps_from_zero(b)
    apart = np.where(a_steps > b_steps, a_steps - b_steps, b_steps - a_steps)
    return np.where(a_negative == b_negative, apart, a_steps + b_steps).astype(np.float64)


def _steps_from_zero(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many floating-point numbers lie between 0 and x, and whether x is negative."""
    x = np.atleast_1d(np.ascontiguousarray(x))
    bits = x.view(f"u{x.dtype.itemsize}")
    sign = bits.dtype.type(1 << (8 * x.dtype.itemsize - 1))
    return (bits & ~sign).astype(np.uint64), (bits & sign) != 0
