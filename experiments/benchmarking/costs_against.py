"""What an epoch costs against width, batch size, depth and the number of examples."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

import jaxprop as jp
from benchmarking.peers import AUTODIFF, MANUAL, NUMPY, PEERS, TORCH
from benchmarking.rounds import median_ratio, take_turns
from benchmarking.work import Work, draw_start, multiply_adds
from lab.common import progress
from lab.figures import BLUE, GREEN, SKY, VERMILION, new_figure, styled

SWEPT = (MANUAL, AUTODIFF, NUMPY, TORCH)
Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


class Point(NamedTuple):
    """One place in a sweep."""

    value: int
    sizes: tuple[int, ...]
    batch_size: int
    steps: int  # timed together: enough to be long beside the call, few enough to be done soon


WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
STEPS_BY_BATCH_SIZE = {1: 300, 10: 300, 100: 200, 1000: 20, 10_000: 6}
DEPTHS = (1, 2, 4, 8, 16, 32)
SWEEPS = {
    "width": [Point(w, (784, w, w, 10), 100, 30) for w in WIDTHS],
    "batch_size": [Point(b, (784, 16, 16, 10), b, steps) for b, steps in STEPS_BY_BATCH_SIZE.items()],
    "depth": [Point(d, (784, *[16] * d, 10), 100, 60) for d in DEPTHS],
}
EXAMPLES = (6_000, 60_000, 600_000)


def sweep(points: Sequence[Point], work: Work, device: str, repeats: int, what: str) -> list[Row]:
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


def against_examples(work: Work, device: str, counts: Sequence[int], repeats: int) -> list[Row]:
    """Whole epochs by jaxprop over ever more examples, those of the work again and again; shuffle included.

    times_smaller: the time beside that of the row before. data_bytes, temporary_bytes: of the compiled epoch, by XLA;
    the data are images, labels and order.
    """
    calls = {}
    memory = {}
    for n in counts:
        again = np.resize(np.arange(len(work.labels)), n)
        part = work._replace(images=work.images[again], labels=work.labels[again])
        train, shuffle = PEERS[MANUAL].make(part, device)
        calls[n] = lambda train=train, shuffle=shuffle: train(work.start, shuffle())
        memory[n] = epoch_memory(part, shuffle())
    with progress(repeats + 1) as report:
        seconds = take_turns(calls, repeats, report, "cost against examples")
    rows = []
    smaller = None
    for n in counts:
        rows.append(
            {
                "value": n,
                "peer": MANUAL,
                "seconds": float(np.median(seconds[n])),
                "multiply_adds": n * multiply_adds(work.sizes),
                "times_smaller": None if smaller is None else median_ratio(seconds[n], seconds[smaller]),
                **memory[n],
            }
        )
        smaller = n
    return rows


def epoch_memory(work: Work, order: np.ndarray) -> dict[str, int]:
    """What the compiled epoch of jaxprop is given beside its parameters, and what it needs while it runs."""
    network = jp.mlp(work.sizes)
    optimizer = optax.sgd(work.rate)
    state = jp.init_state(network.init(jax.random.key(0)), optimizer)
    step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
    epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
    memory: Any = epoch.lower(state, jp.Examples(work.images, work.labels), order).compile().memory_analysis()
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    return {
        "data_bytes": memory.argument_size_in_bytes - parameters,
        "temporary_bytes": memory.temp_size_in_bytes,
    }


LINES = {MANUAL: (BLUE, "o"), AUTODIFF: (SKY, "s"), NUMPY: (GREEN, "^"), TORCH: (VERMILION, "D")}
LABELS = {
    "width": "w, neurons in each hidden layer (784-w-w-10, batches of 100)",
    "batch_size": "examples in a batch (784-16-16-10)",
    "depth": "hidden layers of 16 neurons (batches of 100)",
    "examples": "examples in an epoch (784-16-16-10, batches of 100)",
}
TITLES = {
    "width": "{larger} × as wide: {work} × the work, {time} × the time",
    "batch_size": "Batches {larger} × as large: {faster} × as fast",
    "depth": "{larger} × as deep: {work} × the work, {time} × the time",
    "examples": "{larger} × the examples: {time} × the time",
}


@styled
def costs_figure(sweeps: Mapping[str, Rows], examples: Rows) -> Figure:
    """Log-log: microseconds an example against width, batch size and depth, seconds an epoch against examples.

    The dashed line grows as the multiplications of the forward pass do, and meets jaxprop at the last point.
    """
    figure = new_figure(10, 7.4)
    *panels, of_examples = figure.subplots(2, 2).flat
    for axes, (what, rows) in zip(panels, sweeps.items(), strict=True):
        for name, (colour, marker) in LINES.items():
            of_peer = [row for row in rows if row["peer"] == name]
            if of_peer:
                _line(axes, of_peer, "seconds_per_example", 1e6, color=colour, marker=marker, label=name)
        _as_the_work(axes, rows, "seconds_per_example", 1e6)
        axes.set(ylabel="µs per example", xlabel=LABELS[what], title=_title(what, rows, "seconds_per_example"))
    _line(of_examples, examples, "seconds", 1, color=BLUE, marker="o")
    _as_the_work(of_examples, examples, "seconds", 1)
    title = _title("examples", examples, "seconds")
    of_examples.set(ylabel="seconds per epoch", xlabel=LABELS["examples"], title=title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


def _line(axes: Axes, rows: Rows, quantity: str, unit: float, **style: Any) -> None:
    values = [row["value"] for row in rows]
    axes.plot(values, [unit * row[quantity] for row in rows], markersize=5, **style)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _as_the_work(axes: Axes, rows: Rows, quantity: str, unit: float) -> None:
    ours = [row for row in rows if row["peer"] == MANUAL]
    last = ours[-1]
    dashed = [unit * last[quantity] * row["multiply_adds"] / last["multiply_adds"] for row in ours]
    axes.plot([row["value"] for row in ours], dashed, "--", color="black", linewidth=1, label="as the work")


def _title(what: str, rows: Rows, quantity: str) -> str:
    """How the time of jaxprop grew from the first to the last row, beside the work."""
    ours = [row for row in rows if row["peer"] == MANUAL]
    first = ours[0]
    last = ours[-1]
    time = last[quantity] / first[quantity]
    ratios = {
        "larger": last["value"] / first["value"],
        "work": last["multiply_adds"] / first["multiply_adds"],
        "time": time,
        "faster": 1 / time,
    }
    return TITLES[what].format(**{name: _two_digits(ratio) for name, ratio in ratios.items()})


def _two_digits(ratio: float) -> str:
    """0.0063, 1.2, 98, 10,000."""
    return f"{ratio:,.{max(0, 1 - math.floor(math.log10(ratio)))}f}"
