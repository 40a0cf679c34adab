"""L3 and L15: the cost is an average over all examples, and so is the negative gradient: an average of their wishes.

L3: the cost of the network is the mean of Σ (a − y)² over all training examples. L15: each example wishes for a nudge
of each of the 13,002 weights and biases; averaged weight by weight, these are minus the gradient that `jp.autodiff`
finds. Exactly so: the lesson's "or in proportion to it" is not needed. The network has taken 100 steps of training,
because at its start all examples want much the same, namely all outputs darker.

How many examples must be heard? The mean over n of all N, in random order, is off by sqrt(V / n × (N − n) / (N − 1)) in
root mean square, V being the variance of the wishes, with divisor N, summed over the parameters. That falls like
1 / sqrt(n), and to 0 when all are heard.

What to look at: in `wishes.png` what ten examples wish of six parameters, and at the right what all agree on, much less
than most of them want. In `settling.png` the dots lie on the predicted curve.
"""

import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.batches import Batch
from jaxprop.verify.comparison import by_path
from jaxprop.layers.core import Grads, Params
from lesson.noise import sampling_error, total_variance
from jaxprop.nudges import average_nudges, nudges
from jaxprop.structured import norm_squared
from lesson.averaging_figures import settling_figure, table_figure
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.running_example import SIZES, load, snapshots, whole

STEPS = 100
ORDERS = 100  # in which the examples are heard
HEARD = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
PARTS = 10  # so many times progress is reported


class Findings(NamedTuple):
    examples: int
    costs: tuple[float, float]  # of the network: the average of all examples' costs, and jp.loss
    apart: dict[str, float]  # average nudges from minus the gradient by jp.autodiff: by leaf, relative to its largest
    images: UInt8[np.ndarray, "10 28 28"]  # the first example of each digit
    wishes: dict[str, Float[np.ndarray, " 11"]]  # of one parameter a leaf: by those ten, and the average of all
    heard: Int[np.ndarray, " S"]  # numbers of examples
    errors: Float[np.ndarray, " S"]  # of their average, root mean square over the orders, relative to the gradient
    predicted: Float[np.ndarray, " S"]


def measure(options: Options) -> Findings:
    train, network = load(options).train, jp.mlp(SIZES)
    init_key, training_key, order_key = jax.random.split(jax.random.key(options.seed), 3)
    (params,) = snapshots(network, network.init(init_key), train, [STEPS], key=training_key)
    firsts = np.array([np.argmax(np.asarray(train.labels) == digit) for digit in range(10)])

    @jax.jit
    def look(params: Params, batch: Batch) -> tuple:
        value, grads = jp.autodiff(network, jp.squared_error)(params, batch)
        _, wished = nudges(network, jp.squared_error)(params, batch)
        # The squares of an outer product are the outer product of the squares, so its factors are enough here too.
        squares = jp.mean_over_examples(jax.tree.map(jnp.square, wished))
        ten = jp.expand(jax.tree.map(lambda factor: factor[firsts], wished))
        return wished, (value, grads, total_variance(wished), squares, ten)

    wished, found = look(params, whole(train))
    value, grads, variance, squares, ten = jax.tree.map(np.asarray, found)
    cost, average = jax.tree.map(np.asarray, average_nudges(network, jp.squared_error)(params, train))
    length, n = float(np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(average)))), len(train.labels)
    few = [size for size in (HEARD[::3] if options.smoke else HEARD) if size < n // 2]
    heard = np.array([*few, n // 2, n * 9 // 10, n * 99 // 100])
    return Findings(
        n,
        (float(cost), float(value)),
        by_path(jax.tree.map(lambda a, g: float(np.abs(a + g).max() / np.abs(g).max()), average, grads)),
        np.asarray(train.images)[firsts],
        dict(most_wished(squares, ten, average)),
        heard,
        np.sqrt(squared_errors(wished, average, heard, order_key)) / length,
        np.array([sampling_error(float(variance), n, size) for size in heard]) / length,
    )


def most_wished(squares: Params, ten: Params, average: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Of each leaf, the parameter of which most is wished: its name, and what each of ten and the average wish."""
    for path, square in by_path(squares).items():
        at = np.unravel_index(np.argmax(square), square.shape)
        name = f"params{path}[{', '.join(map(str, at))}]"
        yield name, np.append(by_path(ten)[path][:, *at], by_path(average)[path][at])


def squared_errors(wished: Grads, average: Params, heard: np.ndarray, key: Array) -> Float[np.ndarray, " S"]:
    """Of the average over the first so many examples, for the mean of ORDERS random orders of all of them."""

    @jax.jit
    def one_order(wished: Grads, order: Int[Array, " N"]) -> Float[Array, " S"]:
        total, found = jax.tree.map(jnp.zeros_like, average), []
        for start, end in pairwise([0, *heard]):
            more = jp.mean_over_examples(jax.tree.map(lambda factor, rows=order[start:end]: factor[rows], wished))
            total = jax.tree.map(lambda t, m, k=end - start: t + k * m, total, more)
            found.append(norm_squared(jax.tree.map(lambda t, a, k=end: t / k - a, total, average)))
        return jnp.array(found)

    n, found = len(jax.tree.leaves(wished)[0]), []
    with progress(PARTS) as report:
        for i in range(ORDERS):
            found.append(np.asarray(one_order(wished, jp.epoch_order(jax.random.fold_in(key, i), n, n)[0])))
            if (i + 1) % (ORDERS // PARTS) == 0:
                report(f"heard in {i + 1} of {ORDERS} orders")
    return np.mean(found, axis=0)


def claims(found: Findings) -> list[Claim]:
    (averaged, loss), ratios, all_of_them = found.costs, found.errors / found.predicted, f"{found.examples:,} examples"
    rounding = "float64: sums of so many numbers in chunks, each rounded by 1.1e-16 of its size"
    return [
        Claim("L3", f"the costs of {all_of_them}, averaged, beside the cost of the network: relative difference",
              abs(averaged / loss - 1), "at most", 1e-12, rounding),
        Claim("L15", f"the nudges of {all_of_them}, averaged, beside minus the gradient by jax.grad: the largest "
              "difference, relative to the leaf's largest", max(found.apart.values()), "at most", 1e-12, rounding),
        Claim("L15", "the error of the average over the first n examples, over the predicted one: the ratio farthest "
              "from 1", float(ratios[np.argmax(np.abs(ratios - 1))]), "within", 1, "four standard errors of a root "
              f"mean square over {ORDERS} orders, were the errors normal and all one way", 2 * (2 / ORDERS) ** 0.5),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict]]:
    heads, settling = [*map(str, range(10)), "average"], zip(found.heard, found.errors, found.predicted, strict=True)
    return {
        "wishes": [{"parameter": name} | dict(zip(heads, row, strict=True)) for name, row in found.wishes.items()],
        "settling": [{"examples": n, "error": error, "predicted": predicted} for n, error, predicted in settling],
    }


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "wishes": table_figure(found.images, found.wishes, found.examples),
        "settling": settling_figure(found.heard, found.errors, found.predicted[0], found.examples),
    }


EXPERIMENT = Experiment("averaging", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
