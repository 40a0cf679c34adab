"""L18: a drunk man stumbles down the hill quickly; a careful man works out the exact way before each slow step.

The lesson says so of stochastic gradient descent, which takes a step for every 100 examples (the drunk man), beside
gradient descent with all examples in each step (the careful man). Here both start from the same untrained network, and
each has the best of six learning rates: the one with which he ends at the lowest cost over all examples. The careful
man's steps go exactly down the true slope, his path is the straighter one (straightness: |end − start| / length of the
path), and the drunk man is where the careful one ends after a small part of the examples.

The first picture is the one that the lesson draws, with true numbers: the true cost on the one plane that holds the
start and both ends, and both paths as seen from straight above. The drunk man walks many times as far as he gets, yet
on this plane he hardly seems to stumble: in 13,002 dimensions nearly all of it is to sides that the plane does not
have. So beside it a few dozen single steps of each man, from the middle of his walk, are drawn on a plane of their own:
along the way that these steps got him, and sideways where they scatter most. plane.csv has the true cost along both
paths beside that of the plane below.

    uv run experiments/lesson/drunk_and_careful.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BEHIND_TEXT, BLUE, VERMILION, label_log, new_figure, styled
from lab.timing import interleave
from lesson.planes import Plane, plane_through

RATES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
CAREFUL_STEPS = 200
DRUNK_STEPS = 1000
ROWS = 10  # of the map, after which progress is reported
RECORD = 10  # of the drunk man's steps every tenth is recorded, of the careful man's every one
BELOW = 10  # the plane's own cost is found below every tenth record
CLOSE = 40  # single steps from the middle of each walk, which are looked at closely

CostsAt = Callable[[Float[np.ndarray, "T P"]], Float[np.ndarray, " T"]]  # over all examples, at each of T places
Report = Callable[[str], None]


class Walk(NamedTuple):
    """A way down by gradient descent, in T + 1 records of which the first is the start."""

    rate: float
    batch_size: int
    steps: Int[np.ndarray, " T+1"]  # taken so far
    places: Float[np.ndarray, "T+1 P"]  # all parameters in a row
    costs: Float[np.ndarray, " T+1"]  # over all examples
    length: float  # of all steps together
    seconds_per_step: float
    closely: Float[np.ndarray, "C+1 P"]  # the places from the middle of the walk on, after every single step

    @property
    def straightness(self) -> float:
        """The distance from the start to the end as a fraction of the way that was walked: 1 for a straight line."""
        return float(np.linalg.norm(self.places[-1] - self.places[0])) / self.length

    @property
    def examples(self) -> Int[np.ndarray, " T+1"]:
        """How many examples have been looked at."""
        return self.steps * self.batch_size


class Hill(NamedTuple):
    """A map of the true cost on a plane, G by G."""

    plane: Plane
    x: Float[np.ndarray, " G"]
    y: Float[np.ndarray, " G"]
    costs: Float[np.ndarray, "G G"]  # at y, x
    beneath: dict[str, np.ndarray]  # the plane's own cost below every tenth record of each walk


class Findings(NamedTuple):
    careful: Walk
    drunk: Walk
    off_course: float  # the careful man's steps, from jax.grad's way down: at most, as a fraction of its length
    hill: Hill

    @property
    def men(self) -> dict[str, Walk]:
        return {"careful": self.careful, "drunk": self.drunk}


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    whole = running_example.whole(examples)
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    start = network.init(init_key)
    order = running_example.mini_batches(order_key, len(examples.labels), DRUNK_STEPS)
    grid = 11 if options.smoke else 31
    costs_at = make_costs_at(network, start, examples, at_a_time=grid)

    def all_examples(data: Batch, i: Array) -> Batch:
        return data

    def mini_batch(data: tuple[jp.Examples, Int[Array, "steps B"]], i: Array) -> Batch:
        examples, order = data
        return jp.as_batch(examples.images[order[i]], examples.labels[order[i]])

    with progress(5 + 5 + -(-grid // ROWS) + 2) as report:
        careful = walk(
            network,
            start,
            all_examples,
            whole,
            costs_at,
            steps=CAREFUL_STEPS,
            every=1,
            report=lambda line: report(f"careful: {line}"),
        )
        drunk = walk(
            network,
            start,
            mini_batch,
            (examples, order),
            costs_at,
            steps=DRUNK_STEPS,
            every=RECORD,
            report=lambda line: report(f"drunk: {line}"),
        )
        hill = survey(careful, drunk, costs_at, grid, report)
        for name, man in (("careful", careful), ("drunk", drunk)):
            held = hill.plane.captured(man.places)
            best = running_example.best_rate(man.rate, RATES)
            report(f"{name}: {best}; straightness {man.straightness:.3f}, {held:.0%} of squared distances in the plane")
    return Findings(careful, drunk, off_course(network, careful, start, whole), hill)


def make_costs_at(network: jp.Network, like: Params, examples: jp.Examples, at_a_time: int) -> CostsAt:
    """`costs_at(places)`: the cost over all examples at each place, which holds all parameters in a row.

    So many are evaluated at a time, the last ones filled up: few enough for the memory, and compiled once.
    """
    _, unravel = ravel_pytree(like)
    evaluate = jp.make_evaluate(network, jp.squared_error, jp.as_batch)

    @jax.jit
    def cost_of_each(places: Float[Array, "n P"], examples: jp.Examples) -> Float[Array, " n"]:
        return jax.vmap(lambda place: evaluate(unravel(place), examples).cost)(places)

    def costs_at(places: Float[np.ndarray, "T P"]) -> Float[np.ndarray, " T"]:
        missing = -len(places) % at_a_time
        filled = np.pad(places.astype(np.float32), ((0, missing), (0, 0)), mode="edge")
        parts = np.split(filled, len(filled) // at_a_time)
        return np.concatenate([cost_of_each(part, examples) for part in parts])[: len(places)]

    return costs_at


def walk(
    network: jp.Network,
    start: Params,
    batch_at: Callable[[Any, Array], Batch],
    data: Any,
    costs_at: CostsAt,
    *,
    steps: int,
    every: int,
    report: Report,
) -> Walk:
    """The walk of so many steps that ends lowest among those with each of the rates, which are walked side by side.

    batch_at: `(data, i) -> batch`, what step i looks at; traceable.
    every: steps from one record to the next. `report` is called at each fifth of the way.
    """
    place, unravel = ravel_pytree(start)
    backprop = jp.backprop(network, jp.squared_error)

    def advance(rate: Array, place: Array, length: Array, data: Any, rows: Int[Array, " n"]) -> tuple[Array, Array]:
        """n steps from a place: the place after them, and the length of the way up to there."""
        optimizer = optax.sgd(rate)
        step = jp.make_step(backprop, optimizer)

        def one(before: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
            place, length = before
            state, _ = step(jp.init_state(unravel(place), optimizer), batch_at(data, i))
            after, _ = ravel_pytree(state.params)
            return (after, length + jnp.linalg.norm(after - place)), None

        (place, length), _ = jax.lax.scan(one, (place, length), rows)
        return place, length

    together = jax.jit(jax.vmap(advance, (0, 0, 0, None, None)))
    rates = jnp.array(RATES)
    now = jnp.tile(place, (len(RATES), 1))
    lengths = jnp.zeros(len(RATES))
    places = [np.asarray(now)]
    for rows in np.arange(steps).reshape(-1, every):
        now, lengths = together(rates, now, lengths, data, rows)
        places.append(np.asarray(now))
        taken = rows[-1] + 1
        if taken % (steps // 5) == 0:
            report(f"{taken:,} of {steps:,} steps, at {len(RATES)} rates together")
    best = int(np.argmin(costs_at(places[-1])))
    way = np.stack([each[best] for each in places])

    alone = jax.jit(advance)
    middle = len(way) // 2
    closely = [way[middle]]
    for i in range(middle * every, middle * every + CLOSE):
        after, _ = alone(rates[best], closely[-1], 0.0, data, np.array([i]))
        closely.append(np.asarray(after))
    few = np.arange(10 * every if every > 1 else 1)  # steps that are timed: one with all examples is long enough
    seconds = interleave({"few": lambda: alone(rates[best], place, 0.0, data, few)}, repeats=5)["few"]
    return Walk(
        rate=RATES[best],
        batch_size=len(batch_at(data, jnp.array(0))[0]),
        steps=np.arange(0, steps + 1, every),
        places=way,
        costs=costs_at(way),
        length=float(lengths[best]),
        seconds_per_step=float(np.median(seconds)) / len(few),
        closely=np.stack(closely),
    )


def off_course(network: jp.Network, careful: Walk, like: Params, whole: Batch) -> float:
    """How far the first, a middle and the last step are from the rate times minus JAX's gradient, at most."""
    _, unravel = ravel_pytree(like)
    autodiff = jax.jit(jp.autodiff(network, jp.squared_error))
    steps = len(careful.places) - 1
    misses = []
    for i in (0, steps // 2, steps - 1):
        _, grads = autodiff(unravel(careful.places[i]), whole)
        expected = -careful.rate * np.asarray(ravel_pytree(grads)[0])
        step = careful.places[i + 1] - careful.places[i]
        misses.append(np.linalg.norm(step - expected) / np.linalg.norm(expected))
    return float(max(misses))


def survey(careful: Walk, drunk: Walk, costs_at: CostsAt, grid: int, report: Report) -> Hill:
    """Maps the plane through both ends and the start, as far as the walks go. `report` is called now and then."""
    plane = plane_through(drunk.places[0], drunk.places[-1], careful.places[-1])
    xy = np.concatenate([plane.coordinates(careful.places), plane.coordinates(drunk.places)])
    lowest, highest = xy.min(axis=0), xy.max(axis=0)
    room = 0.15 * (highest - lowest)
    x, y = np.linspace(lowest - room, highest + room, grid).T
    costs = []
    for height in y:
        costs.append(costs_at(plane.at(np.stack([x, np.full(grid, height)], axis=1))))
        if len(costs) % ROWS == 0 or len(costs) == grid:
            report(f"the hill: {len(costs)} of {grid} rows mapped")

    def beneath(man: Walk) -> np.ndarray:
        return costs_at(plane.at(plane.coordinates(man.places[::BELOW])))

    return Hill(plane, x, y, np.stack(costs), {"careful": beneath(careful), "drunk": beneath(drunk)})


def side_view(places: Float[np.ndarray, "C+1 P"]) -> Float[np.ndarray, "C+1 2"]:
    """Places along the way from the first to the last, and sideways where they scatter most; the way is 1 long."""
    way = places[-1] - places[0]
    along = (places - places[0]) @ way / (way @ way)
    aside = places - places[0] - along[:, None] * way
    # The first principal direction of what is left, by the small matrix of inner products.
    centred = aside - aside.mean(axis=0)
    sizes, directions = np.linalg.eigh(centred @ centred.T)
    sideways = directions[:, -1] * np.sqrt(sizes[-1]) / np.linalg.norm(way)
    return np.stack([along, sideways - sideways[0]], axis=1)


def examples_saved(careful: Walk, drunk: Walk) -> float:
    """How many times fewer examples the drunk man has seen where he is first as low as the careful man's end.

    0 where he never is.
    """
    as_low = np.flatnonzero(drunk.costs <= careful.costs[-1])
    if len(as_low) == 0:
        return 0.0
    return float(careful.examples[-1] / drunk.examples[as_low[0]])


def claims(found: Findings) -> list[Claim]:
    careful, drunk = found.careful, found.drunk
    parts = careful.batch_size // drunk.batch_size
    return [
        Claim(
            "L18",
            f"how many times fewer examples the drunk man has seen when he is where the careful man ends, at a cost of "
            f"{careful.costs[-1]:.3f} after {careful.steps[-1]} steps with all examples",
            examples_saved(careful, drunk),
            "at least",
            20.0 if parts > 100 else 4.0,
            because=f"a rough step takes 1/{parts} of the examples of an exact one, and should not be much worse",
        ),
        Claim(
            "L18",
            "how many times as straight the careful man's path is as the drunk man's",
            careful.straightness / drunk.straightness,
            "at least",
            2.0,
            because="the scatter of mini-batches leads nowhere in the end, but is walked all the same",
        ),
        Claim(
            "L18",
            "the careful man's steps, and the way straight down (the rate times minus jax.grad): how far apart at "
            "most, as a fraction of its length",
            found.off_course,
            "at most",
            1e-3,
            because="float32: a rounding of all parameters is some 1e-5 of a step",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    hill = found.hill
    paths = []
    plane = []
    for name, man in found.men.items():
        for i, (x, y) in enumerate(hill.plane.coordinates(man.places)):
            row = {
                "man": name,
                "steps": man.steps[i],
                "examples": man.examples[i],
                "seconds": man.steps[i] * man.seconds_per_step,
                "cost": man.costs[i],
                "x": x,
                "y": y,
            }
            paths.append(row)
        beneath = zip(man.steps[::BELOW], man.costs[::BELOW], hill.beneath[name], strict=True)
        for steps, cost, of_the_plane in beneath:
            plane.append({"man": name, "steps": steps, "cost": cost, "cost_of_the_plane": of_the_plane})
    surface = [{"x": hill.x[i], "y": hill.y[j], "cost": cost} for (j, i), cost in np.ndenumerate(hill.costs)]
    return {"paths": paths, "plane": plane, "hill": surface}


def figures(found: Findings) -> dict[str, Figure]:
    return {"hill": draw_hill(found.hill, found.men), "stories": draw_stories(found.men)}


@styled
def draw_hill(hill: Hill, men: Mapping[str, Walk]) -> Figure:
    """The map with both paths on it, as seen from straight above; and beside it single steps of each man."""
    figure = new_figure(12.5, 6)
    axes, close = figure.subplots(1, 2, width_ratios=(1.7, 1))
    levels = np.geomspace(hill.costs.min(), hill.costs.max(), 15)
    filled = axes.contourf(hill.x, hill.y, hill.costs, levels, cmap="Greys", norm="log", alpha=0.7)
    axes.contour(hill.x, hill.y, hill.costs, levels, colors="white", linewidths=0.8)
    bar = figure.colorbar(filled, ax=axes, label="true cost on this plane", format="{x:.2g}")
    bar.ax.minorticks_off()
    for name, colour, width in (("drunk", VERMILION, 1.5), ("careful", BLUE, 4)):
        man = men[name]
        x, y = hill.plane.coordinates(man.places).T
        label = f"{name} man: {man.steps[-1]:,} steps, walks {1 / man.straightness:.0f} times as far as he gets"
        axes.plot(x, y, color=colour, linewidth=width, label=label)
        axes.plot(x[-1], y[-1], "*", color=colour, markersize=16, markeredgecolor="white")
        along, sideways = side_view(man.closely).T
        close.plot(along, sideways, ".-", color=colour, linewidth=width / 1.5, markersize=7)
    axes.plot(0, 0, "s", color="black")
    axes.annotate("start", (0, 0), (8, -16), textcoords="offset points", bbox=BEHIND_TEXT)
    drunk, careful = men["drunk"], men["careful"]
    axes.set_xlabel(
        "from the start towards the drunk man's end, as a distance between parameters\n"
        f"of the squared distances from it, {hill.plane.captured(drunk.places):.0%} (drunk) and "
        f"{hill.plane.captured(careful.places):.0%} (careful) lie in this plane"
    )
    axes.set_ylabel("at right angles to it")
    axes.set_title("The hill, from above")
    close.set(xlabel=f"along the way that {CLOSE} steps got him,\nas a fraction of it")
    close.set(ylabel="to the side to which he sways most", aspect="equal", adjustable="datalim")
    close.set_title(f"{CLOSE} single steps, magnified")
    figure.legend(loc="outside lower left", ncols=2)
    figure.suptitle(
        f"After {drunk.examples[-1]:,} examples the drunk man is down at a cost of {drunk.costs[-1]:.2g}, "
        f"the careful man after {careful.examples[-1]:,} at {careful.costs[-1]:.2g}",
        x=0.01,
        ha="left",
        size=14,
    )
    return figure


@styled
def draw_stories(men: Mapping[str, Walk]) -> Figure:
    """The true cost against steps, examples and seconds."""
    figure = new_figure(11, 4.4)
    by_steps, by_examples, by_seconds = figure.subplots(1, 3, sharey=True)
    for name, colour, line in (("drunk", VERMILION, "-"), ("careful", BLUE, "--")):
        man = men[name]
        for axes, spent in (
            (by_steps, man.steps),
            (by_examples, man.examples),
            (by_seconds, man.steps * man.seconds_per_step),
        ):
            axes.plot(spent[1:], man.costs[1:], line, color=colour, linewidth=2, label=name)
    by_steps.set(xlabel="steps", ylabel="true cost, over all examples")
    by_examples.set(xlabel="examples seen")
    by_seconds.set(xlabel="seconds on this device")
    for axes in (by_steps, by_examples, by_seconds):
        axes.axhline(men["careful"].costs[-1], color="gray", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log")
    label_log(by_steps.yaxis)  # the others share it
    by_steps.legend(loc="lower left")
    saved = examples_saved(men["careful"], men["drunk"])
    message = f"To the careful man's last cost (dotted), the drunk man needs {saved:,.0f} times fewer examples"
    figure.suptitle(message, x=0.01, ha="left")
    return figure


def finding(found: Findings) -> str:
    careful, drunk = found.careful, found.drunk
    return (
        f"The drunk man is as low as the careful man's end ({careful.costs[-1]:.2g}) with "
        f"{examples_saved(careful, drunk):,.0f} times fewer examples, though he walks {1 / drunk.straightness:.0f} "
        f"times as far as he gets, and the careful man {1 / careful.straightness:.1f} times; their rates are "
        f"{drunk.rate:g} and {careful.rate:g}, each the one that ends lowest."
    )


LOOK_AT = {
    "hill": "On the left both paths down the hill of the cost, which is darker where it is higher. On the right single "
    "steps: the drunk man's zigzag, the careful man's nearly lie on a line.",
    "stories": "The same two walks against steps, examples and seconds: by steps the two are not far apart; by "
    "examples and by seconds the drunk man is far ahead.",
}
EXPERIMENT = Experiment("drunk_and_careful", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
