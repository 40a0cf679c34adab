import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import train
from jaxprop.run.parameters import load_mlp
from lab import train_task
from lab.common import run
from lab.train_options import options_before

SCRIPT = Path(train.__file__)


def train_here(out: Path, *options: str) -> Path:
    """Runs the script in this process and returns its run folder."""
    assert run(train.main, train.TrainOptions, [*options, "--out", str(out)]) == 0
    (folder,) = (out / "train").iterdir()
    return folder


def test_a_smoke_run_leaves_everything_where_people_look(tmp_path, capsys):
    folder = train_here(tmp_path, "--smoke")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.csv",
        "results.json",
        "params.npz",
        "checkpoints",
        "lock",
        "learning_curves.png",
        "answers.png",
        "confusion.png",
        "first_layer.png",
    }
    results = json.loads((folder / "results.json").read_text())
    assert results["parameters"] == 13002
    assert results["gradient"] == "backprop"
    assert results["epochs"] == 2
    options = {"dataset", "sizes", "layers", "optimizer", "schedule", "learning_rate", "batch_size", "seed"}
    scores = {"test_accuracy", "train_accuracy", "test_cost", "train_cost"}
    circumstances = {"device", "versions", "commit", "compile_seconds", "train_seconds", "examples_per_second"}
    assert options | scores | circumstances <= results.keys()
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["test_accuracy"]) == results["test_accuracy"]

    network, _params = load_mlp(folder / "params.npz")
    assert network.in_shape == (784,)
    printed = capsys.readouterr().out
    assert printed.startswith("backend ")
    assert str(folder) in printed


def test_the_defaults_learn_to_read_digits(tmp_path):
    folder = train_here(tmp_path, "--no-figures")
    assert json.loads((folder / "results.json").read_text())["test_accuracy"] >= 0.95
    assert not list(folder.glob("*.png"))


def test_the_same_seed_leaves_the_same_bits_and_another_does_not(tmp_path):
    paths = [
        train_here(tmp_path / name, "--smoke", "--no-figures", "--seed", seed) / "params.npz"
        for name, seed in (("first", "1"), ("again", "1"), ("other", "2"))
    ]
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


def test_deterministic_says_what_it_sets_and_hands_it_to_the_compiler(tmp_path, capsys, monkeypatch):
    """On a CPU nothing needs to be, and the bits are the same. A name that XLA does not know shows that it is told."""
    quick = ["--hidden", "3", "--epochs", "1", "--no-figures", "--device", "cpu"]
    one, other = (train_here(tmp_path / str(len(more)), *quick, *more) for more in ([], ["--deterministic"]))
    assert (one / "params.npz").read_bytes() == (other / "params.npz").read_bytes()
    assert capsys.readouterr().out.count("deterministic: nothing needs to be set on this backend\n") == 1
    for module in (train, train_task):
        monkeypatch.setattr(module, "deterministic_options", lambda platform: {f"xla_{platform}_option": True})
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_cpu_option'"):
        train_here(tmp_path, *quick, "--deterministic")
    assert "deterministic: xla_cpu_option\n" in capsys.readouterr().out


def test_backprop_and_autodiff_train_the_same_network(tmp_path):
    """Costs within 1e-3 after an epoch of float32; the network may answer a handful of digits differently."""
    folders = [
        train_here(tmp_path / name, "--smoke", "--no-figures", "--gradient", name) for name in ("backprop", "autodiff")
    ]
    by_hand, by_jax = (json.loads((folder / "results.json").read_text()) for folder in folders)
    assert abs(by_hand["train_cost"] - by_jax["train_cost"]) <= 1e-3
    assert abs(by_hand["test_accuracy"] - by_jax["test_accuracy"]) <= 3 / 297


@pytest.mark.parametrize(
    "options", [["--optimizer", "adam", "--weight-decay", "1e-4"], ["--optimizer", "momentum", "--schedule", "cosine"]]
)
def test_every_optimizer_and_schedule_trains(tmp_path, options):
    folder = train_here(tmp_path, "--no-figures", "--epochs", "60", *options)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train_cost"]) < 0.9 * float(rows[0]["train_cost"])


