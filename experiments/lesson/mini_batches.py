"""L16, L17: a mini-batch's gradient is off by as much as the scatter of the examples' own gradients predicts.

L17 says: the gradient of a mini-batch is not the true one, but a good approximation. That is so on an untrained
network, where all examples want nearly the same. A few hundred steps later the true gradient g is small beside the
scatter of the examples' own, and a mini-batch of 100 may be off by more than the length of what it approximates. What
holds early and late, at every batch size B, is how large the error is:

    |error| / |g| = sqrt( tr(Σ) (N − B) / (B (N − 1)) ) / |g|

in the root mean square over mini-batches drawn without replacement from N examples, Σ being the covariance of their
gradients with divisor N.

L16 says: shuffle the examples and cut them into mini-batches. So no example is lost and none counts twice: the
gradients of one epoch's mini-batches average to the true one exactly.

    uv run experiments/lesson/mini_batches.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, new_figure, styled
from lab.running_example import BATCH_SIZE
from lesson.noise import sampling_error, total_variance

SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
SMOKE_SIZES = (1, 10, 100)
DRAWS = 2000  # of mini-batches of each size, at most; a smoke run takes 200
STAGES = {0: "untrained", 300: "after 300 steps"}  # by when the examples no longer agree
Row = dict[str, Any]


class Findings(NamedTuple):
    errors: list[Row]  # a row for each network and batch size
    epoch_error: float  # of the average over one epoch's mini-batches, as a fraction of the largest component


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    init_key, order_key, draw_key = jax.random.split(jax.random.key(options.seed), 3)
    networks = running_example.snapshots(network, network.init(init_key), examples, list(STAGES), key=order_key)
    sizes = [size for size in (SMOKE_SIZES if options.smoke else SIZES) if size < len(examples.labels)]
    draws = 200 if options.smoke else DRAWS
    rng = np.random.default_rng(np.asarray(jax.random.key_data(draw_key)))
    whole = running_example.whole(examples)
    errors = []
    with progress(len(STAGES) * len(sizes)) as report:
        for (steps, stage), params in zip(STAGES.items(), networks, strict=True):
            for row in gradient_errors(network, params, whole, sizes, rng, draws):
                errors.append({"steps": steps, **row})
                report(f"{stage}: mini-batches of {row['batch_size']:,} are off by {row['error']:.1%}")
    return Findings(errors, epoch_error(network, networks[-1], examples, order_key))


def gradient_errors(
    network: jp.Network, params: Params, whole: Batch, sizes: list[int], rng: np.random.Generator, most: int
) -> Iterator[Row]:
    """How far the gradients of up to `most` mini-batches of each size are off, as a fraction of the true one's length.

    A large mini-batch is drawn less often, but 40 times at least.
    """
    n = len(whole[0])
    backprop = jp.backprop(network, jp.squared_error)

    @jax.jit
    def true_gradient(params: Params, whole: Batch) -> tuple[Float[Array, " P"], Float[Array, ""]]:
        """By jax.grad; and the total variance of the examples' own gradients."""
        _, grads = jp.autodiff(network, jp.squared_error)(params, whole)
        _, of_each = jp.per_example(network, jp.squared_error)(params, whole)
        return ravel_pytree(grads)[0], total_variance(of_each)

    @jax.jit
    def compare(
        params: Params, true: Float[Array, " P"], whole: Batch, draws: Int[Array, "D B"]
    ) -> tuple[Float[Array, " D"], Float[Array, " D"]]:
        """Squared distance from the true gradient, and cosine with it, of each mini-batch's gradient."""
        inputs, targets = whole

        def one(rows: Int[Array, " B"]) -> tuple[Array, Array]:
            _, grads = backprop(params, (inputs[rows], targets[rows]))
            g, _ = ravel_pytree(grads)
            return jnp.sum((g - true) ** 2), g @ true / (jnp.linalg.norm(g) * jnp.linalg.norm(true))

        return jax.lax.map(one, draws, batch_size=max(1, 100 // draws.shape[1]))

    true, variance = true_gradient(params, whole)
    length = float(jnp.linalg.norm(true))
    for size in sizes:
        draws = int(np.clip(100 * most // size, 40, most))
        rows = np.stack([rng.choice(n, size, replace=False, shuffle=False) for _ in range(draws)])
        squares, cosines = jax.tree.map(np.asarray, compare(params, true, whole, rows))
        error = float(np.sqrt(squares.mean())) / length
        yield {
            "batch_size": size,
            "draws": draws,
            "error": error,
            # A root has half the relative standard error of what it is the root of.
            "standard_error": error * float(squares.std() / squares.mean()) / (2 * draws**0.5),
            "predicted": sampling_error(float(variance), n, size) / length,
            "cosine": float(cosines.mean()),
        }


def epoch_error(network: jp.Network, params: Params, examples: jp.Examples, key: Array) -> float:
    """How far the gradients of one epoch's mini-batches, averaged, are from JAX's gradient over the same examples."""
    order = jp.epoch_order(key, len(examples.labels), BATCH_SIZE)
    inputs, targets = running_example.whole(running_example.select(examples, order.ravel()))
    in_mini_batches = (inputs.reshape(*order.shape, -1), targets.reshape(*order.shape, -1))
    backprop = jp.backprop(network, jp.squared_error)
    autodiff = jp.autodiff(network, jp.squared_error)
    _, of_each = jax.jit(lambda batches: jax.lax.map(lambda batch: backprop(params, batch), batches))(in_mini_batches)
    averaged, _ = ravel_pytree(jax.tree.map(lambda g: jnp.mean(g, axis=0), of_each))
    _, grads = jax.jit(autodiff)(params, (inputs, targets))
    true, _ = ravel_pytree(grads)
    return float(jnp.abs(averaged - true).max() / jnp.abs(true).max())


def claims(found: Findings) -> list[Claim]:
    of_an_epoch = Claim(
        "L16",
        "the gradients of one epoch's mini-batches of 100, averaged, and jax.grad's over all of them: how far apart at "
        "most, as a fraction of the largest component",
        found.epoch_error,
        "at most",
        1e-12,
        because="sums of thousands of float64 numbers in another order: some 1e-15",
    )
    return [of_an_epoch, *(predicted_errors(found, steps, stage) for steps, stage in STAGES.items())]


def predicted_errors(found: Findings, steps: int, stage: str) -> Claim:
    def misfit(row: Row) -> float:
        return abs(row["error"] - row["predicted"]) / row["standard_error"]

    row = max((row for row in found.errors if row["steps"] == steps), key=misfit)
    return Claim(
        "L17",
        f"{stage}: the error of a mini-batch's gradient, divided by the predicted one; of all batch sizes, the one "
        f"where the two differ most, which is {row['batch_size']:,}",
        row["error"] / row["predicted"],
        "within",
        1.0,
        tolerance=5 * row["standard_error"] / row["predicted"],
        because=f"five standard errors, {row['draws']:,} mini-batches of that size having been drawn",
    )


def tables(found: Findings) -> dict[str, list[Row]]:
    return {"gradient_error": found.errors}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(9, 4.8)
    lengths, cosines = figure.subplots(1, 2)
    of_hundred = []
    for (steps, stage), colour, marker in zip(STAGES.items(), (BLUE, VERMILION), ("o", "s"), strict=True):
        rows = [row for row in found.errors if row["steps"] == steps]
        sizes = [row["batch_size"] for row in rows]
        lengths.plot(sizes, [100 * row["predicted"] for row in rows], color=colour)
        lengths.plot(sizes, [100 * row["error"] for row in rows], marker, color=colour)
        cosines.plot(sizes, [row["cosine"] for row in rows], f"{marker}-", color=colour)
        (error,) = (row["error"] for row in rows if row["batch_size"] == BATCH_SIZE)
        lengths.annotate(stage, (BATCH_SIZE, 100 * error), (9, 9), textcoords="offset points", color=colour)
        of_hundred.append(f"{error:.0%} off {stage}")
    for axes in (lengths, cosines):
        axes.axvline(BATCH_SIZE, color="gray", linestyle=":")
        axes.set(xscale="log", xlabel="examples in the mini-batch")
        axes.xaxis.set_major_formatter("{x:,.0f}")
    lengths.set(yscale="log", ylabel="error, % of the true gradient's length", title="Dots: measured. Lines: predicted")
    lengths.yaxis.set_major_formatter("{x:g}")
    cosines.set(ylim=(0, 1.03), ylabel="cosine with the true gradient")
    cosines.set(title="The part that leads down the true slope")
    message = f"The gradient of a mini-batch of {BATCH_SIZE} is {', '.join(of_hundred)}"
    figure.suptitle(message, x=0.01, ha="left")
    return {"gradient_error": figure}


def finding(found: Findings) -> str:
    of_hundred = " and ".join(
        f"{row['error']:.0%} {STAGES[row['steps']]} (predicted: {row['predicted']:.0%})"
        for row in found.errors
        if row["batch_size"] == BATCH_SIZE
    )
    return (
        f"The gradient of a mini-batch of {BATCH_SIZE} is off by this fraction of the true one's length: {of_hundred}."
    )


LOOK_AT = {
    "gradient_error": "On the left the dots, measured, lie on the predicted lines, and fall as mini-batches grow. On "
    "the right how much of a mini-batch's step leads down the true slope: less than all of it, 1, yet far more than "
    "the nothing, 0, of a random step.",
}
EXPERIMENT = Experiment("mini_batches", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
