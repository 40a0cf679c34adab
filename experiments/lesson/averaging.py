"""L3 and L15: the cost is an average over all examples, and so is the negative gradient: an average of their wishes.

L3: the cost of the network is the mean of Σ (a − y)² over all training examples. L15: each example wishes for a nudge
of each of the 13,002 weights and biases, which is minus the derivative of its own cost; averaged weight by weight, the
nudges are minus the gradient that `jp.autodiff` finds. Exactly so: the lesson's "or in proportion to it" is not needed.
The network has taken 100 steps of training, because at its start all examples want much the same, namely all outputs
darker.

How many examples are enough? The mean over n of all N, in random order, is off by sqrt(V / n × (N − n) / (N − 1)) in
root mean square, V being the variance of the wishes, with divisor N, summed over the parameters. That falls like
1 / sqrt(n), and to 0 when all are averaged.

    uv run experiments/lesson/averaging.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch
from jaxprop.layers import Grads, Params
from jaxprop.verify.comparison import by_path
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, ORANGE, label_log, new_figure, styled
from lesson.noise import sampling_error, total_variance
from lesson.wishes_figure import UP_AND_DOWN

STEPS = 100
ORDERS = 100  # in which the examples are averaged; a smoke run takes 20
NUMBERS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)  # of examples that are averaged
PARTS = 10  # so many times progress is reported


class Findings(NamedTuple):
    examples: int
    averaged_cost: float  # the average of all examples' costs
    network_cost: float  # jp.loss
    apart: dict[str, float]  # average nudges from minus the gradient by jp.autodiff: by leaf, relative to its largest
    images: UInt8[np.ndarray, "10 28 28"]  # the first example of each digit
    wishes: dict[str, Float[np.ndarray, " 11"]]  # of one parameter a leaf: by those ten, and the average of all
    orders: int  # in which they are averaged
    numbers: Int[np.ndarray, " S"]  # of examples
    errors: Float[np.ndarray, " S"]  # of their average, root mean square over the orders, relative to the gradient
    predicted: Float[np.ndarray, " S"]


def measure(options: Options) -> Findings:
    train = running_example.load(options).train
    n = len(train.labels)
    network = jp.mlp(running_example.SIZES)
    init_key, training_key, order_key = jax.random.split(jax.random.key(options.seed), 3)
    start = network.init(init_key)
    (params,) = running_example.snapshots(network, start, train, [STEPS], key=training_key)
    firsts = np.array([np.argmax(np.asarray(train.labels) == digit) for digit in range(10)])

    @jax.jit
    def look(params: Params, batch: Batch) -> tuple:
        value, grads = jp.autodiff(network, jp.squared_error)(params, batch)
        _, nudges = jp.per_example_nudges(network, jp.squared_error)(params, batch)
        # The squares of an outer product are the outer product of the squares, so its factors are enough here too.
        squares = jp.mean_over_examples(jax.tree.map(jnp.square, nudges))
        ten = jp.expand(jax.tree.map(lambda factor: factor[firsts], nudges))
        return nudges, (value, grads, total_variance(nudges), squares, ten)

    nudges, found = look(params, running_example.whole(train))
    value, grads, variance, squares, ten = jax.tree.map(np.asarray, found)
    average_nudges = jp.average_nudges(network, jp.squared_error, jp.as_batch)
    cost, average = jax.tree.map(np.asarray, average_nudges(params, train))
    length = float(jnp.sqrt(jp.norm_squared(average)))

    orders = 20 if options.smoke else ORDERS
    most = NUMBERS[::3] if options.smoke else NUMBERS
    few = [number for number in most if number < n // 2]
    numbers = np.array([*few, n // 2, n * 9 // 10, n * 99 // 100])
    return Findings(
        examples=n,
        averaged_cost=float(cost),
        network_cost=float(value),
        apart=by_path(jax.tree.map(lambda a, g: float(np.abs(a + g).max() / np.abs(g).max()), average, grads)),
        images=np.asarray(train.images)[firsts],
        wishes=strongest_wishes(squares, ten, average),
        orders=orders,
        numbers=numbers,
        errors=np.sqrt(squared_errors(nudges, average, numbers, order_key, orders)) / length,
        predicted=np.array([sampling_error(float(variance), n, number) for number in numbers]) / length,
    )


def strongest_wishes(squares: Params, ten: Params, average: Params) -> dict[str, Float[np.ndarray, " 11"]]:
    """Of each array, the parameter with the largest wishes: by its name what each of ten and the average wish."""
    found = {}
    for path, square in by_path(squares).items():
        at = np.unravel_index(np.argmax(square), square.shape)
        name = running_example.parameter_name(f"{path}[{', '.join(map(str, at))}]")
        found[name] = np.append(by_path(ten)[path][:, *at], by_path(average)[path][at])
    return found


def squared_errors(
    nudges: Grads, average: Params, numbers: np.ndarray, key: Array, orders: int
) -> Float[np.ndarray, " S"]:
    """Of the average over the first so many examples, for the mean of so many random orders of all of them."""
    n = len(jax.tree.leaves(nudges)[0])

    @jax.jit
    def one_order(nudges: Grads, order: Int[Array, " N"]) -> Float[Array, " S"]:
        total = jax.tree.map(jnp.zeros_like, average)
        found = []
        for start, end in pairwise([0, *numbers]):
            next_ones = jax.tree.map(lambda factor, rows=order[start:end]: factor[rows], nudges)
            total = jax.tree.map(jnp.add, total, jp.sum_over_examples(next_ones))
            found.append(jp.norm_squared(jax.tree.map(lambda t, a, k=end: t / k - a, total, average)))
        return jnp.array(found)

    found = []
    with progress(PARTS) as report:
        for i in range(orders):
            (order,) = jp.epoch_order(jax.random.fold_in(key, i), n, n)
            found.append(np.asarray(one_order(nudges, order)))
            if (i + 1) % (orders // PARTS) == 0:
                report(f"averaged in {i + 1} of {orders} orders")
    return np.mean(found, axis=0)


def claims(found: Findings) -> list[Claim]:
    ratios = found.errors / found.predicted
    all_of_them = f"{found.examples:,} examples"
    rounding = "float64: sums of so many numbers in chunks, each rounded by 1.1e-16 of its size"
    return [
        Claim(
            "L3",
            f"the costs of {all_of_them}, averaged, and the cost of the network: how far apart, as a fraction of it",
            abs(found.averaged_cost / found.network_cost - 1),
            "at most",
            1e-12,
            because=rounding,
        ),
        Claim(
            "L15",
            f"the wishes of {all_of_them}, averaged, and minus the gradient by jax.grad: how far apart at most, as a "
            "fraction of the largest number of the same W or b",
            max(found.apart.values()),
            "at most",
            1e-12,
            because=rounding,
        ),
        Claim(
            "L15",
            "the error of the average over the first n examples, divided by the predicted one; of all n, the one "
            "where the two differ most",
            float(ratios[np.argmax(np.abs(ratios - 1))]),
            "within",
            1,
            tolerance=2 * (2 / found.orders) ** 0.5,
            because=f"four standard errors of a root mean square over {found.orders} orders, were the errors normal "
            "and all one way",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict]]:
    columns = [*map(str, range(10)), "average"]
    settling = zip(found.numbers, found.errors, found.predicted, strict=True)
    return {
        "wishes": [{"parameter": name, **dict(zip(columns, row, strict=True))} for name, row in found.wishes.items()],
        "settling": [{"examples": n, "error": error, "predicted": predicted} for n, error, predicted in settling],
    }


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "wishes": table_figure(found.images, found.wishes, found.examples),
        "settling": settling_figure(found.numbers, found.errors, found.predicted[0], found.examples),
    }


@styled
def table_figure(
    images: UInt8[np.ndarray, "10 28 28"], wishes: Mapping[str, Float[np.ndarray, " 11"]], examples: int
) -> Figure:
    """The table that the lesson draws: a row for each parameter, a column for each of ten examples, and the average."""
    figure = new_figure(10.3, 5.9)
    axes = figure.subplots()
    lefts = np.array([*range(10), 10.4])  # of each column; the average stands apart
    for row, numbers in enumerate(wishes.values()):
        strength = numbers / np.abs(numbers).max()
        axes.bar(lefts, -0.92, 0.96, -row, color=UP_AND_DOWN(0.5 + 0.5 * strength), align="edge")
        for column, (left, number) in enumerate(zip(lefts, numbers, strict=True)):
            axes.text(
                left + 0.48,
                -row - 0.46,
                f"{1000 * number:+.1f}".replace("-", "−"),
                ha="center",
                va="center",
                color="white" if abs(strength[column]) > 0.6 else "black",
                weight="bold" if column == 10 else "normal",
            )
    for left, image in enumerate(images):
        axes.imshow(image, cmap="gray", extent=(left, left + 0.96, 0.1, 1.06))
    axes.text(10.88, 0.55, f"average of\nall {examples:,}", ha="center", va="center", weight="bold")
    axes.set(xlim=(0, 11.4), ylim=(-len(wishes), 1.1), xticks=[], aspect="equal")
    axes.set_yticks(-0.46 - np.arange(len(wishes)), list(wishes))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel(
        "wishes, in thousandths; blue: up, orange: down, each row with a scale of its own\n"
        f"one parameter a row; {running_example.NAMES}",
        labelpad=10,
    )
    message = "Examples wish for different changes; the network goes by the average"
    figure.suptitle(message, x=0.01, ha="left", size=18)
    return figure


@styled
def settling_figure(
    numbers: Int[np.ndarray, " S"], errors: Float[np.ndarray, " S"], one: float, examples: int
) -> Figure:
    """The error of the average over the first so many of all examples. one: what is predicted for the first alone."""
    figure = new_figure()
    axes = figure.subplots()
    every = np.geomspace(1, numbers[-1], 400)
    predicted = [sampling_error(one**2, examples, number) for number in every]
    axes.plot(every, one / np.sqrt(every), "--", color="0.5", label="1 / √n")
    axes.plot(every, predicted, color=ORANGE, label=f"predicted for n of {examples:,} examples")
    axes.plot(numbers, errors, "o", color=BLUE, label="measured in random orders")
    axes.set(xscale="log", yscale="log", xlabel="examples averaged", ylabel="error of their average, over |gradient|")
    axes.set(title="The average settles like 1 / √n, and faster when most have been averaged")
    label_log(axes.xaxis)
    label_log(axes.yaxis)
    axes.legend()
    return figure


def finding(found: Findings) -> str:
    ten = np.array([wishes[:10] for wishes in found.wishes.values()])
    average = np.array([wishes[10] for wishes in found.wishes.values()])
    times = float(np.median(np.abs(ten).mean(axis=1) / np.abs(average)))
    return (
        f"The wishes of {found.examples:,} examples, averaged, are minus the gradient, to within "
        f"{max(found.apart.values()):.0e}; a single example wishes for {times:.0f} times as much (the median of six "
        "parameters), so most of what examples want cancels."
    )


LOOK_AT = {
    "wishes": "Each row is one weight or bias, each column one example. Examples disagree even about up and down; the "
    "last column, the average that the network follows, is much smaller than most of them.",
    "settling": "The dots, measured, lie on the orange curve, predicted: an average over four times as many examples "
    "is off by half as much, and by nothing once all are averaged.",
}
EXPERIMENT = Experiment("averaging", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
