"""The benchmark as curves: what an example costs, and how that grows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from benchmarking.peers import BY_AUTODIFF, BY_HAND, NUMPY, TORCH
from lab.figures import BLUE, GREEN, SKY, VERMILION, new_figure, styled

LINES = {BY_HAND: (BLUE, "o"), BY_AUTODIFF: (SKY, "s"), NUMPY: (GREEN, "^"), TORCH: (VERMILION, "D")}
LABELS = {
    "width": "w, neurons in each hidden layer (784-w-w-10, batches of 100)",
    "batch_size": "examples in a batch (784-16-16-10)",
    "depth": "hidden layers of 16 neurons (batches of 100)",
    "examples": "examples in an epoch (784-16-16-10, batches of 100)",
}
TITLES = {
    "width": "{larger} × as wide: {work} × the work, {time} × the time",
    "batch_size": "Batches {larger} × as large: {faster} × as fast",
    "depth": "{larger} × as deep: {work} × the work, {time} × the time",
    "examples": "{larger} × the examples: {time} × the time",
}
Rows = Sequence[Mapping[str, Any]]


@styled
def costs(sweeps: Mapping[str, Rows], examples: Rows) -> Figure:
    """Log-log: microseconds an example against width, batch size and depth, seconds an epoch against examples.

    The dashed line grows as the multiplications of the forward pass do, and meets jaxprop by hand at the last point.
    """
    figure = new_figure(10, 7.4)
    panels = figure.subplots(2, 2).ravel()
    for axes, (what, rows) in zip(panels, sweeps.items(), strict=False):
        for name, (colour, marker) in LINES.items():
            if some := [row for row in rows if row["peer"] == name]:
                _line(axes, some, "seconds_per_example", 1e6, color=colour, marker=marker, label=name)
        _as_the_work(axes, rows, "seconds_per_example", 1e6)
        axes.set(ylabel="µs per example", xlabel=LABELS[what], title=_title(what, rows, "seconds_per_example"))
    _line(panels[3], examples, "seconds", 1, color=BLUE, marker="o")
    _as_the_work(panels[3], examples, "seconds", 1)
    title = _title("examples", examples, "seconds")
    panels[3].set(ylabel="seconds per epoch", xlabel=LABELS["examples"], title=title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


def _line(axes: Axes, rows: Rows, quantity: str, unit: float, **style: Any) -> None:
    values = [row["value"] for row in rows]
    axes.plot(values, [unit * row[quantity] for row in rows], markersize=5, **style)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _as_the_work(axes: Axes, rows: Rows, quantity: str, unit: float) -> None:
    by_hand = [row for row in rows if row["peer"] == BY_HAND]
    last = by_hand[-1]
    dashed = [unit * last[quantity] * row["multiply_adds"] / last["multiply_adds"] for row in by_hand]
    axes.plot([row["value"] for row in by_hand], dashed, "--", color="black", linewidth=1, label="as the work")


def _title(what: str, rows: Rows, quantity: str) -> str:
    """How the time of jaxprop by hand grew from the first to the last row, beside the work."""
    first, *_, last = [row for row in rows if row["peer"] == BY_HAND] * 2
    larger, work, time = (last[name] / first[name] for name in ("value", "multiply_adds", quantity))
    ratios = {"larger": larger, "work": work, "time": time, "faster": 1 / time}
    return TITLES[what].format(**{name: _two_digits(ratio) for name, ratio in ratios.items()})


def _two_digits(ratio: float) -> str:
    """0.0063, 1.2, 98, 10,000."""
    return f"{ratio:,.{max(0, 1 - math.floor(math.log10(ratio)))}f}"
