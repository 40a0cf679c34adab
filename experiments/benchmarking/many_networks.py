"""Many networks trained at once: how much faster than one after another, and how near to the machine's own limit.

They take the same mini-batches, so that the first layers of all are one matrix product, large enough to fill the
machine. Its limit is taken to be the rate of a product of two large square matrices in float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxprop as jp
from benchmarking.costs_against import multiply_adds
from benchmarking.rounds import median_ratio
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from lab.timing import interleave
from lab import running_example
from lab.common import progress

NETWORKS, STEPS, SIDE = 64, 60, 2048
HANDS = {"backprop": jp.backprop, "autodiff": jp.autodiff}
Row = dict[str, Any]


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each hand."""
    rows = []
    with progress(len(HANDS)) as report:
        for hand in HANDS:
            rows.append(row := compare(hand, examples, seed, *((2, 2, 64, 1) if smoke else (NETWORKS, STEPS, SIDE, 7))))
            report(f"{row['networks']} networks at once, by {hand}: {row['times_throughput']:.2f} times the throughput")
    return rows


def compare(hand: str, examples: jp.Examples, seed: int, networks: int, steps: int, side: int, repeats: int) -> Row:
    """One network, `networks` of them at once, and a product of matrices of `side` rows, by turns."""
    network, optimizer = jp.mlp(running_example.SIZES), optax.sgd(running_example.LEARNING_RATE)
    step = jp.make_step(HANDS[hand](network, jp.squared_error), optimizer)
    keys, data = jax.random.split(jax.random.key(seed), networks), jax.device_put(examples)
    together = init_ensemble(network, optimizer, keys)
    alone = jax.tree.map(lambda leaf: leaf[0], together)
    order = np.random.default_rng(seed).integers(0, len(examples.labels), (steps, running_example.BATCH_SIZE)).astype(np.int32)
    matrix = jax.random.normal(jax.random.key(seed), (side, side))
    epoch, epochs, product = jax.jit(jp.make_epoch(step)), jax.jit(make_ensemble_epoch(step)), jax.jit(jnp.matmul)
    calls: dict[str, Callable] = {
        "one": lambda: epoch(alone, data, order),
        "all": lambda: epochs(together, data, order),
        "product": lambda: product(matrix, matrix),
    }
    seconds = interleave(calls, repeats)
    work, largest_work = networks * steps * gradient_flops(running_example.SIZES, running_example.BATCH_SIZE), 2 * side**3
    return {
        "hand": hand,
        "networks": networks,
        "times_throughput": networks * median_ratio(seconds["one"], seconds["all"]),
        "fraction_of_peak": work / largest_work * median_ratio(seconds["product"], seconds["all"]),
        "peak_gflops": largest_work / float(np.median(seconds["product"])) / 1e9,
        "ms_a_step_of_one": 1e3 * float(np.median(seconds["one"])) / steps,
        "ms_a_step_of_all": 1e3 * float(np.median(seconds["all"])) / steps,
    }


def gradient_flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Of the matrix products: forward, the weights' gradient, and what is passed back, which the first layer leaves."""
    passed_back = multiply_adds(sizes[1:])
    return 2 * batch_size * (2 * multiply_adds(sizes) + passed_back)
