"""The experiments together: they cover the lesson, a wrong gradient makes them fail, and the seed says all.

Each script's own tests run it with --smoke, once, by the fixture `smoke`, which reads `results.json`.
"""

import importlib
import json
from pathlib import Path

import pytest

from lab.common import Options, run
from lab.statements import STATEMENTS
from lesson.scripts import SCRIPTS


@pytest.fixture(scope="module")
def scripts():
    return {name: importlib.import_module(f"lesson.{name}") for name in SCRIPTS}


def test_the_scripts_make_claims_about_every_statement_of_the_lesson(scripts, statements_of):
    """By their docstrings; `smoke` sees that the claims are about just what the docstring names."""
    assert list(STATEMENTS) == [f"L{i}" for i in range(1, 21)]
    assert set.union(*map(statements_of, scripts.values())) == set(STATEMENTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_begins_with_its_statements_and_says_how_to_run_it(scripts, name):
    docstring = scripts[name].__doc__
    first, _, _ = docstring.partition("\n")
    assert first.startswith("L")
    assert first.endswith(".")
    assert docstring.endswith(f"\n    uv run experiments/lesson/{name}.py\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_to_look_at_in_every_picture_that_the_page_shows(scripts, name):
    look_at = scripts[name].EXPERIMENT.look_at
    assert set(SCRIPTS[name]) <= set(look_at)
    assert all(text.endswith(".") for text in look_at.values())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_tests_of_its_own_which_read_the_results_of_a_smoke_run(name):
    tests = (Path(__file__).parent / f"test_{name}.py").read_text()
    assert f"\nfrom lesson import {name} as script\n" in tests
    assert "\ndef test_a_smoke_run_keeps_every_claim" in tests
    assert "\ndef test_each_claim_comes_out_false" in tests


def smoke_run(name, out):
    """The exit code, and all files that the run left but pictures, by their names."""
    code = run(importlib.import_module(f"lesson.{name}").main, Options, ["--smoke", "--no-figures", "--out", str(out)])
    newest = max((out / name).iterdir())
    return code, {path.name: path.read_text() for path in newest.iterdir()}


# The statements about which a script has a false claim then.
WITHOUT_SLOPE = {
    "averaging": {"L15"},
    "steepest_way_down": {"L4"},
    "sensitivity": {"L5"},
    "one_example": {"L8", "L12", "L13"},
    "mini_batches": {"L16", "L17"},
}


@pytest.mark.parametrize(
    "name", [name if name == "one_example" else pytest.param(name, marks=pytest.mark.slow) for name in WITHOUT_SLOPE]
)
def test_a_slope_that_a_person_forgot_makes_a_script_exit_with_1(name, tmp_path, slope_forgotten):
    code, files = smoke_run(name, tmp_path)
    assert code == 1
    claims = json.loads(files["results.json"])["claims"]
    assert {claim["statement"] for claim in claims if not claim["holds"]} == WITHOUT_SLOPE[name]


@pytest.mark.parametrize("name", ["one_example", "hebbian_limits"])
def test_the_same_seed_leaves_the_same_results_to_the_bit(name, tmp_path):
    """Claims and tables, of scripts that tabulate no seconds. The last one trains a network."""
    code, first = smoke_run(name, tmp_path)
    assert code == 0
    assert len(first) > 1
    assert smoke_run(name, tmp_path) == (code, first)
