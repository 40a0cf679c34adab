"""The instrument panel: its columns in metrics.csv, its figure, and what that says of a network that is not healthy."""

import csv

import jax
import numpy as np
import optax
import pytest

import jaxprop as jp
import train
from lab import instrument_panel
from lab.common import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert run(train.main, train.TrainOptions, ["--smoke", "--instruments", "--out", str(out)]) == 0
    (folder,) = (out / "train").iterdir()
    return folder


def test_each_epoch_has_a_row_of_what_the_instruments_say(folder):
    assert (folder / "instruments.png").read_bytes().startswith(b"\x89PNG")
    first, second = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    columns = {f"{what}_{i}" for what in ("gradient_norm", "update_ratio") for i in (0, 2, 4)}
    columns |= {f"{what}_{i}" for what in ("shut", "dead") for i in (1, 3, 5)} | {
        "noise_trace",
        "true_gradient_squared",
    }
    assert columns < first.keys()
    assert all(np.isfinite(float(row[name])) for row in (first, second) for name in columns)
    assert all(first[name] != second[name] for name in columns if name.startswith(("gradient", "update", "noise")))


def test_the_columns_are_those_of_their_layers():
    network, optimizer = jp.mlp((784, 3, 10), "relu"), optax.sgd(0.5)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    examples = jp.Examples(images, np.arange(20, dtype=np.int32) % 10)
    state = jp.init_state(network.init(jax.random.key(0)), optimizer)
    parts = (network, jp.squared_error, optimizer)
    row = instrument_panel.compile_panel(*parts, jp.as_batch, state, examples, {})(state)
    grads = jp.autodiff(network, jp.squared_error)(state.params, jp.as_batch(*examples))[1]
    for i in (0, 2):
        length = np.sqrt(sum(np.sum(np.asarray(leaf) ** 2) for leaf in grads[i]))
        size = np.sqrt(sum(np.sum(np.asarray(leaf) ** 2) for leaf in state.params[i]))
        # float32, sums of 2,352 squares
        np.testing.assert_allclose(row[f"gradient_norm_{i}"], length, rtol=1e-4)
        np.testing.assert_allclose(row[f"update_ratio_{i}"], 0.5 * length / size, rtol=1e-4)


def row(epoch: int, **others: float) -> dict[str, float]:
    usual = {"noise_trace": 2.0, "true_gradient_squared": 0.01, "shut_1": 0.4, "dead_1": 0.1, "shut_3": 0, "dead_3": 0}
    layers = {f"{what}_{i}": 1e-3 for what in ("gradient_norm", "update_ratio") for i in (0, 2)}
    return {"epoch": epoch, **usual, **layers, **others}


def words(figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_the_figure_says_what_is_not_healthy():
    network = jp.mlp((4, 3, 2), "relu")
    well = words(instrument_panel.figure(network, [row(1), row(2)]))
    assert "not healthy" not in well
    assert "hidden" not in well
    ill = words(instrument_panel.figure(network, [row(1), row(2, dead_1=0.75, true_gradient_squared=-1e-3)]))
    assert "not healthy: more than half of the neurons of layer 1 are dead" in ill
    assert "no estimate in 1 of 2 epochs" in ill
