"""The reference: it builds without a warning, and every public name says its shapes, its errors and its sources."""

import ast
import importlib.util
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pdoc.doc
import pytest

import jaxprop as jp
import jaxprop.costs
import jaxprop.testing

ROOT = Path(__file__).parents[1]
CONSTANTS = {"squared_error", "softmax_cross_entropy"}  # whose text stands below them, on the page of their module
PUBLIC = {name: jaxprop.costs if name in CONSTANTS else jp for name in jp.__all__}
PUBLIC |= {"assert_gradients_agree": jaxprop.testing}

# These take no arrays and give none, or take any at all, whatever their shapes.
WITHOUT_SHAPES = {
    *("BadInput", "Check", "Comparison", "Diagnosis", "NonFinite", "State", "count_parameters", "follow", "in_float64"),
    *("init_state", "load_mlp", "local", "make_mesh", "newest_checkpoint", "place", "probe_networks"),
    *("save_checkpoint", "save_params", "steps_per_epoch"),
}


@cache
def docstring(name: str) -> str:
    """As the reference has it."""
    member = pdoc.doc.Module(PUBLIC[name]).get(name)
    assert member is not None
    return member.docstring


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("reference")
    module.build(folder)
    return folder


def test_it_builds_without_a_warning_and_has_every_public_name(pages):
    texts = {module: (pages / f"{module.__name__.replace('.', '/')}.html").read_text() for module in PUBLIC.values()}
    assert [name for name, module in PUBLIC.items() if f'<section id="{name}">' not in texts[module]] == []
    assert "<strong>tolerance</strong>: " in texts[jaxprop.testing] + texts[jp], "arguments are no list"


# What each public name says


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_a_text_of_its_own(name):
    """A class without one would show that of its base, and a constant that of its type."""
    assert len(docstring(name).split()) >= 4


SHAPES = re.compile(
    r"""\b(Float|Int|UInt8|Bool|UInt32|Shaped|Num)\[[^\]]+,\s*'[^']*'\]  # as jaxtyping writes them in a signature
    | \((\.\.\.|\*?\w*[a-zA-Z]\w*),[^()=]*\)  # such as (T, width), (n,) or (..., channels)
    | \bshapes?\b | \baxis\b | \b[Nn]umber\ by\ number\b""",
    re.VERBOSE,
)


def signatures(thing: Any) -> Iterator[str]:
    """The types of all that goes in and out, and of the fields of a record."""
    if inspect.isclass(thing):
        yield from map(str, inspect.get_annotations(thing).values())
    elif callable(thing) and not isinstance(thing, tuple):
        yield from (str(parameter.annotation) for parameter in inspect.signature(thing).parameters.values())
        yield str(inspect.signature(thing).return_annotation)


def says_shapes(text: str, thing: Any) -> bool:
    return bool(SHAPES.search(text) or any(SHAPES.search(each) for each in signatures(thing)))


@pytest.mark.parametrize("name", PUBLIC)
def test_it_says_the_shapes_of_arrays(name):
    thing = getattr(PUBLIC[name], name)
    assert says_shapes(docstring(name), thing) != (name in WITHOUT_SHAPES)


# Errors


def calls_and_raises(function: types.FunctionType) -> tuple[set[str], bool]:
    """The plain names that a function calls, in what it defines inside too, and whether it raises anything itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except SyntaxError:  # a lambda in the middle of a line
        return set(), False
    nodes = list(ast.walk(tree))
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return calls, any(isinstance(node, ast.Raise) and node.exc is not None for node in nodes)


def can_raise(function: Callable, seen: set[Any] | None = None) -> bool:
    """Whether a function of the library raises an error of its own, or calls one of the library that does."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(function)
    if not isinstance(function, types.FunctionType) or function in seen or not _ours(function):
        return False
    seen.add(function)
    calls, raises = calls_and_raises(function)
    called = (function.__globals__.get(name) for name in calls)
    return raises or any(can_raise(each, seen) for each in called if callable(each) and not inspect.isclass(each))


def _ours(function: Callable) -> bool:
    return function.__module__.split(".")[0] == "jaxprop"


# What it calls could raise, but not with what it passes on.
NEVER_RAISING = {"probe_networks"}
RAISING = {name for name, module in PUBLIC.items() if can_raise(getattr(module, name))}


@pytest.mark.parametrize("name", sorted(RAISING - NEVER_RAISING))
def test_it_says_what_it_raises(name):
    assert re.search(r"\b[Rr]aises?\b|`BadInput`", docstring(name))


def test_who_raises_is_found_through_others_and_inside():
    assert {"mlp", "compare", "fit", "autodiff", "dense"} <= RAISING
    assert not {"relu", "Layer", "squared_error"} & RAISING


# Sources

FORMULA = re.compile(r"`[^`]* = [^`]*`|^ {4}.* = .*$", re.MULTILINE)
# A work with its year, or the chapter that derives it.
SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|\bDerived in `([^`]+)`")


@pytest.mark.parametrize("name", [name for name in PUBLIC if FORMULA.search(docstring(name))])
def test_a_formula_has_a_source(name):
    found = list(SOURCE.finditer(docstring(name)))
    assert found
    assert all((ROOT / match[2]).is_file() for match in found if match[2])


def test_formulas_are_found():
    assert {"Outer", "layer_norm", "rnn", "sigmoid", "Correlation", "attend"} <= {
        name for name in PUBLIC if FORMULA.search(docstring(name))
    }
