"""Many networks trained at once: how much faster than one after another, and how near to the machine's own limit.

They take the same mini-batches, so that the first layers of all are one matrix product, large enough to fill the
machine. Its limit is taken to be the rate of a product of two large square matrices in float32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxprop as jp
from benchmarking.rounds import median_ratio
from benchmarking.work import multiply_adds
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from lab.common import progress
from lab.running_example import BATCH_SIZE, LEARNING_RATE, SIZES
from lab.timing import interleave

GRADIENTS = {"backprop": jp.backprop, "autodiff": jp.autodiff}
Row = dict[str, Any]


class Extent(NamedTuple):
    """How much is measured."""

    networks: int
    steps: int  # in one call
    side: int  # rows of the large square matrices
    repeats: int


WHOLE = Extent(networks=64, steps=60, side=2048, repeats=7)
SMOKE = Extent(networks=2, steps=2, side=64, repeats=1)


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each way to make the gradient."""
    rows = []
    with progress(len(GRADIENTS)) as report:
        for gradient in GRADIENTS:
            row = compare(gradient, examples, seed, SMOKE if smoke else WHOLE)
            rows.append(row)
            times = row["times_throughput"]
            report(f"{row['networks']} networks at once, by {gradient}: {times:.2f} times the throughput")
    return rows


def compare(gradient: str, examples: jp.Examples, seed: int, extent: Extent) -> Row:
    """One network, many of them at once, and a product of large matrices, by turns."""
    networks, steps, side, repeats = extent
    network = jp.mlp(SIZES)
    optimizer = optax.sgd(LEARNING_RATE)
    step = jp.make_step(GRADIENTS[gradient](network, jp.squared_error), optimizer)
    epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
    epoch_of_all = jax.jit(make_ensemble_epoch(step, jp.as_batch))
    product = jax.jit(jnp.matmul)

    data = jax.device_put(examples)
    together = init_ensemble(network, optimizer, jax.random.split(jax.random.key(seed), networks))
    alone = jax.tree.map(lambda leaf: leaf[0], together)
    order = np.random.default_rng(seed).integers(0, len(examples.labels), (steps, BATCH_SIZE)).astype(np.int32)
    matrix = jax.random.normal(jax.random.key(seed), (side, side))
    calls: dict[str, Callable] = {
        "one": lambda: epoch(alone, data, order),
        "all": lambda: epoch_of_all(together, data, order),
        "product": lambda: product(matrix, matrix),
    }
    seconds = interleave(calls, repeats)
    flops = networks * steps * gradient_flops(SIZES, BATCH_SIZE)
    product_flops = 2 * side**3
    return {
        "gradient": gradient,
        "networks": networks,
        "times_throughput": networks * median_ratio(seconds["one"], seconds["all"]),
        "fraction_of_peak": flops / product_flops * median_ratio(seconds["product"], seconds["all"]),
        "peak_gflops": product_flops / float(np.median(seconds["product"])) / 1e9,
        "ms_a_step_of_one": 1e3 * float(np.median(seconds["one"])) / steps,
        "ms_a_step_of_all": 1e3 * float(np.median(seconds["all"])) / steps,
    }


def gradient_flops(sizes: Sequence[int], batch_size: int) -> int:
    """Of the matrix products: forward, the weights' gradient, and what is passed back, which the first layer leaves."""
    passed_back = multiply_adds(sizes[1:])
    return 2 * batch_size * (2 * multiply_adds(sizes) + passed_back)
