"""The time and the temporary memory of one gradient: manual backprop beside autodiff."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxprop as jp
from benchmarking.rounds import median_ratio
from jaxprop.gradients import Batch
from lab.common import progress
from lab.figures import BEHIND_TEXT, BLUE, GREEN, ORANGE, new_figure, styled
from lab.presets import PRESETS
from lab.timing import compile_apart, interleave

PERCEPTRONS = ((784, 16, 16, 10), (784, 128, 64, 10), (784, 1024, 1024, 10))
BATCHES = (1, 100, 1000)
OF_TODAY = 100  # examples in a batch of the networks of today
GRADIENTS = {"backprop": jp.backprop, "autodiff": jp.autodiff}
Row = dict[str, Any]


class Case(NamedTuple):
    """A network with the cost that its outputs are made for, and a batch."""

    name: str
    network: jp.Network
    cost: jp.Cost
    batch: Batch


def measure(examples: jp.Examples, seed: int, smoke: bool) -> list[Row]:
    """A row for each network and batch size."""
    cases = [perceptron(sizes, examples, n) for sizes in PERCEPTRONS for n in BATCHES]
    cases = [*cases[:2], *of_today(examples)[:1]] if smoke else [*cases, *of_today(examples)]
    rows = []
    with progress(len(cases)) as report:
        for case in cases:
            row = compare(case, seed, repeats=3 if smoke else 15)
            rows.append(row)
            n = row["batch_size"]
            report(f"{case.name}, batch of {n:,}: backprop takes {row['time_ratio']:.2f} of autodiff's time")
    return rows


def perceptron(sizes: tuple[int, ...], examples: jp.Examples, n: int) -> Case:
    batch = jp.as_batch(examples.images[:n], examples.labels[:n])
    return Case("-".join(map(str, sizes)), jp.mlp(sizes), jp.squared_error, batch)


def of_today(examples: jp.Examples) -> list[Case]:
    """The networks that `train.py` knows by a name; two that read a picture row by row; and one that draws digits."""
    images = np.asarray(examples.images[:OF_TODAY], np.float32).reshape(-1, 28, 28, 1) / 255
    labels = np.asarray(examples.labels[: len(images)])
    cases = [Case(name, preset.make(), preset.cost, (images, labels)) for name, preset in PRESETS.items()]
    for name, layer in (("rnn", jp.rnn(64)), ("lstm", jp.lstm(64))):
        network = jp.Network((layer, jp.last(), jp.dense(10)), (28, 28))
        cases.append(Case(name, network, jp.softmax_cross_entropy, (images[..., 0], labels)))
    # As many tokens as an image of 8 x 8 has pixels, of 17 levels and 10 classes, as in draw_digits.py.
    tokens, following = np.random.RandomState(0).randint(17, size=(2, len(images), 64))
    cases.append(Case("transformer", jp.transformer(27, 64, 17), jp.softmax_cross_entropy, (tokens, following)))
    return cases


def compare(case: Case, seed: int, repeats: int) -> Row:
    """One gradient of one batch by each of the two, both compiled.

    A small gradient is called some hundred times for one time, called from Python as its users would.
    """
    _, network, cost, batch = case
    params = network.init(jax.random.key(seed))
    compiled = {name: compile_apart(make(network, cost), params, batch) for name, make in GRADIENTS.items()}
    often = calls_in(0.005, lambda: compiled["autodiff"][0](params, batch))

    def repeatedly(gradient: Any) -> Callable[[], Any]:
        return lambda: [gradient(params, batch) for _ in range(often)][-1]

    seconds = interleave({name: repeatedly(gradient) for name, (gradient, _) in compiled.items()}, repeats)
    memory = {name: temporary_bytes(gradient) for name, (gradient, _) in compiled.items()}
    return {
        "network": case.name,
        "batch_size": len(batch[1]),
        "time_ratio": median_ratio(seconds["backprop"], seconds["autodiff"]),
        "memory_ratio": max(1, memory["backprop"]) / max(1, memory["autodiff"]),  # a byte stands for none
        **{f"{name}_seconds": float(np.median(times)) / often for name, times in seconds.items()},
        **{f"{name}_temporary_bytes": size for name, size in memory.items()},
        **{f"{name}_compile_seconds": seconds for name, (_, seconds) in compiled.items()},
    }


def temporary_bytes(compiled: Any) -> int:
    """What a compiled function needs beside its arguments and results, by XLA's own account."""
    return compiled.memory_analysis().temp_size_in_bytes


def calls_in(budget: float, call: Callable[[], Any]) -> int:
    """How often a call fits into so many seconds, at least once."""
    (seconds,) = interleave({"": call}, 1)[""]
    return max(1, int(budget / seconds))


@styled
def ratios_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Time and temporary memory of backprop over those of autodiff: a bar for each network and batch size."""
    figure = new_figure(11, 1.6 + 0.32 * len(rows))
    batches = list(dict.fromkeys(row["batch_size"] for row in rows))
    colours = dict(zip(batches, (BLUE, ORANGE, GREEN), strict=False))
    titles = {"time": "Time of one gradient", "memory": "Temporary memory of one gradient (XLA)"}
    for axes, (quantity, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        ratios = [row[f"{quantity}_ratio"] for row in rows]
        axes.barh(range(len(rows)), ratios, color=[colours[row["batch_size"]] for row in rows])
        for place, ratio in enumerate(ratios):
            axes.annotate(
                f"{ratio:.2f}",
                (ratio, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                bbox=BEHIND_TEXT,
            )
        axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="backprop / autodiff", xlim=(0, 1.15 * max(1, *ratios)))
        axes.grid(False)
    names = [f"{row['network']}, batch of {row['batch_size']:,}" for row in rows]
    figure.axes[0].set(yticks=range(len(rows)), yticklabels=names)
    figure.axes[0].invert_yaxis()  # shared, so both begin at the top
    time = max(row["time_ratio"] for row in rows)
    memory = max(row["memory_ratio"] for row in rows)
    title = f"Manual backprop: at most {time:.2f} of autodiff's time and {memory:.2f} of its memory"
    figure.suptitle(title, ha="left", x=0.01)
    return figure
