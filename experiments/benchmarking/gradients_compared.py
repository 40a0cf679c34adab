"""The time and the temporary memory of one gradient: manual backprop beside autodiff."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxprop as jp
from benchmarking.rounds import median_ratio
from jaxprop.gradients import Batch
from lab.common import progress
from lab.figures import BEHIND_TEXT, BLUE, GREEN, ORANGE, new_figure, styled
from lab.timing import compile_apart, interleave

NETWORKS = ((784, 16, 16, 10), (784, 128, 64, 10), (784, 1024, 1024, 10))
BATCHES = (1, 100, 1000)
GRADIENTS = {"backprop": jp.backprop, "autodiff": jp.autodiff}
Row = dict[str, Any]


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each network and batch size."""
    cases = [(sizes, n) for sizes in NETWORKS for n in BATCHES]
    if smoke:
        cases = cases[:2]
    rows = []
    with progress(len(cases)) as report:
        for sizes, n in cases:
            batch = jp.as_batch(examples.images[:n], examples.labels[:n])
            row = compare(sizes, batch, seed, repeats=3 if smoke else 15)
            rows.append(row)
            report(f"{row['network']}, batch of {n:,}: backprop takes {row['time_ratio']:.2f} of autodiff's time")
    return rows


def compare(sizes: tuple[int, ...], batch: Batch, seed: int, repeats: int) -> Row:
    """One gradient of one batch by each of the two, both compiled.

    A small gradient is called some hundred times for one time, called from Python as its users would.
    """
    network = jp.mlp(sizes)
    params = network.init(jax.random.key(seed))
    compiled = {name: compile_apart(make(network, jp.squared_error), params, batch) for name, make in GRADIENTS.items()}
    often = calls_in(0.005, lambda: compiled["autodiff"][0](params, batch))

    def repeatedly(gradient: Any) -> Callable[[], Any]:
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


def calls_in(budget: float, call: Callable[[], Any]) -> int:
    """How often a call fits into so many seconds, at least once."""
    (seconds,) = interleave({"": call}, 1)[""]
    return max(1, int(budget / seconds))


@styled
def ratios_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Time and temporary memory of backprop over those of autodiff."""
    figure = new_figure(11, 4.8)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    batches = list(dict.fromkeys(row["batch_size"] for row in rows))
    titles = {"time": "Time of one gradient", "memory": "Temporary memory of one gradient (XLA)"}
    for axes, (quantity, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for i, (n, colour) in enumerate(zip(batches, (BLUE, ORANGE, GREEN), strict=False)):
            ratios = {row["network"]: row[f"{quantity}_ratio"] for row in rows if row["batch_size"] == n}
            places = [networks.index(network) + 0.27 * (i - (len(batches) - 1) / 2) for network in ratios]
            axes.bar(places, list(ratios.values()), width=0.25, color=colour, label=f"batch of {n:,}")
            for x, ratio in zip(places, ratios.values(), strict=True):
                axes.annotate(
                    f"{ratio:.2f}",
                    (x, ratio),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    fontsize=9,
                    bbox=BEHIND_TEXT,
                )
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set(xticks=range(len(networks)), xticklabels=networks, title=title)
    time = max(row["time_ratio"] for row in rows)
    memory = max(row["memory_ratio"] for row in rows)
    figure.axes[0].set(ylabel="backprop / autodiff", ylim=(0, 1.25 * max(1, time, memory)))
    figure.axes[0].legend(ncols=3, loc="upper left")
    title = f"Manual backprop: at most {time:.2f} of autodiff's time and {memory:.2f} of its memory"
    figure.suptitle(title, ha="left", x=0.01)
    return figure
