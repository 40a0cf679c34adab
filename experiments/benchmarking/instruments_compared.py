"""The time and the temporary memory of what every example says, over those of the plain gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from benchmarking.gradients_compared import Case, Row, calls_in, of_today, perceptron, temporary_bytes
from benchmarking.rounds import median_ratio
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from lab.common import progress
from lab.timing import compile_apart, interleave

PERCEPTRONS = ((784, 16, 16, 10), (784, 128, 64, 10))
BATCHES = (100, 1000)
LIMIT = 1.0  # of a norm


def norms_by_vmap_of_grad(network: jp.Network, cost: jp.Cost) -> Callable[[Params, Batch], Any]:
    """The mean gradient and each example's norm, with every gradient multiplied out: the usual way in JAX."""

    def of_one(params: Params, x: Any, y: Any) -> Any:
        return cost.value(network.apply(params, x), y)

    def value_and_grad(params: Params, batch: Batch) -> Any:
        costs, grads = jax.vmap(jax.value_and_grad(of_one), (None, 0, 0))(params, *batch)
        mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)
        return (jnp.mean(costs), mean), jnp.sqrt(jax.vmap(jp.norm_squared)(grads))

    return value_and_grad


INSTRUMENTS: dict[str, Callable[[jp.Network, jp.Cost], Any]] = {
    "norms": jp.with_norms,
    "clipped": lambda network, cost: jp.clipped(network, cost, LIMIT),
    "moments": jp.with_moments,
    "vmap_of_grad": norms_by_vmap_of_grad,
}


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each network and batch size."""
    cases = [perceptron(sizes, examples, n) for sizes in PERCEPTRONS for n in BATCHES]
    cases = cases[:1] if smoke else [*cases, *of_today(examples)]
    rows = []
    with progress(len(cases)) as report:
        for case in cases:
            row = compare(case, seed, repeats=3 if smoke else 15)
            rows.append(row)
            times = ", ".join(f"{name} {row[f'{name}_time_ratio']:.2f}" for name in INSTRUMENTS)
            report(f"{case.name}, batch of {row['batch_size']:,}, over the plain gradient: {times}")
    return rows


def compare(case: Case, seed: int, repeats: int) -> Row:
    """Each instrument over the plain gradient of the same batch."""
    _, network, cost, batch = case
    params = network.init(jax.random.key(seed))
    makers = {"plain": jp.backprop, **INSTRUMENTS}
    compiled = {name: compile_apart(make(network, cost), params, batch)[0] for name, make in makers.items()}
    often = calls_in(0.005, lambda: compiled["plain"](params, batch))

    def repeatedly(gradient: Any) -> Callable[[], Any]:
        return lambda: [gradient(params, batch) for _ in range(often)][-1]

    seconds = interleave({name: repeatedly(gradient) for name, gradient in compiled.items()}, repeats)
    memory = {name: max(1, temporary_bytes(gradient)) for name, gradient in compiled.items()}
    row = {
        "network": case.name,
        "batch_size": len(batch[1]),
        "plain_seconds": float(np.median(seconds["plain"])) / often,
    }
    for name in INSTRUMENTS:
        row[f"{name}_time_ratio"] = median_ratio(seconds[name], seconds["plain"])
        row[f"{name}_memory_ratio"] = memory[name] / memory["plain"]
    return row
