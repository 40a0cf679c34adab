"""One network on many devices of many processes: the same numbers, and all of them end together.

The processes are of this machine, and speak over its loopback.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

import train

# 14 steps of 100 examples and some left over, an epoch; in float64, where rounding does not hide a mistake.
SETTING = ["--validation", "50", "--gradient", "autodiff", "--hidden", "5", "--no-figures", "--device", "cpu"]
LONG = ["--epochs", "30", "--steps-per-call", "1", "--checkpoint-every", "0"]  # long enough to be interrupted
TIMEOUT = 5
# How a process ends that JAX's runtime ends in its own words: before 0.9.2 by `exit(1)`, since then by `abort`.
BY_JAX = 1 if jax.__version_info__ < (0, 9, 2) else -signal.SIGABRT
Start = Callable[..., list[subprocess.Popen]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(processes, *options, devices=1)` starts so many, each with as many devices as that.

    program: the words after `python`. last: options, or variables of the environment, that only the last one has.
    """
    started: list[subprocess.Popen] = []

    def start(
        processes: int,
        *options: str,
        devices: int = 1,
        program: Sequence[str] = (train.__file__,),
        last: Sequence[str] | Mapping[str, str] = (),
    ) -> list[subprocess.Popen]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        begun = []
        for i in range(processes):
            environment = {
                **os.environ,
                "JAX_ENABLE_X64": "1",
                "JAX_NUM_CPU_DEVICES": str(devices),
            }
            if processes > 1:
                environment["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{port}"
                environment |= {"JAX_NUM_PROCESSES": str(processes), "JAX_PROCESS_ID": str(i)}
            command = [sys.executable, *program, *options, "--peer-timeout", str(TIMEOUT)]
            if i == processes - 1:
                environment |= last if isinstance(last, Mapping) else {}
                command += [] if isinstance(last, Mapping) else last
            begun.append(subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True))
        started.extend(begun)
        return begun

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(processes: list[subprocess.Popen], within: float = 120) -> list[tuple[int, str, str]]:
    """The exit code of each, what it said, and what it complained of."""
    deadline, found = time.monotonic() + within, []
    for process in processes:
        out, err = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        found.append((process.returncode, out, err))
    return found


def the_run(out: Path) -> Path:
    (folder,) = (out / "train").iterdir()
    return folder


def furthest(folder: Path, reference: Path) -> float:
    """The largest difference between two runs' parameters, as a fraction of the largest number of the same array."""
    with np.load(folder / "params.npz") as one, np.load(reference / "params.npz") as other:
        assert one.files == other.files
        pairs = [(one[name], other[name]) for name in one.files if name != "about"]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


