"""Finite differences of any loss, as the referee: they ask for nothing but the cost, so no rule can mislead them.

A difference is only worth what is known of its error. Each slope comes with an estimate of that, made of three parts:
what extrapolation still changed, how far the slopes on both sides are apart as the step goes to 0 (a kink), and what
the rounding of the cost, which is measured, may do. The step shrinks until the first two are no more than the third.

In the order of reading: `central_differences`, of chosen parameters; the steps at one parameter; what four steps say;
the rounding of the cost; `finite_differences`, of all parameters, as a `value_and_grad`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxprop.verify.comparison import Measured, Measuring
from jaxprop.verify.oracles import Loss, chunk

# The steps, relative to a parameter's size, or to 1 if that is larger.
_LARGEST = 2**-5
_SMALLEST = 2**-31
# Four at a time, each smaller than the one before by this ratio. It is no fraction, so that no staircase or wave has a
# whole number of periods in all of them, and looks straight.
_RATIO = 5**0.5
# Of a slope: an error that is small enough to stop at, for any purpose here.
_GOOD = 1e-9
# Of standard deviations: a right gradient is not to be called wrong once in a million slopes.
_CERTAIN = 8
# The slope over four steps, of which h is the largest, has a standard deviation of 10 times that of the cost, over h.
_ROUNDING = 10 * _CERTAIN
# A doubt that is larger than so many times the rounding, and than this part of the slope, is a kink or a jump.
_KINK = 8
_SMOOTH = 1e-6


class Differences(NamedTuple):
    """Slopes along n parameters, which are counted as `jax.flatten_util.ravel_pytree` lays them out."""

    value: Float[Array, ""]
    slopes: Float[Array, " n"]
    errors: Float[Array, " n"]  # how far the slope may be off, by its own estimate
    bends: Bool[Array, " n"]  # no step is so small that the cost looks smooth: there is a kink or a jump at the point
    value_error: Float[Array, ""]  # what rounding may do to the value


def central_differences(loss: Loss) -> Callable[[Any, Any, Int[Array, " n"]], Differences]:
    """`differences(params, batch, indices)`: the slope of the loss along each of these parameters.

    Central differences over four steps; Richardson's extrapolation cancels their errors in h^2, h^4 and h^6. The
    largest is 1/32 of the parameter, or 1/32 if that is larger, and shrinks by 25 while the estimated error is more
    than rounding explains and more than a billionth of the slope. Of all tried, the slope with the smallest estimate is
    kept.

    At a kink (relu, max, abs) the slopes on both sides stay apart however small the step; such a slope is marked, as
    is one where the loss jumps. A kink that is farther away than the smallest useful step does no harm.

    Meant for float64, as under `jaxprop.in_float64`: differences lose half of the digits and more.
    """

    @jax.jit
    def differences(params: Any, batch: Any, indices: Int[Array, " n"]) -> Differences:
        flat, unravel = ravel_pytree(params)

        def f(flat: Array) -> Array:
            return loss(unravel(flat), batch)

        value = f(flat)
        noise = _noise(f, flat)

        def along(i: Array) -> tuple[Array, Array, Array]:
            return _slope(lambda x: f(flat.at[i].set(x)), flat[i], value.astype(flat.dtype), noise)

        slopes, errors, bends = _in_equal_chunks(along, jnp.asarray(indices), chunk(flat.size))
        return Differences(value, slopes, errors, bends, _CERTAIN * noise)

    return differences


def _in_equal_chunks(function: Callable[[Array], Any], indices: Int[Array, " n"], largest: int) -> Any:
    """`jax.lax.map` in chunks of one size, the last one filled up: a remainder would be a second program to compile."""
    chunks = max(1, -(-indices.size // largest))
    size = -(-indices.size // chunks)
    filled = jnp.resize(indices, (chunks * size,))
    return jax.tree.map(lambda found: found[: indices.size], jax.lax.map(function, filled, batch_size=size))


class _Found(NamedTuple):
    """At one parameter, so far: the next step, the best slope with its doubt and its rounding, and whether to stop."""

    step: Array
    slope: Array
    doubt: Array
    rounding: Array
    enough: Array


def _slope(f: Callable[[Array], Array], x: Array, value: Array, noise: Array) -> tuple[Array, Array, Array]:
    """The slope of f at x, its error, and whether f bends there. value: f(x), at whose rounding `noise` is."""
    size = jnp.maximum(1, jnp.abs(x))
    # A parameter may be tiny and matter all the same, as x in log(x).
    smallest = jnp.minimum(_SMALLEST * size, jnp.where(x == 0, size, jnp.abs(x)) * 2**-12)
    smallest = jnp.maximum(smallest, 2**-80)

    def shrink(found: _Found) -> _Found:
        slope, doubt, rounding = _over_four_steps(f, x, found.step, value, noise)
        better = doubt + rounding < found.doubt + found.rounding  # false for a NaN
        enough = doubt <= jnp.maximum(2 * rounding, _GOOD * jnp.abs(slope))
        return _Found(
            step=found.step / _RATIO**4,
            slope=jnp.where(better, slope, found.slope),
            doubt=jnp.where(better, doubt, found.doubt),
            rounding=jnp.where(better, rounding, found.rounding),
            enough=enough,
        )

    def goes_on(found: _Found) -> Array:
        return ~found.enough & (found.step > smallest)

    nothing = jnp.zeros_like(x)
    start = _Found(_LARGEST * size, nothing, nothing + jnp.inf, nothing, jnp.array(False))
    found = jax.lax.while_loop(goes_on, shrink, start)
    bends = found.doubt > jnp.maximum(_KINK * found.rounding, _SMOOTH * jnp.abs(found.slope))
    return found.slope, found.doubt + found.rounding, bends


def _over_four_steps(
    f: Callable[[Array], Array], x: Array, step: Array, value: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """The slope over four steps from h = `step` down; the doubt in it, from truncation and kinks; and its rounding.

    Where f is smooth, the slopes to the right and to the left are apart by S(h) = h f'' + h^3 f''''/12 + ...; at a kink
    the difference of the slopes is added to that. Two steps of extrapolation cancel h and h^3 and leave the kink.
    They are taken of the three larger steps and of the three smaller ones, because either misses a kink at two certain
    distances, but never both the same one: wherever it lies, the doubt is at least twice what it does to the slope.
    """
    h = step * jnp.array([1, 1 / _RATIO, 1 / _RATIO**2, 1 / _RATIO**3], x.dtype)
    above, below = points = x + jnp.array([[1], [-1]], x.dtype) * h
    f_above, f_below = values = jax.vmap(jax.vmap(f))(points).astype(x.dtype)
    # Divided by the step that was taken, which is not quite h after rounding.
    slopes = (f_above - f_below) / (above - below)
    apart = (f_above - value) / (above - x) - (value - f_below) / (x - below)

    fourth_order = _without(2, slopes)
    sixth_order = _without(4, fourth_order)
    (slope,) = _without(6, sixth_order)
    kink = _without(3, _without(1, apart))

    doubt = jnp.abs(slope - sixth_order[1]) + jnp.abs(kink).max()
    ulp = jnp.finfo(x.dtype).eps / 2 * jnp.abs(values).max()
    return slope, doubt, _ROUNDING * jnp.maximum(noise, ulp) / step


def _without(power: int, values: Float[Array, " n"]) -> Float[Array, " n-1"]:
    """Richardson's extrapolation: of values over steps that shrink by the ratio, without their term in h^power."""
    factor = _RATIO**power
    return (factor * values[1:] - values[:-1]) / (factor - 1)


def _noise(f: Callable[[Array], Array], flat: Float[Array, " p"]) -> Float[Array, ""]:
    """How much rounding scatters the loss: the standard deviation, and at least half an ulp.

    Along a line, fourth differences over tiny steps leave of a smooth function nothing but its noise, each number of it
    with the weights 1, 4, 6, 4, 1, whose squares add up to 70 (Hamming, "Introduction to applied numerical analysis",
    1971). The ulps of the loss alone would be too few where the terms of a sum cancel. Their median is taken, over
    0.6745 as for a normal distribution, because a kink near by is in a few of them only.

    Each parameter moves by a part of its own size, for it may be tiny and matter all the same; where it is 0, of that
    of most others.

    A loss that computes in a narrower type inside, such as float32 in float64, stands still over steps so tiny. There
    some ulps of that type are tried too.
    """
    eps = float(jnp.finfo(flat.dtype).eps)
    usual = jnp.nan_to_num(jnp.nanmedian(jnp.where(flat == 0, jnp.nan, jnp.abs(flat))), nan=1.0)
    size = jnp.where(flat == 0, usual, jnp.abs(flat))
    number = jnp.arange(flat.size)
    # Together the parameters move by as much as one would alone.
    together = max(1, flat.size / 2) ** 0.5
    lines = [eps ** (2 / 3) / together * size * jnp.cos(number)]
    narrowest = max(_precisions(jax.make_jaxpr(f)(flat).jaxpr), default=eps)
    if narrowest > eps:
        # Several, of steps without a common measure: along one, each step may happen to be a whole number of ulps.
        lines += [8 * 1.618**turn * narrowest * size * jnp.cos(turn + number) for turn in range(6)]

    def scatter(line: Array) -> Array:
        values = jax.vmap(lambda t: f(flat + t * line))(jnp.arange(-12, 13))
        ulp = jnp.finfo(values.dtype).eps / 2 * jnp.abs(values).max()
        spread = jnp.nanmedian(jnp.abs(jnp.diff(values.astype(flat.dtype), n=4))) / (0.6745 * 70**0.5)
        return jnp.maximum(spread, ulp.astype(flat.dtype))

    return jnp.nan_to_num(jax.lax.map(scatter, jnp.stack(lines)).max())


def _precisions(jaxpr: Any) -> Iterator[float]:
    """How far the next number after 1 is, of all that a program computes, within the functions that it calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "reduce_precision":
            yield 2.0 ** -equation.params["mantissa_bits"]
        for result in equation.outvars:
            if jnp.issubdtype(result.aval.dtype, jnp.floating):
                yield float(jnp.finfo(result.aval.dtype).eps)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _precisions(inner)


def finite_differences(loss: Loss) -> Measuring:
    """`value_and_grad` by `central_differences` over every parameter.

    It is a gradient like any other; `jaxprop.compare` asks it for the errors and the kinks too, and judges by them.
    Meant for float64, as `in_float64(finite_differences(loss))`: differences lose digits.
    """
    differences = central_differences(loss)

    def measured(params: Any, batch: Any) -> Measured:
        flat, unravel = ravel_pytree(params)
        if not flat.size:
            return Measured(loss(params, batch), params, params, params)
        found = differences(params, batch, jnp.arange(flat.size))
        _, as_flags = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), bool), params))
        trees = unravel(found.slopes), unravel(found.errors), as_flags(found.bends)
        return Measured(found.value, *trees, found.value_error)

    return Measuring(measured)
