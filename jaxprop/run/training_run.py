"""A training run: it scores every epoch, saves itself, stops when asked to, and says where a NaN came from."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from reprlib import repr as shortly
from typing import NamedTuple

from jaxprop.errors import BadInput
from jaxprop.layers import Params
from jaxprop.run.checkpoints import Checkpoint, save_checkpoint
from jaxprop.run.diagnosis import Diagnosis, Fitting, Trail, follow
from jaxprop.run.evaluation import Scores
from jaxprop.run.fitting import Metrics, NonFinite
from jaxprop.training import State

Row = dict[str, float]  # of metrics.csv


class Task(NamedTuple):
    """The compiled functions and the counts that `advance` needs."""

    fitting: Fitting
    score: Callable[[Params], tuple[Scores, Scores]]  # on the examples to train on, and on others
    others: str  # which ones those are, "test" or "validation": the scores are named so in each row
    diagnose: Callable[[NonFinite, Trail], tuple[State, Diagnosis]]
    steps: int  # in an epoch
    total: int  # steps in all
    look: Callable[[State], Row] = lambda state: {}  # at the state after an epoch: more columns for its row


def check_rows(rows: Sequence[Row], others: str, more: bool = False) -> None:
    """Raises `BadInput` unless these are the rows of a run's first epochs, scored on examples that are called so.

    more: whether a row has columns of a `look` at the state besides, the same ones in each.
    """
    columns = {f"{part}_{score}" for part in ("train", others) for score in ("cost", "accuracy")} | {"epoch", "seconds"}
    every = columns | rows[0].keys() if rows and more else columns
    for epoch, row in enumerate(rows, start=1):
        if row.keys() != every or row["epoch"] != epoch:
            raise BadInput(
                f"row {epoch} is {shortly(row)}: expected epoch {epoch} and {', '.join(sorted(columns - {'epoch'}))}"
            )


def advance(
    task: Task,
    run: Path | None,
    here: Checkpoint,
    *,
    every: float,
    stopping: Callable[[], bool],
    report: Callable[[Row], None],
) -> tuple[Checkpoint, Diagnosis | None]:
    """Trains from a checkpoint that is saved already to the end, or until `stopping()`, and returns how far it came.

    run: folder for the checkpoints; None where another process writes them. One is written after the last call, and
        after each call where the next, if it takes as long, would end more than `every` seconds after the last
        checkpoint. 0: after each one.
    report: is called with the row of each epoch.

    A state that is not finite is neither saved nor returned, but the last one before it, and the diagnosis beside it.
    """

    def save() -> None:
        if run is not None:
            save_checkpoint(run, here, previous=saved)

    saved, trail = here.step, follow(None, here.step, here.state)
    saved_at = turned_at = time.monotonic()
    try:
        for state, metrics in task.fitting(here.state, begin=here.step):
            here = _after(task, here, state, metrics)
            trail = follow(trail, here.step, here.state)
            last, now = stopping() or here.step == task.total, time.monotonic()
            # Would the next turn, if it takes as long as this one, end too late?
            if last or now + (now - turned_at) - saved_at > every:
                save()
                saved, saved_at = here.step, now
            if here.step % task.steps == 0:
                report(here.rows[-1])
            if last:
                break
            turned_at = now
        return here, None
    except NonFinite as failure:
        state, diagnosis = task.diagnose(failure, trail)
        here = here._replace(state=state, step=diagnosis.step - 1)
        if here.step > saved:
            save()
        return here, diagnosis


def _after(task: Task, here: Checkpoint, state: State, metrics: Metrics) -> Checkpoint:
    """Where the run stands after a compiled call."""
    seconds = here.seconds + metrics.seconds
    if metrics.step % task.steps:
        return here._replace(state=state, step=metrics.step, seconds=seconds)
    on_train, on_others = task.score(state.params)
    row = {
        "epoch": metrics.epoch,
        "train_cost": float(on_train.cost),
        f"{task.others}_cost": float(on_others.cost),
        "train_accuracy": float(on_train.accuracy),
        f"{task.others}_accuracy": float(on_others.accuracy),
        "seconds": seconds,
    }
    row |= task.look(state)
    # Parameters can be so large that they are finite and what they answer is not.
    if not all(map(math.isfinite, row.values())):
        raise NonFinite(here.state, metrics, state)
    return here._replace(state=state, step=metrics.step, rows=[*here.rows, row], seconds=0.0)
