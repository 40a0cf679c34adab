"""What other learning rates than the default ones would do."""

import csv

import numpy as np
import pytest

import default_rates as script
from jaxprop.data.batches import Examples
from lab.common import Options, run
from lab.learning_rates import default_rate
from lab.train_options import TrainOptions
from lab.train_task import load_examples


def test_every_choice_is_made_once():
    choices = list(script.choices())
    assert len(choices) == len(set(choices)) == 9 + 4 * 4 * 9
    first = script.Choice((), "sigmoid", "sgd", 20)
    assert (choices[0], first.rate) == (first, default_rate("sgd", "sigmoid", (), 20))


@pytest.mark.slow
def test_a_smoke_run_leaves_a_row_for_each_choice(tmp_path):
    assert run(script.main, Options, ["--smoke", "--out", str(tmp_path)]) == 0
    (table,) = tmp_path.rglob("rates.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 4
    assert all(0 <= float(row[f"at {factor:g} times"]) <= 1 for row in rows for factor in script.FACTORS)


def test_the_rates_are_those_around_the_default_and_no_test_digit_is_looked_at(monkeypatch):
    """At rates of almost 0 and of far too much nothing is learned; in between, something is."""
    seen: list[Examples] = []

    def watched(options, network):
        seen.extend(load_examples(options, network))
        return seen

    monkeypatch.setattr(script, "load_examples", watched)
    monkeypatch.setattr(script, "FACTORS", (1e-6, 1.0, 1e3))
    options = TrainOptions(hidden=(), validation=script.HELD_OUT)
    low, usual, high = script.accuracies(script.Choice((), "sigmoid", "sgd", 100), options, epochs=5)
    assert [len(examples.labels) for examples in seen] == [1200, 300]
    train, _ = load_examples(TrainOptions(), script.jp.mlp((784, 10)))
    np.testing.assert_array_equal(np.concatenate([examples.images for examples in seen]), train.images)
    assert usual > 0.7 > max(low, high)
