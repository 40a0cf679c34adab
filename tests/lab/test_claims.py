"""The form of an experiment: when a claim holds, and what a run of it leaves."""

import json
import math
from typing import Any

import pytest
from matplotlib.figure import Figure

from lab.claims import Claim, Experiment, as_table, conduct
from lab.common import Options


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


def experiment(*claims):
    return Experiment(
        "toy",
        measure=lambda options: 7,
        claims=lambda found: claims,
        tables=lambda found: {"rows": [{"found": found}]},
        figures=lambda found: {"picture": Figure()},
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


def test_a_table_shows_three_digits_and_leaves_blank_what_is_missing():
    table = as_table([{"ms_a_step": 0.123456, "way": "cpu", "flops": None}])
    assert [column.header for column in table.columns] == ["ms a step", "way", "flops"]
    assert [list(column.cells) for column in table.columns] == [["0.123"], ["cpu"], [""]]
