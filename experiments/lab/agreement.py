"""Five ways to one gradient on the lesson's network: how far apart they are, what each costs, and where they lead."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray

import jaxprop as jp
from jaxprop.gradients import ValueAndGrad
from jaxprop.data.batches import Batch
from jaxprop.verify.comparison import compare, per_example_scale
from jaxprop.verify.report import Comparison
from jaxprop.verify.oracles import central_differences, name_coordinates, relu_pattern
from jaxprop.layers.core import Params
from jaxprop.verify.oracles import forward_mode, hvp, in_float64
from lab.timing import compile_apart, interleave
from lab.running_example import snapshots

HANDS = {"backprop": jp.backprop, "autodiff": jp.autodiff}

# How far apart two correct gradients may be, scaled, and why.
ROUNDING, ROUNDING_FLOAT32, DIFFERENCES = 1e-13, 2e-6, 1e-9
BECAUSE = {
    ROUNDING: "450 ulps of float64, for sums of up to 784 terms; in units of the mean size of what was added",
    ROUNDING_FLOAT32: "17 ulps of float32, for sums of up to 784 terms; in units of the mean size of what was added",
    DIFFERENCES: "a difference loses half of float64's digits; extrapolation wins back two",
}
HANDS_64 = "by hand against autodiff, float64"


class Judged(NamedTuple):
    """One comparison: who was judged by whom."""

    candidate: str
    reference: str
    comparison: Comparison


def judge(network: jp.Network, params: Params, batch: Batch) -> tuple[list[Judged], list[str]]:
    """Every way against autodiff, at float64 parameters; and the parameters whose finite difference meets a kink.

    Where a ReLU wakes or falls asleep inside the step, a difference quotient says nothing: those entries are left out.
    """
    by_jax, by_hand = (jax.jit(hand(network, jp.squared_error)) for hand in (jp.autodiff, jp.backprop))
    loss = jp.loss(network, jp.squared_error)
    forwards, differences = forward_mode(loss), central_differences(loss, relu_pattern(network))
    flat, unravel = ravel_pytree(params)
    found = differences(params, batch, jnp.arange(flat.size))

    def by_differences(params: Params, batch: Batch) -> tuple[Any, Any]:
        reference, _ = ravel_pytree(by_jax(params, batch)[1])
        return found.value, unravel(jnp.where(found.flipped, reference, found.slopes))

    scale = per_example_scale(jax.jit(jp.per_example(network, jp.squared_error)), params, batch)
    in_64 = {
        "backprop": (by_hand, ROUNDING),
        "forward mode": (forwards, ROUNDING),
        "finite differences": (by_differences, DIFFERENCES),
    }
    judged = [
        Judged(name, "autodiff", compare(by_jax, candidate, params, batch, tolerance, scale))
        for name, (candidate, tolerance) in in_64.items()
    ]
    params_32, batch_32 = jax.tree.map(lambda x: x.astype(jnp.float32), (params, batch))
    truth = in_float64(by_jax)
    for name, candidate in {"backprop": by_hand, "autodiff": by_jax, "forward mode": forwards}.items():
        comparison = compare(truth, candidate, params_32, batch_32, ROUNDING_FLOAT32, scale)
        judged.append(Judged(name, "autodiff in float64", comparison))
    return judged, name_coordinates(params, np.flatnonzero(found.flipped))


def hessian_products(network: jp.Network, params: Params, batch: Batch, key: PRNGKeyArray) -> float:
    """How far the second derivatives of both hands are apart along a random direction, scaled: the worst leaf."""
    flat, unravel = ravel_pytree(params)
    direction = unravel(jax.random.normal(key, flat.shape, flat.dtype))
    hands = (HANDS["backprop"], HANDS["autodiff"])
    a, b = (jax.jit(hvp(hand(network, jp.squared_error)))(params, batch, direction) for hand in hands)
    worst = jax.tree.map(lambda a, b: jnp.abs(a - b).max() / jnp.abs(b).max(), a, b)
    return float(max(jax.tree.leaves(worst)))


def prices(network: jp.Network, params: Params, batch: Batch, repeats: int) -> list[dict[str, Any]]:
    """What each way costs on this device, in float32: median time of the compiled function, memory, operations."""
    params, batch = jax.tree.map(lambda x: x.astype(jnp.float32), (params, batch))
    ways: dict[str, ValueAndGrad] = {name: hand(network, jp.squared_error) for name, hand in HANDS.items()}
    ways["forward mode"] = forward_mode(jp.loss(network, jp.squared_error))
    compiled = {name: compile_apart(way, params, batch) for name, way in ways.items()}
    calls = {name: (lambda function=function: function(params, batch)) for name, (function, _) in compiled.items()}
    # Forward mode takes its turns apart: whoever came after it would find the caches full of its copies.
    slow = {"forward mode": calls.pop("forward mode")}
    times = interleave(calls, repeats) | interleave(slow, repeats)
    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
    rows = []
    for name, (function, compile_seconds) in compiled.items():
        # What XLA says of itself; a backend may not say it.
        memory, operations = function.memory_analysis(), function.cost_analysis() or {}
        rows.append(
            {
                "way": name,
                "milliseconds": 1e3 * seconds[name],
                "over_autodiff": seconds[name] / seconds["autodiff"],
                "temporary_bytes": memory.temp_size_in_bytes if memory else None,
                "flops": operations.get("flops"),
                "compile_seconds": compile_seconds,
            }
        )
    return rows


def trajectories(
    network: jp.Network, params: Params, examples: jp.Examples, steps: Sequence[int], key: PRNGKeyArray
) -> Iterator[dict[str, Any]]:
    """How far the parameters are apart after so many steps of training by either hand: |difference| / |parameters|."""
    walked: dict[tuple[str, str], list[np.ndarray]] = {}
    for dtype in ("float64", "float32"):
        start = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), params)
        for name, hand in HANDS.items():
            found = snapshots(network, start, examples, steps, key=key, hand=hand)
            walked[name, dtype] = [np.asarray(ravel_pytree(p)[0], np.float64) for p in found]
    pairs = {
        HANDS_64: (("backprop", "float64"), ("autodiff", "float64")),
        "by hand against autodiff, float32": (("backprop", "float32"), ("autodiff", "float32")),
        "by hand in float32 against float64": (("backprop", "float32"), ("backprop", "float64")),
        "autodiff in float32 against float64": (("autodiff", "float32"), ("autodiff", "float64")),
    }
    for what, (a, b) in pairs.items():
        for step, p, q in zip(steps, walked[a], walked[b], strict=True):
            yield {"what": what, "step": step, "difference": float(np.linalg.norm(p - q) / np.linalg.norm(q))}
