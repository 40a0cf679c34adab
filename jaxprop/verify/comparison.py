"""Do two gradients agree? Leaf by leaf: a bias of ten numbers cannot hide behind a matrix of a hundred thousand.

In the order of reading: `compare`; what may be compared; one leaf against another, by largest difference, scaled
difference, angle and ulps.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.errors import BadInput
from jaxprop.structured import Outer, expand, is_structured, mean_over_examples
from jaxprop.verify.report import Comparison, LeafComparison

Leaves = dict[str, np.ndarray]  # each under its path in the tree
ValueAndGrad = Callable[[Any, Any], tuple[Any, Any]]  # of anybody's: any parameters, any batch

# Why these: see `compare`.
_TOLERANCES = {"float64": 1e-11, "float32": 1e-4, "float16": 0.15, "bfloat16": 0.25}
_PRECISION = "highest"


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

    A leaf agrees if max |reference - candidate| <= tolerance * scale. The value is compared in the same way.

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
        a scale.
    scale: what differences are measured by: a number, or a pytree like the gradients with a number for each leaf. By
        default the largest |reference| in the leaf. `per_example_scale` is the better yardstick where per-example
        gradients are at hand, since no cancellation between examples shortens it: tolerance=1e-13 is ample with it.
        With a scale of 0 the two must be equal. By default that is a leaf of zeros: a dead ReLU passes back nothing.
    value_scale: the same for the value; by default its size in the reference. Where a cost is nearly 0, rounding of
        what it is the difference of is large beside it.

    Both functions are called as they are (jit them first where that pays), with matrix products at the highest
    precision: TensorFloat-32, with its ten bits, is the classic false alarm.

    Raises `BadInput` on parameters that are not floats, an empty batch, a reference that is not finite or not like
    `params`, and a tolerance or scale that is not a finite number of at least 0.
    """
    dtypes = check_point(params, batch)
    tolerances = {path: _default_tolerance(dtype) if tolerance is None else tolerance for path, dtype in dtypes.items()}
    check_number("tolerance", max(tolerances.values()))
    reference_value, reference_grads = call("reference", reference, params, batch)
    candidate_value, candidate_grads = call("candidate", candidate, params, batch)
    wanted = on_host(reference_grads)
    given = on_host(candidate_grads)
    check_reference(reference_value, wanted, params)
    scales = check_scale(scale, wanted)
    if value_scale is not None:
        check_number("value_scale", value_scale)

    leaves = [_extra(path, a) for path, a in given.items() if path not in wanted]
    leaves += [
        compare_leaf(path, b, given.get(path), dtypes[path], tolerances[path], scales[path])
        for path, b in wanted.items()
    ]
    value = _compare_values(reference_value, candidate_value, max(tolerances.values()), value_scale)
    return Comparison(
        agree=value.agree and all(leaf.agree for leaf in leaves),
        value=value,
        leaves=tuple(leaves),
        dtype=", ".join(sorted({str(dtype) for dtype in dtypes.values()})),
        device=_device(candidate_value, reference_value),
        matmul_precision=_PRECISION,
    )


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


def call(name: str, function: ValueAndGrad, params: Any, batch: Any) -> tuple[Any, Any]:
    """What the function gives at one point, with matrix products at the highest precision.

    Raises `BadInput`, with its name, unless that is a pair.
    """
    with jax.default_matmul_precision(_PRECISION):
        result = function(params, batch)
    if not isinstance(result, tuple) or len(result) != 2:
        raise BadInput(f"the {name} returned a {type(result).__name__}: expected a pair (value, grads)")
    return result


def _default_tolerance(dtype: np.dtype) -> float:
    if str(dtype) not in _TOLERANCES:
        raise BadInput(f"no default tolerance is known for {dtype}: give one, as tolerance=0.1")
    return _TOLERANCES[str(dtype)]


def _compare_values(reference: Any, candidate: Any, tolerance: float, scale: float | None) -> LeafComparison:
    b = np.asarray(reference)
    a = np.asarray(candidate)
    # A value may be summed up in a wider type than that of the parameters, but it is a real number.
    dtype = a.dtype if jnp.issubdtype(a.dtype, jnp.floating) else b.dtype
    return compare_leaf("value", b, a, dtype, tolerance, scale)


def _extra(path: str, a: np.ndarray) -> LeafComparison:
    verdict = "is extra: there is no such parameter"
    return LeafComparison(path, a.shape, str(a.dtype), tolerance=0.0, agree=False, verdict=verdict)


def _device(*values: Any) -> str:
    """Of the first that is on one: the truth that a candidate is held against may have come back to the host."""
    for x in values:
        if isinstance(x, jax.Array):
            return ", ".join(f"{device.platform} ({device.device_kind})" for device in x.devices())
    return "the host, by NumPy"


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, each under its path, as `[0].W`; a tree that is one array has the path "all"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path) or "all": leaf for path, leaf in leaves}


def on_host(tree: Any) -> Leaves:
    """The leaves of a tree as NumPy arrays, each under its path."""
    return {path: np.asarray(leaf) for path, leaf in by_path(tree).items()}


def dtype_of(leaf: Any) -> np.dtype:
    """The type of an array or a number, as JAX takes it; `object` for what is neither."""
    if isinstance(leaf, str):  # which JAX would take for the name of a type
        return np.dtype(object)
    try:
        return jnp.result_type(leaf)
    except (TypeError, ValueError):
        return np.dtype(object)


