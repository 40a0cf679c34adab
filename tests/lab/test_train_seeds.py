"""A run for each seed: which ones, and what becomes of those that fail."""

import csv
import json

import pytest

from jaxprop.errors import BadInput
from lab.train_options import TrainOptions
from lab.train_seeds import Ending, read_seeds, statistics, train_many


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("0,3,5", [0, 3, 5]), ("7", [7]), ("0-2,9,4-5", [0, 1, 2, 9, 4, 5])]
)
def test_seeds_are_ranges_and_single_ones(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "-3", "3-", "1,,2", "1-2-3", "0.5", "3-1", "1,1", "0-5,5", "a"])
def test_anything_else_is_named(text):
    with pytest.raises(BadInput, match=f"--seeds is '{text}': expected"):
        read_seeds(text)


def ending(accuracy, code=0) -> Ending:
    rows = [{"epoch": 1.0, "train_cost": 0.5, "test_cost": 0.5, "test_accuracy": accuracy, "seconds": 2.0}]
    return Ending(code, None, [] if accuracy is None else rows)


def train_with(endings, tmp_path, seeds="0-3"):
    """Trains with these endings: the exit code, which options each run had, the rows and the results."""
    seen = []

    def train(options, lines):
        seen.append(options)
        return endings[len(seen) - 1]

    code = train_many(TrainOptions(seeds=seeds, out=tmp_path), train)
    (summary,) = (tmp_path / "train_seeds").iterdir()
    rows = list(csv.DictReader((summary / "seeds.csv").read_text().splitlines()))
    return code, seen, rows, json.loads((summary / "results.json").read_text())


def test_each_run_is_that_of_one_seed_and_the_mean_is_of_all(tmp_path, capsys):
    code, seen, rows, results = train_with([ending(a) for a in (0.5, 0.75, 0.25, 1.0)], tmp_path)
    assert code == 0
    assert [(options.seed, options.seeds) for options in seen] == [(0, None), (1, None), (2, None), (3, None)]
    assert [row["accuracy"] for row in rows] == ["0.5", "0.75", "0.25", "1.0"]
    assert (results["mean_accuracy"], results["worst_accuracy"], results["worst_seed"]) == (0.625, 0.25, 2)
    # Deviations of 1/8, 1/8, 3/8 and 3/8 have squares of 20/64, a third of which is their variance.
    assert results["sample_standard_deviation"] == pytest.approx((20 / 64 / 3) ** 0.5, rel=1e-15)
    assert (
        "mean 62.50%, sample s.d. 32.27, worst 25.00% (seed 2): test accuracy of 4 seeds\n" in capsys.readouterr().out
    )


def test_a_seed_that_fails_is_reported_and_the_others_are_trained(tmp_path, capsys):
    code, seen, rows, results = train_with([ending(0.5), ending(None, 3), ending(0.25), ending(0.75)], tmp_path)
    assert (code, len(seen)) == (3, 4)
    assert [row["exit_code"] for row in rows] == ["0", "3", "0", "0"]
    assert (results["mean_accuracy"], results["seeds_done"]) == (0.5, 3)
    printed = capsys.readouterr().out
    assert "not finite, see its diagnosis.json" in printed
    assert "without seeds 1, which were not trained to the end" in printed


def test_a_stop_stops_all_and_is_no_part_of_the_mean(tmp_path, capsys):
    code, seen, rows, results = train_with([ending(0.5), ending(0.1, 130)], tmp_path)
    assert (code, len(seen), len(rows)) == (130, 2, 2)
    assert (results["mean_accuracy"], results["sample_standard_deviation"]) == (0.5, None)
    assert "without seeds 1, 2, 3, which were not trained to the end" in capsys.readouterr().out


def test_what_is_done_is_on_disk_whatever_becomes_of_the_next(tmp_path):
    with pytest.raises(IndexError):
        train_with([ending(0.5)], tmp_path)  # the second has no ending
    (summary,) = (tmp_path / "train_seeds").iterdir()
    assert json.loads((summary / "results.json").read_text())["seeds_done"] == 1


def test_of_no_seed_there_is_no_mean():
    assert set(statistics([]).values()) == {0, None}
