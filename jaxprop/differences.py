"""Finite differences: the slope as everybody learns it first, extrapolated, with an estimate of its own error."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxprop.comparable import by_path
from jaxprop.compare import ValueAndGrad
from jaxprop.networks import Network
from jaxprop.referees import Loss, chunk

Pattern = Callable[[Any, Any], Any]


class Differences(NamedTuple):
    """Slopes along n parameters, which are counted as `jax.flatten_util.ravel_pytree` lays them out."""

    value: Float[Array, ""]
    slopes: Float[Array, " n"]
    errors: Float[Array, " n"]  # how far the slope may be off, by its own estimate
    flipped: Bool[Array, " n"]  # a ReLU woke or fell asleep inside the step: the slope and its error mean nothing


def central_differences(
    loss: Loss, pattern: Pattern | None = None, step: float = 2**-6
) -> Callable[[Any, Any, Int[Array, " n"]], Differences]:
    """`differences(params, batch, indices)`: the slope of the loss along each of these parameters.

    Central differences over h, h/2 and h/4, h being `step` times the parameter, or `step` itself if that is larger.
    Richardson's extrapolation cancels their errors in h^2 and h^4. The error is estimated as the last change that this
    made, plus what the rounding of the loss, which is measured, may do to the smallest difference.

    pattern: `(params, batch) -> anything`, such as `relu_pattern(network)`. Where it is not the same all over the step,
        the loss has a kink there, and the entry is marked as flipped.
    """

    def along(flat: Array, i: Array, f: Callable[[Array], tuple[Array, Any]], noise: Array) -> tuple[Array, ...]:
        h = step * jnp.maximum(1, jnp.abs(flat[i]))
        points = flat[i] + h * jnp.array([[1, -1], [1 / 2, -1 / 2], [1 / 4, -1 / 4]], flat.dtype)
        values, signs = jax.vmap(jax.vmap(lambda x: f(flat.at[i].set(x))))(points)
        # Divided by the step that was taken, which is not quite h after rounding.
        first, second, third = (values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1])
        coarse, fine = (4 * second - first) / 3, (4 * third - second) / 3
        slope = (16 * fine - coarse) / 15
        changed = [jnp.any(sign != sign[0, 0]) for sign in jax.tree.leaves(signs)]
        return slope, jnp.abs(slope - fine) + 8 * noise / (h / 4), jnp.any(jnp.array([False, *changed]))

    @jax.jit
    def differences(params: Any, batch: Any, indices: Int[Array, " n"]) -> Differences:
        flat, unravel = ravel_pytree(params)

        def f(flat: Array) -> tuple[Array, Any]:
            p = unravel(flat)
            return loss(p, batch), pattern(p, batch) if pattern else ()

        noise = _noise(lambda flat: f(flat)[0], flat)
        found = jax.lax.map(lambda i: along(flat, i, f, noise), jnp.asarray(indices), batch_size=chunk(flat.size))
        return Differences(loss(params, batch), *found)

    return differences


def _noise(f: Callable[[Array], Array], flat: Float[Array, " p"]) -> Float[Array, ""]:
    """How much rounding scatters the loss: the standard deviation, and at least half an ulp.

    Along a line, fourth differences over tiny steps leave of a smooth function nothing but its noise, each number of it
    with the weights 1, 4, 6, 4, 1, whose squares add up to 70 (Hamming, "Introduction to applied numerical analysis",
    1971). The ulps of the loss alone would be too few where the terms of a sum cancel.
    """
    eps = jnp.finfo(flat.dtype).eps
    direction = jnp.cos(jnp.arange(flat.size)) * jnp.maximum(1, jnp.abs(flat))
    values = jax.vmap(lambda t: f(flat + t * direction))(jnp.arange(-12, 13) * eps**0.5)
    return jnp.maximum(jnp.sqrt(jnp.mean(jnp.diff(values, n=4) ** 2) / 70), eps / 2 * jnp.abs(values).max())


def finite_differences(loss: Loss) -> ValueAndGrad:
    """`value_and_grad` by `central_differences` over every parameter. Meant for float64: differences lose digits."""
    differences = central_differences(loss)

    def value_and_grad(params: Any, batch: Any) -> tuple[Float[Array, ""], Any]:
        flat, unravel = ravel_pytree(params)
        found = differences(params, batch, jnp.arange(flat.size))
        return found.value, unravel(found.slopes)

    return value_and_grad


def relu_pattern(network: Network) -> Pattern:
    """Which ReLUs are awake for which example: the masks that those layers keep for their backward pass."""

    def pattern(params: Any, batch: Any) -> list[Bool[Array, "B width"]]:
        _, residuals = jax.vmap(network.layer.forward, (None, 0))(params, batch[0])
        return [leaf for leaf in jax.tree.leaves(residuals) if leaf.dtype == bool]

    return pattern


def name_coordinates(params: Any, indices: Iterable[int]) -> list[str]:
    """The names of parameters that are counted as `ravel_pytree` lays them out: `[0].W[3, 5]`."""
    shapes = {path: np.shape(leaf) for path, leaf in by_path(params).items()}
    names = [f"{path}{list(at)}" for path, shape in shapes.items() for at in np.ndindex(shape)]
    return [names[i] for i in indices]
