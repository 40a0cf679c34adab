"""The place where training comes down: every claim holds, and comes out false when what it measures is broken."""

import numpy as np
import pytest

from lesson import local_minimum as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"curvatures.csv", "curvatures.png", "descent.csv", "descent.png", "valley.csv"}


def test_the_start_bends_down_as_much_as_up_and_the_end_does_not(smoke):
    found = smoke.found
    start, end = (found.curvatures[place].values for place in ("start", "end"))
    assert start[0] < -0.2 * start[-1]
    assert end[0] > -0.02 * end[-1]


def test_the_extreme_curvatures_have_converged(smoke):
    """By their residual bounds: the lowest to a hundredth of what is allowed for, the highest to rounding."""
    found = smoke.found
    end = found.curvatures["end"]
    assert end.bounds[0] < 1e-4 * end.values[-1]
    assert end.bounds[-1] < 1e-12


def test_near_the_bottom_the_valley_is_the_parabola_that_the_curvatures_predict(smoke):
    found = smoke.found
    for row in found.valley:
        if abs(row["distance"]) < 0.05:
            # What is left of the gradient, and the third derivative, both along a step of 0.04.
            assert row["cost"] == pytest.approx(row["parabola"], rel=0.05)


BROKEN = {
    0: lambda found: found._replace(gradient_left=1.1e-3),
    1: lambda found: found._replace(
        curvatures=found.curvatures | {"end": found.curvatures["end"]._replace(values=np.array([-0.02, 0.5]))}
    ),
    2: lambda found: found._replace(flat=1e-300),
    3: lambda found: found._replace(accuracy=0.89),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)