@pytest.mark.parametrize(("processes", "devices"), [(2, 2), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_the_same_mini_batches_and_parameters_in_any_layout(start, tmp_path, processes, devices):
    """By autodiff, whose gradient JAX derives from the placed program; `test_placement.py` has both.

    42 steps in float64, in which sums of 100 terms are taken in another order: 1e-15 each, so 1e-12 is a lot.
    """
    for n, each, option in ((1, 1, "1"), (processes, devices, "all")):
        out = tmp_path / f"{n}-{each}"
        options = [*SETTING, "--epochs", "3", "--out", str(out), "--devices", option]
        found = ended(start(n, *options, devices=each))
        assert all(code == 0 for code, _, _ in found), found
        speaks = ["classified correctly" in said for _, said, _ in found]
        assert speaks == [True] + [False] * (n - 1), "one speaks"
        assert furthest(the_run(out), the_run(tmp_path / "1-1")) <= 1e-12
        assert len(list(out.iterdir())) == 1, "and one writes"
        if n == 2:
            assert "4 devices of 2 processes share each mini-batch, 25 examples a device\n" in found[0][1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    command = [sys.executable, train.__file__, *SETTING, *LONG, "--out", str(out)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return the_run(out)


def wait_for_checkpoints(out: Path, processes: list[subprocess.Popen], steps: int) -> None:
    """Until a checkpoint shows that so many steps are done."""
    deadline = time.monotonic() + 60
    while not any(int(path.stem[5:]) >= steps for path in out.glob("train/*/checkpoints/step-*.npz")):
        assert all(process.poll() is None for process in processes), ended(processes)
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.02)


def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on_in_another_layout(start, tmp_path, uninterrupted):
    processes = start(2, *SETTING, *LONG, "--out", str(tmp_path), "--devices", "all")
    wait_for_checkpoints(tmp_path, processes, 20)
    processes[1].kill()
    killed = time.monotonic()
    (code, _, err), _ = ended(processes)
    assert time.monotonic() - killed <= 2 * TIMEOUT
    assert code == 4, err
    *_, sentence = err.splitlines()
    assert sentence.startswith("error: process 0 of 2 cannot go on (")
    assert sentence.endswith(
        "): where another process has ended, begin all of them again, with --resume and the run folder"
    )

    ((code, out, err),) = ended(start(1, "--resume", str(the_run(tmp_path)), "--devices", "4", devices=4))
    assert code == 0, err
    assert "note: devices was 2 and is 4: the last bits may come out differently" in err
    assert "goes on after step " in out
    # 420 steps in float64, of 1e-15 each, which grow on the way down.
    assert furthest(the_run(tmp_path), uninterrupted) <= 1e-10


def test_without_the_first_process_the_others_end_too(start, tmp_path):
    """The first one holds what all of them meet at, so that JAX itself ends the others, in its own words."""
    processes = start(2, *SETTING, *LONG, "--out", str(tmp_path), "--devices", "all")
    wait_for_checkpoints(tmp_path, processes, 20)
    processes[0].kill()
    killed = time.monotonic()
    _, (code, _, err) = ended(processes)
    assert time.monotonic() - killed <= 2 * TIMEOUT
    assert code in (4, BY_JAX)
    assert "of 2 cannot go on (" in err or "another task died" in err


@pytest.mark.slow
def test_a_process_that_is_told_to_stop_stops_all_in_good_order(start, tmp_path):
    processes = start(2, *SETTING, *LONG, "--out", str(tmp_path), "--devices", "all")
    wait_for_checkpoints(tmp_path, processes, 20)
    processes[1].send_signal(signal.SIGTERM)
    (code, _, err), (other_code, _, _) = ended(processes)
    assert (code, other_code) == (143, 143)
    assert f"; to go on: uv run experiments/train.py --resume {the_run(tmp_path)}\n" in err


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_is_stopped_ends_the_others_where_jax_notices(start, tmp_path, who):
    processes = start(2, *SETTING, *LONG, "--out", str(tmp_path), "--devices", "all")
    wait_for_checkpoints(tmp_path, processes, 20)
    processes[who].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    ((code, _, err),) = ended([processes[1 - who]])
    assert time.monotonic() - stopped <= 2 * TIMEOUT
    assert code in (4, BY_JAX)
    assert "of 2 cannot go on (" in err or "another task died" in err


# Processes that do not mean the same run


def test_a_batch_that_cannot_be_shared_evenly_ends_every_process_with_2(start, tmp_path):
    options = [*SETTING, "--batch-size", "99", "--out", str(tmp_path), "--devices", "all"]
    complaint = "error: batch_size is 99: 2 devices share it evenly if it is 98 or 100\n"
    assert [(code, err) for code, _, err in ended(start(2, *options))] == [(2, complaint)] * 2
    assert not list(tmp_path.iterdir())


X64, DEVICES, NUMBER = "JAX_ENABLE_X64", "JAX_NUM_CPU_DEVICES", "JAX_NUM_PROCESSES"
DIFFERENCES = {
    "x64": ({X64: "0"}, f"in {X64}: it has false, process 0 has true;"),
    "devices": ({DEVICES: "4"}, "in the number of devices: it has 4, process 0 has 1;"),
    "processes": ({NUMBER: "3"}, f"has {NUMBER}=3 where process 0 has 2: give all the same"),
    "seed": (["--seed", "5"], "in --seed: it has 5, process 0 has 0;"),
    "learning rate": (["--learning-rate", "0.5"], "in --learning-rate: it has 0.5, process 0 has 1.0;"),
    "gradient": (["--gradient", "backprop"], 'in --gradient: it has "backprop", process 0 has "autodiff";'),
    "activation": (["--activation", "relu"], 'in --activation: it has "relu", process 0 has "sigmoid";'),
    "epochs": (["--epochs", "3"], "in --epochs: it has 3, process 0 has 2;"),
    "validation": (["--validation", "60"], "in --validation: it has 60, process 0 has 50;"),
    "dataset": (["--dataset", "mnist"], 'in --dataset: it has "mnist", process 0 has "digits";'),
}
WITH_A_CLOCK = """
import sys, time, train
from lab.common import run
from lab.train_options import TrainOptions, options_before

joined, join = None, train.join

def join_and_look(*arguments):
    global joined
    join(*arguments)
    joined = time.monotonic()

train.join = join_and_look
code = run(train.main, TrainOptions, earlier=options_before)
print(time.monotonic() - joined if joined else 0, file=sys.stderr)
sys.exit(code)
"""
CHEAP = ("devices",)  # that which is found last, so that all before was agreed on


@pytest.mark.parametrize(
    "what", [what if what in CHEAP else pytest.param(what, marks=pytest.mark.slow) for what in DIFFERENCES]
)
def test_processes_that_differ_in_one_thing_are_told_so_and_end(start, tmp_path, what):
    change, complaint = DIFFERENCES[what]
    options = [*SETTING, "--learning-rate", "1", "--epochs", "2", "--out", str(tmp_path), "--devices", "all"]
    found = ended(start(2, *options, program=["-c", WITH_A_CLOCK], last=change))
    assert [code for code, _, _ in found] == [2, 2]
    for _, _, err in found:
        sentence, clock = err.splitlines()
        assert sentence.startswith("error: process 1 ")
        assert complaint in sentence
        assert float(clock) <= 10, "seconds since it had joined"
    assert not list(tmp_path.iterdir())
