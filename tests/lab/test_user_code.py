"""What people bring along in files of their own: found, run once, and named where it fails."""

import sys
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
        ("fails", r"raised RuntimeError at mine.py, line 22, which says: the cat sat on it$"),
        ("fails_without_a_word", r"raised ValueError at mine.py, line 25, which says: nothing$"),
        ("leaves", r"raised SystemExit at mine.py, line 28, which says: 0$"),
    ],
)
def test_whatever_a_function_raises_says_whose_it_is(mine, name, said):
    with pytest.raises(jp.BadInput, match=f"--loss .*mine.py:{name} {said}"):
        load_function("--loss", f"{mine}:{name}")()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("\ndef f(:", "raised SyntaxError at bad.py, line 2"),
        ("\n\n1 / 0", "raised ZeroDivisionError at bad.py, line 3"),
        ("exit()", "SystemExit"),
        ("import no_such_sibling", "raised ModuleNotFoundError at bad.py, line 1"),
    ],
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


# Files beside the user's


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_file_imports_the_files_beside_it_when_it_is_loaded_and_when_it_is_called(tmp_path):
    late = "def scale():\n    from my_late_helper import SCALE\n    return SCALE"
    write(tmp_path, main=f"from my_helper import SCALE\n{late}", my_helper="SCALE = 3", my_late_helper="SCALE = 5")
    before = list(sys.path)
    assert load_object("--loss", f"{tmp_path}/main.py:SCALE") == 3
    assert load_function("--loss", f"{tmp_path}/main.py:scale")() == 5
    assert sys.path == before


def test_two_users_may_have_files_of_one_name(tmp_path):
    one = write(tmp_path / "one", main="from my_namesake import SCALE", my_namesake="SCALE = 1")
    other = write(tmp_path / "other", main="from my_namesake import SCALE", my_namesake="SCALE = 2")
    assert [load_object("--loss", f"{folder}/main.py:SCALE") for folder in (one, other)] == [1, 2]


def test_an_error_in_a_file_beside_it_is_named_with_that_file(tmp_path):
    write(tmp_path, main="from my_broken import f", my_broken="def f():\n    raise KeyError('lost')")
    with pytest.raises(jp.BadInput, match=r"main.py:f raised KeyError at my_broken.py, line 2, which says: 'lost'"):
        load_function("--loss", f"{tmp_path}/main.py:f")()


def test_an_error_below_a_function_of_jax_is_named_with_the_users_line(tmp_path):
    write(tmp_path, main="import jax.numpy as jnp\n\ndef f():\n    return jnp.ones(2) @ jnp.ones(3)")
    with pytest.raises(jp.BadInput, match=r"main.py:f raised TypeError at main.py, line 4, which says: dot_general"):
        load_function("--loss", f"{tmp_path}/main.py:f")()


def test_whatever_is_raised_is_named_and_who_wants_an_end_gets_it(tmp_path):
    path = tmp_path / "raising.py"
    path.write_text(
        "class Mine(BaseException):\n    pass\n\ndef f():\n    raise Mine('enough')\n\n"
        "def g():\n    raise MemoryError\n\ndef h():\n    raise KeyboardInterrupt\n"
    )
    with pytest.raises(jp.BadInput, match=r"raised Mine at raising.py, line 5, which says: enough"):
        load_function("--loss", f"{path}:f")()
    with pytest.raises(jp.BadInput, match=r"raised MemoryError at raising.py, line 8"):
        load_function("--loss", f"{path}:g")()
    with pytest.raises(KeyboardInterrupt):
        load_function("--loss", f"{path}:h")()


def test_a_module_that_raises_when_it_is_asked_for_a_name_is_named(tmp_path):
    path = tmp_path / "asking.py"
    path.write_text("def __getattr__(name):\n    raise ZeroDivisionError('no names today')\n")
    with pytest.raises(jp.BadInput, match=r"--loss .*asking.py:f raised ZeroDivisionError.*no names today"):
        load_function("--loss", f"{path}:f")


def test_a_file_that_goes_to_another_folder_does_so_for_itself_alone(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.txt").write_text("7")
    monkeypatch.chdir(tmp_path)
    Path("moving.py").write_text(
        "import os\nfrom pathlib import Path\n\nos.chdir('data')\n\n"
        "def f():\n    return Path('numbers.txt').read_text()\n"
    )
    f = load_function("--loss", "moving.py:f")
    assert Path.cwd() == tmp_path
    assert f() == "7", "its own functions find what lies there"
    assert Path.cwd() == tmp_path
    assert load_function("--gradient", "moving.py:f")() == "7", "the same place is found again"
