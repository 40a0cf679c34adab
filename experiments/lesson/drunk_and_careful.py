"""L18: a drunk man stumbles down the hill quickly; a careful man works out the exact way before each slow step.

The lesson says so of stochastic gradient descent, which takes a step for every 100 examples, beside gradient descent
proper, which looks at all of them before each step. Here both start from the same untrained network, and each has the
best of five learning rates, by the cost that he ends at. The careful man's steps go exactly down the true slope, his
path is the straighter one (straightness: |end − start| / length of the path), and the drunk man is where the careful
one ends after a small part of the examples.

The first picture is the film's, with true numbers: look at the true cost on the one plane that holds the start and
both ends, and at both paths as seen from straight above. The drunk man walks many times as far as he gets, yet hardly
seems to stumble: in 13,002 dimensions nearly all of it is to sides that the plane does not have. So the picture says
how much of the paths it holds, and plane.csv has the true cost along them beside that of the plane below. The second
picture shows the true cost against steps, examples and seconds: three panels that tell three stories about the same
two walks.
"""

import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import jaxprop as jp
from lab.figures import styled
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lesson.drunk_and_careful_figures import draw_hill, draw_stories
from lesson.hills import Hill, survey
from lesson.walks import Walk, off_course, walk

CAREFUL_STEPS, DRUNK_STEPS = 200, 1000


class Findings(NamedTuple):
    men: dict[str, Walk]  # careful and drunk
    off_course: float  # the careful man's steps, from jax.grad's way down: at most, as a share of its length
    hill: Hill


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    n = len(examples.labels)
    grid = 11 if options.smoke else 31
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    start = network.init(init_key)
    _, unravel = ravel_pytree(start)
    evaluate, whole = jp.make_evaluate(network, jp.squared_error), running_example.whole(examples)
    shuffles = range(-(-DRUNK_STEPS // (n // running_example.BATCH_SIZE)))
    order = [jp.epoch_order(jax.random.fold_in(order_key, i), n, running_example.BATCH_SIZE) for i in shuffles]

    @jax.jit
    def cost_of_each(places: Any, examples: jp.Examples) -> jax.Array:
        return jax.vmap(lambda place: evaluate(unravel(place), examples).cost)(places)

    def costs_at(places: np.ndarray) -> np.ndarray:
        # So many at a time, the last ones filled up: few enough for the memory, and compiled once.
        filled = np.pad(places.astype(np.float32), ((0, -len(places) % grid), (0, 0)), mode="edge")
        parts = np.split(filled, len(filled) // grid)
        return np.concatenate([cost_of_each(part, examples) for part in parts])[: len(places)]

    def mini_batch(data: Any, i: Any) -> Any:
        examples, order = data
        return jp.as_batch(examples.images[order[i]], examples.labels[order[i]])

    with progress(20 + 2 + grid) as report:
        men = {
            name: walk(
                network, start, *looking_at, costs_at, steps=steps, every=every, report=partial(note, report, name)
            )
            for name, looking_at, steps, every in (
                ("careful", (lambda whole, i: whole, whole), CAREFUL_STEPS, 1),
                ("drunk", (mini_batch, (examples, np.concatenate(order))), DRUNK_STEPS, 10),
            )
        }
        hill = survey(men, costs_at, grid, report)
        for name, man in men.items():
            held, straight = hill.plane.captured(man.places), man.straightness
            note(report, name, f"straightness {straight:.3f}, {held:.1%} of squared distances within the plane")
    return Findings(men, off_course(network, men["careful"], unravel, whole), hill)


def note(report: Any, name: str, line: str) -> None:
    report(f"{name}: {line}")


def examples_saved(careful: Walk, drunk: Walk) -> float:
    """How many times fewer examples the drunk man has seen where he is first as low as the careful man's end."""
    (as_low,) = np.nonzero(drunk.costs <= careful.costs[-1])
    return float(careful.examples[-1] / drunk.examples[as_low[0]]) if len(as_low) else 0.0


def claims(found: Findings) -> list[Claim]:
    careful, drunk = found.men["careful"], found.men["drunk"]
    parts = careful.batch_size // drunk.batch_size
    return [
        Claim(
            "L18",
            f"the cost at which the careful man ends, {careful.costs[-1]:.3f} after {careful.steps[-1]} steps, is "
            "reached by the drunk man with so many times fewer examples",
            examples_saved(careful, drunk), "at least", 20.0 if parts > 100 else 4.0,
            because=f"a rough step takes 1/{parts} of the examples of an exact one, and should not be much worse",
        ),
        Claim(
            "L18",
            "the careful man's path is so many times as straight as the drunk man's",
            careful.straightness / drunk.straightness, "at least", 2.0,
            because="the scatter of mini-batches leads nowhere in the end, but is walked all the same",
        ),
        Claim(
            "L18",
            "the careful man's steps differ from the way straight down, the rate times minus jax.grad, by at most",
            found.off_course, "at most", 1e-3,
            because="float32: a rounding of all parameters is some 1e-5 of a step",
        ),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    paths, plane, hill = [], [], found.hill
    for name, man in found.men.items():
        seconds, xy = man.steps * man.seconds_per_step, hill.plane.coordinates(man.places)
        columns = {"steps": man.steps, "examples": man.examples, "seconds": seconds, "cost": man.costs}
        columns |= {"x": xy[:, 0], "y": xy[:, 1]}
        paths += [{"man": name, **{key: column[i] for key, column in columns.items()}} for i in range(len(xy))]
        below = zip(man.steps[::10], man.costs[::10], hill.beneath[name], strict=True)
        plane += [{"man": name, "steps": at, "cost": cost, "cost_of_the_plane": flat} for at, cost, flat in below]
    surface = [{"x": hill.x[i], "y": hill.y[j], "cost": cost} for (j, i), cost in np.ndenumerate(hill.costs)]
    return {"paths": paths, "plane": plane, "hill": surface}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    return {
        "hill": draw_hill(found.hill, found.men),
        "stories": draw_stories(**found.men, saved=examples_saved(**found.men)),
    }


EXPERIMENT = Experiment("drunk_and_careful", measure, claims, tables, figures, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
