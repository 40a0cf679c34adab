"""The ten digits in agreement and in conflict: every claim holds, and comes out false when it is broken."""

import numpy as np

from lesson import conflict as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"conflict.csv", "conflict.png"}


def with_cosines(found, step, change):
    return found._replace(cosines={**found.cosines, step: found.cosines[step] + change})


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {
    0: lambda found: found._replace(wishes=-found.wishes),
    1: lambda found: with_cosines(found, 0, -0.05),
    2: lambda found: with_cosines(found, script.LATER, 0.1),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_cosines_are_those_of_ten_digits(smoke):
    found = smoke.found
    for cosines in found.cosines.values():
        assert cosines.shape == (10, 10)
        np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-12)  # a few roundings of float64
        assert cosines[script.PAIRS].mean() >= script.FLOOR - 1e-12


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(uphill, false_claims):
    """The digits of a network that gets worse and worse never come into conflict."""
    assert 2 in false_claims()
