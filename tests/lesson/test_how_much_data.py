"""How much data: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import how_much_data as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L20"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {
        "how_much_data.csv",
        "prices.csv",
        "how_much_data.png",
    }


def constant(found, *accuracies):
    return found._replace(accuracy=np.array(accuracies)[:, None] * np.ones_like(found.accuracy))


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: found._replace(by_heart=found.by_heart - 0.02),
    1: lambda found: constant(found, 0.90, 0.92, 0.94),
    2: lambda found: constant(found, 0.80, 0.81, 0.95),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_the_power_law_is_found_again():
    n, mistakes = np.array([100, 1000, 10_000]), np.array([0.4, 0.2, 0.1])  # halved by ten times as many
    found = script.Findings(n, 1 - mistakes[:, None], np.ones((3, 1)))
    c, alpha = script.power_law(found)
    assert alpha == pytest.approx(np.log10(2))
    assert c == pytest.approx(0.4 * 100**alpha)


def test_no_price_is_given_where_nothing_was_gained(smoke):
    *_, found = smoke
    prices = script.prices(constant(found, 0.8, 0.8, 0.9))
    assert prices[0]["examples_per_point"] is None
    assert prices[1]["examples_per_point"] == pytest.approx((1500 - 400) / 10)


def test_the_mini_batches_of_every_epoch_hold_all_examples_that_there_are():
    order = script.shuffles(script.jax.random.key(0), 300, 7)
    assert order.shape == (7, 100)
    for epoch in (order[:3], order[3:6]):
        assert set(epoch.ravel()) == set(range(300))


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(tmp_path, monkeypatch):
    right = layers.sigmoid()
    wrong = right._replace(backward=lambda params, a, da: ((), -a * (1 - a) * da))
    monkeypatch.setattr(layers, "sigmoid", lambda: wrong)
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert 0 in false
