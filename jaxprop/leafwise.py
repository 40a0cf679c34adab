"""One leaf of a gradient against another: how far apart they are, in four ways, and whether that is allowed."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxprop.comparison import LeafComparison


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
    b, a = reference.astype(np.float64), candidate.astype(np.float64)
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
        path, shape, str(dtype), tolerance, agree, verdict,
        max_difference=largest,
        scale=scale,
        scaled_difference=scaled,
        angle=angle_between(b, a),
        ulps_median=float(np.median(ulps)),
        ulps_max=float(ulps.max()),
        worst_index=worst,
        worst_reference=float(b[worst]),
        worst_candidate=float(a[worst]),
    )  # fmt: skip


def _verdict(scaled: float, scale: float, tolerance: float) -> tuple[bool, str]:
    if not scale:
        return (False, "is not 0, as the reference is") if scaled else (True, "agrees: exactly 0 in both")
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
    u, v = (x / np.abs(x).max() for x in (a, b))  # squares of very large or small numbers leave the range of floats
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return float(2 * np.arcsin(min(np.linalg.norm(u - v) / 2, 1.0)))


def ulps_between(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """How many steps from one floating-point number to the next lead from b to a; of one dtype, elementwise, as floats.

    The bits of a float without its sign, read as an integer, count the steps from 0: that is how IEEE 754 orders them.
    """
    if not jnp.issubdtype(a.dtype, jnp.floating) or a.dtype != b.dtype:
        raise TypeError(f"ulps between {b.dtype} and {a.dtype}: expected the same float dtype twice")
    bits = np.dtype(f"u{a.dtype.itemsize}")
    sign = bits.type(1 << (8 * bits.itemsize - 1))
    (a_steps, a_negative), (b_steps, b_negative) = (
        ((x.view(bits) & ~sign).astype(np.uint64), x.view(bits) & sign != 0)
        for x in (np.atleast_1d(np.ascontiguousarray(x)) for x in (a, b))
    )
    apart = np.where(a_steps > b_steps, a_steps - b_steps, b_steps - a_steps)
    return np.where(a_negative == b_negative, apart, a_steps + b_steps).astype(np.float64)
