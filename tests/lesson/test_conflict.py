"""The ten digits in agreement and in conflict: every claim holds, and comes out false when it is broken."""

import json

import numpy as np
import pytest

import conflict as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L14", "L15"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {"conflict.csv", "conflict.png"}


def with_cosines(found, step, change):
    return found._replace(cosines={**found.cosines, step: found.cosines[step] + change})


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {
    0: lambda found: found._replace(wishes=-found.wishes),
    1: lambda found: with_cosines(found, 0, -0.05),
    2: lambda found: with_cosines(found, script.LATER, 0.1),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_cosines_are_those_of_ten_digits(smoke):
    *_, found = smoke
    for cosines in found.cosines.values():
        assert cosines.shape == (10, 10)
        np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-12)  # a few roundings of float64
        assert cosines[script.PAIRS].mean() >= script.FLOOR - 1e-12


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(tmp_path, monkeypatch):
    """The digits of a network that gets worse and worse never come into conflict."""
    right = layers.sigmoid()
    wrong = right._replace(backward=lambda params, a, da: ((), -a * (1 - a) * da))
    monkeypatch.setattr(layers, "sigmoid", lambda: wrong)
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert 2 in false
