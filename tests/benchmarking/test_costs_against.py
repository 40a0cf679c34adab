"""What an epoch costs against its dimensions: the memory, the sweeps, and what the picture says of them."""

import numpy as np
import pytest

from benchmarking import costs_against
from benchmarking.peers import MANUAL, NUMPY
from benchmarking.work import Work, draw_start
from lab.figures import save_figure

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 300, np.int32)
WORK = Work(IMAGES, LABELS, draw_start((784, 16, 16, 10), seed=0))


@pytest.mark.slow
def test_the_memory_for_the_data_is_that_of_uint8():
    """784 bytes a picture, 4 for its label and 4 for its place in the order; nothing that is needed beside grows."""
    rows = costs_against.against_examples(WORK, "cpu", (300, 3000), repeats=1)
    assert [row["data_bytes"] for row in rows] == [300 * 792, 3000 * 792]
    assert rows[1]["temporary_bytes"] <= 1.1 * rows[0]["temporary_bytes"]
    assert rows[0]["times_smaller"] is None
    assert rows[1]["times_smaller"] > 0


def test_a_sweep_leaves_out_batches_that_the_data_cannot_fill():
    points = costs_against.SWEEPS["batch_size"]
    rows = costs_against.sweep([point for point in points if point.value >= 100], WORK, "cpu", 1, "batch size")
    assert {row["value"] for row in rows} == {100}
    assert {MANUAL, NUMPY} <= {row["peer"] for row in rows}
    assert {row["multiply_adds"] for row in rows} == {784 * 16 + 16 * 16 + 16 * 10}


def test_curves_say_how_the_time_grew(tmp_path):
    def rows(what, quantity, values, times):
        return [
            {"peer": MANUAL, "value": v, quantity: t, "multiply_adds": 1 if what == "batch_size" else v}
            for v, t in zip(values, times, strict=True)
        ]

    sweeps = {what: rows(what, "seconds_per_example", (1, 10), (1e-6, 5e-6)) for what in ("width", "depth")}
    sweeps["batch_size"] = rows("batch_size", "seconds_per_example", (1, 1000), (5e-5, 1e-6))
    examples = rows("examples", "seconds", (100, 1000, 10_000), (0.1, 1, 10))
    figure = costs_against.costs_figure(sweeps, examples)
    save_figure(tmp_path / "costs.png", figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "10 × as wide: 10 × the work, 5.0 × the time",
        "10 × as deep: 10 × the work, 5.0 × the time",
        "Batches 1,000 × as large: 50 × as fast",
        "100 × the examples: 100 × the time",
    ]
