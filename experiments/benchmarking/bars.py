"""The benchmark as bars: who is where, at a glance."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarking.epoch_times import REFERENCE
from benchmarking.peers import BY_AUTODIFF, BY_HAND
from benchmarking.time_to_accuracy import STAGES, median_seconds
from lab.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, new_figure, styled

GREY = "#777777"
COLOURS = {BY_HAND: BLUE, BY_AUTODIFF: SKY, REFERENCE: GREY}  # all others are of one colour
STAGE_COLOURS = dict(zip(STAGES, (GREY, ORANGE, PURPLE, BLUE), strict=True))
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # no line runs through a number
Rows = Sequence[Mapping[str, Any]]


def _bars(axes: Axes, names: list[str], values: list[float], texts: list[str], colours: list[str]) -> None:
    """Horizontal bars from the top down, each with its text at its end."""
    axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.25 * max(values)))
    axes.invert_yaxis()
    for i, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.text(value + 0.015 * max(values), i, text, va="center", bbox=PAPER)


@styled
def epoch(rows: Rows) -> Figure:
    """One epoch by every peer that is here, as multiples of jaxprop by hand."""
    rows = sorted((row for row in rows if row["seconds"]), key=lambda row: row["seconds"])
    figure = new_figure(10, 5)
    axes = figure.subplots()
    names = [f"{row['peer']}\n({row['remark']})" if row["remark"] else row["peer"] for row in rows]
    texts = [f"{row['times_by_hand']:.2f} × · {row['seconds'] * 1000:,.0f} ms" for row in rows]
    colours = [COLOURS.get(row["peer"], VERMILION) for row in rows]
    _bars(axes, names, [row["times_by_hand"] for row in rows], texts, colours)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    slowest = rows[-1]
    axes.set(xlabel="time of one epoch, as a multiple of jaxprop by hand")
    axes.set_title(
        f"One epoch: {slowest['peer']} takes {slowest['times_by_hand']:.1f} times as long as jaxprop by hand"
    )
    return figure


@styled
def alone(rows: Rows) -> Figure:
    """Compilation and peak memory of each peer in a process of its own."""
    rows = [row for row in rows if row["peak_megabytes"]]
    figure = new_figure(12, 4.8)
    compiling, memory = figure.subplots(1, 2, sharey=True)
    names, colours = [row["peer"] for row in rows], [COLOURS.get(row["peer"], VERMILION) for row in rows]
    seconds = [row["compile_seconds"] for row in rows]
    _bars(compiling, names, seconds, [f"{s:.1f} s" for s in seconds], colours)
    compiling.set(xlabel="set-up and first epoch beyond the second [s]", title="Time to get ready, imports apart")
    peaks = [row["peak_megabytes"] for row in rows]
    _bars(memory, names, peaks, [f"{peak:,.0f} MB" for peak in peaks], colours)
    imports = [row["import_megabytes"] for row in rows]
    memory.barh(range(len(rows)), imports, color="white", alpha=0.55, height=0.7)
    memory.set(xlabel="memory of the process at its peak [MB]", title="Peak memory; the pale part is imports")
    compiling.invert_yaxis()  # shared with the other, which has turned it once more
    return figure


@styled
def hands(rows: Rows) -> Figure:
    """Time and temporary memory of backprop over those of autodiff."""
    figure = new_figure(11, 4.8)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    batches = list(dict.fromkeys(row["batch_size"] for row in rows))
    for axes, quantity in zip(figure.subplots(1, 2, sharey=True), ("time", "memory"), strict=True):
        for i, (n, colour) in enumerate(zip(batches, (BLUE, ORANGE, GREEN), strict=False)):
            some = {row["network"]: row[f"{quantity}_ratio"] for row in rows if row["batch_size"] == n}
            places = [networks.index(network) + 0.27 * (i - (len(batches) - 1) / 2) for network in some]
            axes.bar(places, list(some.values()), width=0.25, color=colour, label=f"batch of {n:,}")
            for x, ratio in zip(places, some.values(), strict=True):
                above = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "va": "bottom"}
                axes.annotate(f"{ratio:.2f}", (x, ratio), **above, fontsize=9, bbox=PAPER)
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set(xticks=range(len(networks)), xticklabels=networks)
        axes.set_title({"time": "Time of one gradient", "memory": "Temporary memory of one gradient (XLA)"}[quantity])
    time, memory = (max(row[f"{quantity}_ratio"] for row in rows) for quantity in ("time", "memory"))
    figure.axes[0].set(ylabel="backprop / autodiff", ylim=(0, 1.25 * max(1, time, memory)))
    figure.axes[0].legend(ncols=3, loc="upper left")
    figure.suptitle(f"By hand: at most {time:.2f} of autodiff's time and {memory:.2f} of its memory", ha="left", x=0.01)
    return figure


@styled
def time_to_accuracy(rows: Rows) -> Figure:
    """Where the time goes from the start of a process to the accuracy that was asked for: a bar for each run."""
    figure = new_figure(10, 1.6 + 0.5 * len(rows))
    axes = figure.subplots()
    rows = sorted(rows, key=lambda row: row["script"] != rows[0]["script"])
    for stage, colour in STAGE_COLOURS.items():
        before = [sum(row[s] for s in STAGES[: STAGES.index(stage)]) for row in rows]
        axes.barh(range(len(rows)), [row[stage] for row in rows], left=before, color=colour, label=stage, height=0.7)
    for i, row in enumerate(rows):
        ending = "" if row["reached"] else ": not reached"
        axes.text(row["seconds"], i, f"  {row['seconds']:.1f} s, {row['epochs']} epochs{ending}", va="center")
    axes.set(yticks=range(len(rows)), yticklabels=[f"{row['script']}, seed {row['seed']}" for row in rows])
    axes.set(xlabel="seconds since the process was started", xlim=(0, 1.25 * max(row["seconds"] for row in rows)))
    axes.invert_yaxis()
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    medians = {name: f"{seconds:.1f} s" if seconds else "never" for name, seconds in median_seconds(rows).items()}
    story = "; ".join(f"{name} {median}" for name, median in medians.items())
    figure.suptitle(f"To 93 % of the test digits: {story}", ha="left", x=0.01)
    return figure
