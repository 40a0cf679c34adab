import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pytest

import train
from jaxprop.networks import Activation
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
    "options",
    [["--activation", "relu"], ["--hidden"], ["--hidden", "100", "--activation", "tanh", "--optimizer", "adam"]],
)
def test_first_variations_learn_too(tmp_path, capsys, options):
    """A sample of the 180 below, by the default learning rates."""
    folder = train_here(tmp_path, "--no-figures", *options)
    assert json.loads((folder / "results.json").read_text())["test_accuracy"] >= 0.9
    printed = capsys.readouterr().out
    assert "learning rate 0.25, the default for sgd, " in printed or "learning rate 0.003, " in printed
    assert "note: " not in printed


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(), (16,), (16, 16), (100,), (256, 128)])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_variation_reads_nine_digits_in_ten_or_says_what_to_change(tmp_path, capsys, hidden, activation):
    """Eight of 180 do not, seven of them on mini-batches of 500, of which the default epochs make 600 steps alone."""
    for optimizer, batch_size in product(("sgd", "momentum", "adam"), (20, 100, 500)):
        options = train.TrainOptions(
            hidden=hidden,
            activation=activation,
            optimizer=optimizer,
            batch_size=batch_size,
            figures=False,
            out=tmp_path,
        )
        accuracy = train.train_once(options).rows[-1]["test_accuracy"]
        says = "% is less than such a network can reach: " in capsys.readouterr().out
        assert says == (accuracy < 0.9), (optimizer, batch_size)


def test_a_run_that_ends_no_better_than_guessing_says_so_and_what_to_try(tmp_path, capsys):
    train_here(tmp_path, "--no-figures", "--activation", "relu", "--learning-rate", "2", "--epochs", "5")
    assert (
        "\nnote: 10.10% is no better than guessing (10.10% for one and the same answer): "
        "lower --learning-rate; the default is 0.25\n"
    ) in capsys.readouterr().out


def test_validation_keeps_test_digits_out_of_sight_and_nothing_is_called_test(tmp_path, capsys):
    folder = train_here(tmp_path, "--hidden", "3", "--epochs", "2", "--validation", "300")
    captured = capsys.readouterr()
    assert "of 300 validation digits" in captured.out
    assert re.search(r"^epoch 2: cost 0\.\d+, validation accuracy \d", captured.out, re.MULTILINE)
    results = json.loads((folder / "results.json").read_text())
    assert {"validation_accuracy", "validation_cost", "train_accuracy", "train_cost"} <= results.keys()
    header, *_ = (folder / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_cost,validation_cost,train_accuracy,validation_accuracy,seconds"
    assert "test" not in " ".join([captured.out.replace(str(tmp_path), ""), captured.err, header, *results])


def test_seeds_train_once_each_to_the_bits_of_seed_and_give_mean_and_spread(tmp_path, capsys):
    quick = ["--hidden", "3", "--epochs", "8", "--no-figures"]
    alone = train_here(tmp_path / "alone", *quick, "--seed", "3")
    capsys.readouterr()
    out = tmp_path / "many"
    assert run(train.main, train.TrainOptions, [*quick, "--seeds", "0,3", "--out", str(out)]) == 0
    runs = sorted((out / "train").iterdir(), key=lambda folder: folder.name[-1])
    assert (runs[1] / "params.npz").read_bytes() == (alone / "params.npz").read_bytes()
    accuracies = [json.loads((folder / "results.json").read_text())["test_accuracy"] for folder in runs]
    (summary,) = (out / "train_seeds").iterdir()
    rows = list(csv.DictReader((summary / "seeds.csv").read_text().splitlines()))
    assert [(row["seed"], float(row["accuracy"]), row["run"]) for row in rows] == [
        (seed, accuracy, str(folder)) for seed, accuracy, folder in zip("03", accuracies, runs, strict=True)
    ]
    results = json.loads((summary / "results.json").read_text())
    assert results["mean_accuracy"] == pytest.approx(np.mean(accuracies), rel=1e-12)  # a few roundings
    assert results["sample_standard_deviation"] == pytest.approx(np.std(accuracies, ddof=1), rel=1e-12)
    printed = capsys.readouterr().out
    assert f"mean {np.mean(accuracies):.2%}, sample s.d. {100 * np.std(accuracies, ddof=1):.2f}, worst" in printed
    assert len(re.findall("^epoch ", printed, re.MULTILINE)) == 2 * 4, "a few lines for each seed"


def test_a_run_starts_from_the_parameters_of_another_and_remembers_which(tmp_path, capsys):
    first = train_here(tmp_path / "first", "--hidden", "3", "--epochs", "1", "--no-figures")
    shutil.copy(first / "params.npz", tmp_path / "start.npz")
    start = ["--hidden", "3", "--epochs", "1", "--no-figures", "--init", str(tmp_path / "start.npz")]
    capsys.readouterr()
    folder = train_here(tmp_path / "second", *start, "--learning-rate", "1e-9")
    assert f"starts from the parameters in {tmp_path / 'start.npz'}\n" in capsys.readouterr().out
    was, now = (load_mlp(path / "params.npz")[1] for path in (first, folder))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), was, now)  # 15 steps of less than 1e-8
    config = json.loads((folder / "config.json").read_text())
    assert config["init"] == str(tmp_path / "start.npz")
    assert len(config["init_fingerprint"]) == 32

    before = (folder / "params.npz").read_bytes()
    (tmp_path / "start.npz").unlink()  # it is needed no more
    assert run(train.main, train.TrainOptions, ["--resume", str(folder)], options_before) == 0
    assert (folder / "params.npz").read_bytes() == before
    other = ["--resume", str(folder), "--init", str(first / "params.npz")]
    assert run(train.main, train.TrainOptions, other, options_before) == 2
    assert f"init was '{tmp_path / 'start.npz'}' in " in capsys.readouterr().err

    start[1] = "4"
    start[-1] = str(first)  # the folder of a run will do too
    assert run(train.main, train.TrainOptions, [*start, "--out", str(tmp_path / "third")]) == 2
    assert (
        "is of Network([dense(3), sigmoid, dense(10), sigmoid], in_shape=(784,)): expected" in capsys.readouterr().err
    )
    assert not (tmp_path / "third").exists()


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
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--batch-size", "1501"], "batch_size is 1501: expected a whole number, 1 to 1500"),
        (["--hidden", "16", "-2"], "sizes are"),
        (["--validation", "1490"], "--validation is 1490: expected 0 to 1400, so that of the 1500 training examples a"),
        (["--validation", "10", "--batch-size", "1501"], "batch_size is 1501: expected a whole number, 1 to 1500"),
        (["--init", "nowhere.npz"], "cannot read nowhere.npz"),
        (["--seeds", "7-0"], "--seeds is '7-0': expected each seed once, a range from low to high"),
        (["--seeds", "0-3,2"], "--seeds is '0-3,2': expected each seed once"),
        (["--seeds", "zero"], "--seeds is 'zero': expected seeds such as 0-7 or 0,3,5"),
        (["--seeds", "0-3", "--seed", "4"], "--seeds trains from the start once for each seed: leave --seed out"),
        (["--seeds", "0-3", "--resume", "."], "leave --resume out"),
        (["--seeds", "0-3", "--devices", "2"], "--seeds trains on one device"),
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


@pytest.mark.slow  # tests/test_train_signals.py stops a run in each of its parts
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
