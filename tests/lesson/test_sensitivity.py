"""What a component of the gradient says: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import sensitivity as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L5"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} == {
        "results.json",
        "ranking.csv",
        "wiggles.csv",
        "ranking.png",
        "wiggles.png",
    }


def test_all_parameters_are_ranked_and_each_knows_its_layer(smoke):
    *_, found = smoke
    assert len(found.components) == 13_002
    # 784 * 16 + 16, 16 * 16 + 16, 16 * 10 + 10
    np.testing.assert_array_equal(np.bincount(found.layers), [12_560, 272, 170])
    largest, _ = np.abs(found.components[found.chosen])
    assert largest == np.abs(found.components).max()
    assert found.names[0].startswith("[4]")  # the outputs' wishes are the largest on an untrained network


def test_the_wiggle_is_so_small_that_either_change_is_straight_to_a_400th(smoke):
    *_, found = smoke
    bends = found.changes / (found.components[found.chosen] * found.wiggle) - 1
    # A quarter more or less than was asked for, since the curvature itself changes along the wiggle.
    assert np.abs(bends).max() == pytest.approx(script.BEND, rel=0.25)


def test_the_wiggles_leave_their_straight_lines_at_last(smoke):
    *_, found = smoke
    lines = found.components[found.chosen, None] * script.WIGGLES
    assert np.abs(found.sweep[:, 0] / lines[:, 0] - 1).max() < 0.01
    assert np.abs(found.sweep[:, -1] / lines[:, -1] - 1).min() > 0.5


BROKEN = {
    0: lambda found: found._replace(components=np.where(np.arange(13_002) == found.chosen[0], 1, found.components)),
    1: lambda found: found._replace(changes=found.changes * [1.02, 1]),
    2: lambda found: found._replace(change_by_silent=1e-15),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds
