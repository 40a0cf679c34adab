"""Sigmoids and ReLUs: every claim holds, and comes out false when what it measures is broken."""

import json

import pytest

import sigmoid_or_relu as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L1", "L8"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {
        "sigmoid_or_relu.csv",
        "gradients.png",
        "learning_rates.png",
    }


FIRST, _, OUTPUT = script.GRADIENTS


def with_row(found, activation, row, **changes):
    """One number changed, of the network at its best rate: in its first row, or in its last."""
    setting = script.best(found, activation)
    rows = list(found[setting])
    rows[row] = {**rows[row], **changes}
    return {**found, setting: rows}


def with_rates_swapped(found):
    rates = {"sigmoid": script.best(found, "relu").rate, "relu": script.best(found, "sigmoid").rate}
    return {
        setting._replace(rate=rates[setting.activation]): rows
        for setting, rows in found.items()
        if setting == script.best(found, setting.activation)
    }


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: with_row(found, "sigmoid", -1, accuracy=0.89),
    1: lambda found: with_row(found, "relu", -1, accuracy=0.89),
    2: with_rates_swapped,
    3: lambda found: with_row(found, "relu", 0, **{FIRST: 0.1}),
    4: lambda found: with_row(found, "sigmoid", 0, **{OUTPUT: 0.1}),
    5: lambda found: with_row(found, "sigmoid", -1, **{OUTPUT: 1.0}),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_a_cost_that_is_no_number_is_never_the_best(smoke):
    *_, found = smoke
    best, (other,) = script.best(found, "relu"), [s for s in found if s.activation == "relu" and s.rate != 0.1]
    assert best.rate == 0.1
    assert script.best(with_row(found, "relu", -1, cost=float("nan")), "relu") == other


def test_relus_die_at_the_rate_of_the_sigmoids(smoke):
    *_, found = smoke
    assert found[script.Setting("relu", 3.0)][-1]["idle"] > found[script.Setting("relu", 0.1)][-1]["idle"]


def test_a_sigmoid_that_forgets_its_slope_makes_the_run_fail(tmp_path, monkeypatch):
    right = layers.sigmoid()
    monkeypatch.setattr(layers, "sigmoid", lambda: right._replace(backward=lambda params, a, da: ((), da)))
    monkeypatch.setitem(script.EPOCHS, "digits", (2, 15))  # the claim is about the start
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert 3 in false
