"""A run that was stopped, killed or refused a disk ends with the bits of one that never was."""

import csv
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import pytest

import train
from jaxprop.files import load_arrays, only_one, save_arrays
from jaxprop.run import training_run
from jaxprop.run.checkpoints import newest_checkpoint
from lab import signals
from lab.common import run
from lab.train_options import TrainOptions, check_settings, check_steps, options_before

# Small, and with everything that a state can hold: two moments, a count, and a rate that depends on it.
SETTING = ["--hidden", "5", "--optimizer", "adam", "--schedule", "cosine", "--no-figures", "--batch-size", "200"]


def call(*options: str) -> int:
    return run(train.main, TrainOptions, options, options_before)


def the_run(out: Path) -> Path:
    (folder,) = (out / "train").iterdir()
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    """Of metrics.csv, without the only column that the clock decides."""
    table = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in table]


def same_end(folder: Path, reference: Path) -> bool:
    assert rows(folder) == rows(reference)
    return (folder / "params.npz").read_bytes() == (reference / "params.npz").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """Eight epochs of seven steps."""
    out = tmp_path_factory.mktemp("uninterrupted")
    assert call(*SETTING, "--epochs", "8", "--out", str(out)) == 0
    return the_run(out)


def after_saves(monkeypatch, n: int, action) -> None:
    """Lets the action happen just before the n-th checkpoint after the first is written."""
    calls, save = [], training_run.save_checkpoint

    def save_checkpoint(*args, **kwargs):
        calls.append(args)
        if len(calls) == n:
            action()
        save(*args, **kwargs)

    monkeypatch.setattr(training_run, "save_checkpoint", save_checkpoint)


# Stopped in good order


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that SIGTERM stopped in its third epoch."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        after_saves(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        options = [*SETTING, "--epochs", "8", "--steps-per-call", "3", "--checkpoint-every", "0", "--out", str(out)]
        assert call(*options) == 143
    return the_run(out)


@pytest.fixture
def copy(stopped, tmp_path) -> Path:
    return shutil.copytree(stopped, tmp_path / "copy")


def test_a_run_that_was_stopped_inside_an_epoch_ends_with_the_same_bits(copy, uninterrupted, capsys):
    """Also though its calls were of 3, 3 and 1 steps, and those of the other of 7."""
    assert len(rows(copy)) == 2
    results = json.loads((copy / "results.json").read_text())
    assert (results["epochs"], results["steps"]) == (2, 17)
    assert call("--resume", str(copy)) == 0
    assert same_end(copy, uninterrupted)
    assert "goes on after step 17\n" in capsys.readouterr().out
    results, expected = (json.loads((folder / "results.json").read_text()) for folder in (copy, uninterrupted))
    assert results["test_accuracy"] == expected["test_accuracy"]
    assert (results["epochs"], results["steps"]) == (8, 56)
    assert len(list((copy / "checkpoints").iterdir())) == 2

    assert call("--resume", str(copy)) == 0, "a run that is done can be asked again"
    assert same_end(copy, uninterrupted)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--dataset", "mnist"], "dataset was 'digits' in"),
        (["--hidden", "5", "5"], "hidden was [5] in"),
        (["--activation", "relu"], "activation was 'sigmoid' in"),
        (["--batch-size", "100"], "batch_size was 200 in"),
        (["--learning-rate", "2"], "learning_rate was 0.003 in"),
        (["--optimizer", "sgd"], "optimizer was 'adam' in"),
        (["--schedule", "constant"], "schedule was 'cosine' in"),
        (["--gradient", "autodiff"], "gradient was 'backprop' in"),
        (["--deterministic"], "deterministic was False in"),
        (["--validation", "10"], "validation was 0 in"),
        (["--weight-decay", "0.1"], "weight_decay was 0.0 in"),
        (["--seed", "1"], "seed was 0 in"),
        (["--steps-per-call", "4"], "steps_per_call was 3 in"),
        (["--out", "elsewhere"], "out was "),
    ],
)
def test_another_setting_than_that_of_the_checkpoint_is_refused_and_named(stopped, capsys, change, complaint):
    """Also where it is the default of a run of its own."""
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    assert call("--resume", str(stopped), *change) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {complaint}")
    assert "now: a run goes on as it began" in error
    assert error.count("\n") == 1
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}


def test_a_cosine_ends_where_it_was_planned_to(stopped, capsys):
    for epochs in ("9", "3"):
        assert call("--resume", str(stopped), "--epochs", epochs) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: epochs was 8 in")
        assert f"is {epochs} now: along a cosine the learning rate falls to 0 at the planned end" in error
        assert error.count("\n") == 1


