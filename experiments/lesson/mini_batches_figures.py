"""The picture of how far mini-batches are off."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lab.figures import BLUE, VERMILION, new_figure

Row = Mapping[str, Any]


def draw_errors(errors: Sequence[Row], stages: Mapping[int, str], marked: int) -> Figure:
    """Error and cosine against batch size, for each stage of training; one batch size is marked."""
    figure = new_figure(9, 4.8)
    lengths, cosines = figure.subplots(1, 2)
    off = []
    for (steps, stage), colour, marker in zip(stages.items(), (BLUE, VERMILION), "os", strict=True):
        rows = [row for row in errors if row["steps"] == steps]
        sizes = [row["batch_size"] for row in rows]
        lengths.plot(sizes, [100 * row["predicted"] for row in rows], color=colour)
        lengths.plot(sizes, [100 * row["error"] for row in rows], marker, color=colour)
        cosines.plot(sizes, [row["cosine"] for row in rows], f"{marker}-", color=colour)
        hundred = next(row for row in rows if row["batch_size"] == marked)
        beside = (marked, 100 * hundred["error"])
        lengths.annotate(stage, beside, (9, 9), textcoords="offset points", color=colour)
        off.append(f"{hundred['error']:.0%}")
    for axes in (lengths, cosines):
        axes.axvline(marked, color="gray", linestyle=":")
        axes.set(xscale="log", xlabel="examples in the mini-batch")
        axes.xaxis.set_major_formatter("{x:,.0f}")
    lengths.set(yscale="log", ylabel="error, % of the true gradient's length", title="Dots: measured. Lines: predicted")
    lengths.yaxis.set_major_formatter("{x:g}")
    cosines.set(
        ylim=(0, 1.03), ylabel="cosine with the true gradient", title="The share that leads down the true slope"
    )
    *_, last = stages.values()
    figure.suptitle(f"A mini-batch of {marked} is {off[0]} off at first, and {off[-1]} {last}", x=0.01, ha="left")
    return figure
