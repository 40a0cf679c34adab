"""Errors of mini-batches: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import mini_batches as script


def test_a_smoke_run_keeps_every_claim_and_leaves_a_table_and_a_picture(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L16", "L17"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} == {"results.json", "gradient_error.csv", "gradient_error.png"}


def test_larger_mini_batches_are_nearer_to_the_true_gradient(smoke):
    *_, found = smoke
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
    0: lambda found: found._replace(shuffle_error=1e-11),
    1: lambda found: off_by(found, 0, 1.3),
    2: lambda found: off_by(found, 300, 0.7),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds
