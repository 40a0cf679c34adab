"""Averages of costs and wishes: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import averaging as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L3", "L15"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} == {
        "results.json",
        "wishes.csv",
        "settling.csv",
        "wishes.png",
        "settling.png",
    }


def test_the_table_has_a_parameter_of_each_leaf_and_an_example_of_each_digit(smoke):
    *_, found = smoke
    assert [name.split("[")[1][:1] for name in found.wishes] == list("002244")
    assert all(row.shape == (11,) and np.isfinite(row).all() for row in found.wishes.values())
    assert found.images.shape == (10, 28, 28)


BROKEN = {
    0: lambda found: found._replace(costs=(found.costs[0] * (1 + 1e-11), found.costs[1])),
    1: lambda found: found._replace(apart=found.apart | {"[2].W": 1e-11}),
    # As if each example could be heard twice: without the factor (N - n) / (N - 1).
    2: lambda found: found._replace(predicted=found.predicted[0] / np.sqrt(found.heard)),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds
