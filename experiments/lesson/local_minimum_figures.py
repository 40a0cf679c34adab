"""The pictures of the place where training comes down."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.figures import BLUE, VERMILION, new_figure

Row = Mapping[str, Any]


def draw_curvatures(values: Mapping[str, np.ndarray], valley: Sequence[Row]) -> Figure:
    """The curvatures at the start and at the end, and two cuts through the valley at the end."""
    figure = new_figure(10, 4.6)
    strip, cuts = figure.subplots(1, 2, width_ratios=(3, 2))
    for height, curvatures in ((1, values["start"]), (0, values["end"])):
        for side, colour in ((curvatures < 0, VERMILION), (curvatures >= 0, BLUE)):
            strip.plot(curvatures[side], np.full(side.sum(), height), "|", color=colour, markersize=44)
        for at, colour in ((curvatures[0], VERMILION), (curvatures[-1], BLUE)):
            strip.annotate(f"{at:.2g}", (at, height + 0.28), ha="center", color=colour)
    strip.set_xscale("symlog", linthresh=1e-3)
    strip.axvline(0, color="gray", linewidth=0.8)
    strip.set(ylim=(-0.5, 1.6), yticks=[0, 1], yticklabels=["end", "start"])
    strip.set(xlabel="curvature (eigenvalue of the second derivatives); linear below 0.001")
    strip.set_title("What bends down (left of 0) all but vanishes")
    for name, colour in (("highest", BLUE), ("lowest", VERMILION)):
        rows = [row for row in valley if row["curvature"] == name]
        distance = [row["distance"] for row in rows]
        cuts.plot(
            distance, [row["cost"] for row in rows], color=colour, linewidth=2, label=f"along the {name} curvature"
        )
        cuts.plot(distance, [row["parabola"] for row in rows], "k:", linewidth=1)
    cuts.set(xlabel="distance from the end", ylabel="cost, over all examples")
    cuts.set_title("The valley (dotted: predicted)")
    cuts.set_ylim(0, 1.35 * max(row["cost"] for row in valley))
    cuts.legend(loc="upper center")
    return figure


def draw_descent(descent: Sequence[Row], gone: float) -> Figure:
    """The length of the gradient on the way, as a share of the start's: first with mini-batches, then with all."""
    figure = new_figure()
    first, last = descent[0]["gradient"], descent[-1]["gradient"]
    ways = ("mini-batches", BLUE, "o-"), ("all examples", VERMILION, "-")
    for axes, (looking_at, colour, style) in zip(figure.subplots(1, 2, sharey=True), ways, strict=True):
        rows = [row for row in descent if row["looking_at"] == looking_at]
        axes.plot([row["step"] for row in rows], [row["gradient"] / first for row in rows], style, color=colour)
        axes.axhline(gone, color="gray", linestyle=":")
        axes.set(yscale="log", xlabel=f"steps with {looking_at}")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.axes[0].set_ylabel("length of the gradient, as a share of the start's")
    figure.axes[0].yaxis.set_major_formatter("{x:g}")
    reached = [row["gradient"] / first for row in descent if row["looking_at"] == "mini-batches"]
    message = f"Mini-batches bring the gradient down to {reached[-1]:.2%}, all examples then to {last / first:.2%}"
    figure.suptitle(message, x=0.01, ha="left")
    return figure
