"""What an epoch costs against width, batch size, depth and the number of examples."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxprop as jp
from benchmarking.peers import BY_AUTODIFF, BY_HAND, NUMPY, PEERS, TORCH
from benchmarking.rounds import median_ratio, take_turns
from benchmarking.work import Work, draw_start
from lab.common import progress

SWEPT = (BY_HAND, BY_AUTODIFF, NUMPY, TORCH)
Row = dict[str, Any]


class Point(NamedTuple):
    """One place in a sweep."""

    value: int
    sizes: tuple[int, ...]
    batch_size: int
    steps: int  # timed together: enough to be long beside the call, few enough to be done soon


BATCHES = (1, 10, 100, 1000, 10_000)
SWEEPS = {
    "width": [Point(w, (784, w, w, 10), 100, 30) for w in (16, 32, 64, 128, 256, 512, 1024)],
    "batch_size": [Point(b, (784, 16, 16, 10), b, max(6, min(300, 20_000 // b))) for b in BATCHES],
    "depth": [Point(d, (784, *[16] * d, 10), 100, 60) for d in (1, 2, 4, 8, 16, 32)],
}  # fmt: skip
EXAMPLES = (6_000, 60_000, 600_000)


def multiply_adds(sizes: tuple[int, ...]) -> int:
    """Of one example going forward."""
    return sum(a * b for a, b in itertools.pairwise(sizes))


def sweep(points: list[Point], work: Work, device: str, repeats: int, what: str) -> list[Row]:
    """A row for each point and peer: seconds an example, shuffle left out. All points take turns."""
    calls: dict[Any, Callable] = {}
    rng = np.random.default_rng(0)
    peers = {name: peer for name, peer in PEERS.items() if name in SWEPT and not peer.missing(device)}
    for point in points:
        if point.batch_size > len(work.labels):
            continue
        # At the rate that suits 16 neurons, 1,024 of them would leave the range of floats.
        part = work._replace(start=draw_start(point.sizes, 0), batch_size=point.batch_size, rate=0.01)
        order = rng.integers(len(work.labels), size=(point.steps, point.batch_size))
        for name, peer in peers.items():
            train = peer.make(part, peer.where(device)).train
            calls[point, name] = lambda train=train, start=part.start, order=order: train(start, order)
    with progress(repeats + 1) as report:
        seconds = take_turns(calls, repeats, report, f"cost against {what}")
    return [
        {
            "value": point.value,
            "peer": name,
            "seconds_per_example": float(np.median(times)) / (point.steps * point.batch_size),
            "multiply_adds": multiply_adds(point.sizes),
        }
        for (point, name), times in seconds.items()
    ]


def against_examples(work: Work, device: str, counts: tuple[int, ...], repeats: int) -> list[Row]:
    """Whole epochs by hand over ever more examples, those of the work again and again; shuffle included.

    times_smaller: the time beside that of the row before. data_bytes, temporary_bytes: of the compiled epoch, by XLA;
    the data are images, labels and order.
    """
    calls, memory = {}, {}
    for n in counts:
        again = np.resize(np.arange(len(work.labels)), n)
        part = work._replace(images=work.images[again], labels=work.labels[again])
        train, shuffle = PEERS[BY_HAND].make(part, device)
        calls[n] = lambda train=train, shuffle=shuffle: train(work.start, shuffle())
        memory[n] = epoch_memory(part, shuffle())
    with progress(repeats + 1) as report:
        seconds = take_turns(calls, repeats, report, "cost against examples")
    before = [None, *counts]
    return [
        {
            "value": n,
            "peer": BY_HAND,
            "seconds": float(np.median(seconds[n])),
            "multiply_adds": n * multiply_adds(work.sizes),
            "times_smaller": median_ratio(seconds[n], seconds[m]) if m else None,
            **memory[n],
        }
        for m, n in zip(before, counts, strict=False)
    ]


def epoch_memory(work: Work, order: np.ndarray) -> dict[str, int]:
    """What the compiled epoch by hand is given beside its parameters, and what it needs while it runs."""
    network, optimizer = jp.mlp(work.sizes), optax.sgd(work.rate)
    state = jp.init_state(network.init(jax.random.key(0)), optimizer)
    epoch = jax.jit(jp.make_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer)))
    memory: Any = epoch.lower(state, jp.Examples(work.images, work.labels), order).compile().memory_analysis()
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    return {
        "data_bytes": memory.argument_size_in_bytes - parameters,
        "temporary_bytes": memory.temp_size_in_bytes,
    }
