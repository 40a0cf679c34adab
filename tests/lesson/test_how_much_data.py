"""How much data: every claim holds, and comes out false when what it measures is broken."""

import numpy as np
import pytest

from lesson import how_much_data as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"how_much_data.csv", "how_much_data.png", "prices.csv"}


def constant(found, *accuracies):
    return found._replace(accuracy=np.array(accuracies)[:, None] * np.ones_like(found.accuracy))


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: found._replace(memorised=found.memorised - 0.02),
    1: lambda found: constant(found, 0.90, 0.92, 0.94),
    2: lambda found: constant(found, 0.80, 0.81, 0.95),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_the_power_law_is_found_again():
    n, mistakes = np.array([100, 1000, 10_000]), np.array([0.4, 0.2, 0.1])  # halved by ten times as many
    found = script.Findings(n, 1 - mistakes[:, None], np.ones((3, 1)))
    c, alpha = script.power_law(found)
    assert alpha == pytest.approx(np.log10(2))
    assert c == pytest.approx(0.4 * 100**alpha)


def test_no_price_is_given_where_nothing_was_gained(smoke):
    found = smoke.found
    prices = script.prices(constant(found, 0.8, 0.8, 0.9))
    assert prices[0]["examples_per_point"] is None
    assert prices[1]["examples_per_point"] == pytest.approx((1500 - 400) / 10)


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(uphill, false_claims):
    assert 0 in false_claims()
