"""Random networks whose right gradients are compared: none may be called wrong, and a wrong one would be."""

from functools import partial
from itertools import chain

import pytest

import jaxprop as jp
from jaxprop.verify.comparison import compare
from proof import false_alarms
from proof.false_alarms import Architecture, count_alarms, draw_architectures

ARCHITECTURES = draw_architectures(5, seed=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_no_right_gradient_is_called_wrong(architecture):
    row = count_alarms(architecture, draws=20, seed=0)
    assert (row["draws"], row["alarms"]) == (20, 0)
    assert row["worst"] < 1  # of what is tolerated


def test_a_tolerance_below_rounding_raises_alarms(monkeypatch):
    monkeypatch.setattr(false_alarms, "compare", partial(compare, tolerance=1e-18))
    row = count_alarms(Architecture((20, 9, 12), "tanh", batch=7, dtype="float64"), draws=3, seed=0)
    assert row["alarms"] == 3
    assert row["worst"] > 1


def test_a_wrong_gradient_would_be_called_wrong(monkeypatch):
    half = jp.squared_error._replace(gradient=lambda a, y: a - y)
    monkeypatch.setattr(jp, "backprop", lambda network, cost, right=jp.backprop: right(network, half))
    assert count_alarms(ARCHITECTURES[0], draws=2, seed=0)["alarms"] == 2


def test_the_comparison_is_made_in_the_precision_of_the_architecture(monkeypatch):
    seen = []

    def noting(reference, candidate, params, batch):
        comparison = compare(reference, candidate, params, batch)
        seen.append(comparison.dtype)
        return comparison

    monkeypatch.setattr(false_alarms, "compare", noting)
    for dtype in ("float64", "float32"):
        count_alarms(Architecture((3, 2), "sigmoid", batch=2, dtype=dtype), draws=1, seed=0)
    assert seen == ["float64", "float32"]


def test_architectures_are_of_every_kind():
    drawn = draw_architectures(50, seed=0)
    assert {(a.activation, a.dtype) for a in drawn} == {
        (activation, dtype) for activation in false_alarms.ACTIVATIONS for dtype in ("float64", "float32")
    }
    assert {len(a.sizes) - 1 for a in drawn} == {1, 2, 3, 4, 5}
    widths, batches = set(chain.from_iterable(a.sizes for a in drawn)), {a.batch for a in drawn}
    assert 2 <= min(widths) < 5 < 50 < max(widths) <= 64
    assert 1 <= min(batches) < 5 < 50 < max(batches) <= 64
    assert draw_architectures(50, seed=0) == drawn != draw_architectures(50, seed=1)
