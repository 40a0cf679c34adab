"""L4: of all directions in 13,002 dimensions, the negative gradient is the one in which the cost falls fastest.

A short step along a direction lowers the cost of the network by step × |gradient| × cosine of the angle between the
direction and the negative gradient. So the drop is a straight line in the cosine, through the origin, and largest where
the cosine is 1. 500 directions and their opposites are tried, mixed from the negative gradient and noise so that the
cosines cover -1 to 1. The step is so short that the cost's curvature adds less than 1 % to the drop at a cosine of 0.1.

    uv run experiments/lesson/steepest_way_down.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import math
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, new_figure, styled

PARTS = 10  # so many times progress is reported
BEND = 0.01  # the quadratic term is to be at most this fraction of the linear one,
COSINE = 0.1  # at this cosine
SHOWN = 25  # dots on either side of the picture
TRIAL = 1e-3  # a step from which the curvature is measured


class Findings(NamedTuple):
    cosines: Float[np.ndarray, " D"]  # of the directions with the negative gradient, from 0 to 1
    drops: Float[np.ndarray, "D 2"]  # of the cost along each and along its opposite, over step × |gradient|


def measure(options: Options) -> Findings:
    batch = running_example.whole(running_example.load(options).train)
    network = jp.mlp(running_example.SIZES)
    init_key, noise_key = jax.random.split(jax.random.key(options.seed))
    start = network.init(init_key)
    params, unravel = ravel_pytree(start)
    _, grads = jax.jit(jp.backprop(network, jp.squared_error))(start, batch)
    gradient, _ = ravel_pytree(grads)
    steepness = jnp.linalg.norm(gradient)
    loss = jp.loss(network, jp.squared_error)

    @jax.jit
    def drops(step: Array, keys: Array, cosines: Array, batch: Batch) -> Float[Array, "D 2"]:
        def both_ways(direction: tuple[Array, Array]) -> Float[Array, " 2"]:
            change = step * with_cosine(-gradient / steepness, *direction)
            return jnp.array([loss(unravel(params + change), batch), loss(unravel(params - change), batch)])

        return loss(unravel(params), batch) - jax.lax.map(both_ways, (keys, cosines))

    n = 20 if options.smoke else 500
    keys = jax.random.split(noise_key, n)
    cosines = jnp.linspace(0, 1, n)
    some = np.linspace(0, n - 1, PARTS, dtype=int)  # the steepest with them
    trial_drops = drops(jnp.array(TRIAL), keys[some], cosines[some], batch)
    curvature = jnp.abs(trial_drops.sum(axis=1)).max() / TRIAL**2
    step = BEND * COSINE * steepness / curvature  # half the longest, for directions of more curvature
    found = []
    with progress(PARTS) as report:
        for part in np.split(np.arange(n), PARTS):
            found.append(np.asarray(drops(step, keys[part], cosines[part], batch) / (step * steepness)))
            report(f"{2 * (part[-1] + 1):,} of {2 * n:,} directions tried")
    return Findings(np.asarray(cosines), np.concatenate(found))


def with_cosine(unit: Float[Array, " n"], key: Array, cosine: Array) -> Float[Array, " n"]:
    """A random direction of length 1 with this cosine to another."""
    noise = jax.random.normal(key, unit.shape)
    noise -= (noise @ unit) * unit
    return cosine * unit + jnp.sqrt(1 - cosine**2) * noise / jnp.linalg.norm(noise)


def claims(found: Findings) -> list[Claim]:
    cosines = both_cosines(found)
    quadratic = np.abs(found.drops.sum(axis=1) / 2).max() / COSINE
    off_the_line = np.abs(found.drops - cosines).max()
    steepest = found.drops[-1, 0]
    others = np.append(found.drops[:-1], found.drops[-1, 1])
    return [
        Claim(
            "L4",
            "what curvature adds to the drop, as a fraction of the straight line's drop at a cosine of 0.1; the "
            "largest of all directions",
            float(quadratic),
            "at most",
            BEND,
            because="the step was chosen for half of it by the curvature",
        ),
        Claim(
            "L4",
            "the drop, in units of step × |gradient|, and the cosine: how far apart at most",
            float(off_the_line),
            "at most",
            BEND * COSINE,
            because="a straight line through the origin, but for what curvature adds",
        ),
        Claim(
            "L4",
            "the largest drop in any other direction, as a fraction of that along the negative gradient",
            float(others.max() / steepest),
            "at most",
            1,
            because="a cosine is at most 1, and that of the others less",
        ),
    ]


def both_cosines(found: Findings) -> Float[np.ndarray, "D 2"]:
    """With the negative gradient, of each direction and of its opposite."""
    return np.stack([found.cosines, -found.cosines], axis=1)


def tables(found: Findings) -> dict[str, list[dict]]:
    drops = zip(both_cosines(found).flat, found.drops.flat, strict=True)
    return {"drops": [{"cosine": cosine, "drop": drop} for cosine, drop in drops]}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    every = math.ceil(len(found.cosines) / SHOWN)
    figure = new_figure(8, 6)
    line, rest = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    line.plot([-1, 1], [-1, 1], color="0.6", label="predicted: the cosine")
    for cosines, drops, colour, label in (
        (found.cosines, found.drops[:, 0], BLUE, "towards the negative gradient"),
        (-found.cosines, found.drops[:, 1], VERMILION, "the opposite directions"),
    ):
        line.plot(cosines[::every], drops[::every], "o", color=colour, label=label)
        rest.plot(cosines, 1000 * (drops - cosines), ".", color=colour, markersize=3)
    line.plot(1, found.drops[-1, 0], "*", color=BLUE, markersize=22, label="the negative gradient itself")
    line.set(ylabel="drop of the cost, over step × |gradient|")
    line.set(title=f"The negative gradient is the steepest of {2 * len(found.cosines):,} ways down")
    line.legend()
    rest.axhline(0, color="0.6")
    rest.set(xlabel="cosine of the angle between the step and the negative gradient")
    rest.set(ylabel="drop − line,\nthousandths")
    return {"drops": figure}


def finding(found: Findings) -> str:
    steepest = found.drops[-1, 0]
    others = np.append(found.drops[:-1], found.drops[-1, 1])
    return (
        f"Steps of one length in {2 * len(found.cosines):,} directions: the best of the others lowers the cost "
        f"{others.max() / steepest:.3f} times as far as the negative gradient, and each lowers it in proportion to the "
        "cosine of its angle with it."
    )


LOOK_AT = {
    "drops": f"Above, each dot is a direction ({SHOWN} a side are drawn). All lie on the straight line, and the star, "
    "the negative gradient itself, is the highest. Below, what is left when the line is taken away: what the curvature "
    "of the cost adds, less than a thousandth.",
}
EXPERIMENT = Experiment("steepest_way_down", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
