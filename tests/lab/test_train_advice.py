"""What a run says that has not learned: when, and what to change."""

from pathlib import Path

import numpy as np
import pytest

from lab.train_advice import guessing, said_of_rate, what_to_change
from lab.train_options import TrainOptions

LABELS = np.repeat(np.arange(10), 30)  # 300, so that guessing is right one time in ten


def said(accuracy, rate=2.0, epochs=200, cost=lambda i: 0.5, kind="test", **options) -> str:
    rows = [{"epoch": i, "train_cost": cost(i), f"{kind}_accuracy": accuracy} for i in range(1, epochs + 1)]
    return what_to_change(TrainOptions(**options), rows, LABELS, rate, Path("RUN"))


def test_luck_is_three_standard_errors():
    """Of 300 answers that are right one time in ten: sqrt(0.1 * 0.9 / 300) = sqrt(0.0003) each."""
    assert guessing(LABELS) == pytest.approx((0.1, 0.1 + 3 * 0.0003**0.5), rel=1e-12)
    assert "no better than guessing (10.00% for one and the same answer): " in said(0.1519)
    assert "15.20% is less than such a network can reach: " in said(0.1520)


def test_a_run_that_reads_says_nothing():
    assert said(0.9) == ""
    assert said(0.95, validation=300, kind="validation") == ""


def test_only_where_it_is_known_what_can_be_reached_is_less_said_to_be_little():
    assert said(0.8, dataset="mnist", epochs=30) != ""
    assert said(0.8, dataset="fashion_mnist", epochs=30) == ""
    assert "guessing" in said(0.1, dataset="fashion_mnist", epochs=30)


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ({"rate": 3.0}, "lower --learning-rate; the default is 2"),
        ({"epochs": 199}, "train for more --epochs; the default is 200"),
        ({"rate": 0.1}, "train for more --epochs, or raise --learning-rate; the default is 2"),
        ({"cost": lambda i: 1 / i}, "the cost still fell, so go on with --resume RUN --epochs 400"),
        ({"cost": lambda i: 1 / i, "schedule": "cosine"}, "the cost still fell, so take --epochs 400"),
        ({}, "try --learning-rate 0.5 or 8, or more --epochs"),
        ({"batch_size": 500}, "try a smaller --batch-size, which takes more steps, --learning-rate 0.5 or 8, or more"),
    ],
)
def test_the_advice_fits_what_was_found(found, advice):
    assert f": {advice}" in said(0.5, **found)


def test_the_rate_is_said_with_what_it_follows_from():
    usual = "the default for sgd, sigmoid layers of 16 and 16, batches of 100"
    assert said_of_rate(TrainOptions(), 2.0) == f", {usual}"
    assert said_of_rate(TrainOptions(), 3.0) == f"; {usual} is 2"
    assert said_of_rate(TrainOptions(hidden=()), 0.25) == ", the default for sgd, no hidden layer, batches of 100"
    own = said_of_rate(TrainOptions(network="net.py:network", cost="net.py:cost", optimizer="momentum"), 0.01)
    assert own.startswith(", the default for momentum, a network and cost of your own, as for relu layers")
    own = said_of_rate(TrainOptions(network="my_net.py:network"), 0.25)
    assert own == ", the default for sgd, a network of your own, as for relu layers of 16 and 16, batches of 100"
