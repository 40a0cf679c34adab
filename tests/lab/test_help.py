"""The help of every script begins with the script's own text."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import lab
from lab.common import run

EXPERIMENTS = Path(lab.__file__).parents[1]
CALL = re.compile(r"\brun\(main, (\w+)")
SCRIPTS = {
    ".".join(path.relative_to(EXPERIMENTS).with_suffix("").parts): match[1]
    for path in sorted(EXPERIMENTS.rglob("*.py"))
    if (match := CALL.search(path.read_text()))
}


def test_the_scripts_are_found():
    assert {"train", "predict", "lesson.gallery", "lesson.hebbian", "proof.planted_bugs"} <= SCRIPTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_begins_with_what_the_script_does(name, capsys, monkeypatch):
    script = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    with pytest.raises(SystemExit) as stop:
        run(script.main, getattr(script, SCRIPTS[name]), ["--help"])
    assert stop.value.code == 0
    usage, text, *_ = re.split(r"\n\n+", capsys.readouterr().out)
    assert usage.startswith("usage: ")
    assert " ".join((script.__doc__ or "").split()).startswith(" ".join(text.split()))


@pytest.mark.parametrize("columns", [70, 100])
def test_the_text_of_the_help_fits_the_terminal(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    script = importlib.import_module("lesson.mini_batches")
    with pytest.raises(SystemExit):
        run(script.main, getattr(script, SCRIPTS["lesson.mini_batches"]), ["--help"])
    _, _, text = capsys.readouterr().out.partition("╭")[0].partition("\n")  # without the usage
    assert columns - 15 < max(map(len, text.splitlines())) <= columns
    assert "\n    |error| / |g| = sqrt(" in text
