"""Two walks down the hill: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import drunk_and_careful as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [(claim["statement"], claim["holds"]) for claim in claims] == [("L18", True)] * 3
    files = {path.name for path in folder.iterdir()} - {"results.json"}
    assert files == {"paths.csv", "plane.csv", "hill.csv", "hill.png", "stories.png"}


def test_both_walks_start_at_one_place_and_both_ends_lie_in_the_plane(smoke):
    *_, found = smoke
    careful, drunk = found.men["careful"], found.men["drunk"]
    np.testing.assert_array_equal(careful.places[0], drunk.places[0])
    for man in (careful, drunk):
        ends = man.places[[0, -1]]
        # The places are float32 numbers of up to some ten, whose rounding is 1e-6.
        np.testing.assert_allclose(found.hill.plane.at(found.hill.plane.coordinates(ends)), ends, atol=1e-5)


def test_at_the_ends_the_cost_of_the_plane_is_the_true_cost(smoke):
    *_, found = smoke
    for name, man in found.men.items():
        below = found.hill.beneath[name]
        assert below[[0, -1]] == pytest.approx(man.costs[[0, -1]], rel=1e-4)  # float32 sums over 1,500 examples
        assert np.abs(below / man.costs[::10] - 1).max() > 0.05  # between them the path leaves the plane


def test_no_straight_line_is_longer_than_the_path(smoke):
    *_, found = smoke
    for man in found.men.values():
        between_records = np.linalg.norm(np.diff(man.places, axis=0), axis=1).sum()
        assert 0 < man.straightness < 1
        assert between_records <= man.length * (1 + 1e-4)  # float32 sums of a thousand lengths


def test_a_drunk_man_who_never_gets_as_low_has_saved_nothing(smoke):
    *_, found = smoke
    careful, drunk = found.men["careful"], found.men["drunk"]
    assert script.examples_saved(careful, drunk) > 0
    assert script.examples_saved(careful, drunk._replace(costs=drunk.costs + 10)) == 0


def with_drunk(found, **changes):
    return found._replace(men=found.men | {"drunk": found.men["drunk"]._replace(**changes)})


def straighter(found):
    """How many times as straight as the drunk man's the careful man's path is."""
    return found.men["careful"].straightness / found.men["drunk"].straightness


BROKEN = {
    0: lambda found: with_drunk(found, steps=10 * found.men["drunk"].steps),
    1: lambda found: with_drunk(found, length=found.men["drunk"].length / straighter(found)),
    2: lambda found: found._replace(off_course=0.002),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_a_slope_that_a_person_forgot_makes_the_script_exit_with_1(tmp_path, monkeypatch):
    forgetful = layers.sigmoid()._replace(backward=lambda params, a, da: ((), da))
    monkeypatch.setattr(layers, "sigmoid", lambda: forgetful)
    monkeypatch.setattr(script, "DRUNK_STEPS", 300)
    assert run(script.main, Options, ["--smoke", "--out", str(tmp_path), "--no-figures"]) == 1
    (results,) = tmp_path.glob("drunk_and_careful/*/results.json")
    *_, off_course = json.loads(results.read_text())["claims"]
    assert not off_course["holds"]
