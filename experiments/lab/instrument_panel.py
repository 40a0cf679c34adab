"""The instrument panel of a training run: what is looked at after each epoch, and the figure of it.

The examples that are looked at are the same after each epoch, so that what changes is the network.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

import jaxprop as jp
from jaxprop.run.training_run import Row
from jaxprop.training import ToBatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 1000  # of 60,000, so that to look costs a few hundredths of an epoch
HEALTHY_UPDATE = (1e-4, 1e-2)  # of the parameters, in one step; 1e-3 is a rule of thumb
MANY_DEAD = 0.5


def compile_panel(
    network: jp.Network,
    cost: jp.Cost,
    optimizer: optax.GradientTransformation,
    to_batch: ToBatch,
    state: jp.State,
    train: jp.Examples,
    flags: dict[str, Any],
) -> Callable[[jp.State], Row]:
    """`look(state) -> row`, compiled ahead: the columns that this adds to `metrics.csv`.

    gradient_norm_i and update_ratio_i of the layers with parameters, counted from 0; shut_i and dead_i of activations;
    noise_trace and true_gradient_squared, whose quotient is the noise scale where the latter is above 0.
    """
    examples = jp.Examples(*(x[:EXAMPLES] for x in train))
    panel = jp.with_health(network, cost, optimizer)

    def look(state: jp.State, examples: jp.Examples) -> tuple[jp.Noise, jp.Health]:
        (_, grads), norms, health = panel(state, to_batch(*examples))
        return jp.noise_scale(norms.whole, grads), health

    compiled = jax.jit(look, compiler_options=flags).lower(state, examples).compile()

    def row(state: jp.State) -> Row:
        noise, health = jax.tree.map(np.asarray, compiled(state, examples))
        found = {"noise_trace": noise.trace, "true_gradient_squared": noise.gradient_squared}
        for i in learning(network):
            found |= {f"gradient_norm_{i}": health.gradient_norm[i], f"update_ratio_{i}": health.update_ratio[i]}
        for i in activations(network):
            found |= {f"shut_{i}": health.shut[i], f"dead_{i}": health.dead[i]}
        return {name: float(value) for name, value in found.items()}

    return row


def learning(network: jp.Network) -> list[int]:
    """The places of the layers that have parameters."""
    return [i for i, layer in enumerate(network.params_like) if jax.tree.leaves(layer)]


def activations(network: jp.Network) -> list[int]:
    """The places of the layers that have neurons to look at."""
    return [i for i, layer in enumerate(network.layers) if layer.slopes]


def is_in(rows: Sequence[Row]) -> bool:
    return bool(rows) and "noise_trace" in rows[0]


def figure(network: jp.Network, rows: Sequence[Mapping[str, float]]) -> "Figure":
    """Four panels: gradients, updates, noise and activations, each with what is healthy in words."""
    from lab import figures  # here, so that nobody waits for matplotlib before training starts

    return figures.styled(_figure)(network, rows)


def _figure(network: jp.Network, rows: Sequence[Mapping[str, float]]) -> "Figure":
    from lab.figures import GREEN, GREY, VERMILION, label_log, new_figure

    drawn = new_figure(12.5, 7.5)
    gradients, updates, noise, shut = drawn.subplots(2, 2).flat
    epochs = [row["epoch"] for row in rows]

    _lines(gradients, network, rows, "gradient_norm", learning(network))
    gradients.set(title="Gradient norm of each layer", ylabel="norm of the mean gradient")
    _say(gradients, "healthy: the lines stay within a few powers of ten of each other")

    _lines(updates, network, rows, "update_ratio", learning(network))
    updates.axhspan(*HEALTHY_UPDATE, color=GREEN, alpha=0.15)
    updates.set(title="Length of a step, relative to the parameters", ylabel="norm of update / norm of parameters")
    _say(updates, "healthy: in the green band; above it steps are rash, below it they are idle")

    scales = [_scale(row) for row in rows]
    noise.plot(epochs, scales, marker=_marker(rows))
    noise.set(title="Noise scale", ylabel="examples")
    hidden = sum(np.isnan(scales))
    lost = f"; no estimate in {hidden} of {len(rows)} epochs" if hidden else ""
    _say(noise, f"far smaller batches are mostly noise, far larger ones waste{lost}")

    for i, colour in zip(activations(network), _colours(), strict=False):
        name = f"{i} {network.layers[i].name}"
        shut.plot(epochs, [row[f"shut_{i}"] for row in rows], color=colour, marker=_marker(rows), label=name)
        shut.plot(epochs, [row[f"dead_{i}"] for row in rows], "--", color=colour)
    shut.axhline(MANY_DEAD, color=GREY, linewidth=0.8, linestyle=":")
    shut.set(title="Activations whose slope is below 1 %", ylabel="share", ylim=(-0.03, 1.03))
    dead = [i for i in activations(network) if rows[-1][f"dead_{i}"] > MANY_DEAD]
    if dead:
        _say(shut, f"not healthy: more than half of the neurons of layer {dead[0]} are dead", VERMILION)
    else:
        _say(shut, "solid: share of all answers; dashed: of dead neurons, healthy below 0.5")

    for axes in (gradients, updates, noise):
        axes.set_yscale("log")
        label_log(axes.yaxis)
    for axes in (gradients, updates, noise, shut):
        axes.set(xlabel="epoch")
        if len(axes.get_legend_handles_labels()[0]):
            axes.legend(fontsize=8)
    return drawn


def _scale(row: Mapping[str, float]) -> float:
    """NaN where the noise of so many examples hides the gradient: nothing is drawn there."""
    squared = row["true_gradient_squared"]
    return row["noise_trace"] / squared if squared > 0 else np.nan


def _lines(
    axes: "Axes", network: jp.Network, rows: Sequence[Mapping[str, float]], what: str, layers: Iterable[int]
) -> None:
    for i, colour in zip(layers, _colours(), strict=False):
        values = [row[f"{what}_{i}"] for row in rows]
        label = f"{i} {network.layers[i].name}"
        axes.plot([row["epoch"] for row in rows], values, color=colour, marker=_marker(rows), label=label)


def _colours() -> list[str]:
    from lab.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

    return 4 * [BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY]


def _marker(rows: Sequence[Any]) -> str:
    return "o" if len(rows) < 6 else ""


def _say(axes: "Axes", words: str, colour: str = "black") -> None:
    """A sentence beneath the title, of at most 90 letters."""
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=18)
    axes.text(0, 1.015, words, transform=axes.transAxes, fontsize=7.5, color=colour, va="bottom")
