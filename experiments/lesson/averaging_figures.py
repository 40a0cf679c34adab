"""Pictures of what single examples wish, and of how their average settles."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from lab.figures import BLUE, ORANGE, new_figure, styled
from lesson.noise import sampling_error
from lesson.wishes_figure import UP_AND_DOWN


@styled
def table_figure(
    images: UInt8[np.ndarray, "10 28 28"], wishes: Mapping[str, Float[np.ndarray, " 11"]], examples: int
) -> Figure:
    """The table that the lesson draws: a row for each parameter, a column for each of ten examples, and the average."""
    figure = new_figure(10.3, 5.9)
    axes = figure.subplots()
    left = np.array([*range(10), 10.4])  # of each column; the average stands apart
    for row, numbers in enumerate(wishes.values()):
        strength = numbers / np.abs(numbers).max()
        axes.bar(left, -0.92, 0.96, -row, color=UP_AND_DOWN(0.5 + 0.5 * strength), align="edge")
        for x, number, strong in zip(left, numbers, np.abs(strength) > 0.6, strict=True):
            text, weight = f"{1000 * number:+.1f}".replace("-", "−"), "bold" if x > 10 else "normal"
            color = "white" if strong else "black"
            axes.text(x + 0.48, -row - 0.46, text, ha="center", va="center", color=color, weight=weight)
    for x, image in enumerate(images):
        axes.imshow(image, cmap="gray", extent=(x, x + 0.96, 0.1, 1.06))
    axes.text(10.88, 0.55, f"average of\nall {examples:,}", ha="center", va="center", weight="bold")
    axes.set(xlim=(0, 11.4), ylim=(-len(wishes), 1.1), xticks=[], aspect="equal")
    axes.set_yticks(-0.46 - np.arange(len(wishes)), list(wishes))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("wishes, in thousandths; blue: up, orange: down, each row with a scale of its own", labelpad=10)
    figure.suptitle("Every example pulls its own way; the network goes by the average", x=0.01, ha="left", size=18)
    return figure


@styled
def settling_figure(heard: Int[np.ndarray, " S"], errors: Float[np.ndarray, " S"], one: float, examples: int) -> Figure:
    """The error of the average over the first so many of all examples. one: what is predicted for the first alone."""
    figure = new_figure()
    axes = figure.subplots()
    every = np.geomspace(1, heard[-1], 400)
    axes.plot(every, one / np.sqrt(every), "--", color="0.5", label="1 / √n")
    predicted = [sampling_error(one**2, examples, size) for size in every]
    axes.plot(every, predicted, color=ORANGE, label=f"predicted for n of {examples:,} examples")
    axes.plot(heard, errors, "o", color=BLUE, label="measured in random orders")
    axes.set(xscale="log", yscale="log", xlabel="examples heard", ylabel="error of their average, over |gradient|")
    axes.set(title="The average settles like 1 / √n, and faster when most have been heard")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend()
    return figure
