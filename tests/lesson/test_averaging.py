"""Averages of costs and wishes: every claim holds, and comes out false when what it measures is broken."""

import numpy as np

from lesson import averaging as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"settling.csv", "settling.png", "wishes.csv", "wishes.png"}


def test_the_table_has_a_parameter_of_each_array_and_an_example_of_each_digit(smoke):
    found = smoke.found
    assert [name.partition("[")[0] for name in found.wishes] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert all(row.shape == (11,) and np.isfinite(row).all() for row in found.wishes.values())
    assert found.images.shape == (10, 28, 28)


BROKEN = {
    0: lambda found: found._replace(averaged_cost=found.averaged_cost * (1 + 1e-11)),
    1: lambda found: found._replace(apart=found.apart | {"[2].W": 1e-11}),
    # As if each example could be averaged twice: without the factor (N - n) / (N - 1).
    2: lambda found: found._replace(predicted=found.predicted[0] / np.sqrt(found.numbers)),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)
