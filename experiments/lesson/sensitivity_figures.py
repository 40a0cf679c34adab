"""Pictures of the gradient's components, and of what they say about the cost."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from lab.figures import BLUE, GREEN, SKY, VERMILION, new_figure, styled


@styled
def ranking_figure(
    components: Float[np.ndarray, " P"], layers: Int[np.ndarray, " P"], chosen: Int[np.ndarray, " 2"]
) -> Figure:
    """The sizes of all components by rank. layers: the dense layer, 0 to 2, of each; chosen: two that are marked."""
    sizes = np.abs(components)
    order = np.argsort(-sizes, kind="stable")
    ranked, colors = sizes[order], np.array([SKY, GREEN, VERMILION])
    figure = new_figure()
    axes = figure.subplots()
    # Drawn by rank, so that where layers mix none hides another.
    axes.scatter(np.arange(1, len(sizes) + 1), ranked, s=10, c=colors[layers[order]])
    for name, color in zip(("hidden layer 1", "hidden layer 2", "the outputs"), colors, strict=True):
        axes.plot([], [], "o", color=color, label=f"weights and biases of {name}")
    for i, name in zip(chosen, ("the largest", "1/32 of it"), strict=True):
        at = (1 + int(np.flatnonzero(order == i)[0]), sizes[i])
        axes.plot(*at, "o", color="black", markersize=13, fillstyle="none")
        axes.annotate(name, at, (12, 6), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="size of the component", ylim=(ranked[0] / 1e4, None))
    axes.set(title=f"Of {len(sizes):,} components few are large, and {np.sum(sizes == 0):,} are exactly 0")
    axes.legend(loc="lower left")
    return figure


@styled
def wiggles_figure(
    names: Sequence[str],
    components: Float[np.ndarray, " 2"],
    wiggles: Float[np.ndarray, " W"],
    changes: Float[np.ndarray, "2 W"],
    compared: float,
) -> Figure:
    """What wiggles of two parameters, a sensitive one first, do to the cost, and the straight lines of the gradient."""
    figure = new_figure()
    axes = figure.subplots()
    for name, component, changed, color in zip(names, components, changes, (VERMILION, BLUE), strict=True):
        line = component * wiggles
        off = wiggles[np.argmax(np.abs(changed / line - 1) > 0.1)]
        axes.plot(wiggles, np.abs(line), color="0.6")
        label = f"params{name}, component {component:.2g}: 10 % off its line at {off:.1f}".replace("-", "−")
        axes.plot(wiggles, np.abs(changed), "o", color=color, markersize=5, label=label)
    style = {"color": "black", "markersize": 13, "fillstyle": "none", "label": f"compared at {compared:.2g}"}
    axes.plot([compared] * 2, np.abs(components) * compared, "o-", **style)
    axes.set(xscale="log", yscale="log", xlabel="wiggle of one weight or bias", ylabel="size of the change of the cost")
    ratio = abs(components[0] / components[1])
    axes.set(title=f"A component {ratio:.0f} times as large: {ratio:.0f} times the change, for small wiggles")
    axes.legend(loc="lower right")
    return figure
