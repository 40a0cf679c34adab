"""What a comparison leaves behind: a table for people, a dictionary for JSON."""

import json
import math

import jax.numpy as jnp
import pytest

from jaxprop.verify.comparison import compare
from jaxprop.verify.report import as_json

PARAMS = {"W": jnp.ones((2, 3)), "b": jnp.ones(2)}


def compare_with(grads):
    return compare(lambda *_: (1.0, PARAMS), lambda *_: (1.5, grads), PARAMS, None)


def test_the_record_survives_json():
    comparison = compare_with({"W": 2 * PARAMS["W"], "b": jnp.array([1, jnp.nan])})
    read = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert read == comparison.to_dict()
    assert (read["agree"], read["failures"], read["value_difference"]) == (False, ["value", "['b']", "['W']"], 0.5)
    W, b = read["leaves"]
    assert (W["path"], W["shape"], W["scaled_difference"], W["worst_index"]) == ("['W']", [2, 3], 1.0, [0, 0])
    assert (b["worst_candidate"], b["max_difference"]) == ("nan", None)


@pytest.mark.parametrize(("x", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_numbers_that_json_does_not_know_become_text_that_float_reads(x, text):
    assert as_json({"a": (x, [x])}) == {"a": [text, [text]]}
    assert str(float(text)) == text


def test_the_table_has_a_row_for_each_leaf_and_says_why_it_fails():
    lines = str(compare_with({"W": PARAMS["W"], "b": 2 * PARAMS["b"]})).splitlines()
    assert lines[0].startswith("They do NOT agree · float32 · ")
    (W,), (b,), (value,) = ([line for line in lines if name in line] for name in ("['W']", "['b']", "value"))
    assert "2 x 3" in W
    assert W.endswith("agrees")
    assert "differs by 1 of its scale, most at [0]: 2 for 1" in b
    assert "differs by 0.5 of its scale" in value


def test_the_table_of_an_agreement_says_so_first():
    comparison = compare(lambda *_: (1.0, PARAMS), lambda *_: (1.0, PARAMS), PARAMS, None)
    assert str(comparison).startswith("They agree · ")
    assert "NOT" not in str(comparison)


def test_in_a_notebook_a_table_is_text_too(monkeypatch):
    found = compare_with({"W": PARAMS["W"], "b": 2 * PARAMS["b"]})
    expected = str(found)
    assert "['b']" in expected
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert str(found) == expected
