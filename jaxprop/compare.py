"""Do two gradients agree? Leaf by leaf: a bias of ten numbers cannot hide behind a matrix of a hundred thousand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.comparable import check_number, check_point, check_reference, check_scale, on_host
from jaxprop.comparison import Comparison, LeafComparison
from jaxprop.errors import BadInput
from jaxprop.leafwise import compare_leaf
from jaxprop.outer import mean_over_examples

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
        largest |reference|. The defaults leave room for that: 1e-11 in float64, for sums that cancel to 1/10,000;
        1e-4 in float32, to 1/200; float16 0.15, to 1/40, and bfloat16 0.25, to 1/8, can tell a wrong sign or a factor
        of 2 and no more, and a leaf that cancels further needs a scale.
    scale: what differences are measured by: a number, or a pytree like the gradients with a number for each leaf. By
        default the largest |reference| in the leaf. `per_example_scale` is the better yardstick where per-example
        gradients are at hand, since no cancellation between examples shortens it: tolerance=1e-13 is ample with it.
        A leaf of scale 0 must be exactly 0 in both: a dead ReLU passes back nothing at all.

    Both functions are called as they are (jit them first where that pays), with matrix products at the highest
    precision: TensorFloat-32, with its ten bits, is the classic false alarm.

    Raises `BadInput` on parameters that are not floats, an empty batch, a reference that is not finite or not like
    `params`, and a tolerance or scale that is not a finite number of at least 0.
    """
    dtypes = check_point(params, batch)
    tolerances = {path: _default_tolerance(dtype) if tolerance is None else tolerance for path, dtype in dtypes.items()}
    check_number("tolerance", max(tolerances.values()))
    with jax.default_matmul_precision(_PRECISION):
        reference_value, reference_grads = _call("reference", reference, params, batch)
        candidate_value, candidate_grads = _call("candidate", candidate, params, batch)
    wanted, given = on_host(reference_grads), on_host(candidate_grads)
    check_reference(reference_value, wanted, params)
    scales = check_scale(scale, wanted)

    leaves = [_extra(path, a) for path, a in given.items() if path not in wanted]
    leaves += [
        compare_leaf(path, b, given.get(path), dtypes[path], tolerances[path], scales[path])
        for path, b in wanted.items()
    ]
    value = _compare_values(reference_value, candidate_value, max(tolerances.values()))
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
        return jax.tree.map(jnp.max, mean_over_examples(jax.tree.map(jnp.abs, grads)))


def _call(name: str, function: ValueAndGrad, params: Any, batch: Any) -> tuple[Any, Any]:
    result = function(params, batch)
    if not isinstance(result, tuple) or len(result) != 2:
        raise BadInput(f"the {name} returned a {type(result).__name__}: expected a pair (value, grads)")
    return result


def _default_tolerance(dtype: np.dtype) -> float:
    if str(dtype) not in _TOLERANCES:
        raise BadInput(f"no default tolerance is known for {dtype}: give one, as tolerance=0.1")
    return _TOLERANCES[str(dtype)]


def _compare_values(reference: Any, candidate: Any, tolerance: float) -> LeafComparison:
    b, a = np.asarray(reference), np.asarray(candidate)
    # A value may be summed up in a wider type than that of the parameters, but it is a real number.
    dtype = a.dtype if jnp.issubdtype(a.dtype, jnp.floating) else b.dtype
    return compare_leaf("value", b, a, dtype, tolerance, scale=None)


def _extra(path: str, a: np.ndarray) -> LeafComparison:
    verdict = "is extra: there is no such parameter"
    return LeafComparison(path, a.shape, str(a.dtype), tolerance=0.0, agree=False, verdict=verdict)


def _device(*values: Any) -> str:
    """Of the first that is on one: the truth that a candidate is held against may have come back to the host."""
    for x in values:
        if isinstance(x, jax.Array):
            return ", ".join(f"{device.platform} ({device.device_kind})" for device in x.devices())
    return "the host, by NumPy"
