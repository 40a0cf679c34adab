"""What people bring along in files of their own: found, run once, and named where it fails."""

from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxprop as jp
from lab.user_code import load_function, load_object

MINE = """
from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jaxprop as jp

@dataclasses.dataclass
class Settings:  # which looks its own module up
    width: int

class Params(NamedTuple):
    w: float

cost = jp.Cost(lambda a, y: a - y, lambda a, y: 1 + 0 * a)

def settings(width, *, twice=False):
    return Settings(2 * width if twice else width)

def fails(*_):
    raise RuntimeError("the cat sat on it\\nall day")

def fails_without_a_word():
    raise ValueError

def leaves():
    raise SystemExit(0)
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_function_is_found_and_takes_its_arguments(mine):
    settings = load_function("--settings", f"{mine}:settings")
    assert settings(3).width == 3
    assert settings(3, twice=True).width == 6


def test_an_object_need_not_be_a_function(mine):
    cost = load_object("--cost", f"{mine}:cost")
    assert isinstance(cost, jp.Cost)
    assert cost.value(jnp.array(5.0), jnp.array(3.0)) == 2


def test_a_file_is_run_once_so_that_its_classes_are_the_same_for_all_who_ask(mine):
    assert load_object("--loss", f"{mine}:Params") is load_object("--inputs", f"{mine}:Params")


def test_two_files_of_one_name_are_two_files(mine, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mine.py"
    other.write_text("cost = 7")
    assert load_object("--cost", f"{other}:cost") == 7
    assert load_object("--cost", f"{mine}:cost") != 7


@pytest.mark.parametrize("place", ["missing.py:f", "nowhere", ":f", "."])
def test_a_file_that_is_not_there_is_refused(place):
    with pytest.raises(jp.BadInput, match=r"--loss is '.*': expected FILE.py:name with a file that exists"):
        load_object("--loss", place)


@pytest.mark.parametrize("name", ["absent", ""])
def test_a_name_that_is_not_there_is_refused(mine, name):
    with pytest.raises(jp.BadInput, match=f"has nothing of the name '{name}'"):
        load_object("--loss", f"{mine}:{name}")


def test_an_object_is_no_function(mine):
    with pytest.raises(jp.BadInput, match="expected a function, and that is a Cost"):
        load_function("--loss", f"{mine}:cost")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "raised RuntimeError, which says: the cat sat on it$"),
        ("fails_without_a_word", "raised ValueError, which says: nothing$"),
        ("leaves", "raised SystemExit, which says: 0$"),
    ],
)
def test_whatever_a_function_raises_says_whose_it_is(mine, name, said):
    with pytest.raises(jp.BadInput, match=f"--loss .*mine.py:{name} {said}"):
        load_function("--loss", f"{mine}:{name}")()


@pytest.mark.parametrize(
    ("code", "said"),
    [("def f(:", "raised SyntaxError"), ("1 / 0", "raised ZeroDivisionError"), ("exit()", "SystemExit")],
)
def test_a_file_that_cannot_be_run_is_refused_every_time(tmp_path, code, said):
    (tmp_path / "bad.py").write_text(code)
    for _ in range(2):
        with pytest.raises(jp.BadInput, match=said):
            load_function("--loss", f"{tmp_path}/bad.py:f")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("f = 1")
    with pytest.raises(jp.BadInput, match="expected a file of Python"):
        load_object("--loss", f"{tmp_path}/notes.txt:f")
