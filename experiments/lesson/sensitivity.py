"""L5: the size of a gradient's component says how sensitive the cost of the network is to that weight or bias.

All 13,002 components are ranked. The largest, and the one nearest to 1/32 of it, are wiggled by the same small amount:
the two changes of the cost are to be as the two components. A wiggle h changes the cost by component × h + curvature ×
h² / 2, so h is chosen, by measured curvatures, to keep the second term below 1/400 of the first for both.

What the lesson leaves out: this holds for small wiggles only, and the curvature says how small. And where a pixel is
black in every picture, the weights that lead from it do not matter at all: their components are exactly 0.

    uv run experiments/lesson/sensitivity.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.verify.oracles import name_coordinates
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, GREEN, SKY, VERMILION, label_log, new_figure, styled

RATIO = 32
BEND = 1 / 400  # how much of a change may come from the curvature
TRIAL = 1e-2  # the wiggle from which the curvature is measured
LONGEST = 1e-1  # the longest wiggle that may be chosen
WIGGLES = np.logspace(-4, 1.5, 34)


class Findings(NamedTuple):
    components: Float[np.ndarray, " P"]  # of the gradient, by parameter, as ravel_pytree lays them out
    layers: Int[np.ndarray, " P"]  # which dense layer a parameter is of: 0, 1 or 2
    chosen: Int[np.ndarray, " 2"]  # the parameters that are wiggled: the large one and the small one
    names: list[str]  # of these two
    wiggle: float
    changes: Float[np.ndarray, " 2"]  # of the cost, by that wiggle
    sweep: Float[np.ndarray, "2 wiggles"]  # the same for each of WIGGLES
    change_by_silent: float  # when every parameter whose component is 0 is moved by 1


def measure(options: Options) -> Findings:
    batch = running_example.whole(running_example.load(options).train)
    network = jp.mlp(running_example.SIZES)
    tree = network.init(jax.random.key(options.seed))
    _, grads = jax.jit(jp.backprop(network, jp.squared_error))(tree, batch)
    components = np.asarray(ravel_pytree(grads)[0])
    params, unravel = ravel_pytree(tree)
    loss = jp.loss(network, jp.squared_error)
    cost = jax.jit(lambda move, batch: loss(unravel(params + move), batch))
    still = np.zeros_like(components)
    before = float(cost(still, batch))

    def change(move: Float[np.ndarray, " P"]) -> float:
        """Of the cost, when the parameters are moved so."""
        return float(cost(move, batch)) - before

    def changes(i: int, wiggles: Sequence[float] | np.ndarray) -> Float[np.ndarray, " n"]:
        """Of the cost, when parameter i alone is moved by each of these."""
        return np.array([change(np.where(np.arange(len(still)) == i, wiggle, 0.0)) for wiggle in wiggles])

    sizes = np.abs(components)
    chosen = np.array([np.argmax(sizes), np.argmin(np.abs(sizes - sizes.max() / RATIO))])
    curvatures = np.array([changes(i, (TRIAL, -TRIAL)).sum() / TRIAL**2 for i in chosen])
    straight = 2 * BEND * np.abs(components[chosen] / curvatures)
    wiggle = min(LONGEST, float(straight.min()))
    names = [running_example.parameter_name(path) for path in name_coordinates(tree, chosen)]
    sweep = []
    with progress(len(chosen)) as report:
        for i, name in zip(chosen, names, strict=True):
            sweep.append(changes(i, WIGGLES))
            report(f"{name} wiggled")
    return Findings(
        components=components,
        layers=dense_layers(tree),
        chosen=chosen,
        names=names,
        wiggle=wiggle,
        changes=np.concatenate([changes(i, [wiggle]) for i in chosen]),
        sweep=np.array(sweep),
        change_by_silent=change(np.where(components == 0, 1.0, 0.0)),
    )


def dense_layers(params: tuple) -> Int[np.ndarray, " P"]:
    """Which dense layer each parameter is of, as `ravel_pytree` lays them out."""
    numbered = [jax.tree.map(lambda leaf, i=i: np.full(leaf.shape, i), layer) for i, layer in enumerate(params[::2])]
    return np.asarray(ravel_pytree(numbered)[0])


def claims(found: Findings) -> list[Claim]:
    large, small = found.components[found.chosen]
    by_large, by_small = found.changes
    return [
        Claim(
            "L5",
            "how many times as large, in size, the largest component is as the one chosen as nearest to 1/32 of it",
            float(abs(large / small)),
            "within",
            RATIO,
            tolerance=1,
            because="13,002 components leave small gaps",
        ),
        Claim(
            "L5",
            "how many times as large one change of the cost is as the other, by the same small wiggle, divided by the "
            "same for the two components",
            float(by_large / by_small / (large / small)),
            "within",
            1,
            tolerance=0.01,
            because="curvature adds at most 1/400 to either change, so that 1 % is twice of what both can do",
        ),
        Claim(
            "L5",
            "change of the cost when all parameters whose component is exactly 0 are moved by 1",
            found.change_by_silent,
            "within",
            0,
            because="weights from pixels that are black in every picture",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict]]:
    order = np.argsort(-np.abs(found.components), kind="stable")
    return {
        "ranking": [
            {"rank": rank, "parameter": i, "layer": found.layers[i], "component": found.components[i]}
            for rank, i in enumerate(order, 1)
        ],
        "wiggles": [
            {"parameter": name, "wiggle": wiggle, "change": change, "predicted": found.components[i] * wiggle}
            for name, i, row in zip(found.names, found.chosen, found.sweep, strict=True)
            for wiggle, change in zip(WIGGLES, row, strict=True)
        ],
    }


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "ranking": ranking_figure(found.components, found.layers, found.chosen),
        "wiggles": wiggles_figure(found.names, found.components[found.chosen], found.sweep, found.wiggle),
    }


@styled
def ranking_figure(
    components: Float[np.ndarray, " P"], layers: Int[np.ndarray, " P"], chosen: Int[np.ndarray, " 2"]
) -> Figure:
    """The sizes of all components by rank. layers: the dense layer, 0 to 2, of each; chosen: two that are marked."""
    sizes = np.abs(components)
    order = np.argsort(-sizes, kind="stable")
    ranked = sizes[order]
    colours = np.array([SKY, GREEN, VERMILION])
    figure = new_figure()
    axes = figure.subplots()
    # Drawn by rank, so that where layers mix none hides another.
    axes.scatter(np.arange(1, len(sizes) + 1), ranked, s=10, c=colours[layers[order]])
    for name, colour in zip(("hidden layer 1", "hidden layer 2", "the outputs"), colours, strict=True):
        axes.plot([], [], "o", color=colour, label=f"weights and biases of {name}")
    for i, name in zip(chosen, ("the largest", "1/32 of it"), strict=True):
        rank = 1 + int(np.flatnonzero(order == i)[0])
        axes.plot(rank, sizes[i], "o", color="black", markersize=13, fillstyle="none")
        axes.annotate(name, (rank, sizes[i]), (12, 6), textcoords="offset points")
    axes.set(xscale="log", yscale="log", ylabel="size of the component", ylim=(ranked[0] / 1e4, None))
    axes.set(xlabel="rank of the weight or bias, by the size of its component of the gradient")
    label_log(axes.xaxis)
    label_log(axes.yaxis)
    axes.set(title=f"Of {len(sizes):,} components few are large, and {np.sum(sizes == 0):,} are exactly 0")
    axes.legend(loc="lower left")
    return figure


@styled
def wiggles_figure(
    names: Sequence[str], components: Float[np.ndarray, " 2"], changes: Float[np.ndarray, "2 W"], compared: float
) -> Figure:
    """What wiggles of two parameters, a sensitive one first, do to the cost, and the straight lines of the gradient.

    changes: of the cost, by each of WIGGLES. compared: the wiggle at which the two are compared.
    """
    figure = new_figure()
    axes = figure.subplots()
    for name, component, changed, colour in zip(names, components, changes, (VERMILION, BLUE), strict=True):
        line = component * WIGGLES
        off = WIGGLES[np.argmax(np.abs(changed / line - 1) > 0.1)]
        label = f"{name}, component {component:.2g}: 10 % off its line at {off:.1f}".replace("-", "−")
        axes.plot(WIGGLES, np.abs(line), color="0.6")
        axes.plot(WIGGLES, np.abs(changed), "o", color=colour, markersize=5, label=label)
    axes.plot(
        [compared, compared],
        np.abs(components) * compared,
        "o-",
        color="black",
        markersize=13,
        fillstyle="none",
        label=f"compared at {compared:.2g}",
    )
    axes.set(xscale="log", yscale="log", xlabel="wiggle of one weight or bias", ylabel="size of the change of the cost")
    ratio = abs(components[0] / components[1])
    axes.set(title=f"A component {ratio:.0f} times as large: {ratio:.0f} times the change, for small wiggles")
    axes.legend(loc="lower right")
    return figure


def finding(found: Findings) -> str:
    large, small = found.components[found.chosen]
    by_large, by_small = found.changes
    return (
        f"One weight or bias has a component {abs(large / small):.1f} times as large as another's: moved by the same "
        f"{found.wiggle:.2g}, it changes the cost {abs(by_large / by_small):.1f} times as much. "
        f"{np.sum(found.components == 0):,} components are exactly 0, and do not matter at all."
    )


LOOK_AT = {
    "ranking": "How quickly the curve falls: a few hundred of the 13,002 components are large, nearly all of them of "
    "the outputs and hidden layer 2.",
    "wiggles": "Both rows of dots follow their straight lines, 32 times apart, as the gradient says; on the right, "
    "where the wiggle is large, they leave them. In W1[3, 406] the weight leads to neuron 3 from pixel 406, counted "
    f"from 0; {running_example.NAMES}.",
}
EXPERIMENT = Experiment("sensitivity", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
