"""The pictures of the drunk man and the careful man."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lab.figures import BLUE, VERMILION, new_figure
from lesson.hills import Hill
from lesson.walks import Walk

MEN = {"drunk": (VERMILION, 1.5, "-"), "careful": (BLUE, 4, "--")}  # colour, width of a path, line of a curve


def draw_hill(hill: Hill, men: Mapping[str, Walk]) -> Figure:
    """The map with both paths on it, as seen from straight above."""
    figure = new_figure(9, 5.4)
    axes = figure.subplots()
    levels = np.geomspace(hill.costs.min(), hill.costs.max(), 15)
    filled = axes.contourf(hill.x, hill.y, hill.costs, levels, cmap="Greys", norm="log", alpha=0.7)
    axes.contour(hill.x, hill.y, hill.costs, levels, colors="white", linewidths=0.8)
    bar = figure.colorbar(filled, label="true cost on this plane", format="{x:.2g}")
    bar.ax.minorticks_off()
    for name, (colour, width, _) in MEN.items():
        man, xy = men[name], hill.plane.coordinates(men[name].places)
        label = f"{name}: {man.steps[-1]:,} steps, walks {1 / man.straightness:.0f} times as far as he gets"
        axes.plot(*xy.T, color=colour, linewidth=width, label=label)
        axes.plot(*xy[-1], "*", color=colour, markersize=16, markeredgecolor="white")
    axes.plot(0, 0, "s", color="black")
    axes.annotate("start", (0, 0), (7, -14), textcoords="offset points")
    held = {name: f"{hill.plane.captured(man.places):.0%}" for name, man in men.items()}
    axes.set_xlabel(
        "from the start towards the drunk man's end, as a distance between parameters\n"
        f"of the squared distances from it, {held['drunk']} (drunk) and {held['careful']} (careful) lie in this plane"
    )
    axes.set_ylabel("at right angles to it")
    axes.legend(loc="lower center", frameon=True)
    drunk, careful = men["drunk"], men["careful"]
    axes.set_title(
        f"After {drunk.examples[-1]:,} examples the drunk man is down at a cost of {drunk.costs[-1]:.2g},\n"
        f"the careful man after {careful.examples[-1]:,} at {careful.costs[-1]:.2g}"
    )
    return figure


def draw_stories(careful: Walk, drunk: Walk, saved: float) -> Figure:
    """The true cost against steps, examples and seconds. `saved`: how many times fewer examples the drunk man needs."""
    figure = new_figure(11, 4.4)
    panels = {
        "steps": lambda man: man.steps,
        "examples seen": lambda man: man.examples,
        "seconds on this device": lambda man: man.steps * man.seconds_per_step,
    }
    for axes, (label, of) in zip(figure.subplots(1, 3, sharey=True), panels.items(), strict=True):
        for man, (name, (colour, _, line)) in zip((drunk, careful), MEN.items(), strict=True):
            axes.plot(of(man)[1:], man.costs[1:], line, color=colour, linewidth=2, label=name)
        axes.axhline(careful.costs[-1], color="gray", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.yaxis.set_major_formatter("{x:g}")
    figure.axes[0].set_ylabel("true cost, over all examples")
    figure.axes[0].legend(loc="lower left")
    message = f"To the careful man's last cost, the drunk man needs {saved:,.0f} times fewer examples"
    figure.suptitle(message, x=0.01, ha="left")
    return figure
