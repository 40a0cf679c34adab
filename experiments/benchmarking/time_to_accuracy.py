"""From the start of a process to 93 % test accuracy: `train.py`, beside the same in PyTorch."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarking.alone import environment
from benchmarking.peers import PEERS, TORCH
from jaxprop.data.datasets import Dataset
from lab.common import Options, progress
from lab.figures import BLUE, GREY, ORANGE, PURPLE, new_figure, styled

ACCURACY = 0.93
EPOCHS = 200  # at most; MNIST takes some five, the embedded digits some hundred and fifty
TRAIN = Path(__file__).parents[1] / "train.py"
STAGES = {"imports": GREY, "data": ORANGE, "compilation": PURPLE, "training": BLUE}  # in this order, with colours
JAXPROP = "jaxprop, train.py"
Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


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
                row = {"script": script, "seed": seed, **itemised(timed_lines(command))}
                rows.append(row)
                report(f"{script}: {row['accuracy']:.2%} after {row['seconds']:.1f} s")
    return rows


def save_dataset(path: Path, dataset: Dataset) -> None:
    arrays = {f"{part}_{x}": a for part in ("train", "test") for x, a in getattr(dataset, part)._asdict().items()}
    np.savez(path, **arrays)


def train_command(options: Options, seed: int, device: str, out: Path) -> list[str]:
    choices = ["--dataset", options.dataset]
    if options.archives is not None:
        choices += ["--archives", options.archives]
    choices += ["--device", device, "--seed", seed, "--epochs", EPOCHS, "--no-figures", "--out", out]
    return [str(word) for word in (sys.executable, TRAIN, *choices)]


def torch_command(examples: Path, seed: int, device: str) -> list[str]:
    words = (sys.executable, "-m", "benchmarking.train_with_torch", examples, seed, device, EPOCHS)
    return [str(word) for word in words]


def timed_lines(command: Sequence[str]) -> Generator[tuple[float, str], None, None]:
    """What a new process prints, with the seconds since its start. It is killed when nobody wants more lines.

    It is no part of this process's group, so that Ctrl-C reaches this one alone, which then kills it.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield time.perf_counter() - started, line
        finally:
            process.kill()
            process.stdout.read()
    if process.returncode not in (0, -signal.SIGKILL):  # done, or killed here
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
            epoch = int(found[1])
            accuracy = float(found[2]) / 100
            reached = accuracy >= ACCURACY
            if reached or epoch == EPOCHS:
                lines.close()
                stages["training"] = now - compiled
                return {"reached": reached, "seconds": now, **stages, "epochs": epoch, "accuracy": accuracy}
    raise RuntimeError("the script ended before its last epoch")


def median_seconds(rows: Rows) -> dict[str, float | None]:
    """Of each script, over its runs; None if one of them never got there."""
    medians = {}
    for script in dict.fromkeys(row["script"] for row in rows):
        runs = [row for row in rows if row["script"] == script]
        reached = all(row["reached"] for row in runs)
        medians[script] = float(np.median([row["seconds"] for row in runs])) if reached else None
    return medians


@styled
def stages_figure(rows: Rows) -> Figure:
    """Where the time goes from the start of a process to the accuracy that was asked for: a bar for each run."""
    figure = new_figure(10, 1.6 + 0.5 * len(rows))
    axes = figure.subplots()
    scripts = list(dict.fromkeys(row["script"] for row in rows))
    rows = sorted(rows, key=lambda row: scripts.index(row["script"]))
    ends = np.zeros(len(rows))
    for stage, colour in STAGES.items():
        seconds = np.array([row[stage] for row in rows])
        axes.barh(range(len(rows)), seconds, left=ends, color=colour, label=stage, height=0.7)
        ends += seconds
    for i, row in enumerate(rows):
        ending = "" if row["reached"] else ": not reached"
        axes.text(row["seconds"], i, f"  {row['seconds']:.1f} s, {row['epochs']} epochs{ending}", va="center")
    axes.set(yticks=range(len(rows)), yticklabels=[f"{row['script']}, seed {row['seed']}" for row in rows])
    axes.set(xlabel="seconds since the process was started", xlim=(0, 1.25 * max(row["seconds"] for row in rows)))
    axes.invert_yaxis()
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    medians = {name: f"{seconds:.1f} s" if seconds else "never" for name, seconds in median_seconds(rows).items()}
    story = "; ".join(f"{name} {median}" for name, median in medians.items())
    figure.suptitle(f"To 93 % of the test digits: {story}", ha="left", x=0.01)
    return figure
