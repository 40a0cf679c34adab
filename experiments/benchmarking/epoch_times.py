"""One epoch by every peer: whether all do the same work, and how long each takes."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarking.alone import in_own_process, save_work
from benchmarking.on_host import blas_reference
from benchmarking.peers import BY_HAND, PEERS
from benchmarking.rounds import median_ratio, take_turns
from benchmarking.work import Params, Trainer, Work
from lab.common import progress

STEPS = 10
# Float32 sums in another order part by some 1e-6 of the largest parameter after ten steps; a rate that is off by one
# part in a thousand parts by 1e-4.
TOLERANCE = 1e-5
REFERENCE = "BLAS reference"
Row = dict[str, Any]


class EpochTimes(NamedTuple):
    rows: list[Row]  # a row for each peer, the absent ones too, and one for the BLAS reference
    blas: dict[str, float]  # median seconds of each of its parts
    rounds: list[Row]  # the seconds of every call in every round


def measure(work: Work, device: str, repeats: int, alone: Iterable[str], left_out: Mapping[str, str]) -> EpochTimes:
    """alone: the peers that are measured in processes of their own too. left_out: peers and why."""
    absent = {name: left_out.get(name) or peer.missing(device) for name, peer in PEERS.items()}
    here = [name for name in PEERS if not absent[name]]
    costs = costs_alone(work, device, [name for name in here if name in alone])
    trainers = {name: PEERS[name].make(work, PEERS[name].where(device)) for name in here}
    apart = differences(trainers, work)
    with progress(repeats + 1) as report:
        calls = {name: one_epoch(trainer, work.start) for name, trainer in trainers.items()}
        seconds = take_turns({**calls, **blas_reference(work)}, repeats, report, "one epoch by each")
    seconds[REFERENCE] = reference_seconds(seconds)
    rows = [
        {
            "peer": name,
            "times_by_hand": median_ratio(seconds[name], seconds[BY_HAND]) if name in seconds else None,
            "seconds": float(np.median(seconds[name])) if name in seconds else None,
            "device": PEERS[name].where(device) if name in PEERS else "cpu",
            "difference_after_10_steps": apart.get(name),
            **dict.fromkeys(("import_seconds", "compile_seconds", "import_megabytes", "peak_megabytes")),
            **costs.get(name, {}),
            "remark": absent.get(name) or (PEERS[name].remark if name in PEERS else "first layer's products, gather"),
        }
        for name in (*PEERS, REFERENCE)
    ]
    rounds = [{name: float(times[i]) for name, times in seconds.items()} for i in range(len(seconds[BY_HAND]))]
    return EpochTimes(rows, {name: float(np.median(seconds[name])) for name in blas_reference(work)}, rounds)


def one_epoch(trainer: Trainer, start: Params) -> Callable[[], Params]:
    return lambda: trainer.train(start, trainer.shuffle())


def reference_seconds(seconds: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each round: the gather, and the products on as many threads as suit them better."""
    products = min((seconds["products"], seconds["products on one thread"]), key=np.median)
    return products + seconds["gather"]


def costs_alone(work: Work, device: str, names: list[str]) -> dict[str, dict[str, float]]:
    """What each of these peers costs in a process of its own."""
    costs = {}
    with TemporaryDirectory() as folder, progress(len(names)) as report:
        save_work(path := Path(folder) / "work.npz", work)
        for name in names:
            costs[name] = in_own_process(name, path, PEERS[name].where(device))
            report(f"{name} alone: {costs[name]['peak_megabytes']:,.0f} MB at most")
    return costs


def differences(trainers: Mapping[str, Trainer], work: Work) -> dict[str, float]:
    """How far each peer that does the same work is from jaxprop by hand after ten steps: see `scaled_difference`."""
    order = trainers[BY_HAND].shuffle()[:STEPS]
    after = {name: t.train(work.start, order) for name, t in trainers.items() if PEERS[name].same_work}
    return {name: scaled_difference(params, after[BY_HAND]) for name, params in after.items()}


def scaled_difference(params: Params, reference: Params) -> float:
    """The largest difference in any weight matrix or bias vector, as a share of the largest number in it."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(params, reference, strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def who_differs(rows: list[Row]) -> list[str]:
    """The peers that do other work than they say. A NaN counts as a difference."""
    apart = {row["peer"]: row["difference_after_10_steps"] for row in rows}
    return [name for name, difference in apart.items() if difference is not None and not difference <= TOLERANCE]