def check_point(params: Any, batch: Any) -> dict[str, np.dtype]:
    """The dtype of each parameter. Raises `BadInput` if one is not a float, there is none, or the batch is empty."""
    dtypes = {path: dtype_of(leaf) for path, leaf in by_path(params).items()}
    if not dtypes:
        raise BadInput("params hold no array: expected a tree with at least one parameter")
    for path, dtype in dtypes.items():
        if not jnp.issubdtype(dtype, jnp.floating):
            raise BadInput(f"parameter {path} is {dtype}: expected floats, since nothing else has a gradient")
    for path, x in by_path(batch).items():
        if np.size(x) == 0:
            raise BadInput(f"the batch is empty: its array {path} has shape {np.shape(x)}; expected an example or more")
    return dtypes


def check_reference(value: Any, grads: Leaves, params: Any) -> None:
    """Raises `BadInput` unless the reference is one number and a gradient like the parameters, and finite."""
    expected = {path: np.shape(leaf) for path, leaf in by_path(params).items()}
    given = {path: leaf.shape for path, leaf in grads.items()}
    if given != expected:
        raise BadInput(f"the reference's gradient has shapes {given}: expected those of the parameters, {expected}")
    if np.shape(value) != ():
        raise BadInput(f"the reference's value has shape {np.shape(value)}: expected one number")
    for path, x in {"value": np.asarray(value), **grads}.items():
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise BadInput(f"the reference is {x.dtype} at {path}: expected floats")
        if not np.isfinite(x.astype(np.float64)).all():
            raise BadInput(f"the reference is not finite at {path}: nothing can be measured by it; try another point")


def check_number(name: str, x: Any) -> None:
    """Raises `BadInput` unless x is finite and at least 0."""
    number = np.asarray(x)
    if number.ndim or not jnp.issubdtype(number.dtype, jnp.number) or not 0 <= x < math.inf:  # false for NaN too
        raise BadInput(f"{name} is {x}: expected a finite number of at least 0")


def check_scale(scale: Any, grads: Leaves) -> dict[str, float | None]:
    """The scale of each leaf, None where none was given. Raises `BadInput` on anything but numbers for each."""
    if scale is None:
        return dict.fromkeys(grads)
    scales = on_host(scale)
    if scales.keys() == {"all"}:
        scales = dict.fromkeys(grads, scales["all"])
    if scales.keys() != grads.keys() or any(x.shape for x in scales.values()):
        raise BadInput(f"scale is {scale!r}: expected a number, or a tree like the gradients with one for each leaf")
    for path, x in scales.items():
        check_number(f"the scale of {path}", x)
    return {path: float(x) for path, x in scales.items()}


def compare_leaf(
    path: str, reference: np.ndarray, candidate: np.ndarray | None, dtype: Any, tolerance: float, scale: float | None
) -> LeafComparison:
    """`candidate`, which may be anything at all, against a `reference` that is finite.

    dtype: what the candidate must be.
    scale: of the differences; None for the largest |reference|.
    """
    shape = reference.shape

    def failed(verdict: str, **more: Any) -> LeafComparison:
        return LeafComparison(path, shape, str(dtype), tolerance, agree=False, verdict=verdict, **more)

    if candidate is None:
        return failed("is missing")
    if candidate.shape != shape:
        return failed(f"has shape {candidate.shape}: expected {shape}")
    if candidate.dtype != dtype:
        return failed(f"is {candidate.dtype}: expected {dtype}")
    b = reference.astype(np.float64)
    a = candidate.astype(np.float64)
    if not np.isfinite(a).all():
        worst = _index(np.argmin(np.isfinite(a)), shape)
        where = f"holds {a[worst]} at {list(worst)}"
        return failed(where, worst_index=worst, worst_reference=float(b[worst]), worst_candidate=float(a[worst]))
    if not a.size:
        return LeafComparison(path, shape, str(dtype), tolerance, agree=True, verdict="agrees: both are empty")

    distance = np.abs(a - b)
    worst = _index(np.argmax(distance), shape)
    largest = float(distance[worst])
    scale = float(np.abs(b).max()) if scale is None else scale
    scaled = largest / scale if scale else (np.inf if largest else 0.0)
    ulps = ulps_between(reference.astype(candidate.dtype), candidate)
    agree, verdict = _verdict(scaled, scale, tolerance)
    if not agree:
        verdict += f", most at {list(worst)}: {a[worst]:.4g} for {b[worst]:.4g}"
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
    )


def _verdict(scaled: float, scale: float, tolerance: float) -> tuple[bool, str]:
    if not scale:
        return (False, "is not 0, as the reference is") if scaled else (True, "agrees: equal, as a scale of 0 asks")
    if scaled <= tolerance:
        return True, "agrees"
    return False, f"differs by {scaled:.2g} of its scale"


def _index(flat: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def angle_between(b: np.ndarray, a: np.ndarray) -> float | None:
    """Radians between two arrays, taken as vectors; None if one is all zeros.

    2 asin(|u - v| / 2) of the unit vectors u and v: the arc cosine of their product is blind below 1e-8, since a cosine
    is flat at 0.
    """
    if not a.any() or not b.any():
        return None
    half_chord = np.linalg.norm(_unit(a) - _unit(b)) / 2
    return float(2 * np.arcsin(np.clip(half_chord, 0, 1)))  # rounding may lead beyond 1


def _unit(x: np.ndarray) -> np.ndarray:
    x = x / np.abs(x).max()  # squares of very large or small numbers leave the range of floats
    return x / np.linalg.norm(x)


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
