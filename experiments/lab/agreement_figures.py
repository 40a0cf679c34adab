"""Pictures of how well gradients agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lab.figures import BLUE, GREEN, VERMILION, new_figure, styled

FLOOR = 1e-17  # below what float64 can tell from 1; 0 has no logarithm


@styled
def scatter_figure(by_hand: Float[np.ndarray, " n"], by_jax: Float[np.ndarray, " n"]) -> Figure:
    """Every component of the gradient, by hand against autodiff."""
    figure = new_figure(6.4, 6)
    axes = figure.subplots()
    ends = np.array([min(by_jax.min(), by_hand.min()), max(by_jax.max(), by_hand.max())])
    axes.plot(ends, ends, color="gray", linewidth=1, label="equal")
    axes.plot(by_jax, by_hand, ".", color=BLUE, markersize=3, label="one parameter each")
    axes.set(xlabel="derivative of the cost, by jax.grad", ylabel="derivative of the cost, by hand", aspect="equal")
    largest = np.abs(by_hand - by_jax).max()
    verdict = f"differ by {largest:.1g} at most" if largest else "are the same to the last bit"
    axes.set_title(f"{len(by_jax):,} derivatives, twice: they {verdict}")
    axes.legend()
    return figure


@styled
def differences_figure(differences: Mapping[str, Float[np.ndarray, "out in"]]) -> Figure:
    """Where the hand in float32 is off from autodiff in float64, for each weight matrix, in units of its largest."""
    figure = new_figure(9, 2.2 + 1.6 * len(differences))
    scale = LogNorm(1e-12, 1e-6)
    grid = figure.subplots(len(differences), 1, squeeze=False)[:, 0]
    for axes, (name, difference) in zip(grid, differences.items(), strict=True):
        axes.imshow(np.maximum(np.abs(difference), 1e-12), norm=scale, cmap="cividis", aspect="auto")
        axes.set(ylabel="neuron", title=f"{name}, {' x '.join(map(str, difference.shape))}")
        axes.spines[:].set_visible(False)
    grid[-1].set_xlabel("activation of the layer before that the weight leads from")
    figure.colorbar(ScalarMappable(scale, "cividis"), ax=grid, label="|by hand, float32 − autodiff, float64| / largest")
    largest = max(np.abs(difference).max() for difference in differences.values())
    figure.suptitle(
        f"In float32 no weight's derivative is off by more than {largest:.1g} of the largest", ha="left", x=0.01
    )
    return figure


@styled
def trajectories_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """How training by either hand parts, and how far both are from the same in float64."""
    figure = new_figure(8.5, 5)
    axes = figure.subplots()
    styles = {
        "autodiff, float64": (BLUE, "-"),
        "autodiff, float32": (GREEN, "-"),
        "against float64": (VERMILION, "--"),
    }
    for i, what in enumerate(dict.fromkeys(row["what"] for row in rows)):
        color, line = next(style for end, style in styles.items() if what.endswith(end))
        steps, differences = zip(
            *((row["step"], row["difference"]) for row in rows if row["what"] == what), strict=True
        )
        axes.plot(steps, np.maximum(differences, FLOOR), line, marker="Dv^s"[i], color=color, label=what)
    axes.set(xscale="log", yscale="log", xlabel="steps of training", ylabel="|difference of parameters| / |parameters|")
    axes.set_title("Both hands walk the same way, as far as the digits reach")
    axes.legend()
    return figure
