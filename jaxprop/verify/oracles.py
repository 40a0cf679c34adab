"""Oracles: three more ways to the same gradient, so that reverse-mode autodiff is not its own judge.

Forward mode and the complex step each turn a plain `loss(params, batch)` into the usual `value_and_grad`, as the finite
differences of `differences.py` do. They take one parameter at a time, so they are slow, and they know nothing of
layers, so they are right for any loss. Products with the Hessian look at how a gradient changes.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxprop.errors import BadInput
from jaxprop.verify.comparison import Measuring, ValueAndGrad, by_path, name_of

Loss = Callable[[Any, Any], Float[Array, ""]]  # of anybody's parameters and batch


def chunk(parameters: int) -> int:
    """How many parameters are tried side by side: enough to keep the cores busy, few enough for copies of them all.

    At least one, of no parameters too.
    """
    return max(1, min(128, 2**21 // max(1, parameters)))


def forward_mode(loss: Loss) -> ValueAndGrad:
    """`value_and_grad` by `jax.jvp` along every parameter in turn: derivatives that are carried forwards, none back."""

    @jax.jit
    def value_and_grad(params: Any, batch: Any) -> tuple[Float[Array, ""], Any]:
        flat, unravel = ravel_pytree(params)
        if not flat.size:
            return loss(params, batch), params

        def slope(i: Array) -> Array:
            along = jnp.zeros_like(flat).at[i].set(1)
            return jax.jvp(lambda p: loss(unravel(p), batch), (flat,), (along,))[1]

        return loss(params, batch), unravel(jax.lax.map(slope, jnp.arange(flat.size), batch_size=chunk(flat.size)))

    return value_and_grad


def complex_step(loss: Loss) -> ValueAndGrad:
    """`value_and_grad` by a step of 1e-30 along the imaginary axis: the imaginary part, divided by it, is the slope.

    Nothing is subtracted, so nothing cancels, and the result is exact to rounding in float64; in float32, slopes below
    about 1e-8 are lost, since 1e-30 of them is no number there (Squire and Trapp, "Using complex
    variables to estimate derivatives of real functions", 1998). The loss must be analytic and take complex parameters.
    The costs and layers of this library are and do, but for ReLUs and `max_pool`, which have kinks, and `gelu(exact)`,
    since JAX has an erf of real numbers alone; abs and conjugation are not. In a loss of your own, JAX's complex
    convolution, `softplus` and `logaddexp` lose so small a step without a word, and the slope is wrong.
    """
    step = 1e-30  # its square vanishes beside 1

    @jax.jit
    def value_and_grad(params: Any, batch: Any) -> tuple[Float[Array, ""], Any]:
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf + 0j, params))
        if not flat.size:
            return loss(params, batch), params

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
    A gradient that knows its errors, as `finite_differences(loss)`, still does.
    """
    if isinstance(function, Measuring):
        return Measuring(in_float64(function.measured))

    def truth(*arguments: Any) -> Any:
        try:
            cpu = jax.local_devices(backend="cpu")[0]
        except (RuntimeError, AssertionError) as error:  # see jaxprop/run/devices.py
            remedy = "add cpu to JAX_PLATFORMS, as in JAX_PLATFORMS=cuda,cpu"
            raise BadInput(f"the float64 truth is computed on the CPU, which JAX does not see: {remedy}") from error

        def cast(x: Any) -> Array:
            x = jax.device_put(x, cpu)
            return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

        with jax.enable_x64(True), jax.default_device(cpu), jax.default_matmul_precision("highest"):
            return jax.tree.map(np.asarray, function(*jax.tree.map(cast, arguments)))

    return truth


def name_coordinates(params: Any, indices: Iterable[int]) -> list[str]:
    """The names of parameters that are counted as `ravel_pytree` lays them out: `[0].W[3, 5]`."""
    shapes = {path: np.shape(leaf) for path, leaf in by_path(params).items()}
    names = [name_of(path, at) for path, shape in shapes.items() for at in np.ndindex(shape)]
    return [names[i] for i in indices]
