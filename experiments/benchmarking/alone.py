"""One peer in a process of its own: what it costs to import, to get ready, and to hold in memory.

Run by `in_own_process`, as `python -m benchmarking.alone PEER WORK DEVICE`; prints one line of JSON.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarking.peers import PEERS
from benchmarking.work import Work


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds the experiments' modules."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        # On a GPU this process holds most of the memory already, by JAX's default; another that did so would find none.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **more,
    }


def save_work(path: Path, work: Work) -> None:
    start = {f"start{i}": x for i, x in enumerate(work.start)}
    np.savez(path, images=work.images, labels=work.labels, rate=work.rate, batch_size=work.batch_size, **start)


def load_work(path: Path) -> Work:
    with np.load(path, allow_pickle=False) as file:
        start = [file[f"start{i}"] for i in range(sum(name.startswith("start") for name in file))]
        return Work(file["images"], file["labels"], start, float(file["rate"]), int(file["batch_size"]))


def in_own_process(name: str, path: Path, device: str) -> dict[str, float]:
    """What `measure` says of a peer with the work saved at `path`. Nothing compiled is taken from an earlier run."""
    command = [sys.executable, "-m", "benchmarking.alone", name, path, device]
    with tempfile.TemporaryDirectory() as empty:
        fresh = environment(JAX_ENABLE_COMPILATION_CACHE="false", TORCHINDUCTOR_CACHE_DIR=empty)
        # In a group of its own, so that Ctrl-C reaches this process alone, which then kills that one.
        child = subprocess.run(command, env=fresh, stdout=subprocess.PIPE, text=True, check=True, process_group=0)
    return json.loads(child.stdout.splitlines()[-1])


def measure(name: str, path: Path, device: str) -> dict[str, float]:
    """Imports, loads, trains two epochs. Megabytes are 10^6 bytes of this process in main memory."""
    peer = PEERS[name]
    started = time.perf_counter()
    for package in peer.needs:
        importlib.import_module(package)
    import_seconds = time.perf_counter() - started
    import_megabytes = peak_megabytes()
    work = load_work(path)
    started = time.perf_counter()
    trainer = peer.make(work, device)
    setup_seconds = time.perf_counter() - started
    first = _epoch_seconds(trainer, work.start)
    second = _epoch_seconds(trainer, work.start)
    return {
        "import_seconds": import_seconds,
        "compile_seconds": max(0.0, setup_seconds + first - second),
        "import_megabytes": import_megabytes,
        "peak_megabytes": peak_megabytes(),
    }


def _epoch_seconds(trainer: Any, start: Any) -> float:
    started = time.perf_counter()
    for leaf in trainer.train(start, trainer.shuffle()):
        np.asarray(leaf)  # waits for the device
    return time.perf_counter() - started


def peak_megabytes() -> float:
    """The most memory that this process has held so far.

    Linux hands `ru_maxrss` on from the process that started this one, so its own high-water mark is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # in bytes on macOS


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
