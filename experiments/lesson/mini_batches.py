"""L16, L17: a mini-batch's gradient is off by as much as the scatter of the examples' own gradients predicts.

L17 says: the gradient of a mini-batch is not the true one, but a good approximation. That is so on an untrained
network, where all examples want nearly the same. A few hundred steps later the true gradient g is small beside the
scatter of the examples' own, and a mini-batch of 100 may be off by more than the length of what it approximates. What
holds early and late, at every batch size B, is how large the error is:

    |error| / |g| = sqrt( tr(Σ) (N − B) / (B (N − 1)) ) / |g|

in the root mean square over mini-batches drawn without replacement from N examples, Σ being the covariance of their
gradients with divisor N.

L16 says: shuffle the examples and cut them into mini-batches. So no example is lost and none counts twice: the
gradients of one shuffle's mini-batches average to the true one exactly.

Look at how the measured points lie on the predicted lines. The cosine beside them says how much of such a step leads
down the true slope: much less than all of it, yet far more than the nothing of a random one.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import jaxprop as jp
from lab.figures import styled
from jaxprop.layers.core import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lesson.gradient_errors import gradient_errors
from lesson.mini_batches_figures import draw_errors

SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
STAGES = {0: "untrained", 300: "after 300 steps"}  # by when the examples no longer agree
Row = dict[str, Any]


class Findings(NamedTuple):
    errors: list[Row]  # a row for each network and batch size
    shuffle_error: float  # of the average over one shuffle's mini-batches, as a share of the largest component


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    sizes = [size for size in ((1, 10, 100) if options.smoke else SIZES) if size < len(examples.labels)]
    network = jp.mlp(running_example.SIZES)
    init_key, order_key, draw_key = jax.random.split(jax.random.key(options.seed), 3)
    networks = running_example.snapshots(network, network.init(init_key), examples, list(STAGES), key=order_key)
    stages = dict(zip(STAGES, networks, strict=True))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(draw_key)))
    errors = []
    with progress(len(stages) * len(sizes)) as report:
        for row in gradient_errors(network, stages, running_example.whole(examples), sizes, rng, 200 if options.smoke else 2000):
            errors.append(row)
            report(f"{STAGES[row['steps']]}: mini-batches of {row['batch_size']:,} are off by {row['error']:.1%}")
    return Findings(errors, shuffle_error(network, networks[-1], examples, order_key))


def shuffle_error(network: jp.Network, params: Params, examples: jp.Examples, key: jax.Array) -> float:
    """How far the gradients of one shuffle's mini-batches, averaged, are from JAX's gradient over the same examples."""
    order = jp.epoch_order(key, len(examples.labels), running_example.BATCH_SIZE)
    inputs, targets = running_example.whole(jp.Examples(*(x[order.ravel()] for x in examples)))
    by_hand, by_jax = (hand(network, jp.squared_error) for hand in (jp.backprop, jp.autodiff))
    cut = inputs.reshape(*order.shape, -1), targets.reshape(*order.shape, -1)
    each = jax.jit(lambda cut: jax.lax.map(lambda batch: by_hand(params, batch)[1], cut))(cut)
    averaged, _ = ravel_pytree(jax.tree.map(lambda g: jnp.mean(g, axis=0), each))
    true, _ = ravel_pytree(jax.jit(by_jax)(params, (inputs, targets))[1])
    return float(jnp.abs(averaged - true).max() / jnp.abs(true).max())


def claims(found: Findings) -> list[Claim]:
    shuffle = Claim(
        "L16",
        "the gradients of one shuffle's mini-batches of 100, averaged, differ from jax.grad's over all of them by, "
        "as a share of its largest component",
        found.shuffle_error, "at most", 1e-12,
        because="sums of thousands of float64 numbers in another order: some 1e-15",
    )  # fmt: skip
    return [shuffle, *(predicted_errors(found, steps, stage) for steps, stage in STAGES.items())]


def predicted_errors(found: Findings, steps: int, stage: str) -> Claim:
    def misfit(row: Row) -> float:
        return abs(row["error"] - row["predicted"]) / row["standard_error"]

    row = max((row for row in found.errors if row["steps"] == steps), key=misfit)
    return Claim(
        "L17",
        f"{stage}, a mini-batch's error is the predicted one at every batch size; their ratio where they are furthest "
        f"apart, at {row['batch_size']:,}",
        row["error"] / row["predicted"], "within", 1.0,
        tolerance=5 * row["standard_error"] / row["predicted"],
        because=f"five standard errors, {row['draws']:,} mini-batches of that size having been drawn",
    )  # fmt: skip


def tables(found: Findings) -> dict[str, list[Row]]:
    return {"gradient_error": found.errors}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    return {"gradient_error": draw_errors(found.errors, STAGES, running_example.BATCH_SIZE)}


EXPERIMENT = Experiment("mini_batches", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
