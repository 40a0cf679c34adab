"""Pictures of Hebb's rule beside backpropagation, at the outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lab.figures import BLUE, VERMILION, new_figure, styled


@styled
def draw_picture(
    image: UInt8[np.ndarray, "28 28"], hebb: Float[np.ndarray, "10 16"], nudge: Float[np.ndarray, "10 16"]
) -> Figure:
    """One picture, what Hebb's rule makes of it, and what it wishes for the same weights."""
    figure, scale = new_figure(10, 3.4), ScalarMappable(Normalize(-1, 1), "RdBu")
    digit, *others = figure.subplots(1, 3, width_ratios=(0.6, 1, 1))
    digit.imshow(image, cmap="gray_r")
    digit.axis("off")
    for axes, matrix, title in zip(others, (hebb, nudge), ("Hebb's rule", "Backpropagation"), strict=True):
        axes.imshow(scale.to_rgba(matrix / np.abs(matrix).max()), aspect="auto")
        axes.set(xticks=range(0, 16, 3), yticks=range(10), xlabel="from neuron of the layer before", title=title)
        axes.spines[:].set_visible(False)
    others[0].set(ylabel="to output")
    figure.colorbar(scale, ax=others, label="change asked of the weight,\nas a share of the largest")
    figure.suptitle(
        "One picture of a 2: Hebb's rule knows what grows, not what shrinks", x=0.01, ha="left", fontsize=14
    )
    return figure


@styled
def draw_course(course: Sequence[Mapping[str, Any]], predicted: Mapping[int, float]) -> Figure:
    """Cosines of nudges and rule along training, beside those predicted after so many steps."""
    figure = new_figure()
    axes = figure.subplots()
    steps = [row["steps"] for row in course]
    axes.plot(steps, [row["cosine"] for row in course], "o-", color=BLUE, label="picture by picture")
    averages = [row["cosine_of_averages"] for row in course]
    axes.plot(steps, averages, "s--", color=VERMILION, label="averaged over the pictures")
    axes.plot([*predicted], [*predicted.values()], "k*", markersize=13, label="if every output is ½, or ⅒")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set(xscale="symlog", xlim=(-0.1, None), ylim=(-1.05, 1.05), xlabel="steps")
    axes.set(ylabel="cosine of nudges and Hebb's rule")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right")
    figure.suptitle(
        "At the outputs: one picture's wishes follow Hebb's rule, their average does not", x=0.01, ha="left"
    )
    return figure
