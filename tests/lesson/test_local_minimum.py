"""The place where training comes down: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import local_minimum as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [(claim["statement"], claim["holds"]) for claim in claims] == [("L19", True)] * 4
    files = {path.name for path in folder.iterdir()} - {"results.json"}
    assert files == {"descent.csv", "curvatures.csv", "valley.csv", "curvatures.png", "descent.png"}


def test_the_start_bends_down_as_much_as_up_and_the_end_does_not(smoke):
    *_, found = smoke
    start, end = (found.curvatures[place].values for place in ("start", "end"))
    assert start[0] < -0.2 * start[-1]
    assert end[0] > -0.02 * end[-1]


def test_the_extreme_curvatures_have_converged(smoke):
    """By their residual bounds: the lowest to a hundredth of what is allowed for, the highest to rounding."""
    *_, found = smoke
    end = found.curvatures["end"]
    assert end.bounds[0] < 1e-4 * end.values[-1]
    assert end.bounds[-1] < 1e-12


def test_near_the_bottom_the_valley_is_the_parabola_that_the_curvatures_predict(smoke):
    *_, found = smoke
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


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    broken = script.claims(BROKEN[number](found))
    assert [claim.holds for claim in broken] == [i != number for i in range(len(broken))]
