"""The page's engine computes what jaxprop computes: every number of both passes, in float64, in a real browser."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.data.datasets import load_dataset
from jaxprop.data.drawings import frame
from jaxprop.layers import Params
from jaxprop.networks import Activation
from lab.desk_cases import Bounds, by_both, largest_difference, scales
from lab.desk_data import hash_of, in_a_row, numbers
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
    """Networks of several depths and of every activation: as drawn, with biases, and saturated."""
    rng = np.random.default_rng(0)
    kinds: tuple[Activation, ...] = get_args(Activation)
    with_pictures = [(SIZES, kind, 10) for kind in kinds[:2]]
    small = [(sizes, kind, 5) for sizes in ((5, 4, 3), (7, 6, 5, 4)) for kind in kinds]
    for sizes, activation, count in [*with_pictures, *small]:
        network = jp.mlp(sizes, activation)
        both = by_both(network)
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
    # `Bounds` says where the bound comes from.
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


# What the page makes of the two passes

ON_DIGITS = """({sizes, params, images, labels, ask}) => {
    const network = engine.mlp(sizes, "sigmoid");
    const own = embedded.unravel(network, embedded.floats(params));
    const examples = {images: Uint8Array.from(images), labels: Uint8Array.from(labels), count: labels.length};
    const batch = engine.as_batch(examples, [...examples.labels.keys()]);
    const flat = (params) => engine.arrays(params).flatMap((array) => Array.from(array));
    return eval(ask)({network, params: own, examples, batch, flat, x: batch.inputs[0], y: batch.targets[0]});
}"""


class Digits(NamedTuple):
    """An untrained network in float64 and 40 digits, here and on the page."""

    network: jp.Network
    params: Params
    examples: jp.Examples
    ask: Any  # `ask("({network, params, …}) => …")`: what the engine makes of them


@pytest.fixture(scope="module")
def digits(evaluate) -> Digits:
    network, train = jp.mlp(SIZES), load_dataset("digits").train
    examples = jp.Examples(train.images[:40], train.labels[:40])
    with jax.enable_x64(True):
        params = jax.tree.map(np.asarray, network.init(jax.random.key(3)))

    def ask(question: str) -> Any:
        given = {
            "sizes": SIZES,
            "params": numbers(in_a_row(params)),
            "images": np.ravel(examples.images).tolist(),
            "labels": np.asarray(examples.labels).tolist(),
        }
        return evaluate(ON_DIGITS, {**given, "ask": question})

    return Digits(network, params, examples, ask)


def close(found: Any, right: Any, bound: float = 1e-12) -> None:
    """Equal but for rounding: `Bounds` says how much of the largest number that is."""
    found, right = np.asarray(found), np.asarray(right)
    assert np.max(np.abs(found - right)) <= bound * np.max(np.abs(right)), (found, right)


def batch_of(digits: Digits) -> tuple[Any, Any]:
    return jp.as_batch(digits.examples.images, digits.examples.labels, dtype=jnp.float64)


def test_a_step_is_the_one_that_optax_takes(digits):
    found = digits.ask("""({network, params, batch, flat}) => {
        const before = flat(params).join();
        const {params: after, cost, grads, trouble} = engine.step(network, params, batch, 2);
        return {cost, grads: flat(grads), after: flat(after), trouble, pure: flat(params).join() === before};
    }""")
    with jax.enable_x64(True):
        cost, grads = jp.autodiff(digits.network, jp.squared_error)(digits.params, batch_of(digits))
        step = jp.make_step(jp.backprop(digits.network, jp.squared_error), optax.sgd(2.0))
        state, _ = step(jp.init_state(digits.params, optax.sgd(2.0)), batch_of(digits))
    assert found["trouble"] is None
    assert found["pure"]
    close(found["cost"], cost)
    close(found["grads"], in_a_row(grads))
    close(found["after"], in_a_row(state.params))


def test_evaluation_is_that_of_the_library(digits):
    found = digits.ask("({network, params, examples}) => engine.evaluate(network, params, examples)")
    with jax.enable_x64(True):
        scores = jp.make_evaluate(digits.network, jp.squared_error, jp.as_batch)(digits.params, digits.examples)
    answers, labels = np.argmax(scores.outputs, axis=1), np.asarray(digits.examples.labels)
    close(found["cost"], scores.cost)
    close(found["accuracy"], np.mean(answers == labels))
    assert list(found["answers"]) == answers.tolist()
    assert found["wrong"] == np.flatnonzero(answers != labels).tolist()
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, answers), 1)
    assert found["confusion"] == confusion.tolist()


def test_any_weight_has_its_derivative_and_its_difference(digits):
    """A difference of costs near 1 over steps of 1e-3 is rounded to 1e-13; the slopes are of the order of 0.01."""
    places = [(0, 3, 400), (1, 2, 7), (2, 9, 0), (1, 5, None)]
    found = digits.ask(
        """({network, params, x, y}) => {
        const trace = engine.trace(network, params, x, y);
        return PLACES.map(([layer, j, k]) => ({layer, j, k})).map((place) => ({
            derivative: engine.derivative(trace, place),
            measured: engine.finite_difference(network, params, x, y, place).slope,
            value: engine.weight(params, place),
            moved: engine.weight(engine.with_weight(params, place, 0.5), place),
            still: engine.weight(params, place),
        }));
    }""".replace("PLACES", json.dumps(places))
    )
    with jax.enable_x64(True):
        inputs, targets = batch_of(digits)
        _, grads = jp.autodiff(digits.network, jp.squared_error)(digits.params, (inputs[:1], targets[:1]))
    for each, (layer, j, k) in zip(found, places, strict=True):
        slope, value = (
            float(dense.b[j] if k is None else dense.W[j, k]) for dense in (grads[2 * layer], digits.params[2 * layer])
        )
        assert abs(each["derivative"] - slope) <= 1e-13
        assert abs(each["measured"] - slope) <= 1e-11
        assert (each["value"], each["moved"], each["still"]) == (value, 0.5, value)


def test_what_the_outputs_ask_for_adds_up(digits):
    apart = digits.ask("""({network, params, x, y}) => {
        const trace = engine.trace(network, params, x, y);
        return [2, 1, 0].map((layer) => {
            const right = layer ? trace.layers[layer - 1].da : trace.dx;
            const rows = engine.asks(trace, params, layer);
            const off = right.map((d, k) => Math.abs(d - rows.reduce((sum, row) => sum + row[k], 0)));
            return Math.max(...off) / Math.max(...right.map(Math.abs));
        });
    }""")
    assert max(apart) <= 1e-13


def test_muted_outputs_ask_for_nothing_and_all_solos_together_for_everything(digits):
    found = digits.ask("""({network, params, x, y}) => {
        const heard = (mask) => engine.trace(network, params, x, y, engine.masked(engine.squared_error, mask));
        const solos = [...y].map((_, j) => heard([...y].map((_, i) => i === j)));
        const whole = engine.trace(network, params, x, y);
        const add = (pick) => solos.reduce((sum, each) => sum + pick(each), 0);
        return {
            silence: Math.max(...heard([...y].map(() => false)).dx.map(Math.abs)),
            cost: [add((each) => each.cost), whole.cost],
            dx: [add((each) => each.dx[400]), whole.dx[400]],
            others: Math.max(...solos[3].layers[2].dz.filter((_, j) => j !== 3).map(Math.abs)),
        };
    }""")
    assert found["silence"] == 0
    assert found["others"] == 0
    close(*found["cost"])
    close(*found["dx"])


def test_each_of_three_ways_lowers_the_cost_as_predicted(digits):
    """What is left over the prediction grows with the square of the size: a hundredth of it for a tenth."""
    found = digits.ask("""({network, params, x, y}) =>
        [1e-2, 1e-3].map((size) => engine.three_ways(network, params, x, y, 4, size))""")
    for way in ("bias", "weights", "activations"):
        large, small = (each[way] for each in found)
        assert large["measured"] < 0
        assert abs(large["measured"] / large["predicted"] - 1) < 0.05
        left = [abs(each["measured"] - each["predicted"]) for each in (large, small)]
        assert 50 < left[0] / left[1] < 200


def test_training_that_has_ended_for_good_says_so(digits):
    sentences = digits.ask("""({network, params, batch}) => {
        const train = (rate) => {
            let own = params;
            for (let i = 0; i < 30; i++) {
                const {params: after, trouble} = engine.step(network, own, batch, rate);
                if (trouble) return trouble;
                own = after;
            }
            return null;
        };
        const broken = engine.with_weight(params, {layer: 2, j: 0, k: 0}, NaN);
        return [train(2), train(1e6), engine.step(network, broken, batch, 2).trouble,
                engine.step(network, params, batch, 1e308 * 10).trouble];
    }""")
    assert sentences[0] is None
    assert "exactly 0" in sentences[1]
    assert "saturated" in sentences[1]
    assert sentences[2].startswith("The cost is NaN")
    assert "no finite numbers" in sentences[3]


def test_a_seed_gives_the_same_start_and_the_same_order(digits):
    found = digits.ask("""({network, examples, flat}) => ({
        starts: [0, 0, 1].map((seed) => flat(engine.init(network, seed))),
        orders: [[0, 1], [0, 1], [0, 2], [1, 1]].map((seeds) => [...engine.epoch_order(...seeds, 1234, 100)]),
        twos: [...engine.only(examples, 2)],
    })""")
    starts, orders = np.array(found["starts"]), np.array(found["orders"])
    assert (starts[0] == starts[1]).all()
    assert (starts[0] != starts[2]).any()
    W1 = starts[0, : 784 * 16]
    standard_error = (2 * W1.size) ** -0.5
    assert abs(W1.std() * 28 - 1) < 5 * standard_error
    assert (starts[0, 784 * 16 : 784 * 16 + 16] == 0).all()
    assert orders.shape == (4, 1200)
    assert all(len(set(order)) == 1200 and order.min() >= 0 and order.max() < 1234 for order in orders)
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != orders[3]).any()
    assert found["twos"] == np.flatnonzero(np.asarray(digits.examples.labels) == 2).tolist()


def test_parameters_have_the_same_hash_on_both_sides(evaluate, digits):
    assert digits.ask("({params}) => receipt.hash(params)") == hash_of(digits.params)
    assert evaluate("() => receipt.sha256(new Uint8Array(0))").startswith("e3b0c44298fc1c14")
