"""Two walks down the hill: every claim holds, and comes out false when what it measures is broken."""

import numpy as np
import pytest

from lesson import drunk_and_careful as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"hill.csv", "hill.png", "paths.csv", "plane.csv", "stories.png"}


def test_both_walks_start_at_one_place_and_both_ends_lie_in_the_plane(smoke):
    found = smoke.found
    careful, drunk = found.careful, found.drunk
    np.testing.assert_array_equal(careful.places[0], drunk.places[0])
    for man in (careful, drunk):
        ends = man.places[[0, -1]]
        # The places are float32 numbers of up to some ten, whose rounding is 1e-6.
        np.testing.assert_allclose(found.hill.plane.at(found.hill.plane.coordinates(ends)), ends, atol=1e-5)


def test_at_the_ends_the_cost_of_the_plane_is_the_true_cost(smoke):
    found = smoke.found
    for name, man in found.men.items():
        below = found.hill.beneath[name]
        assert below[[0, -1]] == pytest.approx(man.costs[[0, -1]], rel=1e-4)  # float32 sums over 1,500 examples
        assert np.abs(below / man.costs[::10] - 1).max() > 0.05  # between them the path leaves the plane


def test_no_straight_line_is_longer_than_the_path(smoke):
    found = smoke.found
    for man in found.men.values():
        between_records = np.linalg.norm(np.diff(man.places, axis=0), axis=1).sum()
        assert 0 < man.straightness < 1
        assert between_records <= man.length * (1 + 1e-4)  # float32 sums of a thousand lengths


def test_the_steps_that_are_magnified_go_on_from_the_middle_of_the_walk(smoke):
    for man in smoke.found.men.values():
        middle = len(man.places) // 2
        assert len(man.closely) == script.CLOSE + 1
        np.testing.assert_array_equal(man.closely[0], man.places[middle])
        every = man.steps[1]
        # The same steps as those of the walk, compiled for one rate at a time: float32 numbers of some ten.
        np.testing.assert_allclose(man.closely[every], man.places[middle + 1], atol=1e-4)


def test_seen_from_the_side_a_zigzag_goes_from_0_to_1_and_as_far_aside_as_it_does():
    along = np.linspace(0, 5, 6)
    places = np.zeros((6, 7))
    places[:, 3], places[1::2, 5] = along, 2.0
    places[-1, 5] = 0  # it ends on the line
    view = script.side_view(places)
    np.testing.assert_allclose(view[:, 0], along / 5, atol=1e-12)
    np.testing.assert_allclose(np.abs(view[:, 1]), places[:, 5] / 5, atol=1e-12)


def test_the_drunk_man_sways_more_than_the_careful_one(smoke):
    sways = {name: np.ptp(script.side_view(man.closely)[:, 1]) for name, man in smoke.found.men.items()}
    assert sways["drunk"] > 2 * sways["careful"]


def test_a_drunk_man_who_never_gets_as_low_has_saved_nothing(smoke):
    found = smoke.found
    careful, drunk = found.careful, found.drunk
    assert script.examples_saved(careful, drunk) > 0
    assert script.examples_saved(careful, drunk._replace(costs=drunk.costs + 10)) == 0


def with_drunk(found, **changes):
    return found._replace(drunk=found.drunk._replace(**changes))


def straighter(found):
    """How many times as straight as the drunk man's the careful man's path is."""
    return found.careful.straightness / found.drunk.straightness


BROKEN = {
    0: lambda found: with_drunk(found, steps=10 * found.drunk.steps),
    1: lambda found: with_drunk(found, length=found.drunk.length / straighter(found)),
    2: lambda found: found._replace(off_course=0.002),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_a_slope_that_a_person_forgot_makes_the_script_exit_with_1(slope_forgotten, false_claims, monkeypatch):
    monkeypatch.setattr(script, "DRUNK_STEPS", 300)
    assert 2 in false_claims()
