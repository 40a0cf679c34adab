"""The museum: each exhibit is wrong by the one thing that was reported, and `check` names its leaves."""

import pytest

from proof import museum
from proof.exhibits import BUGS, NONE, layers
from proof.exhibits.frame import Exhibit
from proof.museum import Visit, claims, failing_leaves, judge_rows, museum_figure, row
from proof.verdicts import CHECK, JUDGES, TRAINING

ALL = [*BUGS, *NONE]


def test_there_are_enough_exhibits_and_each_says_where_it_is_from():
    assert len(BUGS) >= 24
    assert len(layers.EXHIBITS) >= 20
    assert len(NONE) >= 5
    assert len({exhibit.name for exhibit in ALL}) == len(ALL)
    for exhibit in ALL:
        assert exhibit.links, exhibit.name
        assert all(link.startswith("https://") for link in exhibit.links)
        assert exhibit.story.endswith(".")
    assert all(exhibit.wrong for exhibit in BUGS)
    assert not any(exhibit.wrong for exhibit in NONE)


def assert_wrong_by_one_thing(exhibit: Exhibit):
    assert failing_leaves(exhibit) == (exhibit.wrong, frozenset())


@pytest.mark.parametrize(
    "exhibit", [*BUGS[: -len(layers.EXHIBITS) : 8], NONE[-2], *layers.EXHIBITS[::9]], ids=lambda exhibit: exhibit.name
)
def test_check_names_the_leaves_that_were_wrong_and_accepts_what_is_mended(exhibit):
    assert_wrong_by_one_thing(exhibit)


@pytest.mark.slow
@pytest.mark.parametrize("exhibit", ALL, ids=lambda exhibit: exhibit.name)
def test_every_exhibit_is_wrong_by_one_thing(exhibit):
    assert_wrong_by_one_thing(exhibit)


def visit(exhibit, **changes):
    """As if check had found just what there is, and no other judge anything."""
    caught = {judge: judge == CHECK and bool(exhibit.wrong) for judge in JUDGES} | {TRAINING: None}
    return Visit(exhibit, exhibit.wrong, frozenset(), caught, None)._replace(**changes)


VISITS = [visit(BUGS[0]), visit(BUGS[1]), visit(NONE[0])]


@pytest.mark.parametrize(
    ("broken", "number"),
    [
        (visit(BUGS[0], failing=frozenset()), 0),
        (visit(NONE[1], failing=frozenset({"['x']"})), 1),
        (visit(BUGS[2], failing_when_mended=frozenset({"['x']"})), 2),
    ],
)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(broken, number):
    assert all(claim.holds for claim in claims(VISITS))
    assert [claim.holds for claim in claims([*VISITS, broken])] == [i != number for i in range(3)]


def test_judges_are_counted_where_they_were_asked():
    counted = {row["judge"]: (row["caught"], row["of"]) for row in judge_rows(VISITS)}
    assert counted[CHECK] == (2, 2)
    assert counted[TRAINING] == (0, 0)
    assert counted["chex, float32"] == (0, 2)


def test_the_judges_by_differences_score_where_they_accept_what_is_mended():
    minus = next(exhibit for exhibit in BUGS if exhibit.name.startswith("minus"))
    assert set(museum.caught_by_differences(minus).values()) == {True}
    hopeless = minus._replace(mended=minus.shipped)
    assert set(museum.caught_by_differences(hopeless).values()) == {False}


def test_the_picture_has_a_row_for_each_exhibit():
    figure = museum_figure([row(visit) for visit in VISITS])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [visit.exhibit.name for visit in VISITS]
    assert axes.get_title(loc="left").startswith("2 bugs that real projects shipped")
