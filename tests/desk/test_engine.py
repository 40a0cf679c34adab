"""The page's engine computes what jaxprop computes: every number of both passes, in float64, in a real browser."""

import base64
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.data.drawings import frame
from jaxprop.layers import Params
from lab.desk_cases import Bounds, by_autodiff, by_hand, largest_difference, scales
from lab.desk_data import in_a_row, numbers
from tests.desk.pages import MISTAKES, Evaluate, engine_page
from tests.handwriting import Sheet, ink, written

SIZES = (784, 16, 16, 10)


class Case(NamedTuple):
    """One example for one network, with what both gradients say and the scale of each array."""

    sizes: tuple[int, ...]
    activation: str
    params: Params
    x: Any
    y: Any
    hand: dict[str, Any]
    auto: dict[str, Any]
    scale: dict[str, float]


def drawn_digits() -> np.ndarray:
    rng = np.random.default_rng(1)
    sheets = (ink(written(digit, rng), Sheet(pen=20)) for digit in range(10))
    return np.stack([frame(np.rint(255 * sheet).astype(np.uint8)) for sheet in sheets]).reshape(10, 784) / 255


def inputs_of(sizes: tuple[int, ...], rng: np.random.Generator, count: int) -> np.ndarray:
    """Drawn digits and a blank pad for the network that takes pictures, otherwise any numbers from 0 to 1."""
    if sizes[0] != 784:
        return rng.uniform(0, 1, (count, sizes[0]))
    return np.concatenate([drawn_digits(), np.zeros((1, 784))])[rng.permutation(11)[:count]]


def make_cases() -> Iterator[Case]:
    """Networks of several depths and of every activation; as drawn, with biases, saturated, and with weights of 0."""
    rng = np.random.default_rng(0)
    with_pictures = [(SIZES, kind, 10) for kind in ("sigmoid", "relu")]
    small = [
        (sizes, kind, 5) for sizes in ((5, 4, 3), (7, 6, 5, 4)) for kind in ("sigmoid", "relu", "tanh", "identity")
    ]
    for sizes, activation, count in (*with_pictures, *small):
        network = jp.mlp(sizes, activation)
        both = jax.jit(lambda *point, n=network: (by_hand(n, *point), by_autodiff(n, *point)))
        start = network.init(jax.random.key(len(sizes)))
        noisy = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.5, leaf.shape), start)
        for factor, params in itertools.product((1, 30), (start, noisy)):
            params = jax.tree.map(lambda leaf, factor=factor: factor * leaf, params)
            for x in inputs_of(sizes, rng, count):
                y = np.eye(sizes[-1])[rng.integers(sizes[-1])]
                hand, auto = jax.tree.map(np.asarray, both(params, x, y))
                yield Case(sizes, activation, params, x, y, hand, auto, scales(network, params, x, y))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    with jax.enable_x64(True):
        return list(make_cases())


TRACE = """(cases) => cases.map(({sizes, activation, params, x, y}) => {
    const network = engine.mlp(sizes, activation);
    const own = embedded.unravel(network, embedded.floats(params));
    const found = strip.numbers(engine.trace(network, own, embedded.floats(x), embedded.floats(y)));
    const text = (array) => {
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        let characters = "";
        for (let i = 0; i < bytes.length; i += 4096) characters += String.fromCharCode(...bytes.subarray(i, i + 4096));
        return btoa(characters);
    };
    return Object.fromEntries(Object.entries(found).map(([name, array]) => [name, text(Float64Array.from(array))]));
})"""


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f8")


def traced(evaluate: Evaluate, cases: list[Case]) -> list[dict[str, np.ndarray]]:
    """What the engine computes for these."""
    given = [
        {
            "sizes": case.sizes,
            "activation": case.activation,
            **{"params": numbers(in_a_row(case.params)), "x": numbers(case.x), "y": numbers(case.y)},
        }
        for case in cases
    ]
    found = evaluate(TRACE, given)
    return [
        {name: floats(array).reshape(np.shape(case.hand[name])) for name, array in each.items()}
        for case, each in zip(cases, found, strict=True)
    ]


def furthest(evaluate: Evaluate, cases: list[Case]) -> tuple[float, str]:
    """The largest scaled difference of all numbers of all cases, from either gradient, and where it is."""
    found = traced(evaluate, cases)
    apart = []
    for case, each in zip(cases, found, strict=True):
        assert each.keys() == case.hand.keys() == case.auto.keys()
        apart += [largest_difference(each, reference, case.scale) for reference in (case.hand, case.auto)]
    return max(apart)


def test_every_number_is_that_of_jax(evaluate, cases):
    # `Bounds` says where the bound comes from. 6e-16 was measured.
    assert len(cases) >= 200
    apart, where = furthest(evaluate, cases)
    assert apart <= Bounds().autodiff, where


def test_the_cases_are_not_all_alike(cases):
    slopes = [float(np.min(case.hand["a1"] * (1 - case.hand["a1"]))) for case in cases if case.activation == "sigmoid"]
    assert min(slopes) < 1e-6  # saturated
    assert max(slopes) > 0.1
    assert any(not np.any(case.x) for case in cases)  # blank
    assert any(np.any(case.hand["a1"] == 0) for case in cases if case.activation == "relu")  # asleep


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(browser, cases, mistake):
    few = [case for case in cases if case.activation == "sigmoid"][::8]
    with engine_page(browser, MISTAKES[mistake]) as page:
        apart, _ = furthest(page.evaluate, few)
    assert apart > 1e6 * Bounds().autodiff