def test_at_a_constant_rate_a_run_goes_on_beyond_its_end_as_if_it_had_been_as_long_from_the_start(
    tmp_path, capsys, monkeypatch
):
    setting = ["--hidden", "5", "--optimizer", "adam", "--no-figures", "--batch-size", "200"]
    for epochs in ("2", "4"):
        assert call(*setting, "--epochs", epochs, "--out", str(tmp_path / epochs)) == 0
    short, long = (the_run(tmp_path / epochs) for epochs in ("2", "4"))

    with monkeypatch.context() as patch:
        patch.setattr(train, "train", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))  # at once
        assert call("--resume", str(short), "--epochs", "4") == 130
    assert call("--resume", str(short)) == 0, "the new end is on disk before the first step"
    assert same_end(short, long)
    config, results = (json.loads((short / name).read_text()) for name in ("config.json", "results.json"))
    assert config["epochs"] == results["epochs"] == 4

    capsys.readouterr()
    assert call("--resume", str(short), "--epochs", "3") == 2
    assert capsys.readouterr().err == ("error: --epochs is 3: this run is in epoch 4 already; name as many or more\n")


def test_the_same_settings_and_harmless_others_are_taken(copy, uninterrupted):
    """Even --no-figures and --smoke, which are called otherwise once they are the default."""
    harmless = ["--checkpoint-every", "1000", "--smoke", "--device", "cpu"]
    same = [*SETTING, "--epochs", "8", "--steps-per-call", "3"]
    assert call("--resume", str(copy), *same, *harmless) == 0
    assert same_end(copy, uninterrupted)
    assert not list(copy.glob("*.png"))


def test_another_precision_or_other_examples_are_refused(stopped, capsys, monkeypatch):
    monkeypatch.setattr(train, "fingerprint", lambda examples: "another")
    assert call("--resume", str(stopped)) == 2
    assert "and is 'another' now" in capsys.readouterr().err
    with jax.enable_x64(True):
        assert call("--resume", str(stopped)) == 2
    assert "dtype was 'float32' in" in capsys.readouterr().err


def test_other_versions_are_said_and_no_reason_to_stop(copy, uninterrupted, capsys, monkeypatch):
    provenance = train.folders.provenance
    monkeypatch.setattr(train.folders, "provenance", lambda device: {**provenance(device), "versions": {"jax": "9.9"}})
    assert call("--resume", str(copy)) == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: versions was ")
    assert note.endswith("and is {'jax': '9.9'}: the last bits may come out differently")
    assert same_end(copy, uninterrupted)


def test_a_damaged_checkpoint_is_passed_over_with_a_line_that_says_so(copy, uninterrupted, capsys):
    newest = newest_checkpoint(copy).path
    newest.write_bytes(newest.read_bytes()[:1000])
    (copy / ".params.npz.0123abcd.tmp").write_bytes(b"what a killed process left")
    assert call("--resume", str(copy)) == 0
    captured = capsys.readouterr()
    (note,) = captured.err.splitlines()
    assert note.startswith(f"note: a newer checkpoint is passed over: {newest} does not end with jaxprop's checksum")
    assert "goes on after step 14\n" in captured.out
    assert same_end(copy, uninterrupted)
    assert not list(copy.rglob("*.tmp"))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")], ids=["deleted", "damaged"])
def test_a_config_that_was_lost_and_a_folder_with_the_name_of_a_checkpoint_stop_nothing(
    copy, stopped, uninterrupted, capsys, damage
):
    damage(copy / "config.json")
    (copy / "checkpoints" / "step-19.npz").mkdir()
    assert call("--resume", str(copy)) == 0
    config, expected = (json.loads((folder / "config.json").read_text()) for folder in (copy, stopped))
    assert config == expected
    assert same_end(copy, uninterrupted)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: a newer checkpoint is passed over: cannot read {copy}/checkpoints/step-19.npz: Is a")


def test_a_checkpoint_that_is_of_no_run_of_this_script_is_refused(copy, capsys):
    for path in (copy / "checkpoints").iterdir():
        arrays, about = load_arrays(path)
        save_arrays(path, arrays, {**about, "config": {"hidden": [5]}})
    assert call("--resume", str(copy)) == 2
    assert "has no 'archives' in its settings: it is of no run of train.py\n" in capsys.readouterr().err


