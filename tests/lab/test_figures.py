"""Pictures that all scripts share: they show something, and what they say is counted rightly."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lab import figures

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 10
IMAGES = RNG.integers(0, 256, (60, 28, 28), np.uint8)
ROWS = [
    {"epoch": i, "train_cost": 1 / i, "test_cost": 1.1 / i, "train_accuracy": 1 - 0.5 / i, "test_accuracy": 1 - 0.6 / i}
    for i in range(1, 6)
]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.learning_curves(ROWS),
        lambda: figures.learning_curves(ROWS[:1]),
        lambda: figures.answers(IMAGES, LABELS, LABELS),
        lambda: figures.answers(IMAGES[:3], LABELS[:3], LABELS[:3]),
        lambda: figures.confusion(LABELS, LABELS[::-1]),
        lambda: figures.first_layer(RNG.normal(size=(16, 784))),
        lambda: figures.first_layer(RNG.normal(size=(3, 784))),
    ],
)
def test_every_picture_is_a_png_with_something_in_it(draw, tmp_path):
    figures.save_figure(tmp_path / "figure.png", draw())
    picture = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    assert min(picture.shape) > 400
    assert picture.std() > 5  # grey levels; an empty canvas has 0


def test_wrong_answers_are_marked_and_right_ones_are_not():
    given = np.where(LABELS == 3, 5, LABELS)
    titles = [axes.get_title() for axes in figures.answers(IMAGES, LABELS, given).axes]
    assert titles[:5] == ["0", "1", "2", "5, not 3", "4"]


def test_the_confusion_matrix_counts_right_answers_by_row():
    given = np.where(LABELS == 3, 5, LABELS)
    axes = figures.confusion(LABELS, given).axes[0]
    assert axes.get_title(loc="left") == "54 of 60 digits classified correctly"
    cells = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert cells[5, 3] == "6"  # x is the answer, y what was right
    assert (3, 3) not in cells


@pytest.mark.parametrize("last", [0.8, 0.2, 0.004, 1e-5])
def test_the_labels_of_the_cost_are_few_and_at_least_two(last):
    """However far it falls from 0.9, within a decade or over five."""
    rows = [{**ROWS[0], "epoch": i, "train_cost": cost} for i, cost in enumerate(np.geomspace(0.9, last, 50))]
    rows = [{**row, "test_cost": row["train_cost"]} for row in rows]
    figure = figures.learning_curves(rows)
    figure.canvas.draw()
    axis = figure.axes[0].yaxis
    low, high = axis.get_view_interval()
    shown = [x for x, tick in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True) if tick.get_text()]
    assert 2 <= sum(low <= x <= high for x in shown) <= 10
    assert not any(tick.get_text() for tick in axis.get_ticklabels(minor=True))


def test_drawing_changes_no_global_setting():
    before = dict(matplotlib.rcParams)
    figures.learning_curves(ROWS)
    assert dict(matplotlib.rcParams) == before
