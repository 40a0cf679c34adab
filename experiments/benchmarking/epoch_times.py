"""One epoch by every peer: whether all do the same work, how long each takes, and what each needs alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from benchmarking.alone import in_own_process, save_work
from benchmarking.on_host import blas_reference
from benchmarking.peers import AUTODIFF, MANUAL, PEERS
from benchmarking.rounds import median_ratio, take_turns
from benchmarking.work import Params, Trainer, Work
from lab.common import progress
from lab.figures import BEHIND_TEXT, BLUE, GREY, SKY, VERMILION, new_figure, styled

STEPS = 10
# Float32 sums in another order part by some 1e-6 of the largest parameter after ten steps; a rate that is off by one
# part in a thousand parts by 1e-4.
TOLERANCE = 1e-5
REFERENCE = "BLAS reference"
Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


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
    reference = blas_reference(work)
    with progress(repeats + 1) as report:
        calls = {name: one_epoch(trainer, work.start) for name, trainer in trainers.items()}
        seconds = take_turns({**calls, **reference}, repeats, report, "one epoch by each")
    blas = {name: float(np.median(seconds[name])) for name in reference}
    seconds[REFERENCE] = reference_seconds(seconds)
    rows = [
        {
            "peer": name,
            "relative_time": median_ratio(seconds[name], seconds[MANUAL]) if name in seconds else None,
            "seconds": float(np.median(seconds[name])) if name in seconds else None,
            "device": PEERS[name].where(device) if name in PEERS else "cpu",
            "difference_after_10_steps": apart.get(name),
            **dict.fromkeys(("import_seconds", "compile_seconds", "import_megabytes", "peak_megabytes")),
            **costs.get(name, {}),
            "remark": absent.get(name) or (PEERS[name].remark if name in PEERS else "first layer's products, gather"),
        }
        for name in (*PEERS, REFERENCE)
    ]
    rounds = [{name: float(times[i]) for name, times in seconds.items()} for i in range(repeats)]
    return EpochTimes(rows, blas, rounds)


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
        path = Path(folder) / "work.npz"
        save_work(path, work)
        for name in names:
            costs[name] = in_own_process(name, path, PEERS[name].where(device))
            report(f"{name} alone: {costs[name]['peak_megabytes']:,.0f} MB at most")
    return costs


def differences(trainers: Mapping[str, Trainer], work: Work) -> dict[str, float]:
    """How far each peer that does the same work is from the baseline after ten steps: see `scaled_difference`."""
    order = trainers[MANUAL].shuffle()[:STEPS]
    after = {name: t.train(work.start, order) for name, t in trainers.items() if PEERS[name].same_work}
    return {name: scaled_difference(params, after[MANUAL]) for name, params in after.items()}


def scaled_difference(params: Params, reference: Params) -> float:
    """The largest difference in any weight matrix or bias vector, as a fraction of the largest number in it."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(params, reference, strict=True)]
    return float(np.max([np.abs(a - b).max() / np.abs(b).max() for a, b in pairs]))  # a NaN stays one


def who_differs(rows: Rows) -> list[str]:
    """The peers that do other work than they say. A NaN counts as a difference."""
    apart = {row["peer"]: row["difference_after_10_steps"] for row in rows}
    return [name for name, difference in apart.items() if difference is not None and not difference <= TOLERANCE]


def peer_table(rows: Rows) -> Table:
    """The peers from the fastest to the slowest, the absent ones last."""
    table = Table("peer", "relative time", "epoch", "after 10 steps", "gets ready", "peak memory", "device", "remark")

    def cell(row: Mapping[str, Any], name: str, form: str) -> str:
        return "" if row[name] is None else form.format(row[name])

    for row in sorted(rows, key=lambda row: row["seconds"] or float("inf")):
        table.add_row(
            row["peer"],
            cell(row, "relative_time", "{:.2f} ×"),
            cell(row, "seconds", "{:.3f} s"),
            cell(row, "difference_after_10_steps", "{:.0e}"),
            cell(row, "compile_seconds", "{:.1f} s"),
            cell(row, "peak_megabytes", "{:,.0f} MB"),
            row["device"],
            row["remark"],
        )
    return table


COLOURS = {MANUAL: BLUE, AUTODIFF: SKY, REFERENCE: GREY}  # all others are of one colour


@styled
def epoch_figure(rows: Rows) -> Figure:
    """One epoch by every peer that is here, as multiples of the baseline."""
    rows = sorted((row for row in rows if row["seconds"]), key=lambda row: row["seconds"])
    figure = new_figure(10, 5)
    axes = figure.subplots()
    names = [f"{row['peer']}\n({row['remark']})" if row["remark"] else row["peer"] for row in rows]
    texts = [f"{row['relative_time']:.2f} × · {row['seconds'] * 1000:,.0f} ms" for row in rows]
    colours = [COLOURS.get(row["peer"], VERMILION) for row in rows]
    _bars(axes, names, [row["relative_time"] for row in rows], texts, colours)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    slowest = rows[-1]
    axes.set(xlabel="time of one epoch, as a multiple of jaxprop's with manual backprop")
    axes.set_title(f"One epoch: {slowest['peer']} takes {slowest['relative_time']:.1f} times as long as jaxprop")
    return figure


@styled
def alone_figure(rows: Rows) -> Figure:
    """Compilation and peak memory of each peer in a process of its own."""
    rows = [row for row in rows if row["peak_megabytes"]]
    figure = new_figure(12, 4.8)
    compiling, memory = figure.subplots(1, 2, sharey=True)
    names = [row["peer"] for row in rows]
    colours = [COLOURS.get(row["peer"], VERMILION) for row in rows]
    seconds = [row["compile_seconds"] for row in rows]
    _bars(compiling, names, seconds, [f"{s:.1f} s" for s in seconds], colours)
    compiling.set(xlabel="set-up and first epoch beyond the second [s]", title="Time to get ready, imports apart")
    peaks = [row["peak_megabytes"] for row in rows]
    _bars(memory, names, peaks, [f"{peak:,.0f} MB" for peak in peaks], colours)
    imports = [row["import_megabytes"] for row in rows]
    memory.barh(range(len(rows)), imports, color="white", alpha=0.55, height=0.7)
    memory.set(xlabel="memory of the process at its peak [MB]", title="Peak memory; the pale part is imports")
    compiling.invert_yaxis()  # shared with the other, which has turned it once more
    return figure


def _bars(axes: Axes, names: list[str], values: list[float], texts: list[str], colours: list[str]) -> None:
    """Horizontal bars from the top down, each with its text at its end."""
    axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.25 * max(values)))
    axes.invert_yaxis()
    for i, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.text(value + 0.015 * max(values), i, text, va="center", bbox=BEHIND_TEXT)
