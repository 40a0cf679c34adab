"""L20: each further point of accuracy costs more labelled examples than the one before.

L20 says: all of this needs a lot of labelled data, and handwritten digits are a good example because so many have been
labelled by people. So how much does a label add? The same network takes the same number of steps on the first so many
of the training examples in a random order, for several orders and from several starts. A hundred examples it soon
classifies correctly, and yet it misclassifies many others. More examples help, each one less than those before: the
fraction of mistakes falls about as a small power of their number, c n^-α, so that the price of a point of accuracy (one
test digit in a hundred more that is classified correctly) rises as n^(1 + α).

    uv run experiments/lesson/how_much_data.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

import jaxprop as jp
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, label_log, new_figure, styled

Row = dict[str, Any]


class Plan(NamedTuple):
    sizes: list[int]  # of the training sets
    steps: int
    orders: int  # of the examples, of which each training set is the first part
    starts: int  # so there are orders * starts networks for each size


class Findings(NamedTuple):
    examples: Int[np.ndarray, " sizes"]
    accuracy: Float[np.ndarray, "sizes networks"]  # fraction of the test digits that are classified correctly
    memorised: Float[np.ndarray, "sizes networks"]  # and of the first 100 examples, on which all networks are trained


def plan(options: Options, n: int) -> Plan:
    if options.smoke:
        return Plan([100, 400, n], steps=1000, orders=2, starts=3)
    if options.dataset == "digits":
        return Plan([100, 200, 400, 800, n], steps=1000, orders=3, starts=5)
    return Plan([100, 300, 1000, 3000, 10_000, 30_000, n], steps=6000, orders=3, starts=5)


def measure(options: Options) -> Findings:
    data = running_example.load(options)
    n = len(data.train.labels)
    sizes, steps, orders, starts = plan(options, n)
    network = jp.mlp(running_example.SIZES)
    optimizer = optax.sgd(running_example.LEARNING_RATE)
    step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
    train = jax.jit(jp.make_ensemble_epoch(step, jp.as_batch))
    evaluate = jax.jit(jax.vmap(jp.make_evaluate(network, jp.squared_error, jp.as_batch), (0, None)))
    accuracy = np.empty((len(sizes), orders, starts))
    memorised = np.empty((len(sizes), orders, starts))
    with progress(orders * len(sizes)) as report:
        for i in range(orders):
            init_key, draw_key, order_key = jax.random.split(jax.random.fold_in(jax.random.key(options.seed), i), 3)
            states = jp.init_ensemble(network, optimizer, jax.random.split(init_key, starts))
            draw = jp.epoch_order(draw_key, n, n).ravel()
            first_hundred = running_example.select(data.train, draw[:100])
            for s, size in enumerate(sizes):
                order = draw[running_example.mini_batches(order_key, size, steps)]
                trained, _ = train(states, data.train, order)
                accuracy[s, i] = evaluate(trained.params, data.test).accuracy
                memorised[s, i] = evaluate(trained.params, first_hundred).accuracy
                mean = f"{accuracy[s, i].mean():.1%} of the test digits classified correctly, mean of {starts} starts"
                report(f"order {i + 1} of {orders}, {size:,} examples: {mean}")
    return Findings(np.array(sizes), accuracy.reshape(len(sizes), -1), memorised.reshape(len(sizes), -1))


def power_law(found: Findings) -> tuple[float, float]:
    """c and α of the line through the mistakes, c n^-α, by least squares between the logarithms."""
    slope, height = np.polyfit(np.log(found.examples), np.log(1 - found.accuracy.mean(axis=1)), 1)
    return float(np.exp(height)), float(-slope)


def prices(found: Findings) -> list[Row]:
    """Examples for each point of accuracy, from one number of examples to the next; none where nothing was gained."""
    reached = zip(found.examples.tolist(), found.accuracy.mean(axis=1).tolist(), strict=True)
    rows = []
    for (n, before), (m, after) in pairwise(reached):
        price = (m - n) / (100 * (after - before)) if after > before else None
        rows.append({"from": n, "to": m, "examples_per_point": price})
    return rows


def claims(found: Findings) -> list[Claim]:
    n = found.examples
    mean = found.accuracy.mean(axis=1)
    half = len(n) // 2

    def later_over_first(values: np.ndarray) -> float:
        """What one example of the later half adds, as a fraction of what one of the first ones adds."""
        by_later = (values[-1] - values[half]) / (n[-1] - n[half])
        by_first = (values[1] - values[0]) / (n[1] - n[0])
        return float(by_later / by_first)

    return [
        Claim(
            "L20",
            f"with {n[0]} examples, fraction of them that is classified correctly after training",
            float(found.memorised[0].mean()),
            "at least",
            0.99,
            because="what it misclassifies then is not for want of training, but of examples",
        ),
        Claim(
            "L20",
            f"mistakes on the test digits with {n[-1]:,} examples, as a fraction of those with {n[0]}",
            float((1 - mean[-1]) / (1 - mean[0])),
            "at most",
            0.5,
            because="more examples should at least halve the mistakes",
        ),
        Claim(
            "L20",
            f"what one example more adds to the accuracy between {n[half]:,} and {n[-1]:,} examples, as a fraction of "
            f"what it adds between {n[0]} and {n[1]}",
            later_over_first(mean),
            "at most",
            later_over_first(np.log(n)),
            because="if every doubling added as much as the one before, it would be this fraction",
        ),
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    networks = [
        {"examples": n, "network": i, "accuracy": accuracy, "memorised": found.memorised[s, i]}
        for s, n in enumerate(found.examples)
        for i, accuracy in enumerate(found.accuracy[s])
    ]
    return {"how_much_data": networks, "prices": prices(found)}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    n = found.examples
    mean = 100 * found.accuracy.mean(axis=1)
    spread = 100 * found.accuracy.std(axis=1)
    c, alpha = power_law(found)
    figure = new_figure(10, 4.5)
    accuracy, price = figure.subplots(1, 2)
    trained_on = "100 examples that it was trained on"
    accuracy.plot(n, 100 * found.memorised.mean(axis=1), "s--", color=VERMILION, label=trained_on)
    accuracy.errorbar(n, mean, spread, fmt="o-", color=BLUE, capsize=3, label="test digits (bar: standard deviation)")
    accuracy.set(ylabel="% classified correctly", title="More examples, fewer mistakes", ylim=(None, 101))
    accuracy.legend(loc="lower right", fontsize=10)

    per_point = n ** (1 + alpha) / (100 * alpha * c)
    paid = [row for row in prices(found) if row["examples_per_point"]]
    middles = [(row["from"] * row["to"]) ** 0.5 for row in paid]
    paid_per_point = [row["examples_per_point"] for row in paid]
    price.plot(n, per_point, color=BLUE, label=f"if mistakes fall as n to the power of −{alpha:.2f}")
    price.plot(middles, paid_per_point, "o", color=BLUE, label="from dot to dot on the left")
    price.set(yscale="log", ylabel="examples for one more point of accuracy", title="The price of a point")
    label_log(price.yaxis)
    low, high = price.get_ylim()
    price.set_ylim(low, 6 * high)  # room for the legend above the points
    price.legend(loc="upper left", fontsize=10)
    for axes in (accuracy, price):
        axes.set(xscale="log", xlabel="labelled examples")
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if n[-1] > 20 * n[0] else (1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    message = f"A point of accuracy costs {per_point[0]:,.0f} examples at first, {per_point[-1]:,.0f} at the end"
    figure.suptitle(message, x=0.01, ha="left", size=16)
    return {"how_much_data": figure}


def finding(found: Findings) -> str:
    n = found.examples
    mean = found.accuracy.mean(axis=1)
    paid = [row for row in prices(found) if row["examples_per_point"]]
    price = " and ".join(
        f"{row['examples_per_point']:,.0f} between {row['from']:,} and {row['to']:,} examples"
        for row in (paid[:1] + paid[-1:] if len(paid) > 1 else paid)
    )
    return (
        f"With {n[0]:,} labelled examples {mean[0]:.1%} of the test digits are classified correctly, with {n[-1]:,} "
        f"{mean[-1]:.1%}; one more point of accuracy costs {price or 'more than there are'}."
    )


LOOK_AT = {
    "how_much_data": "On the left the blue curve, the test digits, which flattens, though each step to the right is "
    "many more examples. On the right how many examples one more point takes: both scales are logarithmic.",
}
EXPERIMENT = Experiment("how_much_data", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
