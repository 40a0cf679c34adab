"""From the start of a process to an accuracy: how a script is started, timed, itemised and stopped."""

import sys

import pytest

from benchmarking import time_to_accuracy
from benchmarking.peers import TORCH
from lab.common import Options
from lab.figures import save_figure


def test_train_is_started_with_the_options_of_the_benchmark(tmp_path):
    options = Options(dataset="mnist", archives=tmp_path)
    command = time_to_accuracy.train_command(options, seed=3, device="cpu", out=tmp_path / "runs")
    assert command[0] == sys.executable
    assert " ".join(command[2:]) == (
        f"--dataset mnist --archives {tmp_path} --device cpu --seed 3 --epochs 200 --no-figures "
        f"--out {tmp_path / 'runs'}"
    )


SCRIPT = """
import time
for line in ("backend cpu", "13,002 parameters; compiled in 0.20 s"):
    time.sleep(0.3)
    print(line, flush=True)
for epoch in range(1, 201):
    time.sleep(0.05)
    print(f"epoch {epoch}: cost 0.1, test accuracy {LIST[min(epoch, len(LIST)) - 1]:.2%}", flush=True)
if LAST: time.sleep(600)
"""


def run_script(accuracies, waits=True):
    script = SCRIPT.replace("LIST", repr(accuracies)).replace("LAST", repr(waits))
    return time_to_accuracy.itemised(time_to_accuracy.timed_lines([sys.executable, "-c", script]))


def test_the_time_to_93_percent_is_itemised_and_the_script_stopped():
    row = run_script([0.5, 0.9299, 0.9301])
    assert row["reached"]
    assert row["epochs"] == 3
    assert row["accuracy"] == 0.9301
    assert row["seconds"] == pytest.approx(sum(row[stage] for stage in time_to_accuracy.STAGES))
    assert row["compilation"] == 0.2
    # A sleep is never shorter than asked for, and a line is never read before it was written. How long it lies there
    # is the system's matter, so each bound is for all the time until a line.
    assert row["imports"] >= 0.3
    assert row["imports"] + row["data"] + row["compilation"] >= 0.6
    assert row["seconds"] >= 0.75


def test_each_stage_is_the_time_between_two_lines():
    def lines():
        yield 0.3, "backend cpu\n"
        yield 0.9, "13,002 parameters; compiled in 0.20 s\n"
        yield 1.0, "epoch 1: cost 0.1, test accuracy 50.00%\n"
        yield 1.4, "epoch 2: cost 0.1, test accuracy 93.00%\n"
        raise AssertionError("another line was asked for")

    row = time_to_accuracy.itemised(lines())
    stages = {"imports": 0.3, "data": 0.4, "compilation": 0.2, "training": 0.5}
    assert {stage: row[stage] for stage in time_to_accuracy.STAGES} == pytest.approx(stages)
    assert row["seconds"] == 1.4


def test_a_script_that_never_gets_there_is_told_apart(monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "EPOCHS", 4)
    row = run_script([0.5])
    assert not row["reached"]
    assert (row["epochs"], row["accuracy"]) == (4, 0.5)


def test_a_script_that_fails_is_our_bug():
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(time_to_accuracy.timed_lines([sys.executable, "-c", "print('backend'); raise SystemExit(3)"]))


def test_a_script_that_ends_early_is_our_bug():
    code = "print('backend cpu'); print('compiled in 0.1 s'); print('epoch 1: test accuracy 50.00%')"
    with pytest.raises(RuntimeError, match="ended before its last epoch"):
        time_to_accuracy.itemised(time_to_accuracy.timed_lines([sys.executable, "-c", code]))


def test_a_bar_for_each_run_says_whether_it_got_there(tmp_path):
    stages = dict.fromkeys(time_to_accuracy.STAGES, 0.5)
    rows = [
        {
            "script": script,
            "seed": seed,
            "seconds": 2.0 + seed,
            "epochs": 5,
            "reached": script == TORCH or seed == 0,
            **stages,
        }
        for seed in (0, 1)
        for script in ("train.py", TORCH)
    ]
    assert time_to_accuracy.median_seconds(rows) == {"train.py": None, TORCH: 2.5}
    figure = time_to_accuracy.stages_figure(rows)
    save_figure(tmp_path / "time_to_accuracy.png", figure)
    assert figure.get_suptitle() == "To 93 % of the test digits: train.py never; PyTorch eager 2.5 s"
    assert [text.get_text().strip() for text in figure.axes[0].texts] == [
        "2.0 s, 5 epochs",
        "3.0 s, 5 epochs: not reached",
        "2.0 s, 5 epochs",
        "3.0 s, 5 epochs",
    ]
