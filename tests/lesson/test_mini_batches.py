"""Errors of mini-batches: every claim holds, and comes out false when what it measures is broken."""

import numpy as np

from lesson import mini_batches as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"gradient_error.csv", "gradient_error.png"}


def test_larger_mini_batches_are_nearer_to_the_true_gradient(smoke):
    found = smoke.found
    for steps in script.STAGES:
        rows = [row for row in found.errors if row["steps"] == steps]
        assert [row["batch_size"] for row in rows] == [1, 10, 100]
        assert np.all(np.diff([row["error"] for row in rows]) < 0)
        assert np.all(np.diff([row["cosine"] for row in rows]) > 0)


def off_by(found, steps, factor):
    """As if the mini-batches of ten had another error at that stage."""
    at = [(row["steps"], row["batch_size"]) for row in found.errors].index((steps, 10))
    row = found.errors[at]
    return found._replace(errors=[*found.errors[:at], {**row, "error": factor * row["error"]}, *found.errors[at + 1 :]])


BROKEN = {
    0: lambda found: found._replace(epoch_error=1e-11),
    1: lambda found: off_by(found, 0, 1.3),
    2: lambda found: off_by(found, 300, 0.7),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)
