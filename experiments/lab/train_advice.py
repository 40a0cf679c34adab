"""What `train.py` says of its learning rate, and of a run that has not learned what it could."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from jaxprop.run.training_run import Row
from lab.train_options import TrainOptions, scored_on, usual_epochs, usual_rate

# What every network of the kinds that `train.py` makes can reach on these data sets, given the steps that it needs.
READS = {"digits": 0.9, "mnist": 0.9}


def said_of_rate(options: TrainOptions, rate: float) -> str:
    """Where the learning rate comes from, as the end of a sentence that begins with it."""
    usual, reasons = usual_rate(options)
    if rate == usual:
        return f", the default for {reasons}"
    return f"; the default for {reasons} is {usual:g}"


def guessing(labels: Any) -> tuple[float, float]:
    """The fraction of its examples that the most frequent label gets right, and the highest that luck makes of it.

    By luck up to three standard errors more, sqrt(p (1 - p) / n) each for n examples: one time in 700.
    """
    p = float(np.bincount(np.asarray(labels)).max() / len(labels))
    return p, p + 3 * sqrt(p * (1 - p) / len(labels))


def what_to_change(options: TrainOptions, rows: Sequence[Row], labels: Any, rate: float, folder: Path) -> str:
    """A sentence about a run that ended no better than guessing, or on digits below 90 %; empty where it did better.

    labels: of the examples that it was scored on.
    """
    accuracy, (guess, lucky) = rows[-1][f"{scored_on(options)}_accuracy"], guessing(labels)
    if accuracy <= lucky:
        found = f"{accuracy:.2%} is no better than guessing ({guess:.2%} for one and the same answer)"
    elif accuracy < READS.get(options.dataset, 0.0):
        found = f"{accuracy:.2%} is less than such a network can reach"
    else:
        return ""
    return f"{found}: {_remedy(options, rows, rate, folder)}"


def _remedy(options: TrainOptions, rows: Sequence[Row], rate: float, folder: Path) -> str:
    usual, _ = usual_rate(options)
    if rate > usual:
        return f"lower --learning-rate; the default is {usual:g}"
    if len(rows) < usual_epochs(options):
        return f"train for more --epochs; the default is {usual_epochs(options)}"
    if rate < usual:
        return f"train for more --epochs, or raise --learning-rate; the default is {usual:g}"
    if rows[-1]["train_cost"] < 0.95 * rows[len(rows) * 3 // 4]["train_cost"]:
        if options.schedule == "constant":
            return f"the cost still fell, so go on with --resume {folder} --epochs {2 * len(rows)}"
        return f"the cost still fell, so take --epochs {2 * len(rows)}"
    smaller = "a smaller --batch-size, which takes more steps, " if options.batch_size > 100 else ""
    return f"try {smaller}--learning-rate {rate / 4:.2g} or {4 * rate:.2g}, or more --epochs"
