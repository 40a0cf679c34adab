"""L16: from the same number of examples, many rough steps learn more than a few exact ones.

L16 says: to work out the wishes of every example before each step is slow; so cut the examples into mini-batches of 100
and take one step for each. Here every batch size, from one example to all of them, may look at 60,000 examples (all of
MNIST once, digits 40 times), from the same untrained network, each with its own best learning rate: of seven, the one
that ends at the lowest cost over all training examples. Mini-batches of 100 make 600 steps θ ← θ − η ∇C of them, all
examples at once make one on MNIST. The claim is about the cost reached. Seconds depend on the device, so nothing is
claimed about them.

    uv run experiments/lesson/batch_sizes.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, label_log, new_figure, styled
from lab.running_example import BATCH_SIZE
from lab.timing import interleave

SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BUDGET = 60_000  # examples that training may look at

Row = dict[str, Any]  # one for each batch size


def measure(options: Options) -> list[Row]:
    examples = running_example.load(options).train
    n = len(examples.labels)
    sizes = [BATCH_SIZE] if options.smoke else [size for size in SIZES if size < n]
    found = []
    with progress(len(sizes) + 1) as report:
        for row in race(examples, [*sizes, n], options.seed):
            found.append(row)
            rate = running_example.best_rate(row["rate"], RATES)
            report(f"mini-batches of {row['batch_size']:,}: cost {row['cost']:.3f} at {rate}")
    return found


def race(examples: jp.Examples, sizes: list[int], seed: int) -> Iterator[Row]:
    """For each batch size: the cost reached at its best rate, and the seconds that this takes on this device."""
    n = len(examples.labels)
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(seed))
    start = network.init(init_key)
    backprop = jp.backprop(network, jp.squared_error)
    evaluate = jp.make_evaluate(network, jp.squared_error, jp.as_batch)

    @jax.jit
    def train(rate: Any, examples: jp.Examples, order: Int[Array, "steps B"]) -> Params:
        optimizer = optax.sgd(rate)
        epoch = jp.make_epoch(jp.make_step(backprop, optimizer), jp.as_batch)
        state, _ = epoch(jp.init_state(start, optimizer), examples, order)
        return state.params

    train_with_each = jax.jit(jax.vmap(train, (0, None, None)))
    cost_of_each = jax.jit(jax.vmap(lambda params, examples: evaluate(params, examples).cost, (0, None)))
    (before,) = cost_of_each(jax.tree.map(lambda p: p[None], start), examples)
    for size in sizes:
        order = running_example.mini_batches(order_key, n, BUDGET // size, size)
        costs = cost_of_each(train_with_each(jnp.array(RATES), examples, order), examples)
        best = int(jnp.argmin(costs))
        part = order[: max(1, 6000 // size)]  # long enough to time
        seconds = interleave({"part": lambda part=part, rate=RATES[best]: train(rate, examples, part)}, repeats=5)
        yield {
            "batch_size": size,
            "steps": len(order),
            "rate": RATES[best],
            "cost_before": float(before),
            "cost": float(costs[best]),
            # The least: whatever else runs on the device can only add to it.
            "seconds": float(np.min(seconds["part"])) * len(order) / len(part),
        }


def claims(found: list[Row]) -> list[Claim]:
    (hundred,) = (row for row in found if row["batch_size"] == BATCH_SIZE)
    whole = found[-1]
    return [
        Claim(
            "L16",
            f"after {BUDGET:,} examples: the cost with mini-batches of 100, as a fraction of the cost with all "
            f"{whole['batch_size']:,} in each step, each with the learning rate that ends lowest",
            hundred["cost"] / whole["cost"],
            "at most",
            0.5,
            because=f"{hundred['steps']} steps against {whole['steps']} should at least halve what is left",
        )
    ]


def halvings_per_second(row: Row) -> float:
    return float(np.log2(row["cost_before"] / row["cost"])) / row["seconds"]


def tables(found: list[Row]) -> dict[str, list[Row]]:
    return {"batch_sizes": [{**row, "halvings_per_second": halvings_per_second(row)} for row in found]}


def figures(found: list[Row]) -> dict[str, Figure]:
    return {"batch_sizes": cost_figure(found), "speed": speed_figure(found)}


@styled
def cost_figure(found: list[Row]) -> Figure:
    """The cost that each batch size reaches from the same number of examples."""
    before = found[0]["cost_before"]
    sizes = [row["batch_size"] for row in found]
    figure = new_figure()
    axes = figure.subplots()
    axes.plot(sizes, [row["cost"] for row in found], "o-", color=BLUE, label="each at its best rate")
    mark_hundred(axes, found, [row["cost"] for row in found])
    axes.axhline(before, color="gray", linestyle=":", label="before the first step")
    axes.set(xscale="log", yscale="log", ylim=(None, 1.3 * before), xlabel="examples in the mini-batch")
    axes.set(ylabel=f"cost after {BUDGET:,} examples")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    label_log(axes.yaxis)
    axes.legend(loc="center left")
    first, second = message(found)
    axes.set_title(f"{first},\n{second}")
    return figure


@styled
def speed_figure(found: list[Row]) -> Figure:
    """What that takes on this device, and how often it halves the cost in a second."""
    sizes = [row["batch_size"] for row in found]
    figure = new_figure(9, 4.2)
    for axes, title, values in zip(
        figure.subplots(1, 2),
        (f"Seconds for {BUDGET:,} examples", "Halvings of the cost a second"),
        ([row["seconds"] for row in found], [halvings_per_second(row) for row in found]),
        strict=True,
    ):
        axes.plot(sizes, values, "o-", color=BLUE)
        mark_hundred(axes, found, values)
        axes.set(xscale="log", xticks=[1, 100, 10_000], xlabel="examples in the mini-batch", title=title)
        axes.set_ylim(0, 1.3 * max(values))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.axes[0].legend(loc="upper right")
    figure.suptitle("On this device, the least of five times each", x=0.01, ha="left", size=14)
    return figure


def mark_hundred(axes: Axes, found: list[Row], values: list[float]) -> None:
    (value,) = (value for row, value in zip(found, values, strict=True) if row["batch_size"] == BATCH_SIZE)
    axes.plot(BATCH_SIZE, value, "s", color=VERMILION, markersize=9, label="100, the lesson's choice")


def message(found: list[Row]) -> tuple[str, str]:
    """What mini-batches of 100 reach, and what all examples at once do. By the costs: no clock has a part in it."""
    (hundred,) = (row for row in found if row["batch_size"] == BATCH_SIZE)
    whole = found[-1]
    steps = f"{whole['steps']} step{'' if whole['steps'] == 1 else 's'} of {whole['batch_size']:,}"
    return (
        f"With {BUDGET:,} examples, {hundred['steps']} steps of 100 reach a cost of {hundred['cost']:.2g}",
        f"{steps} a cost of {whole['cost']:.2g}",
    )


def finding(found: list[Row]) -> str:
    (hundred,) = (row for row in found if row["batch_size"] == BATCH_SIZE)
    return (
        f"{', '.join(message(found))}, each with the learning rate that ends at the lowest cost ({hundred['rate']:g} "
        f"and {found[-1]['rate']:g}); before the first step it is {hundred['cost_before']:.2g}."
    )


LOOK_AT = {
    "batch_sizes": "The smaller the mini-batch, and so the more steps, the lower the cost after the same examples, "
    "until the curve is flat on the left: there, more steps win little.",
    "speed": "The larger the mini-batch, the less time the same examples take, until the device has all it can do; "
    "so how often the cost is halved in a second is best in between.",
}
EXPERIMENT = Experiment("batch_sizes", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
