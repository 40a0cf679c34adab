"""Random networks whose right gradients are compared: none may be called wrong, and a wrong one would be."""

from functools import partial
from itertools import chain

import jax
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify import checking
from jaxprop.verify.comparison import compare_beyond_rounding
from jaxprop.verify.suite import random_point
from proof import false_alarms
from proof.false_alarms import Architecture, count_alarms, draw_architectures
from proof.ways import WAYS

SMALL: dict[Activation, tuple[int, ...]] = {
    "sigmoid": (5, 4, 3),
    "relu": (5, 4, 3),
    "tanh": (5, 1, 3),
    "identity": (3, 6, 6, 1),
}
COMPILED = [way for way in WAYS if not way.startswith("NumPy")]
NUMPY = tuple(way for way in WAYS if way.startswith("NumPy"))


@pytest.mark.parametrize("activation", SMALL)
@pytest.mark.parametrize("dtype", false_alarms.DTYPES)
def test_no_right_gradient_of_numpy_is_called_wrong(activation, dtype):
    row = count_alarms(Architecture(SMALL[activation], activation, NUMPY, dtype), draws=50, seed=0)
    assert (row["draws"], row["alarms"]) == (50 * len(NUMPY), 0), row
    assert row["worst"] < 1  # of what is tolerated


@pytest.mark.parametrize("way", COMPILED)
def test_no_right_gradient_of_jax_is_called_wrong(way):
    """Each way once in CI, in one precision and with one activation; in all of them on demand."""
    i = COMPILED.index(way)
    activation = false_alarms.ACTIVATIONS[i % 2]  # sigmoid or relu
    row = count_alarms(Architecture(SMALL[activation], activation, (way,), false_alarms.DTYPES[i // 2 % 2]), 25, seed=0)
    assert row["alarms"] == 0, row


@pytest.mark.slow
@pytest.mark.parametrize("architecture", draw_architectures(100, seed=1), ids=str)
def test_no_right_gradient_of_a_random_network_is_called_wrong(architecture):
    row = count_alarms(architecture, draws=10, seed=0)
    assert row["alarms"] == 0, row


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_no_right_gradient_of_a_wide_network_is_called_wrong_in_float32(way):
    sizes = (784, 1024, 1024, 10)
    network = jp.mlp(sizes)
    params, batch = jax.tree.map(np.float32, random_point(network, np.random.RandomState(0), 1000))
    assert jp.compare(jax.jit(jp.autodiff(network, jp.squared_error)), WAYS[way](sizes, "sigmoid"), params, batch).agree


def test_a_tolerance_below_rounding_raises_alarms(monkeypatch):
    strict = partial(compare_beyond_rounding, tolerance=1e-18, allowed=False)
    monkeypatch.setattr(checking, "compare_beyond_rounding", strict)
    row = count_alarms(Architecture((20, 9, 12), "tanh", ("NumPy",), dtype="float64"), draws=3, seed=0)
    assert row["alarms"] >= 2  # at some points both give the same bits
    assert row["worst"] > 1
    assert row["where"].startswith("NumPy, ")


def test_a_wrong_gradient_would_be_called_wrong(monkeypatch):
    half = jp.squared_error._replace(gradient=lambda a, y: a - y)
    monkeypatch.setattr(jp, "backprop", lambda network, cost, right=jp.backprop: right(network, half))
    architecture = Architecture((4, 3), "sigmoid", ("jaxprop.backprop",), "float64")
    assert count_alarms(architecture, draws=2, seed=0)["alarms"] == 2


def test_the_comparison_is_made_in_the_precision_of_the_architecture(monkeypatch):
    seen = []

    def noting(*arguments, **yardstick):
        comparison = compare_beyond_rounding(*arguments, **yardstick)
        seen.append(comparison.dtype)
        return comparison

    monkeypatch.setattr(checking, "compare_beyond_rounding", noting)
    for dtype in ("float64", "float32"):
        count_alarms(Architecture((3, 2), "sigmoid", ("NumPy",), dtype), draws=1, seed=0)
    assert seen == ["float64", "float32"]


def test_architectures_are_of_every_kind():
    drawn = draw_architectures(100, seed=0)
    assert {(a.activation, a.dtype) for a in drawn} == {
        (activation, dtype) for activation in false_alarms.ACTIVATIONS for dtype in ("float64", "float32")
    }
    assert {len(a.sizes) - 1 for a in drawn} == set(range(1, 9))
    assert set(chain.from_iterable(a.ways for a in drawn)) == WAYS.keys()
    widths = set(chain.from_iterable(a.sizes for a in drawn))
    assert min(widths) == 1
    assert 400 < max(widths) <= 512
    assert draw_architectures(100, seed=0) == drawn != draw_architectures(100, seed=1)
