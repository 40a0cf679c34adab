"""What a run keeps when it is stopped, killed, or turned into a NaN."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.run import training_run
from jaxprop.run.checkpoints import Checkpoint, save_checkpoint
from jaxprop.run.training_run import Task, advance

STEPS, TOTAL = 5, 20


class Clock:
    """A time that passes only where the test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training_run, "time", clock)
    return clock


class Answer(NamedTuple):
    """As much of a `Diagnosis` as the run needs to know."""

    step: int


def state_after(step: int) -> jp.State:
    return jp.State(jnp.asarray(step), ())


def some_task(
    clock: Clock, steps_per_call=1, seconds=lambda: 1.0, bad_step=None, worth=lambda step: 0.5, others="test"
) -> Task:
    """Training that counts its steps. A call takes so many seconds of the clock, and one step may go wrong."""

    def fitting(state, begin):
        step = begin
        while step < TOTAL:
            before, size = step, min(steps_per_call, STEPS - step % STEPS)
            step, took = step + size, seconds()
            clock.now += took
            metrics = jp.Metrics((step - 1) // STEPS + 1, step, np.zeros((size, 1), np.int32), np.zeros(size), took)
            if bad_step is not None and before < bad_step <= step:
                raise jp.NonFinite(state_after(before), metrics, state_after(step))
            yield state_after(step), metrics

    def score(params):
        scores = jp.Scores(jnp.asarray(worth(int(params))), jnp.asarray(0.25), jnp.zeros((1, 10)))
        return scores, scores

    def diagnose(failure, trail):
        step = bad_step or failure.metrics.step
        return state_after(step - 1), Answer(step)

    return Task(fitting, score, others, diagnose, STEPS, TOTAL)  # pyright: ignore[reportArgumentType]


def start(step: int = 0) -> Checkpoint:
    """Where a run stands that has come so far."""
    rows = [{"epoch": i + 1.0} for i in range(step // STEPS)]
    return Checkpoint(state_after(step), jax.random.key(0), step, rows, 0.0, {}, {})


def go(task, run, here=None, every=30.0, stopping=lambda: False, report=lambda row: None):
    return advance(task, run, here or start(), every=every, stopping=stopping, report=report)


def kept(run) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*.npz"))


def test_a_run_ends_with_a_checkpoint_and_a_row_for_each_epoch(clock, tmp_path):
    reported = []
    here, diagnosis = go(some_task(clock, steps_per_call=2), tmp_path, report=reported.append)
    assert diagnosis is None
    assert (here.step, int(here.state.params), here.seconds) == (TOTAL, TOTAL, 0.0)
    assert kept(tmp_path) == [TOTAL]
    assert (
        here.rows
        == reported
        == [
            {
                **{"epoch": i, "train_cost": 0.5, "test_cost": 0.5, "train_accuracy": 0.25, "test_accuracy": 0.25},
                "seconds": 3.0,  # calls of 2, 2 and 1 steps
            }
            for i in range(1, 5)
        ]
    )


def test_the_scores_are_named_after_the_examples_that_they_are_of(clock, tmp_path):
    here, _ = go(some_task(clock, others="validation"), tmp_path)
    names = {"epoch", "train_cost", "validation_cost", "train_accuracy", "validation_accuracy", "seconds"}
    assert all(row.keys() == names for row in here.rows)


def test_every_0_saves_after_each_call_before_it_is_reported(clock, tmp_path):
    def report(row):
        assert kept(tmp_path)[-1] == 5 * row["epoch"]
        assert len(kept(tmp_path)) == 2

    go(some_task(clock), tmp_path, every=0, report=report)
    assert kept(tmp_path) == [19, 20]


@pytest.mark.parametrize(
    ("every", "call", "expected"),
    [
        (3.5, 1.0, [3, 6, 9, 12, 15, 18, 20]),
        (3.0, 1.0, [3, 6, 9, 12, 15, 18, 20]),
        (2.0, 1.5, list(range(1, 21))),
        (1.0, 1.5, list(range(1, 21))),
        (30.0, 4.0, [7, 14, 20]),
        (1000.0, 1.0, [20]),
    ],
)
def test_whenever_a_run_is_killed_no_more_is_lost_than_the_saving_interval(
    clock, tmp_path, monkeypatch, every, call, expected
):
    """Or one call, where that takes longer. The worst moment for a kill is that just before a call has ended."""
    saves, worst = [(0, clock.now)], []

    def seconds():
        worst.append(clock.now + call - saves[-1][1])
        return call

    def save(run, here, previous):
        assert previous == saves[-1][0]
        saves.append((here.step, clock.now))

    monkeypatch.setattr(training_run, "save_checkpoint", save)
    go(some_task(clock, seconds=seconds), tmp_path, every=every)
    assert max(worst) <= max(every, call)
    assert [step for step, _ in saves[1:]] == expected, "and no more is written than that takes"


def test_a_stop_saves_and_goes_on_where_it_was(clock, tmp_path):
    reported = []
    stops = iter([False] * 6 + [True])
    here, _ = go(some_task(clock), tmp_path, stopping=lambda: next(stops), report=reported.append)
    assert (here.step, here.seconds, len(here.rows)) == (7, 2.0, 1)
    assert kept(tmp_path) == [7]
    again, _ = go(some_task(clock), tmp_path, here, report=reported.append)
    assert again.step == TOTAL
    assert [row["epoch"] for row in reported] == [1, 2, 3, 4]
    assert [row["seconds"] for row in again.rows] == [5.0] * 4, "the epoch that was cut in two lost none of its seconds"
    assert kept(tmp_path) == [7, 20]


def test_a_run_that_is_done_has_nothing_to_do(clock, tmp_path):
    here, diagnosis = go(some_task(clock), tmp_path, start(TOTAL), report=pytest.fail)
    assert (here.step, diagnosis) == (TOTAL, None)
    assert not kept(tmp_path)


@pytest.mark.parametrize(("bad_step", "rows"), [(1, 0), (2, 0), (7, 1), (10, 1), (11, 2), (20, 3)])
@pytest.mark.parametrize("every", [0, 30])
def test_what_is_kept_precedes_the_bad_step(clock, tmp_path, bad_step, rows, every):
    save_checkpoint(tmp_path, start(), previous=None)
    here, diagnosis = go(some_task(clock, steps_per_call=3, bad_step=bad_step), tmp_path, every=every)
    assert diagnosis == Answer(bad_step)
    assert (here.step, int(here.state.params), len(here.rows)) == (bad_step - 1, bad_step - 1, rows)
    assert kept(tmp_path)[-1] == bad_step - 1
    assert len(kept(tmp_path)) == (1 if bad_step == 1 else 2)


def test_answers_that_are_not_finite_are_found_though_the_state_is(clock, tmp_path):
    task = some_task(clock, worth=lambda step: float("inf") if step >= 10 else 0.5)
    here, diagnosis = go(task, tmp_path, report=lambda row: None)
    assert diagnosis == Answer(10)
    assert (here.step, len(here.rows)) == (9, 1)
