"""Pictures of a training run, and the style that all pictures share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from jaxtyping import Float, Int, UInt8
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from jaxprop.files import write_atomically

# The palette of Okabe and Ito ("Color Universal Design", 2008), told apart with any colour vision.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
GREY = "#777777"

BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # so that no line runs through a number

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY]),
    "axes.titlelocation": "left",
    "font.size": 11,
    "legend.frameon": False,
}


# A decorator for functions that draw, so that the style reaches every artist and nothing global.
styled = matplotlib.rc_context(STYLE)


def new_figure(width: float = 8, height: float = 4.5) -> Figure:
    """An empty figure, in inches. It belongs to no window and to no global state: draw, then `save_figure`."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a PNG, whole or not at all."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def label_log(axis: Axis) -> None:
    """Labels a logarithmic axis with plain numbers, few enough to read. Call it when everything is drawn."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(5))  # so near each other are the numbers that they may as well be even
    else:
        of_each_decade = (1, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)
        axis.set_major_locator(LogLocator(subs=of_each_decade, numticks=12))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter(NullFormatter())


@styled
def learning_curves(rows: Sequence[Mapping[str, float]], others: str = "test") -> Figure:
    """Cost and accuracy against epochs, of the training examples and of others. One row an epoch, as in `metrics.csv`.

    others: "test" or "validation", after which their columns are named.
    """
    figure = new_figure()
    epochs = [row["epoch"] for row in rows]
    for axes, quantity in zip(figure.subplots(1, 2), ("cost", "accuracy"), strict=True):
        for split, style in (("train", "-"), (others, "--")):
            label = "training examples" if split == "train" else f"{others} examples"
            axes.plot(epochs, [row[f"{split}_{quantity}"] for row in rows], style, label=label)
        axes.set(xlabel="epoch", title=f"{quantity.capitalize()} after each epoch")
    figure.axes[0].set(ylabel="cost, mean over examples of Σ(a − y)²", yscale="log")
    label_log(figure.axes[0].yaxis)
    figure.axes[1].set(ylabel="fraction classified correctly", ylim=(None, 1))
    figure.axes[0].legend()
    return figure


@styled
def answers(
    images: UInt8[np.ndarray, "N 28 28"], labels: Int[np.ndarray, " N"], given: Int[np.ndarray, " N"]
) -> Figure:
    """Up to 50 digits with the network's answers; a wrong one is framed and says what was right."""
    figure = new_figure(9, 5.4)
    for i, axes in enumerate(figure.subplots(5, 10).flat):
        axes.set(xticks=[], yticks=[])
        if i >= len(images):
            axes.axis("off")
            continue
        right = given[i] == labels[i]
        axes.imshow(images[i], cmap="gray", vmin=0, vmax=255)  # as the network sees it: 1 is white
        axes.set_title(f"{given[i]}" if right else f"{given[i]}, not {labels[i]}", loc="center", fontsize=10)
        axes.title.set_color("black" if right else VERMILION)
        axes.spines[:].set(visible=True, color="lightgray" if right else VERMILION, linewidth=0.8 if right else 2.5)
    figure.suptitle("What the network answers; wrong answers are framed", ha="left", x=0.01)
    return figure


@styled
def confusion(labels: Int[np.ndarray, " N"], given: Int[np.ndarray, " N"]) -> Figure:
    """How often each digit is taken for each other, as counts; the colour is the fraction of the row."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, given), 1)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(6.4, 6)
    axes = figure.subplots()
    # The square root keeps the few mistakes visible beside the many right answers.
    axes.imshow(np.sqrt(fractions), cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(j, i, str(count), ha="center", va="center", color="white" if fractions[i, j] > 0.3 else "black")
    axes.spines[:].set_visible(False)
    axes.set(xticks=range(10), yticks=range(10), xlabel="answer of the network", ylabel="right answer")
    axes.set_title(f"{np.trace(counts)} of {counts.sum()} digits classified correctly")
    return figure


@styled
def first_layer(weights: Float[np.ndarray, "out 784"]) -> Figure:
    """Up to 16 neurons of the first hidden layer, each as the picture of its 28 x 28 weights, on one colour scale."""
    shown = weights[:16].reshape(-1, 28, 28)
    scale = ScalarMappable(Normalize(-np.abs(shown).max(), np.abs(shown).max()), "RdBu")
    figure = new_figure(7.2, 7)
    grid = figure.subplots(4, 4)
    for i, axes in enumerate(grid.flat):
        axes.axis("off")
        if i < len(shown):
            axes.imshow(scale.to_rgba(shown[i]))
            axes.set_title(f"neuron {i}", loc="center", fontsize=10)
    figure.colorbar(scale, ax=grid, shrink=0.6, label="weight (blue: a bright pixel excites the neuron)")
    figure.suptitle("What each neuron of the first layer looks for", ha="left", x=0.01)
    return figure
