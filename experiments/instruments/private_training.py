"""Private training: what it costs in accuracy that no training example can be told from the network.

DP-SGD (Abadi et al., "Deep learning with differential privacy", 2016) makes each example's gradient no longer than a
limit C, adds Gaussian noise of standard deviation σ C to the SUM of a batch, and divides by the batch size that is
expected. One example can then move the sum by C at most, whatever it is, and the noise hides that. How well, the
accountant says: with (ε, δ) no event becomes more than exp(ε) times as likely because one example was there, but for a
probability δ.

Here `jaxprop.clipped` makes the sums, in the one backward pass that makes the gradient anyway. The batches are what the
accountant assumes: Poisson samples, into which each example comes with probability q in every step by itself. So they
differ in size. What is left of the fixed shape that compiled code needs is filled up with blank examples, whose
gradient is 0.

Two things the numbers leave out, as the published ones do: rate, limit and width were chosen on the same data, and the
noise comes from a generator that is good for experiments, not one that resists an attacker.

    uv run --extra private experiments/instruments/private_training.py --dataset mnist
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, GREEN, VERMILION, label_log, new_figure, styled

DELTA = 1e-5
# The learning rate for each noise multiplier σ; 0 is without noise, and not private. More noise takes a smaller one. At
# 2 and 5 a few were tried on 10,000 training digits, held out, and these were the best; the others follow them.
RATES = {8.0: 2.0, 4.3: 4.0, 2.05: 8.0, 0.97: 8.0, 0.0: 8.0}
LEFT_OUT = 50  # examples, each left out of a batch once
Row = dict[str, Any]


class Published(NamedTuple):
    """Accuracy on MNIST at delta 1e-5, as the page of the program says it."""

    epsilon: float
    accuracy: float
    what: str
    page: str


TUTORIAL = "https://github.com/tensorflow/privacy/blob/master/tutorials/README.md"
HANDCRAFTED = "https://github.com/ftramer/Handcrafted-DP"  # the code of "... needs better features", 2021
PUBLISHED = (
    Published(1.20, 0.950, "CNN, TensorFlow Privacy", TUTORIAL),
    Published(2.92, 0.966, "CNN, TensorFlow Privacy", TUTORIAL),
    Published(9.74, 0.973, "CNN, TensorFlow Privacy", TUTORIAL),
    Published(3.0, 0.981, "CNN, Tramèr and Boneh", HANDCRAFTED),
    Published(3.0, 0.987, "ScatterNet features, Tramèr and Boneh", HANDCRAFTED),
)


class Plan(NamedTuple):
    """How to train. Of some settings that were tried on 10,000 training digits, held out, this was among the best."""

    width: int = 64
    sampled: float = 0.05  # q, the probability with which an example comes into a batch
    steps: int = 600
    limit: float = 1.0  # C


class Findings(NamedTuple):
    dataset: str
    plan: Plan
    parameters: int
    rows: list[Row]  # a row for each noise multiplier, from the most noise to none
    shift: float  # the most that the sum moved where one example was left out, in limits
    deviation: float  # of the noise found in a gradient, relative to σ C / B


def noisy_mean(total: Params, key: PRNGKeyArray, noise_multiplier: Any, limit: float, batch_size: float) -> Params:
    """The gradient of a step: `(total + noise) / batch_size`, with N(0, (noise_multiplier limit)^2) in each number.

    total: the sum of the clipped gradients of a batch. batch_size: how many examples a batch has in expectation, and
    not how many this one has, which is private too.
    """
    leaves, tree = jax.tree.flatten(total)
    deviation = noise_multiplier * limit
    keys = jax.random.split(key, len(leaves))
    noise = [deviation * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.map(lambda t, n: (t + n) / batch_size, total, jax.tree.unflatten(tree, noise))


def poisson_samples(rng: np.random.Generator, n: int, sampled: float, steps: int) -> Int[np.ndarray, "steps M"]:
    """A Poisson sample of 0..n - 1 for each step, in as many columns as the largest takes; -1 where there is nothing.

    That is: a binomial number of rows, drawn without replacement.
    """
    sizes = rng.binomial(n, sampled, steps)
    rows = np.full((steps, max(1, sizes.max())), -1, np.int32)
    for row, size in zip(rows, sizes, strict=True):
        row[:size] = rng.choice(n, size, replace=False)
    return rows


def with_blanks(examples: jp.Examples, rows: Int[Array, " M"]) -> tuple[Any, Any]:
    """A batch of these rows. A row of -1 is a blank: its target is all zeros, and with it cost and gradient are 0."""
    labels = jnp.where(rows < 0, -1, examples.labels[rows])
    return jp.as_batch(examples.images[rows], labels)


def clipped_sum(network: jp.Network, limit: float) -> Callable[[Params, Any], Params]:
    """`total(params, batch)`: the sum of the examples' gradients, none of them longer than the limit."""
    mean = jp.clipped(network, jp.softmax_cross_entropy, limit)

    def total(params: Params, batch: Any) -> Params:
        (_, grads), _ = mean(params, batch)
        return jax.tree.map(lambda g: g * len(batch[0]), grads)

    return total


