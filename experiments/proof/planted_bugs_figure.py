"""Which judge has caught which mistake, at a glance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lab.figures import BLUE, VERMILION, styled
from proof.verdicts import JUDGES, TRAINING

# A heading for each judge, in their order.
HEADINGS = (
    "jaxprop\ncheck", "check_\ngrads\nfloat64", "check_\ngrads\nfloat32", "the same\nat one\npoint",
    "chex\nfloat64", "chex\nfloat32", "no longer\nlearns",
)  # fmt: skip
BLOCKS = 2
PALE = "0.94"


@styled
def mistakes_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """rows: as `mistake_row` gives them. Those that do not count are left out."""
    rows = [row for row in rows if row["counts"]]
    figure = Figure(figsize=(16, 9))
    height = -(-len(rows) // BLOCKS)
    for block in range(BLOCKS):
        axes = figure.add_axes((0.185 + 0.5 * block, 0.035, 0.305, 0.775))
        _block(axes, rows[block * height : (block + 1) * height], height)
    caught = [sum(row[judge] for row in rows) for judge in JUDGES]
    learn = len(rows) - caught[JUDGES.index(TRAINING)]
    title = f"{len(rows)} mistakes planted in the backward pass: {learn} of them still learn to read digits"
    figure.text(0.008, 0.955, title, size=19, weight="bold")
    counts = " · ".join(f"{judge}: {number}" for judge, number in zip(JUDGES, caught, strict=True))
    figure.text(0.008, 0.92, f"Caught by {counts}", size=11.5)
    figure.text(0.01, 0.85, "caught", size=12, color="white", weight="bold", bbox={"facecolor": BLUE, "lw": 0})
    figure.text(0.06, 0.85, "×", size=15, color=VERMILION, weight="bold", bbox={"facecolor": PALE, "lw": 0})
    figure.text(0.08, 0.85, "missed", size=12)
    return figure


def _block(axes: Axes, rows: Sequence[Mapping[str, Any]], height: int) -> None:
    """A row for each mistake from the top, of as many as `height` high; above each column how many it has caught."""
    caught = np.array([[row[judge] for judge in JUDGES] for row in rows]).reshape(-1, len(JUDGES))
    axes.pcolormesh(caught, cmap=ListedColormap([PALE, BLUE]), vmin=0, vmax=1, edgecolor="white", linewidth=1.5)
    y, x = np.nonzero(~caught)
    axes.scatter(x + 0.5, y + 0.5, s=26, marker="x", color=VERMILION, linewidth=1.5)
    axes.set(xlim=(0, len(JUDGES)), ylim=(height, 0), yticks=np.arange(len(rows)) + 0.5)
    axes.set_yticklabels([row["mistake"] for row in rows], fontsize=10.5)
    axes.set_xticks(np.arange(len(JUDGES)) + 0.5, HEADINGS, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
