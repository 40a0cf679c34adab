"""Oracles: three more ways to the same gradient, so that reverse-mode autodiff is not its own judge.

Forward mode, the complex step and finite differences each turn a plain `loss(params, batch)` into the usual
`value_and_grad`. They take one parameter at a time, so they are slow, and they know nothing of layers, so they are
right for any loss. Finite differences come with an estimate of their own error. Products with the Hessian look at how a
gradient changes.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxprop.errors import BadInput
from jaxprop.networks import Network
from jaxprop.verify.comparison import ValueAndGrad, by_path

Loss = Callable[[Any, Any], Float[Array, ""]]  # of anybody's parameters and batch
Pattern = Callable[[Any, Any], Any]


def chunk(parameters: int) -> int:
    """How many parameters are tried side by side: enough to keep the cores busy, few enough for copies of them all."""
    return max(1, min(128, 2**21 // parameters))


def forward_mode(loss: Loss) -> ValueAndGrad:
    """`value_and_grad` by `jax.jvp` along every parameter in turn: derivatives that are carried forwards, none back."""

    @jax.jit
    def value_and_grad(params: Any, batch: Any) -> tuple[Float[Array, ""], Any]:
        flat, unravel = ravel_pytree(params)

        def slope(i: Array) -> Array:
            along = jnp.zeros_like(flat).at[i].set(1)
            return jax.jvp(lambda p: loss(unravel(p), batch), (flat,), (along,))[1]

        return loss(params, batch), unravel(jax.lax.map(slope, jnp.arange(flat.size), batch_size=chunk(flat.size)))

    return value_and_grad


def complex_step(loss: Loss) -> ValueAndGrad:
    """`value_and_grad` by a step of 1e-30 along the imaginary axis: the imaginary part, divided by it, is the slope.

    Nothing is subtracted, so nothing cancels, and the result is exact to rounding in float64; in float32, slopes below
    about 1e-8 are lost, since 1e-30 of them is no number there (Squire and Trapp, "Using complex
    variables to estimate derivatives of real functions", 1998). The loss must be analytic and take complex parameters:
    sigmoid, tanh, identity and (a - y)**2 are and do; ReLU, abs and conjugation are not.
    """
    step = 1e-30  # its square vanishes beside 1

    @jax.jit
    def value_and_grad(params: Any, batch: Any) -> tuple[Float[Array, ""], Any]:
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf + 0j, params))

        def slope(i: Array) -> Array:
            return loss(unravel(flat.at[i].add(step * 1j)), batch).imag / step

        slopes = jax.lax.map(slope, jnp.arange(flat.size), batch_size=chunk(flat.size))
        return loss(params, batch), ravel_pytree(params)[1](slopes)

    return value_and_grad


def hvp(value_and_grad: ValueAndGrad) -> Callable[[Any, Any, Any], Any]:
    """`product(params, batch, direction)`: the Hessian times a direction, as the slope of the gradient along it.

    It finds what a gradient at one point cannot show: a factor that happens to be right there, and does not change as
    it should when the parameters do.
    """

    def product(params: Any, batch: Any, direction: Any) -> Any:
        return jax.jvp(lambda p: value_and_grad(p, batch)[1], (params,), (direction,))[1]

    return product


def in_float64(function: Callable) -> Callable:
    """The same function as the truth to measure others by: float64 on the CPU, its float arguments cast to that.

    The results are NumPy arrays: outside of x64 mode JAX would quietly round its own to float32 at the next operation.
    Accelerators compute float64 slowly or not at all, hence the CPU; `BadInput` where `JAX_PLATFORMS` leaves it out.
    """

    def truth(*arguments: Any) -> Any:
        try:
            cpu = jax.local_devices(backend="cpu")[0]
        except RuntimeError as error:
            remedy = "add cpu to JAX_PLATFORMS, as in JAX_PLATFORMS=cuda,cpu"
            raise BadInput(f"the float64 truth is computed on the CPU, which JAX does not see: {remedy}") from error

        def cast(x: Any) -> Array:
            x = jax.device_put(x, cpu)
            return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

        with jax.enable_x64(True), jax.default_device(cpu), jax.default_matmul_precision("highest"):
            return jax.tree.map(np.asarray, function(*jax.tree.map(cast, arguments)))

    return truth


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
    """Which ReLUs are awake for which example: those of the layers named "relu" in `network.layers`."""

    def signs(params: Any, x: Array) -> list[Bool[Array, "..."]]:
        found = []
        for layer, layer_params in zip(network.layers, params, strict=True):
            if layer.name == "relu":
                found.append(x > 0)
            x, _ = layer.forward(layer_params, x)
        return found

    def pattern(params: Any, batch: Any) -> list[Bool[Array, "B ..."]]:
        return jax.vmap(signs, (None, 0))(params, batch[0])

    return pattern


def name_coordinates(params: Any, indices: Iterable[int]) -> list[str]:
    """The names of parameters that are counted as `ravel_pytree` lays them out: `[0].W[3, 5]`."""
    shapes = {path: np.shape(leaf) for path, leaf in by_path(params).items()}
    names = [f"{path}{list(at)}" for path, shape in shapes.items() for at in np.ndindex(shape)]
    return [names[i] for i in indices]
