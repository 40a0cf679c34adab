"""The two hands side by side: the time and the temporary memory of one gradient, by backprop and by autodiff."""

from typing import Any

import jax
import numpy as np

import jaxprop as jp
from benchmarking.rounds import median_ratio
from lab.timing import compile_apart, interleave
from lab.common import progress

NETWORKS = ((784, 16, 16, 10), (784, 128, 64, 10), (784, 1024, 1024, 10))
BATCHES = (1, 100, 1000)
Row = dict[str, Any]
HANDS = {"backprop": jp.backprop, "autodiff": jp.autodiff}


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each network and batch size."""
    cases = [(sizes, n) for sizes in NETWORKS for n in BATCHES][: 2 if smoke else None]
    rows = []
    with progress(len(cases)) as report:
        for sizes, n in cases:
            batch = jp.as_batch(examples.images[:n], examples.labels[:n])
            rows.append(row := compare(sizes, batch, seed, repeats=3 if smoke else 15))
            report(f"{row['network']}, batch of {n:,}: backprop takes {row['time_ratio']:.2f} of autodiff's time")
    return rows


def compare(sizes: tuple[int, ...], batch: Any, seed: int, repeats: int) -> Row:
    """One gradient of one batch by each hand, both compiled.

    A small gradient is called some hundred times for one time, called from Python as its users would.
    """
    network = jp.mlp(sizes)
    params = network.init(jax.random.key(seed))
    compiled = {name: compile_apart(hand(network, jp.squared_error), params, batch) for name, hand in HANDS.items()}
    often = calls_in(0.005, lambda: compiled["autodiff"][0](params, batch))

    def repeatedly(gradient: Any) -> Any:
        return lambda: [gradient(params, batch) for _ in range(often)][-1]

    seconds = interleave({name: repeatedly(gradient) for name, (gradient, _) in compiled.items()}, repeats)
    memory = {name: temporary_bytes(gradient) for name, (gradient, _) in compiled.items()}
    return {
        "network": "-".join(map(str, sizes)),
        "batch_size": len(batch[0]),
        "time_ratio": median_ratio(seconds["backprop"], seconds["autodiff"]),
        "memory_ratio": max(1, memory["backprop"]) / max(1, memory["autodiff"]),  # a byte stands for none
        **{f"{name}_seconds": float(np.median(times)) / often for name, times in seconds.items()},
        **{f"{name}_temporary_bytes": size for name, size in memory.items()},
        **{f"{name}_compile_seconds": seconds for name, (_, seconds) in compiled.items()},
    }


def temporary_bytes(compiled: Any) -> int:
    """What a compiled function needs beside its arguments and results, by XLA's own account."""
    return compiled.memory_analysis().temp_size_in_bytes


def calls_in(budget: float, call: Any) -> int:
    """How often a call fits into so many seconds, at least once."""
    (seconds,) = interleave({"": call}, 1)[""]
    return max(1, int(budget / seconds))
