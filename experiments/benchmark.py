"""How long one epoch takes: jaxprop beside PyTorch, scikit-learn, NumPy and plain JAX, all doing the same work.

The work is one epoch of the lesson's network, 784-16-16-10, over 60,000 examples: shuffle them, then 600 steps of plain
SGD on batches of 100. It starts with uint8 images in memory. The peers are `benchmarking/peers.py`; where each is after
ten steps, given the same start and order, is compared first; one that is elsewhere ends the script with exit code 1.
Whatever the times are, they are no verdict.

All that is compared takes turns within a round, in one process, with as many threads as each takes by itself; a ratio
is the median over the rounds. Peak memory and compilation are those of a process for each peer. The BLAS reference is
what the two matrix products of the first layer alone take, with the gather of the uint8 rows: see `blas_reference`.

It also measures the time and the temporary memory of one gradient by either hand, the throughput of many networks
trained at once, what an epoch costs against width, batch size, depth and examples, and how long `train.py` takes from
the start of its process to 93 % test accuracy.
"""

import sys
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxprop as jp
from benchmarking import bars, costs_against, curves, epoch_times, many_networks, time_to_accuracy, two_hands
from benchmarking.machine import cores, peer_versions
from benchmarking.peer_table import print_peers
from benchmarking.peers import BY_HAND, NUMPY, PEERS
from benchmarking.work import Work, draw_start
from jaxprop.run import folders as runs
from jaxprop.data.batches import check_examples
from jaxprop.data.datasets import Dataset, load_dataset
from lab.figures import save_figure
from lab import running_example
from lab.common import Options, first_line, run, settings

EXAMPLES = 60_000  # of MNIST; a smaller data set is repeated until it has as many
Row = dict[str, Any]


class Measured(NamedTuple):
    epoch: epoch_times.EpochTimes
    hands: list[Row]
    networks: list[Row]
    sweeps: dict[str, list[Row]]
    examples: list[Row]
    time_to_accuracy: list[Row]


def main(options: Options) -> int:
    device = first_line(options.device)
    print(f"{cores()} CPU cores; every peer takes as many threads as it does by itself", flush=True)
    dataset = load_dataset(options.dataset, options.archives)
    check_examples(dataset.train, (784,))
    # TensorFloat-32, which an accelerator may take instead of float32, would be other work than that of the peers.
    with nullcontext() if device.platform == "cpu" else jax.default_matmul_precision("highest"):
        found = measure(options, device.platform, dataset)
    folder = runs.new_run_folder(options.out, "benchmark", options.seed)
    for name, rows in tables(found).items():
        runs.write_csv(folder / f"{name}.csv", rows)
    if options.figures:
        for name, figure in figures(found).items():
            save_figure(folder / f"{name}.png", figure)
    runs.write_json(folder / "results.json", {**summary(found), **settings(options), **runs.provenance(device)})
    print_peers(found.epoch.rows)
    print(f"run folder: {folder}")
    for name in (different := epoch_times.who_differs(found.epoch.rows)):
        print(f"error: {name} does other work than jaxprop by hand: compare its steps", file=sys.stderr)
    return 1 if different else 0


def measure(options: Options, device: str, dataset: Dataset) -> Measured:
    smoke = options.smoke
    work = the_work(dataset.train, options.seed, None if smoke else EXAMPLES)
    alone = (BY_HAND, NUMPY) if smoke else PEERS
    left_out = {"torch.compile": "left out of a smoke run: it compiles for long"} if smoke else {}
    repeats = 1 if smoke else 3
    return Measured(
        epoch_times.measure(work, device, 1 if smoke else 11, alone, left_out),
        two_hands.measure(dataset.train, options.seed, smoke),
        many_networks.measure(dataset.train, options.seed, smoke),
        {
            name: costs_against.sweep(points[:1] if smoke else points, work, device, repeats, name.replace("_", " "))
            for name, points in costs_against.SWEEPS.items()
        },
        costs_against.against_examples(work, device, (150, 1500) if smoke else costs_against.EXAMPLES, repeats),
        time_to_accuracy.measure(options, device, dataset, 1 if smoke else 3),
    )


def the_work(examples: jp.Examples, seed: int, n: int | None) -> Work:
    """The work of an epoch over n examples, those that there are again and again; None for as many as there are."""
    images, labels = map(np.asarray, examples)
    if n is not None and n != len(labels):
        again = np.resize(np.arange(len(labels)), n)
        images, labels = images[again], labels[again]
    return Work(images, labels, draw_start(running_example.SIZES, seed), running_example.LEARNING_RATE, running_example.BATCH_SIZE)


def summary(found: Measured) -> Row:
    """What `results.json` says first: the ratios."""
    rows = found.epoch.rows
    times = {row["peer"]: row["times_by_hand"] for row in rows if row["times_by_hand"]}
    return {
        "epoch_times_by_hand": times,
        "by_hand_times_blas_reference": 1 / times[epoch_times.REFERENCE],
        "backprop_times_autodiff_at_most": {
            quantity: max(row[f"{quantity}_ratio"] for row in found.hands) for quantity in ("time", "memory")
        },
        "many_networks_times_throughput": {row["hand"]: row["times_throughput"] for row in found.networks},
        "many_networks_fraction_of_peak": {row["hand"]: row["fraction_of_peak"] for row in found.networks},
        "ten_times_the_examples_times": found.examples[-1]["times_smaller"],
        "data_bytes_per_example": found.examples[-1]["data_bytes"] / found.examples[-1]["value"],
        "seconds_to_93_percent": time_to_accuracy.median_seconds(found.time_to_accuracy),
        "cores": cores(),
        "peers": rows,
        "blas_seconds": found.epoch.blas,
        "hands": found.hands,
        "many_networks": found.networks,
        "costs_against": {**found.sweeps, "examples": found.examples},
        "time_to_accuracy": found.time_to_accuracy,
        "peer_versions": peer_versions(),
    }


def tables(found: Measured) -> dict[str, list[Row]]:
    return {
        "epoch": found.epoch.rows,
        "epoch_rounds": found.epoch.rounds,
        "two_hands": found.hands,
        "many_networks": found.networks,
        **{f"cost_against_{name}": rows for name, rows in found.sweeps.items()},
        "cost_against_examples": found.examples,
        "time_to_accuracy": found.time_to_accuracy,
    }


def figures(found: Measured) -> dict[str, Figure]:
    return {
        "epoch": bars.epoch(found.epoch.rows),
        "alone": bars.alone(found.epoch.rows),
        "two_hands": bars.hands(found.hands),
        "costs_against": curves.costs(found.sweeps, found.examples),
        "time_to_accuracy": bars.time_to_accuracy(found.time_to_accuracy),
    }


if __name__ == "__main__":
    sys.exit(run(main, Options))
