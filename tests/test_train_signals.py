"""Signals at any moment of a real run: exit code 130 or 143, one sentence, and all that training has done is kept."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import train
from jaxprop.run.checkpoints import newest_checkpoint

OPTIONS = ["--device", "cpu", "--hidden", "5"]
SENTENCE = r"stopped by (Ctrl-C|SIGTERM)(: step [\d,]+ of [\d,]+ is saved; to go on: uv run \S+ --resume \S+)?\n"
Send = Callable[[int, int], object]  # os.kill or os.killpg


def begin(command: Sequence[str], out: Path) -> subprocess.Popen:
    """A run in a process group of its own, as a shell begins one, with SIGINT as a shell leaves it."""
    whole = [*command, train.__file__, *OPTIONS, "--out", str(out)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child ignores what its parent does
    try:
        return subprocess.Popen(whole, stdout=-1, stderr=-1, text=True, process_group=0)
    finally:
        signal.signal(signal.SIGINT, before)


def printed_so_far(process: subprocess.Popen) -> str:
    """Does not wait for more."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    try:
        return os.read(process.stdout.fileno(), 2**20).decode()
    except BlockingIOError:
        return ""
    finally:
        os.set_blocking(process.stdout.fileno(), True)


def check_end(process: subprocess.Popen, number: int, out: Path, head: str = "") -> None:
    """The exit code, one sentence, and no file that is half written. head: what of its output was read already."""
    rest, said = process.communicate(timeout=120)
    printed = head + rest
    assert process.returncode == 128 + number, said
    assert re.fullmatch(SENTENCE, said), said
    assert not list(out.rglob("*.tmp"))
    folders = list(out.glob("train/*"))
    epochs = [int(n) for n in re.findall(r"^epoch (\d+):", printed, re.MULTILINE)]
    if not folders:
        assert not epochs
        return
    (folder,) = folders
    assert str(folder) in said
    found = newest_checkpoint(folder)
    assert not found.passed_over
    assert found.facts["step"] >= 14 * max(epochs, default=0), "more than the call in hand is lost"
    assert f"step {found.facts['step']:,} of" in said
    assert json.loads((folder / "config.json").read_text())["hidden"] == [5]
    for path in folder.glob("*.npz"):
        np.load(path, allow_pickle=False).close()


@pytest.mark.parametrize(
    ("line", "pause", "number", "send"),
    [
        (None, 0.5, signal.SIGINT, os.kill),
        ("backend", 0.2, signal.SIGTERM, os.killpg),
        ("epoch 3:", 0.3, signal.SIGINT, os.kill),
    ],
    ids=["importing", "compiling", "drawing"],
)
def test_a_signal_ends_a_run_with_one_sentence(tmp_path, monkeypatch, line, pause, number, send):
    monkeypatch.setattr(sys.modules[__name__], "OPTIONS", [*OPTIONS, "--epochs", "3"])
    process = begin([sys.executable], tmp_path)
    assert process.stdout is not None
    head = ""
    while line is not None and not head.startswith(line):
        head = process.stdout.readline()
        assert head, "it ended by itself"
    time.sleep(pause)
    send(process.pid, number)
    check_end(process, number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[sys.executable], ["uv", "run", "--no-sync", "python"]], ids=["directly", "uv"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_15_signals_at_random_moments_of_20_seconds(tmp_path, monkeypatch, launcher, number):
    """60 in all. Before Python has come to the first line of the script, a signal is the system's alone; after the last
    line that the script prints, all is done, and what is left to Python takes another third of a second.
    """
    rng = random.Random(number)
    monkeypatch.setattr(sys.modules[__name__], "OPTIONS", [*OPTIONS, "--epochs", "1000"])
    started = time.monotonic()
    begin(launcher, tmp_path).communicate()
    seconds, met = time.monotonic() - started, 0
    while met < 15:
        shutil.rmtree(tmp_path / "train")
        (tmp_path / "train").mkdir()
        process = begin(launcher, tmp_path)
        time.sleep(rng.uniform(0.3, seconds))
        head = printed_so_far(process)
        if process.poll() is None and "run folder:" not in head:
            (os.kill if met % 2 else os.killpg)(process.pid, number)
            check_end(process, number, tmp_path, head)
            met += 1
        else:
            process.communicate()
            assert process.returncode == 0
