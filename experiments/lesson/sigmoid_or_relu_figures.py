"""Pictures of how sigmoid and ReLU networks learn."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled

NAMES = {"sigmoid": "sigmoids", "relu": "ReLUs"}
LOOKS = {"sigmoid": {"color": BLUE, "marker": "o"}, "relu": {"color": ORANGE, "marker": "s", "linestyle": "--"}}
Course = Sequence[Mapping[str, Any]]  # a row for each look along training


@styled
def gradients_figure(courses: Mapping[str, Course], rates: Mapping[str, float], layers: Sequence[str]) -> Figure:
    """The length of each layer's gradient along training, for each activation at its best rate."""
    figure = new_figure(10, 4.5)
    for axes, (activation, rows) in zip(figure.subplots(1, 2, sharey=True), courses.items(), strict=True):
        steps = [row["steps"] for row in rows]
        for layer, colour, style in zip(layers, (BLUE, ORANGE, VERMILION), ("o-", "^:", "s--"), strict=True):
            axes.plot(steps, [row[layer] for row in rows], style, color=colour, label=layer)
        axes.set(xscale="symlog", yscale="log", xlim=(0, None), xlabel="steps")
        axes.set_title(f"{NAMES[activation]}, learning rate {rates[activation]:g}")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
    figure.axes[0].set(ylabel="length of the gradient by the weights")
    figure.axes[1].legend()
    title = "A sigmoid network's first layer has small gradients at the start alone"
    figure.suptitle(title, x=0.01, ha="left", size=16)
    return figure


@styled
def rates_figure(
    courses: Mapping[str, Course], rates: Mapping[str, float], ends: Mapping[str, Mapping[float, Mapping[str, float]]]
) -> Figure:
    """Accuracy along training at the best rates; accuracy and share of idle neurons at the end, for every rate."""
    figure = new_figure(12, 4.2)
    along, accuracy, idle = figure.subplots(1, 3)
    for activation, look in LOOKS.items():
        rows, by_rate = courses[activation], ends[activation]
        along.plot([row["steps"] for row in rows], [100 * row["accuracy"] for row in rows], **look)
        accuracy.plot([*by_rate], [100 * end["accuracy"] for end in by_rate.values()], **look)
        label = f"{NAMES[activation]}, best rate {rates[activation]:g}"
        idle.plot([*by_rate], [100 * end["idle"] for end in by_rate.values()], **look, label=label)
    for axes in (accuracy, idle):
        axes.set(xscale="log", xlabel="learning rate", xticks=[*ends["sigmoid"]])
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
    for axes in (along, accuracy, idle):
        axes.set_ylim(0, 103)
    along.set(ylabel="% of the test digits read rightly", xlabel="steps", title="Along training, at the best rates")
    along.xaxis.set_major_formatter("{x:,.0f}")
    accuracy.set(ylabel="% of the test digits read rightly", title="At the end")
    idle.set(ylabel="% of hidden neurons", title="Saturated sigmoids, dead ReLUs")
    idle.legend(loc="upper left")
    figure.suptitle("ReLUs learn by small steps, and die of those that suit sigmoids", x=0.01, ha="left", size=16)
    return figure
