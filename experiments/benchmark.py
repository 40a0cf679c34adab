"""How long one epoch takes: jaxprop beside PyTorch, scikit-learn, NumPy and plain JAX, all doing the same work.

The work is one epoch of the lesson's network, 784-16-16-10, over 60,000 examples: shuffle them, then 600 steps of plain
SGD on batches of 100. It starts with uint8 images in memory. The peers are `benchmarking/peers.py`; where each is after
ten steps, given the same start and order, is compared first; one that is elsewhere ends the script with exit code 1.
Whatever the times are, they are no verdict.

All that is compared takes turns within a round, in one process, with as many threads as each takes by itself; a ratio
is the median over the rounds. Peak memory and compilation are those of a process for each peer. The BLAS reference is
what the two matrix products of the first layer alone take, with the gather of the uint8 rows: see `blas_reference`.

It also measures the time and the temporary memory of one gradient, by hand and by autodiff, and of norms, clipping and
second moments of the examples' gradients, the throughput of many networks trained at once, what an epoch costs against
width, batch size, depth and examples, how long `train.py` takes from the start of its process to 93 % test accuracy,
and how long ten epochs of LeNet-5 take, beside PyTorch.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import os
import sys
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxprop as jp
from benchmarking import (
    costs_against,
    epoch_times,
    gradients_compared,
    instruments_compared,
    lenet,
    many_networks,
    time_to_accuracy,
)
from benchmarking.peers import MANUAL, NUMPY, PEERS
from benchmarking.work import Work, draw_start
from jaxprop.data.batches import check_examples
from jaxprop.data.datasets import Dataset, load_dataset
from jaxprop.run import folders
from jaxprop.run.devices import DeviceName
from lab.claims import print_block
from lab.common import Options, first_line, print_wide, run, settings
from lab.figures import save_figure
from lab.running_example import BATCH_SIZE, LEARNING_RATE, SIZES

EXAMPLES = 60_000  # of MNIST; a smaller data set is repeated until it has as many
Row = dict[str, Any]


class Measured(NamedTuple):
    epoch: epoch_times.EpochTimes
    gradients: list[Row]
    instruments: list[Row]
    networks: list[Row]
    sweeps: dict[str, list[Row]]
    examples: list[Row]
    time_to_accuracy: list[Row]
    lenet: list[Row]


def main(options: Options) -> int:
    device = first_line(options.device)
    print(f"{cores()} CPU cores; every peer takes as many threads as it does by itself", flush=True)
    dataset = load_dataset(options.dataset, options.archives)
    check_examples(dataset.train, (784,))
    # TensorFloat-32, which an accelerator may take instead of float32, would be other work than that of the peers.
    with nullcontext() if device.platform == "cpu" else jax.default_matmul_precision("highest"):
        found = measure(options, device.platform, dataset)
    with folders.whole_run_folder(options.out, "benchmark", options.seed) as folder:
        for name, rows in tables(found).items():
            folders.write_csv(folder / f"{name}.csv", rows)
        if options.figures:
            for name, figure in figures(found).items():
                save_figure(folder / f"{name}.png", figure)
        record = {**summary(found), **settings(options), **folders.provenance(device)}
        folders.write_json(folder / "results.json", record)
    print_wide(
        "One epoch; times are relative to jaxprop's with manual backprop", epoch_times.peer_table(found.epoch.rows)
    )
    print_wide("Ten epochs of LeNet-5" if not options.smoke else "An epoch of LeNet-5", lenet.table(found.lenet))
    print_block("What was found", {"": finding(found)})
    if options.figures:
        print_block("Where to look", {f"{name}.png": text for name, text in LOOK_AT.items()})
    print(f"\nrun folder: {folder}")
    different = [
        *epoch_times.who_differs(found.epoch.rows),
        *instruments_compared.who_differs(found.instruments),
        *lenet.who_differs(found.lenet),
    ]
    for name in different:
        print(f"error: {name} does other work than {MANUAL}: compare its steps", file=sys.stderr)
    return 1 if different else 0


def measure(options: Options, device: DeviceName, dataset: Dataset) -> Measured:
    if options.smoke:
        work = the_work(dataset.train, options.seed, None)
        left_out = {"torch.compile": "left out of a smoke run: it compiles for long"}
        return Measured(
            epoch=epoch_times.measure(work, device, 1, (MANUAL, NUMPY), left_out),
            gradients=gradients_compared.measure(dataset.train, options.seed, smoke=True),
            instruments=instruments_compared.measure(dataset.train, options.seed, device, smoke=True),
            networks=many_networks.measure(dataset.train, options.seed, smoke=True),
            sweeps={
                name: costs_against.sweep(points[:1], work, device, 1, name.replace("_", " "))
                for name, points in costs_against.SWEEPS.items()
            },
            examples=costs_against.against_examples(work, device, (150, 1500), repeats=1),
            time_to_accuracy=time_to_accuracy.measure(options, device, dataset, runs=1),
            lenet=lenet.measure(dataset, options.seed, device, smoke=True),
        )
    work = the_work(dataset.train, options.seed, EXAMPLES)
    return Measured(
        epoch=epoch_times.measure(work, device, 11, PEERS, {}),
        gradients=gradients_compared.measure(dataset.train, options.seed, smoke=False),
        instruments=instruments_compared.measure(dataset.train, options.seed, device, smoke=False),
        networks=many_networks.measure(dataset.train, options.seed, smoke=False),
        sweeps={
            name: costs_against.sweep(points, work, device, 3, name.replace("_", " "))
            for name, points in costs_against.SWEEPS.items()
        },
        examples=costs_against.against_examples(work, device, costs_against.EXAMPLES, repeats=3),
        time_to_accuracy=time_to_accuracy.measure(options, device, dataset, runs=3),
        lenet=lenet.measure(dataset, options.seed, device, smoke=False),
    )


def the_work(examples: jp.Examples, seed: int, n: int | None) -> Work:
    """The work of an epoch over n examples, those that there are again and again; None for as many as there are."""
    images, labels = map(np.asarray, examples)
    if n is not None and n != len(labels):
        again = np.resize(np.arange(len(labels)), n)
        images = images[again]
        labels = labels[again]
    return Work(images, labels, draw_start(SIZES, seed), LEARNING_RATE, BATCH_SIZE)


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peer_versions() -> dict[str, str | None]:
    """Of the peers' packages and of NumPy's BLAS; None for what is not here."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # pyright: ignore - numpy declares no result
    found: dict[str, str | None] = {"blas": f"{blas['name']} {blas['version']}"}
    for package in ("scikit-learn", "torch", "opacus"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def summary(found: Measured) -> Row:
    """What `results.json` says first: the ratios."""
    rows = found.epoch.rows
    relative = {row["peer"]: row["relative_time"] for row in rows if row["relative_time"]}
    most = found.examples[-1]
    return {
        "relative_epoch_times": relative,
        "jaxprop_over_blas_reference": 1 / relative[epoch_times.REFERENCE],
        "backprop_over_autodiff_at_most": {
            "time": max(row["time_ratio"] for row in found.gradients),
            "memory": max(row["memory_ratio"] for row in found.gradients),
        },
        "many_networks_times_throughput": {row["gradient"]: row["times_throughput"] for row in found.networks},
        "many_networks_fraction_of_peak": {row["gradient"]: row["fraction_of_peak"] for row in found.networks},
        "ten_times_the_examples_times": most["times_smaller"],
        "data_bytes_per_example": most["data_bytes"] / most["value"],
        "seconds_to_93_percent": time_to_accuracy.median_seconds(found.time_to_accuracy),
        "cores": cores(),
        "peers": rows,
        "blas_seconds": found.epoch.blas,
        "gradients": found.gradients,
        "instruments": found.instruments,
        "many_networks": found.networks,
        "costs_against": {**found.sweeps, "examples": found.examples},
        "time_to_accuracy": found.time_to_accuracy,
        "lenet": found.lenet,
        "peer_versions": peer_versions(),
    }


def tables(found: Measured) -> dict[str, list[Row]]:
    return {
        "epoch": found.epoch.rows,
        "epoch_rounds": found.epoch.rounds,
        "gradients": found.gradients,
        "instruments": found.instruments,
        "many_networks": found.networks,
        **{f"cost_against_{name}": rows for name, rows in found.sweeps.items()},
        "cost_against_examples": found.examples,
        "time_to_accuracy": found.time_to_accuracy,
        "lenet": found.lenet,
    }


def figures(found: Measured) -> dict[str, Figure]:
    return {
        "epoch": epoch_times.epoch_figure(found.epoch.rows),
        "alone": epoch_times.alone_figure(found.epoch.rows),
        "gradients": gradients_compared.ratios_figure(found.gradients),
        "costs_against": costs_against.costs_figure(found.sweeps, found.examples),
        "time_to_accuracy": time_to_accuracy.stages_figure(found.time_to_accuracy),
    }


def finding(found: Measured) -> str:
    rows = {row["peer"]: row for row in found.epoch.rows if row["seconds"]}
    own = rows.pop(MANUAL)
    rows.pop(epoch_times.REFERENCE)
    others = ", ".join(
        f"{name} {row['relative_time']:.2f}" for name, row in sorted(rows.items(), key=lambda item: item[1]["seconds"])
    )
    return f"An epoch takes {MANUAL} {own['seconds']:.3f} s, and the others so many times as long: {others}."


LOOK_AT = {
    "epoch": "Bars that end left of the dotted line are faster than jaxprop, those that end right of it slower.",
    "alone": "How long each needs to get ready, and how much memory.",
    "gradients": "What the gradient by hand takes beside autodiff, in time and in memory.",
    "costs_against": "How an epoch's time grows with width, batch size, depth and examples.",
    "time_to_accuracy": "Where the seconds go until 93 % of the test digits are classified correctly.",
}


if __name__ == "__main__":
    sys.exit(run(main, Options))