def make_training(network: jp.Network, plan: Plan, n: int) -> Callable[..., Params]:
    """`train(params, examples, samples, noise_multiplier, rate, key) -> params`, by plain SGD, in one `lax.scan`."""
    total = clipped_sum(network, plan.limit)

    def train(
        params: Params, examples: jp.Examples, samples: Any, noise_multiplier: Any, rate: Any, key: Any
    ) -> Params:
        def step(params: Params, at: tuple[Any, Any]) -> tuple[Params, None]:
            rows, key = at
            summed = total(params, with_blanks(examples, rows))
            grads = noisy_mean(summed, key, noise_multiplier, plan.limit, plan.sampled * n)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), None

        return jax.lax.scan(step, params, (samples, jax.random.split(key, len(samples))))[0]

    return train


def accountant() -> Callable[[Plan, float], float]:
    """`epsilon(plan, noise_multiplier)` at `DELTA`, by the Rényi accountant of the library dp-accounting.

    Published numbers are by such an accountant too. For add-or-remove-one neighbours and Poisson samples. Raises
    `BadInput` where the library is not installed.
    """
    try:
        import dp_accounting
        from dp_accounting.rdp import RdpAccountant
    except ImportError:
        raise jp.BadInput(
            "the library dp-accounting is not installed, and without it nobody knows how private a run is: start with "
            "`uv run --extra private`, or install it with `uv sync --extra private`"
        ) from None

    def epsilon(plan: Plan, noise_multiplier: float) -> float:
        if noise_multiplier == 0:
            return math.inf
        step = dp_accounting.PoissonSampledDpEvent(plan.sampled, dp_accounting.GaussianDpEvent(noise_multiplier))
        ledger = RdpAccountant()
        ledger.compose(dp_accounting.SelfComposedDpEvent(step, plan.steps))
        return float(ledger.get_epsilon(DELTA))

    return epsilon


def make_network(plan: Plan) -> jp.Network:
    """With tanh, whose outputs are bounded: by Papernot et al. (2021) such networks do better in private training."""
    return jp.Network((jp.dense(plan.width), jp.tanh(), jp.dense(10)), (784,))


def measure(options: Options) -> Findings:
    epsilon = accountant()  # first, since it may be missing
    dataset = running_example.load(options)
    n = len(dataset.train.labels)
    plan = Plan(width=8, steps=20) if options.smoke else Plan()
    network = make_network(plan)
    init_key, sample_key, noise_key, check_key = jax.random.split(jax.random.key(options.seed), 4)
    start = network.init(init_key)
    samples = poisson_samples(
        np.random.default_rng(np.asarray(jax.random.key_data(sample_key))), n, plan.sampled, plan.steps
    )
    train = jax.jit(make_training(network, plan, n))
    evaluate = jax.jit(jp.make_evaluate(network, jp.softmax_cross_entropy, jp.as_batch))
    rows = []
    with progress(len(RATES)) as report:
        for multiplier, rate in RATES.items():
            params = train(start, dataset.train, samples, multiplier, rate, noise_key)
            accuracy = float(evaluate(params, dataset.test).accuracy)
            row = {"noise_multiplier": multiplier, "rate": rate, "epsilon": epsilon(plan, multiplier), "delta": DELTA}
            rows.append({**row, "accuracy": accuracy, "steps": plan.steps, "batch_size": plan.sampled * n})
            report(f"noise multiplier {multiplier:g}: epsilon {row['epsilon']:.2f}, accuracy {accuracy:.2%}")
    total = jax.jit(clipped_sum(network, plan.limit))
    batch = with_blanks(dataset.train, samples[0])
    return Findings(
        dataset=options.dataset,
        plan=plan,
        parameters=jp.count_parameters(start),
        rows=rows,
        shift=largest_shift(total, plan, start, batch),
        deviation=deviation_found(total(start, batch), plan, check_key, plan.sampled * n),
    )


def largest_shift(total: Callable[[Params, Any], Params], plan: Plan, params: Params, batch: Any) -> float:
    """How far the sum moves where one of the first examples is left out: the most, in limits."""
    inputs, targets = batch[0], np.asarray(batch[1])
    whole = jax.tree.map(np.asarray, total(params, (inputs, targets)))

    def shift(i: int) -> float:
        rest = targets.copy()
        rest[i] = 0
        moved = jax.tree.map(np.subtract, whole, jax.tree.map(np.asarray, total(params, (inputs, rest))))
        return math.sqrt(sum(float(np.sum(m**2)) for m in jax.tree.leaves(moved)))

    return max(shift(i) for i in range(min(LEFT_OUT, len(inputs)))) / plan.limit


