"""The time and the temporary memory of what every example says, over those of the plain gradient.

Where Opacus can be imported, its clipped gradient of the same perceptron is timed beside jaxprop's. Then two frameworks
are compared as well: jaxprop's gradient is compiled as a whole, and PyTorch runs its operations one by one.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from benchmarking.gradients_compared import Case, Row, calls_in, of_today, perceptron, temporary_bytes
from benchmarking.rounds import median_ratio, take_turns
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from jaxprop.run.devices import DeviceName
from lab.common import progress
from lab.timing import compile_apart

PERCEPTRONS = ((784, 16, 16, 10), (784, 128, 64, 10), (784, 1024, 1024, 10))
BATCHES = (100, 1000)
LIMIT = 1.0  # of a norm: with networks that were just drawn, every digit's gradient is longer
OPACUS = ("opacus_seconds", "opacus_over_jaxprop", "opacus_over_torch", "opacus_difference")
LARGEST = (
    2**28
)  # numbers in the gradients of all examples: where they are more, a gigabyte, they are not multiplied out
TOLERANCE = 1e-5  # of the largest number of an array: float32, and Opacus adds 1e-6 to each norm before it divides


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


def measure(examples: jp.Examples, seed: int, device: DeviceName, smoke: bool) -> list[Row]:
    """A row for each network and batch size."""
    cases = [perceptron(sizes, examples, n) for sizes in PERCEPTRONS for n in BATCHES]
    perceptrons = len(cases)
    cases = cases[:1] if smoke else [*cases, *of_today(examples)]
    absent = "left out of a smoke run" if smoke else opacus_missing(device)
    if absent:
        print(f"no clipped gradient of Opacus beside jaxprop's: {absent}", flush=True)
    rows = []
    with progress(len(cases)) as report:
        for i, case in enumerate(cases):
            row = compare(case, seed, repeats=3 if smoke else 15)
            ratios = {name: row[f"{name}_time_ratio"] for name in INSTRUMENTS}
            times = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio is not None)
            line = f"{case.name}, batch of {row['batch_size']:,}, over the plain gradient: {times}"
            if absent or i >= perceptrons:
                row |= {**dict.fromkeys(OPACUS), "remark": absent or "not built in PyTorch"}
            else:
                row |= {**compare_with_opacus(case, seed, repeats=15), "remark": ""}
                line += f"; Opacus clips in {row['opacus_over_jaxprop']:.1f} times the time"
            report(line)
            rows.append(row)
    return rows


def compare(case: Case, seed: int, repeats: int) -> Row:
    """Each instrument over the plain gradient of the same batch; None for what would take too much memory."""
    _, network, cost, batch = case
    params = network.init(jax.random.key(seed))
    makers = {"plain": jp.backprop, **INSTRUMENTS}
    if jp.count_parameters(params) * len(batch[1]) > LARGEST:
        del makers["vmap_of_grad"]
    compiled = {name: compile_apart(make(network, cost), params, batch)[0] for name, make in makers.items()}
    seconds = in_turn({name: partial(gradient, params, batch) for name, gradient in compiled.items()}, repeats)
    memory = {name: max(1, temporary_bytes(gradient)) for name, gradient in compiled.items()}
    row = {
        "network": case.name,
        "batch_size": len(batch[1]),
        "plain_seconds": float(np.median(seconds["plain"])),
    }
    for name in INSTRUMENTS:
        here = name in compiled
        row[f"{name}_time_ratio"] = median_ratio(seconds[name], seconds["plain"]) if here else None
        row[f"{name}_memory_ratio"] = memory[name] / memory["plain"] if here else None
    return row


def in_turn(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of one call each, (repeats,). A small gradient is called some hundred times for one time.

    `take_turns` calls each twice: after all gradients of a batch were multiplied out, the caches hold nothing else.
    """
    often = {name: calls_in(0.005, call) for name, call in calls.items()}

    def repeatedly(name: str) -> Callable[[], Any]:
        return lambda: [calls[name]() for _ in range(often[name])][-1]

    seconds = take_turns({name: repeatedly(name) for name in calls}, repeats, lambda _: None, "")
    return {name: times / often[name] for name, times in seconds.items()}


def opacus_missing(device: DeviceName) -> str:
    """What this machine lacks for a comparison with Opacus, or nothing."""
    if device != "cpu":
        return "compared on a CPU only"
    absent = [package for package in ("torch", "opacus") if importlib.util.find_spec(package) is None]
    return f"{absent[0]} is not installed" if absent else ""


def compare_with_opacus(case: Case, seed: int, repeats: int) -> Row:
    """The clipped gradient by jaxprop and by Opacus, and PyTorch's plain one, in turn."""
    _, network, cost, batch = case
    params = network.init(jax.random.key(seed))
    by_hand, _ = compile_apart(jp.clipped(network, cost, LIMIT), params, batch)
    in_torch = importlib.import_module("benchmarking.clipped_in_opacus").gradients(params, batch, LIMIT)
    calls = {"jaxprop": partial(by_hand, params, batch), "opacus": in_torch["clipped"], "torch": in_torch["plain"]}
    with warnings.catch_warnings():
        # PyTorch says so of every network whose inputs need no gradient.
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        seconds = in_turn(calls, repeats)
        theirs = in_torch["clipped"]()
    (_, ours), _ = by_hand(params, batch)
    pairs = zip(jax.tree.leaves(ours), theirs, strict=True)
    return {
        "opacus_seconds": float(np.median(seconds["opacus"])),
        "opacus_over_jaxprop": median_ratio(seconds["opacus"], seconds["jaxprop"]),
        "opacus_over_torch": median_ratio(seconds["opacus"], seconds["torch"]),
        "opacus_difference": max(float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in pairs),
    }


def who_differs(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The networks of which Opacus gives another clipped gradient. A NaN counts as one."""
    apart = {(row["network"], row["batch_size"]): row["opacus_difference"] for row in rows}
    return [
        f"Opacus, {name}, batch of {n:,}"
        for (name, n), difference in apart.items()
        if difference is not None and not difference <= TOLERANCE
    ]
