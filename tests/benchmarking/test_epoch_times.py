"""One epoch by every peer: the reference, and what the pictures show."""

import numpy as np

from benchmarking import epoch_times
from benchmarking.peers import MANUAL, NUMPY, TORCH
from lab.figures import save_figure


def test_the_reference_takes_the_threads_that_suit_it():
    seconds = {"products": np.array([3.0, 5.0]), "products on one thread": np.array([4.0, 1.0]), "gather": np.ones(2)}
    np.testing.assert_array_equal(epoch_times.reference_seconds(seconds), [5, 2])
    seconds["products"] = np.array([1.0, 2.0])
    np.testing.assert_array_equal(epoch_times.reference_seconds(seconds), [2, 3])


def peer_rows():
    costs = {"compile_seconds": 0.5, "import_megabytes": 100, "peak_megabytes": 200}
    here = {"relative_time": 2.0, "seconds": 0.1, "remark": "", **costs}
    absent = {**dict.fromkeys(here), "peer": TORCH, "remark": "torch is not installed"}
    return [{"peer": MANUAL, **here, "relative_time": 1.0}, {"peer": NUMPY, **here}, absent]


def test_bars_show_those_who_are_here(tmp_path):
    figure = epoch_times.epoch_figure(peer_rows())
    save_figure(tmp_path / "epoch.png", figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [MANUAL, NUMPY]
    assert figure.axes[0].get_title(loc="left") == "One epoch: NumPy takes 2.0 times as long as jaxprop"
    figure = epoch_times.alone_figure(peer_rows())
    save_figure(tmp_path / "alone.png", figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [MANUAL, NUMPY]