def test_validation_keeps_test_digits_out_of_sight(tmp_path, capsys):
    train_here(tmp_path, "--smoke", "--no-figures", "--validation", "300")
    assert "of 300 validation digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--epochs", "0"], "--epochs is 0"),
        (["--epochs", "-3"], "--epochs is -3"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--learning-rate", "0"], "--learning-rate is 0"),
        (["--learning-rate", "inf"], "--learning-rate is inf"),
        (["--weight-decay", "-1"], "--weight-decay is -1.0"),
        (["--weight-decay", "nan"], "--weight-decay is nan"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--batch-size", "1501"], "batch_size is 1501: expected a whole number, 1 to 1500"),
        (["--hidden", "16", "-2"], "sizes are"),
        (["--validation", "1500"], "--validation is 1500"),
        (["--validation", "-1"], "--validation is -1"),
        (["--out", os.devnull], "no run folder can be made"),
        (["--checkpoint-every", "-1"], "--checkpoint-every is -1"),
        (["--checkpoint-every", "nan"], "--checkpoint-every is nan"),
        (["--checkpoint-every", "inf"], "--checkpoint-every is inf"),
        (["--steps-per-call", "0"], "--steps-per-call is 0"),
        (["--steps-per-call", "-5"], "--steps-per-call is -5"),
        (["--peer-timeout", "0"], "--peer-timeout is 0"),
    ],
)
def test_bad_values_end_in_one_sentence_and_leave_nothing(tmp_path, capsys, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    assert run(train.main, train.TrainOptions, ["--smoke", "--no-figures", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        ["--dataset", "letters"],
        ["--activation", "step"],
        ["--optimizer", "newton"],
        ["--epochs", "many"],
        ["--hidden", "wide"],
        ["--seed", "-1"],
        ["--teleport"],
    ],
)
def test_unknown_options_and_values_end_with_exit_code_2(capsys, options):
    with pytest.raises(SystemExit, match="2"):
        run(train.main, train.TrainOptions, options)
    assert options[-1] in "".join(capsys.readouterr())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_keeps_the_epochs_done_so_far_and_says_how_to_go_on(tmp_path, number):
    command = [sys.executable, SCRIPT, "--epochs", "1000000", "--no-figures", "--out", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not next(process.stdout).startswith("epoch 3"):
            pass
        process.send_signal(number)
        process.send_signal(number)  # as a launcher does that hands on what its whole group has got: they are one
        _, said = process.communicate()
    assert process.returncode == 128 + number
    (folder,) = (tmp_path / "train").iterdir()
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert len(rows) >= 3
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert said == (
        f"stopped by {name}: step {15 * len(rows):,} of 15,000,000 is saved; to go on: "
        f"uv run experiments/train.py --resume {folder}\n"
    )
    results = json.loads((folder / "results.json").read_text())
    assert (results["epochs"], results["steps"]) == (len(rows), 15 * len(rows))
    _network, params = load_mlp(folder / "params.npz")
    assert np.isfinite(params[0].W).all()


def test_numbers_that_are_not_finite_end_with_exit_code_3_and_a_diagnosis(tmp_path, capsys):
    options = ["--smoke", "--no-figures", "--activation", "relu", "--learning-rate", "1e30", "--out", str(tmp_path)]
    assert run(train.main, train.TrainOptions, options) == 3
    (folder,) = (tmp_path / "train").iterdir()
    error = capsys.readouterr().err
    assert error.startswith("error: numbers that are not finite in step 2 (epoch 1), first the activation of layer ")
    assert re.search(r"layer \d \((dense\(\d+.*\)|relu|sigmoid)\)", error)
    assert error.endswith(f"; see {folder / 'diagnosis.json'}\n")
    assert error.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "checkpoints",
        "params.npz",
        "diagnosis.json",
        "lock",
    }
    found = json.loads((folder / "diagnosis.json").read_text())
    assert (found["step"], found["epoch"], len(found["examples"])) == (2, 1, 100)
    assert "learning rate" in found["advice"][0]
    _network, params = load_mlp(folder / "params.npz")
    assert all(np.isfinite(leaf).all() for layer in params for leaf in layer), "those before the bad step"

    before = (folder / "params.npz").read_bytes()
    assert run(train.main, train.TrainOptions, ["--resume", str(folder)], options_before) == 3
    assert json.loads((folder / "diagnosis.json").read_text())["step"] == 2
    assert (folder / "params.npz").read_bytes() == before


OWN = """
import jax
import jaxprop as jp


def network():
    return jp.Network((jp.flatten(), jp.dense(12), jp.relu(), jp.dense(10)), in_shape=(28, 28, 1))


cost = jp.Cost(
    lambda z, label: jax.nn.logsumexp(z) - z[label],
    lambda z, label: jax.nn.softmax(z) - jax.nn.one_hot(label, 10),
    takes_labels=True,
)


def small():
    return jp.mlp((784, 3))


def mixed():
    def init(key, shape):
        params, out_shape = jp.dense(10).init(key, shape)
        return jp.Dense(params.W.astype("float16"), params.b), out_shape

    return jp.Network((jp.dense(10)._replace(name="half", init=init),), in_shape=(784,))
"""


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_network_and_a_cost_of_the_users_train_and_go_on(tmp_path, own, capsys, monkeypatch):
    options = ["--network", f"{own}:network", "--cost", f"{own}:cost", "--learning-rate", "0.3"]
    folder = train_here(tmp_path / "runs", *options, "--epochs", "30")
    results = json.loads((folder / "results.json").read_text())
    assert results["test_accuracy"] >= 0.95
    assert results["layers"] == "Network([flatten, dense(12), relu, dense(10)], in_shape=(28, 28, 1))"
    assert not (folder / "first_layer.png").exists(), "its first layer has no weights"
    before = (folder / "params.npz").read_bytes()
    capsys.readouterr()
    assert run(train.main, train.TrainOptions, ["--resume", str(folder)], options_before) == 0
    assert (folder / "params.npz").read_bytes() == before

    moved = own.rename(tmp_path / "moved.py")
    moved.write_text(f"{OWN}# a remark\n")
    assert run(train.main, train.TrainOptions, ["--resume", str(folder)], options_before) == 2
    assert "own.py:network': expected FILE.py:name with a file that exists" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    moved = moved.rename(tmp_path / "elsewhere" / own.name)
    places = ["--network", f"{moved}:network", "--cost", f"{moved}:cost"]
    assert run(train.main, train.TrainOptions, ["--resume", str(folder), *places], options_before) == 0
    assert "note: a file of --network or --cost has changed since" in capsys.readouterr().err
    moved.rename(own)

    own.write_text(OWN.replace("dense(12)", "dense(112)"))
    monkeypatch.delitem(sys.modules, f"user_code:{own.resolve()}")  # as in a process of its own
    assert run(train.main, train.TrainOptions, ["--resume", str(folder)], options_before) == 2
    assert "layers was 'Network([flatten, dense(12), relu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--network", "{own}:network", "--hidden", "5"], "has all layers: leave --hidden and --activation out"),
        (["--network", "{own}:small"], "have shape (3,): expected (10,), one a digit"),
        (["--network", "{own}:cost"], "--network"),
        (["--network", "{own}:mixed"], "the parameters are float16 and float32: expected one of float16"),
        (["--cost", "{own}:network"], "is a function: expected a jaxprop.Cost"),
        (["--network", "{own}:absent"], "absent"),
        (["--cost", "nowhere.py:cost"], "--cost"),
    ],
)
def test_what_is_no_network_and_no_cost_is_named(tmp_path, own, capsys, options, complaint):
    options = [option.format(own=own) for option in options]
    assert run(train.main, train.TrainOptions, ["--smoke", "--out", str(tmp_path / "runs"), *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