REMOVED = object()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, REMOVED) for name in ("hidden", "batch_size", "epochs", "learning_rate", "optimizer", "seed")),
        *((name, None) for name in ("hidden", "epochs", "learning_rate", "schedule", "figures")),
        *(("hidden", value) for value in (5, "55", [5.0], ["5"], [True], [[5]], {"0": 5})),
        *(("epochs", value) for value in ("8", 0, -1, 8.0, True, [8])),
        *(("learning_rate", value) for value in ("0.003", -1, [0.003], 10**400)),
        *(("optimizer", value) for value in ("adagrad", 3, ["adam"])),
        *(("archives", value) for value in (3, ["somewhere"])),
        *(("out", value) for value in (None, 3)),
        *(("devices", value) for value in (1.0, True, "none")),
        *(("seeds", value) for value in ("0-7", 3)),
        *(("figures", value) for value in (1, "yes")),
        *(("network", value) for value in (5, ["mlp"])),
        *((name, value) for name in ("layers", "dtype", "examples") for value in (REMOVED, 3)),
        *(("seed", value) for value in (-1, 2**32, "0")),
    ],
)
def test_settings_that_no_run_has_make_the_older_checkpoint_the_one_to_go_on_from(copy, name, value):
    """Though they are under a right checksum."""
    newest = newest_checkpoint(copy, check_settings).path
    arrays, about = load_arrays(newest)
    about["config"][name] = value
    if value is REMOVED:
        del about["config"][name]
    save_arrays(newest, arrays, about)
    found = newest_checkpoint(copy, check_settings)
    assert found.path.name == "step-14.npz"
    (reason,) = found.passed_over
    assert reason.startswith(f"{newest}: ")
    assert name in reason.replace("-", "_")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.pop(), "it has 1 rows: expected 2 after 17 steps, of which 7 make one"),
        (lambda rows: rows.append({**rows[1], "epoch": 3}), "it has 3 rows: expected 2 after 17 steps, of which 7"),
        (lambda rows: rows.reverse(), "row 1 is {'epoch': 2"),
        (lambda rows: rows[1].pop("test_cost"), "row 2 is {'epoch': 2"),
        (lambda rows: rows[1].update(other=1), "row 2 is {'epoch': 2"),
    ],
)
def test_rows_that_are_not_those_of_the_epochs_done_make_the_older_checkpoint_the_one_to_go_on_from(
    copy, change, reason
):
    newest = newest_checkpoint(copy).path
    arrays, about = load_arrays(newest)
    change(about["rows"])
    save_arrays(newest, arrays, about)
    found = newest_checkpoint(copy, partial(check_steps, steps=7))
    assert found.path.name == "step-14.npz"
    assert found.passed_over[0].startswith(f"{newest}: {reason}")


def test_wrong_settings_under_a_right_checksum_are_said_and_cost_the_steps_since_the_older_checkpoint(
    copy, uninterrupted, capsys
):
    newest = newest_checkpoint(copy).path
    arrays, about = load_arrays(newest)
    save_arrays(newest, arrays, {**about, "config": {**about["config"], "batch_size": "200"}})
    assert call("--resume", str(copy)) == 0
    captured = capsys.readouterr()
    note = f"note: a newer checkpoint is passed over: {newest}: 'batch_size' of its settings is '200': it is of no run "
    assert captured.err.startswith(note)
    assert captured.err.count("\n") == 1
    assert "goes on after step 14\n" in captured.out
    assert same_end(copy, uninterrupted)


def test_a_run_that_another_process_trains_is_refused(copy, capsys):
    with only_one(copy):
        before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        assert call("--resume", str(copy)) == 2
    assert capsys.readouterr().err == f"error: another process is at work in {copy}: wait until it ends, or stop it\n"
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_a_run_folder_that_vanishes_ends_the_run_with_one_sentence(tmp_path, capsys, monkeypatch):
    after_saves(monkeypatch, 3, lambda: shutil.rmtree(the_run(tmp_path)))
    assert call(*SETTING, "--epochs", "8", "--checkpoint-every", "0", "--out", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot make the folder {tmp_path}/train/")
    assert error.count("\n") == 1
    assert "No such file or directory" in error
    assert not list((tmp_path / "train").iterdir()), "no half of a run is begun in its place"


def test_a_second_signal_later_stops_at_once_with_what_is_saved(tmp_path, capsys, monkeypatch):
    """In one process with the tests, where a stop at once is an exception."""

    def two_signals():
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(signals, "TOGETHER", 0.0)  # as if a second had passed
        os.kill(os.getpid(), signal.SIGTERM)

    after_saves(monkeypatch, 3, two_signals)
    assert call(*SETTING, "--epochs", "8", "--checkpoint-every", "0", "--out", str(tmp_path)) == 143
    folder = the_run(tmp_path)
    assert newest_checkpoint(folder).facts["step"] == 14


@pytest.mark.parametrize("folder", ["nothing", "config"])
def test_a_folder_that_holds_no_run_is_refused(tmp_path, capsys, folder):
    (tmp_path / "config").mkdir()
    assert call("--resume", str(tmp_path / folder)) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / folder} has no checkpoint: name the folder")


