"""The form of an experiment: when a claim holds, and what a run of it leaves."""

import json
import math
from typing import Any

import pytest
from matplotlib.figure import Figure

from lab.claims import Claim, Experiment, as_table, conduct
from lab.common import Options
from lab.statements import STATEMENTS


def claim(measured, relation: Any = "within", reference=1.0, tolerance=0.0):
    return Claim("L5", "what is measured", measured, relation, reference, "reasons", tolerance)


# Halves and quarters are exact, so that these lie on the bound.
@pytest.mark.parametrize(
    ("relation", "hold", "fail"),
    [
        ("within", (0.75, 1, 1.25), (0.74, 1.26)),
        ("at least", (0.75, 1, 1.25, 9, math.inf), (0.74, -math.inf)),
        ("at most", (1.25, 1, 0.75, -9, -math.inf), (1.26, math.inf)),
    ],
)
def test_a_claim_may_miss_its_reference_by_the_tolerance_and_no_more(relation, hold, fail):
    assert all(claim(measured, relation, tolerance=0.25).holds for measured in hold)
    assert not any(claim(measured, relation, tolerance=0.25).holds for measured in (*fail, math.nan))


@pytest.mark.parametrize(
    ("relation", "reference", "tolerance", "words"),
    [
        ("within", 13_002, 0, "exactly 13,002"),
        ("within", 1, 1e-12, "1 ± 1e-12"),
        ("at least", 0.9, 0, "at least 0.9"),
        ("at most", 0, 0, "at most 0"),
        ("at least", 1, 0.05, "at least 0.95 (1 − 0.05)"),
        ("at most", 1, 0.05, "at most 1.05 (1 + 0.05)"),
    ],
)
def test_what_is_expected_is_said_in_words(relation, reference, tolerance, words):
    assert claim(1.0, relation, reference, tolerance).expected_in_words == words


@pytest.mark.parametrize(
    ("measured", "words"),
    [(13_002.0, "13,002"), (0.123456, "0.1235"), (1.0, "1"), (1 - 2e-9, "1 − 2e-09"), (1.00004, "1 + 4e-05")],
)
def test_what_is_measured_has_four_digits_or_as_many_as_tell_it_from_what_is_expected(measured, words):
    assert claim(measured).measured_in_words == words


def test_numbers_that_are_none_are_said_as_they_are():
    assert [claim(x).measured_in_words for x in (math.nan, math.inf)] == ["nan", "inf"]


def experiment(*claims):
    return Experiment(
        "toy",
        measure=lambda options: 7,
        claims=lambda found: claims,
        tables=lambda found: {"rows": [{"found": found}]},
        figures=lambda found: {"picture": Figure()},
        finding=lambda found: f"It is {found}.",
        look_at={"picture": "How empty it is."},
    )


def results(tmp_path):
    (path,) = tmp_path.glob("toy/*/results.json")
    return path.parent, json.loads(path.read_text())


def test_a_run_whose_claims_hold_exits_with_0_and_leaves_tables_pictures_and_results(tmp_path):
    assert conduct(experiment(claim(1.0)), Options(out=tmp_path, seed=3)) == 0
    folder, found = results(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"results.json", "rows.csv", "picture.png"}
    assert (folder / "rows.csv").read_text() == "found\n7\n"
    assert found["seed"] == 3
    assert found["finding"] == "It is 7."
    assert found["look_at"] == {"picture": "How empty it is."}
    assert found["claims"] == [
        {
            "statement": "L5",
            "claim": "what is measured",
            "measured": 1.0,
            "relation": "within",
            "reference": 1.0,
            "because": "reasons",
            "tolerance": 0.0,
            "holds": True,
        }
    ]


@pytest.mark.parametrize(("measured", "recorded"), [(2.0, 2.0), (math.nan, "nan"), (math.inf, "inf")])
def test_one_false_claim_among_true_ones_makes_the_run_exit_with_1(tmp_path, measured, recorded):
    claims = claim(1.0), claim(measured), claim(1.0)
    assert conduct(experiment(*claims), Options(out=tmp_path, figures=False)) == 1
    folder, found = results(tmp_path)
    assert [claim["holds"] for claim in found["claims"]] == [True, False, True]
    assert found["claims"][1]["measured"] == recorded
    assert not (folder / "picture.png").exists()


def test_a_run_says_what_the_lesson_says_what_was_found_and_where_to_look_and_ends_with_the_folder(tmp_path, capsys):
    conduct(experiment(claim(1.0)), Options(out=tmp_path))
    output = capsys.readouterr().out
    folder, _ = results(tmp_path)
    parts = [
        "The form of an experiment: when a claim holds, and what a run of it leaves.",  # what this file is about
        f"What the lesson says\n  L5  {STATEMENTS['L5']}",
        "What was found\n  It is 7.",
        "What was claimed, and what was measured",
        "false claims: 0 of 1",
        "Where to look\n  picture.png  How empty it is.",
        f"run folder: {folder}",
    ]
    places = [output.index(part) for part in parts]
    assert places == sorted(places)
    assert output.endswith(f"{parts[-1]}\n")


def test_a_run_without_pictures_names_none_and_says_how_many_claims_are_false(tmp_path, capsys):
    conduct(experiment(claim(1.0), claim(2.0)), Options(out=tmp_path, figures=False))
    output = capsys.readouterr().out
    assert "picture.png" not in output
    assert "false claims: 1 of 2" in output


def test_a_table_shows_three_digits_and_leaves_blank_what_is_missing():
    table = as_table([{"ms_a_step": 0.123456, "way": "cpu", "flops": None}])
    assert [column.header for column in table.columns] == ["ms a step", "way", "flops"]
    assert [list(column.cells) for column in table.columns] == [["0.123"], ["cpu"], [""]]
