"""L20: each further point of accuracy costs more labelled examples than the one before.

L20 says: all of this needs a lot of labelled data, and handwritten digits are a good example because so many have been
labelled by people. So how much does a label buy? The same network takes the same number of steps on the first so many
of the training examples in a random order, for several orders and from several starts. A hundred examples it soon knows
by heart, and yet it misreads many others. More examples help, each one less than those before: the share of mistakes
falls about as a small power of their number, c n^-α, so that the price of a point of accuracy rises as n^(1 + α).

Look at the right panel: how many examples it takes to read one test digit in a hundred more.
"""

import sys
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float, Int
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lesson.how_much_data_figure import draw_price

ORDERS, STARTS = 3, 5  # so 15 networks for each number of examples
Row = dict[str, Any]


class Findings(NamedTuple):
    examples: Int[np.ndarray, " sizes"]
    accuracy: Float[np.ndarray, "sizes networks"]  # share of the test digits read rightly
    by_heart: Float[np.ndarray, "sizes networks"]  # and of the first 100 examples, which all networks learned from


def measure(options: Options) -> Findings:
    data, network = running_example.load(options), jp.mlp(running_example.SIZES)
    n = len(data.train.labels)
    sizes = [100, 200, 400, 800, n] if options.dataset == "digits" else [100, 300, 1000, 3000, 10_000, 30_000, n]
    steps, orders, starts = (1000 if options.dataset == "digits" else 6000), ORDERS, STARTS
    if options.smoke:
        sizes, steps, orders, starts = [100, 400, n], 1000, 2, 3

    optimizer = optax.sgd(running_example.LEARNING_RATE)
    train = jax.jit(make_ensemble_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer)))
    evaluate = jax.jit(jax.vmap(jp.make_evaluate(network, jp.squared_error), (0, None)))
    accuracy, by_heart = np.empty((2, len(sizes), orders, starts))
    with progress(orders * len(sizes)) as report:
        for i in range(orders):
            init_key, draw_key, order_key = jax.random.split(jax.random.fold_in(jax.random.key(options.seed), i), 3)
            states = init_ensemble(network, optimizer, jax.random.split(init_key, starts))
            draw = jp.epoch_order(draw_key, n, n).ravel()
            first = jp.Examples(*(x[draw[:100]] for x in data.train))
            for s, size in enumerate(sizes):
                order = draw[shuffles(order_key, size, steps)]
                params = train(states, data.train, order)[0].params
                accuracy[s, i] = evaluate(params, data.test).accuracy
                by_heart[s, i] = evaluate(params, first).accuracy
                report(f"{size:,} examples: {accuracy[s, i].mean():.1%} of the test digits read rightly")
    return Findings(np.array(sizes), *(x.reshape(len(sizes), -1) for x in (accuracy, by_heart)))


def shuffles(key: jax.Array, n: int, steps: int) -> Int[np.ndarray, "steps B"]:
    """The mini-batches of one epoch after another, up to so many steps."""
    epochs = range(-(-steps // (n // running_example.BATCH_SIZE)))
    order = [jp.epoch_order(jax.random.fold_in(key, i), n, running_example.BATCH_SIZE) for i in epochs]
    return np.concatenate(order)[:steps]


def power_law(found: Findings) -> tuple[float, float]:
    """c and α of the line through the mistakes, c n^-α, by least squares between the logarithms."""
    slope, height = np.polyfit(np.log(found.examples), np.log(1 - found.accuracy.mean(axis=1)), 1)
    return float(np.exp(height)), float(-slope)


def claims(found: Findings) -> list[Claim]:
    n, mean = found.examples, found.accuracy.mean(axis=1)
    half = len(n) // 2

    def bought_by_each(values: np.ndarray) -> float:
        """What one example of the later half adds, as a share of what one of the first ones adds."""
        return float((values[-1] - values[half]) / (n[-1] - n[half]) / ((values[1] - values[0]) / (n[1] - n[0])))

    return [
        Claim(
            "L20", f"with {n[0]} examples, share of them that is learned by heart",
            float(found.by_heart[0].mean()), "at least", 0.99,
            because="what it misreads then is not for want of training, but of examples",
        ),
        Claim(
            "L20", f"mistakes on the test digits with {n[-1]:,} examples, as a share of those with {n[0]}",
            float((1 - mean[-1]) / (1 - mean[0])), "at most", 0.5,
            because="more examples should at least halve the mistakes",
        ),
        Claim(
            "L20", f"what one of the examples from {n[half]:,} to {n[-1]:,} adds to the accuracy, as a share of what "
            f"one of those from {n[0]} to {n[1]} adds",
            bought_by_each(mean), "at most", bought_by_each(np.log(n)),
            because="if every doubling bought as much as the one before, it would be this share",
        ),
    ]  # fmt: skip


def prices(found: Findings) -> list[Row]:
    """Examples for each point of accuracy, from one number of examples to the next; none where nothing was gained."""
    steps = pairwise(zip(found.examples.tolist(), found.accuracy.mean(axis=1).tolist(), strict=True))
    return [
        {"from": n, "to": m, "examples_per_point": (m - n) / (100 * (after - before)) if after > before else None}
        for (n, before), (m, after) in steps
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    networks = [
        {"examples": n, "network": i, "accuracy": accuracy, "by_heart": found.by_heart[s, i]}
        for s, n in enumerate(found.examples)
        for i, accuracy in enumerate(found.accuracy[s])
    ]
    return {"how_much_data": networks, "prices": prices(found)}


def figures(found: Findings) -> dict[str, Figure]:
    figure = draw_price(found.examples, found.accuracy, found.by_heart, prices(found), power_law(found))
    return {"how_much_data": figure}


EXPERIMENT = Experiment("how_much_data", measure, claims, tables, figures, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
