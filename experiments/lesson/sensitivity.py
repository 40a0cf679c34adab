"""L5: the size of a gradient's component says how sensitive the cost of the network is to that weight or bias.

All 13,002 components are ranked. The largest, and the one nearest to 1/32 of it, are wiggled by the same small amount:
the two changes of the cost are to be as the two components. A wiggle h changes the cost by component × h + curvature ×
h² / 2, so h is chosen, by measured curvatures, to keep the second term below 1/400 of the first for both.

What the lesson leaves out: this holds for small wiggles only, and the curvature says how small. And where a pixel is
black in every picture, the weights that lead from it do not matter at all: their components are exactly 0.

What to look at: `ranking.png` shows how few components are large. In `wiggles.png` both changes follow their straight
lines, 32 times apart, and leave them as the wiggle grows.
"""

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
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.running_example import SIZES, load, whole
from lesson.sensitivity_figures import ranking_figure, wiggles_figure

RATIO = 32
BEND = 1 / 400  # how much of a change may come from the curvature
TRIAL, LONGEST = 1e-2, 1e-1  # the wiggle from which the curvature is measured, and the longest that may be chosen
WIGGLES = np.logspace(-4, 1.5, 34)


class Findings(NamedTuple):
    components: Float[np.ndarray, " P"]  # of the gradient, by parameter, as ravel_pytree lays them out
    layers: Int[np.ndarray, " P"]  # which dense layer a parameter is of: 0, 1 or 2
    chosen: Int[np.ndarray, " 2"]  # the parameters that are wiggled: the large one and the small one
    names: list[str]
    wiggle: float
    changes: Float[np.ndarray, " 2"]  # of the cost, by that wiggle
    sweep: Float[np.ndarray, "2 wiggles"]  # the same for each of WIGGLES
    change_by_silent: float  # when every parameter whose component is 0 is moved by 1


def measure(options: Options) -> Findings:
    batch, network = whole(load(options).train), jp.mlp(SIZES)
    tree = network.init(jax.random.key(options.seed))
    layers, _ = ravel_pytree([jax.tree.map(lambda leaf, i=i: np.full(leaf.shape, i), tree[2 * i]) for i in range(3)])
    _, grads = jax.jit(jp.backprop(network, jp.squared_error))(tree, batch)
    components = np.asarray(ravel_pytree(grads)[0])
    params, unravel = ravel_pytree(tree)
    loss = jp.loss(network, jp.squared_error)
    cost = jax.jit(lambda move, batch: loss(unravel(params + move), batch))
    still = np.zeros_like(components)
    before = float(cost(still, batch))

    def change(move: Float[np.ndarray, " P"]) -> float:
        return float(cost(move, batch)) - before

    def wiggled(i: int, by: Sequence[float] | np.ndarray) -> Float[np.ndarray, " n"]:
        return np.array([change(np.where(np.arange(len(still)) == i, h, 0.0)) for h in by])

    sizes = np.abs(components)
    chosen = np.array([np.argmax(sizes), np.argmin(np.abs(sizes - sizes.max() / RATIO))])
    curvatures = np.array([wiggled(i, (TRIAL, -TRIAL)).sum() / TRIAL**2 for i in chosen])
    wiggle = float(min(LONGEST, *(2 * BEND * np.abs(components[chosen] / curvatures))))
    names, sweep = name_coordinates(tree, chosen), []
    with progress(len(chosen)) as report:
        for i, name in zip(chosen, names, strict=True):
            sweep.append(wiggled(i, WIGGLES))
            report(f"params{name} wiggled")
    return Findings(
        components,
        np.asarray(layers),
        chosen,
        names,
        wiggle,
        np.concatenate([wiggled(i, [wiggle]) for i in chosen]),
        np.array(sweep),
        change(np.where(components == 0, 1.0, 0.0)),
    )


def claims(found: Findings) -> list[Claim]:
    large, small = found.components[found.chosen]
    return [
        Claim("L5", "the largest component over the one chosen as nearest to 1/32 of it, in size",
              float(abs(large / small)),
              "within", RATIO, "13,002 components leave small gaps", 1),
        Claim("L5", "the ratio of the two changes of the cost by one small wiggle, over that of the two components",
              float(found.changes[0] / found.changes[1] / (large / small)), "within", 1,
              "curvature adds at most 1/400 to either change, so that 1 % is twice of what both can do", 0.01),
        Claim("L5", "change of the cost when all parameters whose component is exactly 0 are moved by 1",
              abs(found.change_by_silent), "at most", 0, "weights from pixels that are black in every picture"),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict]]:
    order = np.argsort(-np.abs(found.components), kind="stable")
    return {
        "ranking": [
            {"rank": rank, "parameter": i, "layer": found.layers[i], "component": found.components[i]}
            for rank, i in enumerate(order, 1)
        ],
        "wiggles": [
            {"parameter": name, "wiggle": h, "change": change, "predicted": found.components[i] * h}
            for name, i, row in zip(found.names, found.chosen, found.sweep, strict=True)
            for h, change in zip(WIGGLES, row, strict=True)
        ],
    }


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "ranking": ranking_figure(found.components, found.layers, found.chosen),
        "wiggles": wiggles_figure(found.names, found.components[found.chosen], WIGGLES, found.sweep, found.wiggle),
    }


EXPERIMENT = Experiment("sensitivity", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