def deviation_found(total: Params, plan: Plan, key: PRNGKeyArray, batch_size: float) -> float:
    """The standard deviation of what noise adds to a gradient, relative to the one that the accountant assumes."""
    multiplier = max(RATES)
    make = jax.jit(partial(noisy_mean, limit=plan.limit, batch_size=batch_size))
    noisy, quiet = (jax.tree.map(np.asarray, make(total, key, m)) for m in (multiplier, 0.0))
    noise = np.concatenate([x.ravel() for x in jax.tree.leaves(jax.tree.map(np.subtract, noisy, quiet))])
    return float(np.sqrt(np.mean(noise**2))) * batch_size / (multiplier * plan.limit)


def claims(found: Findings) -> list[Claim]:
    made = [
        Claim(
            "privacy",
            "how far the sum of the clipped gradients moves where one example is left out, in limits; the most of "
            f"{LEFT_OUT} examples",
            found.shift,
            "at most",
            1.0,
            tolerance=1e-3,
            because="clipping says so; differences of float32 sums over a batch have some 1e-4",
        ),
        Claim(
            "privacy",
            "standard deviation of the noise in a step's gradient, divided by noise multiplier × limit / batch size",
            found.deviation,
            "within",
            1.0,
            tolerance=5 / math.sqrt(2 * found.parameters),
            because=f"five standard errors of a standard deviation from {found.parameters:,} numbers",
        ),
    ]
    return [*made, *map(partial(beside_published, found), (1.20, 2.92))] if found.dataset == "mnist" else made


def beside_published(found: Findings, epsilon: float) -> Claim:
    (other,) = (p for p in PUBLISHED if p.epsilon == epsilon and p.page == TUTORIAL)
    row = nearest(found.rows, epsilon)
    return Claim(
        "privacy",
        f"accuracy of a network of {found.parameters:,} parameters at epsilon {row['epsilon']:.2f}, beside the "
        f"published {other.accuracy:.1%} of a convolutional one at {epsilon:.2f}",
        row["accuracy"],
        "at least",
        other.accuracy,
        tolerance=0.02,
        because="it has no convolutions, which are worth a point or two; 10,000 digits have a standard error of 0.2%",
    )


def nearest(rows: Sequence[Row], epsilon: float) -> Row:
    return min(
        (row for row in rows if row["noise_multiplier"]), key=lambda row: abs(math.log(row["epsilon"] / epsilon))
    )


def tables(found: Findings) -> dict[str, list[Row]]:
    return {"private_training": found.rows, "published": [p._asdict() for p in PUBLISHED]}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(8.6, 5)
    axes = figure.subplots()
    *private, free = found.rows
    epsilons = [row["epsilon"] for row in private]
    axes.axhline(100 * free["accuracy"], color=BLUE, linestyle=":", label="here, clipped, no noise: not private")
    axes.plot(epsilons, [100 * row["accuracy"] for row in private], "o-", color=BLUE, label="here: 784-64-10, tanh")
    for row in private:
        point = (row["epsilon"], 100 * row["accuracy"])
        label = f"σ = {row['noise_multiplier']:g}"
        axes.annotate(label, point, (4, -17), textcoords="offset points", color=BLUE)
    if found.dataset == "mnist":
        looks = {"CNN, TensorFlow Privacy": ("s", VERMILION), "CNN, Tramèr and Boneh": ("^", GREEN)}
        for what in dict.fromkeys(p.what for p in PUBLISHED):
            marker, colour = looks.get(what, ("v", GREEN))
            points = [(p.epsilon, 100 * p.accuracy) for p in PUBLISHED if p.what == what]
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=f"published: {what}")
    axes.set(xscale="log", xlabel=f"epsilon at delta = {DELTA:g}: less is more private", ylabel="test accuracy, %")
    axes.set_title(title(found))
    axes.margins(0.1)  # for the labels of the points
    label_log(axes.xaxis)
    axes.legend(loc="lower right", fontsize=9.5)
    return {"private_training": figure}


def title(found: Findings) -> str:
    free = found.rows[-1]["accuracy"]
    costs = [
        f"{100 * (free - row['accuracy']):.1f} at epsilon {row['epsilon']:.2g}"
        for row in (nearest(found.rows, 3.0), found.rows[0])
    ]
    return f"Points of accuracy that privacy costs: {' and '.join(costs)}"


def finding(found: Findings) -> str:
    each = ", ".join(f"{row['accuracy']:.1%} at epsilon {row['epsilon']:.2f}" for row in found.rows[:-1])
    return f"Test accuracy at delta {DELTA:g}: {each}; without noise {found.rows[-1]['accuracy']:.1%}."


LOOK_AT = {
    "private_training": "To the left, less can be learned about any one example, and the network learns less too. The "
    "dotted line is the same training without noise. Other marks are published numbers of other networks.",
}
EXPERIMENT = Experiment("private_training", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