def test_a_full_disk_stops_the_run_with_one_sentence_and_costs_nothing(tmp_path, capsys, monkeypatch, uninterrupted):
    """A real limit of the system on the size of a file, since filling a disk would take a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    after_saves(monkeypatch, 4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1])))
    try:
        code = call(*SETTING, "--epochs", "8", "--checkpoint-every", "0", "--out", str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    error = capsys.readouterr().err
    folder = the_run(tmp_path)
    assert error.startswith(f"error: cannot write {folder}/checkpoints/step-28.npz: File too large; free some space")
    assert error.count("\n") == 1
    assert sorted(os.listdir(folder / "checkpoints")) == ["step-14.npz", "step-21.npz"]
    assert call("--resume", str(folder)) == 0
    assert same_end(folder, uninterrupted)


# Killed

SERVER = """
import json, os, sys
import train
from lab.common import run
from lab.train_options import TrainOptions, options_before

while line := sys.stdin.readline():
    log, *argv = json.loads(line)
    if (child := os.fork()) == 0:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        code = run(train.main, TrainOptions, argv, options_before)
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # until it has been waited for, its id is no other's
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """Starts runs as processes of their own, without importing everything each time: each is a fork."""

    def __init__(self, process: subprocess.Popen):
        assert process.stdin is not None
        assert process.stdout is not None
        self.requests, self.answers = process.stdin, process.stdout

    def start(self, log: Path, *argv: str) -> int:
        """Returns the id of the process."""
        print(json.dumps([str(log), *argv]), file=self.requests, flush=True)
        return int(self.answers.readline())

    def wait(self) -> int:
        """The exit code of the process that was started, or minus the signal that ended it."""
        print(file=self.requests, flush=True)
        return int(self.answers.readline())


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Its children find every program compiled, once there was a first one; a compilation takes most of a second."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(train.__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        yield Server(process)


KILLED = [*SETTING, "--epochs", "200", "--steps-per-call", "4", "--checkpoint-every", "0"]


@pytest.fixture(scope="module")
def never_killed(server, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("never killed")
    server.start(out / "log", *KILLED, "--out", str(out))
    assert server.wait() == 0
    return the_run(out)


def checkpoints(out: Path) -> set[str]:
    return {path.name for path in out.glob("train/*/checkpoints/step-*.npz")}


def kill_at_a_random_moment(server: Server, rng: random.Random, out: Path, argv: list[str]) -> bool:
    """Whether the process still ran. A third are killed on their way to the first step, the others while they train."""
    log, before = out / "log", checkpoints(out)
    log.write_text("")
    process, started = server.start(log, *argv), time.monotonic()
    if rng.random() < 2 / 3:
        while checkpoints(out) <= before and "run folder" not in log.read_text():
            assert time.monotonic() < started + 120, "it hangs"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
    else:
        time.sleep(rng.uniform(0, 2))
    os.kill(process, signal.SIGKILL)
    return server.wait() == -signal.SIGKILL


def check_kills(server: Server, reference: Path, out: Path, rng: random.Random, kills: int) -> int:
    """Trains one network, killed so many times on the way, and returns how many of the kills met it alive."""
    argv, met = [*KILLED, "--out", str(out)], 0
    for _ in range(kills):
        met += kill_at_a_random_moment(server, rng, out, argv)
        *_, reported = 0, *map(int, re.findall(r"^epoch (\d+): .*\n", (out / "log").read_text(), re.MULTILINE))
        if checkpoints(out):
            found = newest_checkpoint(the_run(out))
            assert not found.passed_over, "an unreadable state"
            assert found.facts["step"] >= 7 * reported, "lost more than a compiled call"
            argv = ["--resume", str(the_run(out))]
        else:
            assert not reported
            shutil.rmtree(out / "train", ignore_errors=True)
    server.start(out / "log", *argv)
    assert server.wait() == 0
    assert same_end(the_run(out), reference)
    assert not list(out.rglob("*.tmp"))
    return met


@pytest.mark.slow
def test_whenever_it_is_killed_a_run_ends_with_the_same_bits(server, never_killed, tmp_path):
    assert check_kills(server, never_killed, tmp_path, random.Random(0), kills=6) >= 3


@pytest.mark.slow
def test_300_kills(server, never_killed, tmp_path):
    met = 0
    for i in range(50):
        (tmp_path / str(i)).mkdir()
        met += check_kills(server, never_killed, tmp_path / str(i), random.Random(i), kills=6)
    assert met >= 250
