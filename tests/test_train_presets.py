"""The networks that `train.py --network` knows by name: they train, go on, and are read by `predict.py`."""

import json
from pathlib import Path

import pytest

import jaxprop as jp
import predict
import train
from lab.common import run
from lab.presets import PRESETS
from lab.train_options import TrainOptions, options_before, usual_rate
from lab.train_task import pose, usual_steps_per_call

SHORT = ["--network", "cnn", "--shift", "1", "--optimizer", "adam", "--epochs", "2", "--no-figures"]


def only_folder(out: Path, what: str = "train") -> Path:
    (folder,) = (out / what).iterdir()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a short run of the CNN on digits that are shifted."""
    out = tmp_path_factory.mktemp("runs")
    assert run(train.main, TrainOptions, [*SHORT, "--out", str(out)]) == 0
    return only_folder(out)


def test_the_cnn_learns_and_its_folder_says_what_it_is(trained):
    results = json.loads((trained / "results.json").read_text())
    assert results["test_accuracy"] >= 0.7
    assert results["parameters"] == 215_370
    assert (results["network"], results["cost_name"], results["shift"]) == ("cnn", "softmax_cross_entropy", 1)
    assert results["learning_rate"] == 0.002
    _network = PRESETS["cnn"].make()
    jp.load_params(trained / "params.npz", _network)


def test_predict_knows_the_network_by_its_file_and_shows_a_softmax(trained, tmp_path, capsys):
    options = [str(trained), "--test-index", "0", "--out", str(tmp_path)]
    assert run(predict.main, predict.PredictOptions, options) == 0
    printed = capsys.readouterr().out
    outputs = [float(line.split()[-1]) for line in printed.splitlines() if line[:1].isdigit()]
    assert len(outputs) == 10
    assert abs(sum(outputs) - 1) <= 10 * 0.5e-4, "ten numbers with four decimals"
    assert "answer: " in printed


def test_a_run_that_goes_on_ends_with_the_bits_of_one_that_was_never_stopped(trained, tmp_path):
    assert run(train.main, TrainOptions, [*SHORT, "--epochs", "1", "--out", str(tmp_path)]) == 0
    folder = only_folder(tmp_path)
    assert (folder / "params.npz").read_bytes() != (trained / "params.npz").read_bytes()
    assert run(train.main, TrainOptions, ["--resume", str(folder), "--epochs", "2"], options_before) == 0
    assert (folder / "params.npz").read_bytes() == (trained / "params.npz").read_bytes()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_pictures_as_ten_logits(name):
    problem = pose(TrainOptions(network=name))
    assert (problem.network.in_shape, problem.network.out_shape) == ((28, 28, 1), (10,))
    assert problem.cost is jp.softmax_cross_entropy
    assert pose(TrainOptions()).cost is jp.squared_error


def test_rates_follow_from_the_preset_unless_the_cost_is_another():
    assert usual_rate(TrainOptions(network="cnn")) == (0.2, "sgd, cnn, batches of 100")
    assert usual_rate(TrainOptions(network="lenet", optimizer="momentum", batch_size=5))[0] == 0.02
    assert "a network and cost of your own" in usual_rate(TrainOptions(network="cnn", cost="own.py:c"))[1]


def test_only_convolutions_on_a_cpu_are_called_step_by_step():
    mlp = jp.mlp((784, 16, 10))
    cnn = jp.Network((jp.residual(jp.conv2d(1)), jp.flatten(), jp.dense(10)), (28, 28, 1))
    steps = [usual_steps_per_call(network, where, 600) for network in (mlp, cnn) for where in ("cpu", "gpu")]
    assert steps == [600, 600, 1, 600]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--network", "cnn", "--hidden", "5"], "--network cnn has all layers: leave --hidden and --activation out"),
        (["--network", "lenet", "--activation", "relu"], "leave --hidden and --activation out"),
        (["--network", "resnet"], "--network is 'resnet': expected mlp, cnn, lenet, or FILE.py:name with a file that"),
        (["--shift", "-1"], "--shift is -1: expected a whole number of pixels, 0 or more"),
        (["--shift", "1", "--batch-size", "1"], "--shift draws from the order of a mini-batch"),
        (["--shift", "28"], "--shift is 28: expected at most 27, the pixels of a picture less one"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_left(tmp_path, capsys, options, complaint):
    assert run(train.main, TrainOptions, ["--smoke", "--out", str(tmp_path / "runs"), *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
