"""From the start of a process to 93 % of the test digits read rightly: `train.py`, beside the same in PyTorch."""

import re
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarking.alone import environment
from benchmarking.peers import PEERS, TORCH
from jaxprop.data.datasets import Dataset
from lab.common import Options, progress

ACCURACY = 0.93
EPOCHS = 200  # at most; MNIST takes some five, the embedded digits some hundred and fifty
TRAIN = Path(__file__).parents[1] / "train.py"
STAGES = ("imports", "data", "compilation", "training")
JAXPROP = "jaxprop, train.py"
Row = dict[str, Any]


def measure(options: Options, device: str, dataset: Dataset, runs: int) -> list[Row]:
    """A row for each run of each script, by turns; each run has a seed of its own."""
    with_torch = not PEERS[TORCH].missing(device)
    rows = []
    with TemporaryDirectory() as name, progress(runs * (1 + with_torch)) as report:
        folder = Path(name)
        save_dataset(folder / "examples.npz", dataset)
        for seed in range(options.seed, options.seed + runs):
            commands = {JAXPROP: train_command(options, seed, device, folder)}
            if with_torch:
                commands[TORCH] = torch_command(folder / "examples.npz", seed, PEERS[TORCH].where(device))
            for script, command in commands.items():
                rows.append(row := {"script": script, "seed": seed, **itemised(timed_lines(command))})
                report(f"{script}: {row['accuracy']:.2%} after {row['seconds']:.1f} s")
    return rows


def save_dataset(path: Path, dataset: Dataset) -> None:
    arrays = {f"{part}_{x}": a for part in ("train", "test") for x, a in getattr(dataset, part)._asdict().items()}
    np.savez(path, **arrays)


def train_command(options: Options, seed: int, device: str, out: Path) -> list[str]:
    archives = [] if options.archives is None else ["--archives", options.archives]
    choices = ["--dataset", options.dataset, *archives, "--device", device, "--seed", seed, "--epochs", EPOCHS]
    return list(map(str, [sys.executable, TRAIN, *choices, "--no-figures", "--out", out]))


def torch_command(examples: Path, seed: int, device: str) -> list[str]:
    return list(map(str, [sys.executable, "-m", "benchmarking.train_with_torch", examples, seed, device, EPOCHS]))


def timed_lines(command: Sequence[str]) -> Generator[tuple[float, str], None, None]:
    """What a new process prints, with the seconds since its start. It is stopped when nobody wants more lines."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield time.perf_counter() - started, line
        finally:
            process.terminate()
            process.stdout.read()
    if process.returncode not in (0, 143, -15):  # done, or stopped as asked
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")


def itemised(lines: Generator[tuple[float, str], None, None]) -> Row:
    """Where the time went until a line says that the accuracy was reached.

    imports: until the first line, with the start of Python, the options and the choice of the device. data: from there
    to the line about compilation, less the compilation that it states; the first parameters are drawn in that time too.
    training: all that follows, scores included.
    """
    ready, _ = next(lines)
    compiled, line = next(lines)
    (seconds,) = re.findall(r"compiled in ([\d.]+) s", line)
    stages = {"imports": ready, "data": compiled - ready - float(seconds), "compilation": float(seconds)}
    for now, line in lines:
        if found := re.match(r"epoch (\d+): .*test accuracy ([\d.]+)%", line):
            epoch, accuracy = int(found[1]), float(found[2]) / 100
            if accuracy >= ACCURACY or epoch == EPOCHS:
                lines.close()
                stages["training"] = now - compiled
                reached = accuracy >= ACCURACY
                return {"reached": reached, "seconds": now, **stages, "epochs": epoch, "accuracy": accuracy}
    raise RuntimeError("the script ended before its last epoch")


def median_seconds(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of each script, over its runs; None if one of them never got there."""
    runs = {row["script"]: [r for r in rows if r["script"] == row["script"]] for row in rows}
    return {
        script: float(np.median([row["seconds"] for row in some])) if all(row["reached"] for row in some) else None
        for script, some in runs.items()
    }
