"""Every number of both passes of one example, by hand and by `jax.grad`: what the desk's page is compared with.

The names are those of the lesson, which counts layers from 1: z1, a1, da1, dz1, dW1, db1 are of the first hidden layer,
da1 being the derivative of the cost by its activations. dx is the derivative by the inputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit

import jaxprop as jp
from jaxprop.layers import Params
from jaxprop.nudges import wishes
from jaxprop.verify.differences import central_differences

ACTIVATIONS = ("sigmoid", "relu", "tanh", "identity")  # of hidden layers
Numbers = dict[str, Any]  # each name with its array


class Bounds(NamedTuple):
    """How far two right answers may be apart, scaled: see `scales`."""

    by_hand: float = 1e-12  # 4,500 ulps of float64, for sums of up to 784 terms in another order, through three layers
    autodiff: float = 1e-12
    differences: float = 1e-9  # a difference loses half of float64's digits; extrapolation wins back two


def by_hand(network: jp.Network, params: Params, x: Float[Array, " in"], y: Float[Array, " out"]) -> Numbers:
    """All numbers by the backward functions of the layers. Of an `mlp`: dense layers, each with its activation."""
    found = wishes(network, jp.squared_error)(params, x, y)
    numbers = {"cost": jp.squared_error.value(found[-1].y, y), "dx": -found[0].nudge_x}
    for i in range(0, len(found), 2):
        dense, activation = found[i : i + 2]
        numbers |= _named(i // 2 + 1, z=dense.y, a=activation.y, da=-activation.nudge_y, dz=-dense.nudge_y)
        numbers |= _named(i // 2 + 1, dW=-dense.nudge.W.expand(), db=-dense.nudge.b)
    return numbers


def by_autodiff(network: jp.Network, params: Params, x: Float[Array, " in"], y: Float[Array, " out"]) -> Numbers:
    """All numbers, the derivatives by `jax.grad`: of each z and each a by that of a zero that is added to it."""

    def cost_of(params: Params, x: Array, zeros: list[Array]) -> tuple[Array, list[Array]]:
        signals = []
        for layer, layer_params, zero in zip(network.layers, params, zeros, strict=True):
            x = layer.forward(layer_params, x)[0] + zero
            signals.append(x)
        return jp.squared_error.value(x, y), signals

    zeros = [jnp.zeros_like(dense.b) for dense in params[::2] for _ in ("z", "a")]
    derive = jax.value_and_grad(cost_of, argnums=(0, 1, 2), has_aux=True)
    (cost, signals), (grads, dx, by_signals) = derive(params, x, zeros)
    numbers = {"cost": cost, "dx": dx}
    for i in range(0, len(network.layers), 2):
        dz, da = by_signals[i : i + 2]
        numbers |= _named(i // 2 + 1, z=signals[i], a=signals[i + 1], da=da, dz=dz, dW=grads[i].W, db=grads[i].b)
    return numbers


def by_both(network: jp.Network) -> Callable[[Params, Any, Any], tuple[Numbers, Numbers]]:
    """`both(params, x, y)`: all numbers by hand, and all by `jax.grad`. One program, since compiling takes the time."""
    return jax.jit(lambda *point: (by_hand(network, *point), by_autodiff(network, *point)))


def by_differences(network: jp.Network) -> Callable[[Params, Any, Any, Any], tuple[np.ndarray, np.ndarray]]:
    """`slopes(params, x, y, which)`: along these parameters, counted as by `ravel_pytree`; and where it bends."""
    differences = central_differences(jp.loss(network, jp.squared_error))

    def slopes(params: Params, x: Array, y: Array, which: Any) -> tuple[np.ndarray, np.ndarray]:
        found = differences(params, (x[None], y[None]), which)
        return np.asarray(found.slopes), np.asarray(found.bends)

    return slopes


def scales(network: jp.Network, params: Params, x: Any, y: Any) -> dict[str, float]:
    """How large the terms are of which each array is made: what its differences are divided by.

    The same computation in which every number is replaced by its size and every minus by a plus; of each array the
    largest. Rounding is a few ulps of that, also where terms cancel, as in 1 - a and a - y of a saturated neuron. Where
    z is rounded, a is off by the slope times as much.
    """
    dense_layers = [tuple(np.asarray(array, np.float64) for array in layer) for layer in params[::2]]
    a, before, y = np.asarray(x, np.float64), np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(y, np.float64))
    sizes, passed = {}, []
    for number, ((W, b), activation) in enumerate(zip(dense_layers, network.layers[1::2], strict=True), start=1):
        a, slope, slope_terms = _activate(activation.name, W @ a + b)
        z_terms = np.abs(W) @ before + np.abs(b)
        a_terms = np.abs(a) + slope * z_terms
        sizes |= _named(number, z=z_terms, a=a_terms)
        passed.append((before, slope_terms))
        before = a_terms
    sizes["cost"] = np.sum((before + y) ** 2)
    da = 2 * (before + y)
    for number in range(len(passed), 0, -1):
        before, slope_terms = passed[number - 1]
        dz = slope_terms * da
        sizes |= _named(number, da=da, dz=dz, dW=np.outer(dz, before), db=dz)
        da = np.abs(dense_layers[number - 1][0]).T @ dz
    sizes["dx"] = da
    return {name: float(np.max(size)) for name, size in sizes.items()}


def _activate(name: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The activations, their slopes, and the terms of which the slopes are made."""
    one = np.ones_like(z)
    if name == "sigmoid":
        a = expit(z)
        return a, a * (1 - a), a * (1 + a)
    if name == "tanh":
        a = np.tanh(z)
        return a, 1 - a**2, 1 + a**2
    if name == "relu":
        return np.maximum(z, 0), one * (z > 0), one * (z > 0)
    return z, one, one


def _named(number: int, **arrays: Any) -> dict[str, Any]:
    """The arrays of a layer under the names that they have in the lesson."""
    return {f"{kind}{number}": array for kind, array in arrays.items()}


def largest_difference(found: Numbers, reference: Numbers, scale: dict[str, float]) -> tuple[float, str]:
    """The largest scaled difference of all arrays, and whose it is. A NaN counts as infinite."""
    apart = {}
    for name, right in reference.items():
        difference = np.max(np.abs(np.asarray(found[name], np.float64) - np.asarray(right)))
        apart[name] = 0.0 if difference == 0 else float(np.nan_to_num(difference / scale[name], nan=np.inf))
    worst = max(apart, key=apart.__getitem__)
    return apart[worst], worst
