"""The command that mutates the library, on a small library of one module with tests of its own."""

import csv
import json
from pathlib import Path

import pytest

from lab.common import run
from proof import mutate_library
from proof.library_mutants import Mutant, sites
from proof.mutate_library import MutateOptions, Runner, ask, asked_about, broken_tests, known_survivors, main

SOURCE = """\
def clip(x):
    while x > 9:
        x -= 1
    return x
"""
TESTS = """\
from jaxprop.thing import clip


def test_nothing_is_above_nine():
    assert clip(11) == clip(9) == 9
"""
BOUNDARY = ("while x > 9:", "while x >= 9:")  # makes clip(9) 8: killed
UP = ("x -= 1", "x += 1")  # never ends
TWICE = ("x -= 1", "x -= 2")  # 11 -> 9: survives


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "tree"
    for file, text in {
        "jaxprop/__init__.py": "",
        "jaxprop/thing.py": SOURCE,
        "tests/test_thing.py": TESTS,
        "tests/test_borders.py": "def test_nothing(): ...",
        "experiments/.keep": "",
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib")
    monkeypatch.setattr(mutate_library, "ROOT", root)
    return root


def mutant(change: tuple[str, str]) -> Mutant:
    found = [one for one in sites(SOURCE, "jaxprop/thing.py") if one.before_and_after(SOURCE) == change]
    assert found, change
    return found[0]


def test_a_mutant_that_a_test_notices_is_killed_and_one_that_none_notices_survives(root):
    killed = ask(mutant(BOUNDARY), root, Runner(60), [])
    assert (killed["verdict"], killed["by"]) == ("killed", "tests/test_thing.py::test_nothing_is_above_nine")
    assert (killed["line"], killed["before"], killed["after"], killed["room"]) == (2, *BOUNDARY, "heart")
    assert ask(mutant(TWICE), root, Runner(60), [])["verdict"] == "survived"
    assert (root / "jaxprop/thing.py").read_text() == SOURCE, "only copies are changed"


def test_a_mutant_that_never_ends_is_killed_by_the_limit(root):
    found = ask(mutant(UP), root, Runner(3), [])
    assert (found["verdict"], found["by"]) == ("killed", "the time limit")


def test_a_test_that_fails_anyway_kills_nothing(root):
    (root / "tests/test_thing.py").write_text(f"{TESTS}\n\ndef test_broken():\n    assert False\n")
    name = "tests/test_thing.py::test_broken"
    killers = [name, "tests/test_thing.py::test_nothing_is_above_nine", "the time limit", "exit code 4"]
    assert broken_tests(root, Runner(60), killers) == [name]
    assert ask(mutant(TWICE), root, Runner(60), [name])["verdict"] == "survived"


def test_a_run_tells_its_score_and_goes_on_with_what_has_survived(root, tmp_path, monkeypatch, capsys):
    known = tmp_path / "known.csv"
    known.write_text("file,before,after,verdict,why\n")
    monkeypatch.setattr(mutate_library, "KNOWN", known)
    monkeypatch.setattr(mutate_library, "draw", lambda *_: [mutant(BOUNDARY), mutant(TWICE)])
    monkeypatch.setattr(mutate_library, "check_that_tests_run", lambda *_: None)
    monkeypatch.setattr(mutate_library, "broken_tests", lambda *_: [])
    asked = []

    def answer(one, *_):
        asked.append(one)
        before, after = one.before_and_after(SOURCE)
        about = {"room": "heart", "before": before, "after": after, "by": "", "seconds": 0.0}
        return {**one._asdict(), **about, "verdict": "killed" if one == mutant(BOUNDARY) else "survived"}

    monkeypatch.setattr(mutate_library, "ask", answer)

    assert run(main, MutateOptions, ["--out", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "mutate_library").iterdir()
    assert set(asked) == {mutant(BOUNDARY), mutant(TWICE)}
    results = json.loads((folder / "results.json").read_text())
    assert results["score"]["all"] == {"mutants": 2, "killed": 1, "equal": 0, "left": 0, "survived": 1, "score": 0.5}
    (row,) = csv.DictReader((folder / "survivors.csv").read_text().splitlines())
    assert (row["file"], row["line"], row["before"], row["after"], row["why"]) == ("jaxprop/thing.py", "3", *TWICE, "")

    asked.clear()
    known.write_text(f"{known.read_text()}jaxprop/thing.py,{','.join(TWICE)},equal,odd numbers only\n")
    assert run(main, MutateOptions, ["--go-on", str(folder)]) == 0
    assert asked == [mutant(TWICE)]
    assert json.loads((folder / "results.json").read_text())["score"]["all"]["score"] == 1
    assert "odd numbers only" in (folder / "survivors.csv").read_text()

    (root / "jaxprop/thing.py").write_text(SOURCE + "\n")
    assert run(main, MutateOptions, ["--go-on", str(folder)]) == 2
    assert "begin a new run" in capsys.readouterr().err


def test_tests_that_cannot_run_at_all_are_said_and_kill_nothing(root, tmp_path, capsys):
    (root / "tests/conftest.py").write_text("import nothing_of_that_name")
    assert run(main, MutateOptions, ["--count", "1", "--out", str(tmp_path)]) == 2
    assert "do not run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--only", "jaxprop/cellar.py"], "expected a module such as jaxprop/thing.py"),
        (["--count", "0"], "--count is 0"),
        (["--go-on", "nowhere"], "name a run folder"),
    ],
)
def test_bad_options_are_said_in_a_sentence(root, options, complaint, tmp_path, capsys):
    assert run(main, MutateOptions, ["--out", str(tmp_path), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "mutate_library").exists()


def test_the_mirror_of_a_module_is_asked_first_and_then_its_users():
    here = Path(mutate_library.__file__).parents[2]
    first, *others = asked_about(here, "jaxprop/run/fitting.py")
    assert first == "tests/run/test_fitting.py"
    assert "tests/test_train_numbers.py" in others
    assert asked_about(here, "jaxprop/costs.py")[0] == "tests/test_costs.py"


def test_every_known_survivor_is_of_a_line_that_is_there_and_says_why():
    """Where the line has gone, the row can go too."""
    here = Path(mutate_library.__file__).parents[2]
    for (file, before, after), row in known_survivors(mutate_library.KNOWN).items():
        source = (here / file).read_text()
        assert (before, after) in {one.before_and_after(source) for one in sites(source, file)}, (file, before)
        assert row["verdict"] in ("equal", "left")
        assert row["why"].strip()
