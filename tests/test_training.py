"""The step, and the epoch of many steps."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp

SIZES = (784, 6, 10)


def some_examples(n: int, seed: int = 0) -> jp.Examples:
    rng = np.random.default_rng(seed)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


def train(rule, optimizer, examples, epochs, batch_size=20, seed=0):
    """The state and the costs of every step after so many epochs, by that gradient."""
    network = jp.mlp(SIZES)
    start = jp.init_state(network.init(jax.random.key(seed)), optimizer)
    epoch = jax.jit(jp.make_epoch(jp.make_step(rule(network, jp.squared_error), optimizer), jp.as_batch))
    key = jax.random.key(seed + 1)
    states, metrics = zip(*jp.fit(epoch, start, examples, key=key, batch_size=batch_size, epochs=epochs), strict=True)
    return states[-1], np.concatenate([m.costs for m in metrics])


def test_a_step_of_sgd_goes_down_the_gradient_by_the_learning_rate():
    network = jp.mlp((2, 3, 1))
    params = network.init(jax.random.key(0))
    batch = (jnp.array([[0.2, 0.9]]), jnp.array([[1.0]]))
    value_and_grad = jp.backprop(network, jp.squared_error)
    optimizer = optax.sgd(0.5)
    state, cost = jp.make_step(value_and_grad, optimizer)(jp.init_state(params, optimizer), batch)
    expected_cost, grads = value_and_grad(params, batch)
    assert cost == expected_cost
    jax.tree.map(np.testing.assert_array_equal, state.params, jax.tree.map(lambda p, g: p - 0.5 * g, params, grads))


NETWORK, SGD = jp.mlp((2, 3, 1)), optax.sgd(0.5)
RULE = jp.backprop(NETWORK, jp.squared_error)


def call(make: Any, *arguments: Any) -> Any:
    """With arguments that are wrong on purpose, which no type checker needs to see."""
    return make(*arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: call(jp.make_step, SGD, RULE),
            r"optimizer is a function: expected make_step\(value_and_grad, optimizer\) wi",
        ),
        (lambda: call(jp.make_step, RULE, 0.5), r"optimizer is a float: .* such as optax\.sgd\(0\.5\)"),
        (lambda: call(jp.make_step, RULE, SimpleNamespace(init=len)), "optimizer is a SimpleNamespace: .* of optax"),
        (lambda: call(jp.make_step, RULE, SimpleNamespace(update=len)), "optimizer is a SimpleNamespace: .* of optax"),
        (lambda: call(jp.make_step, None, SGD), r"value_and_grad is a NoneType: expected a function \(params, batch\)"),
        (lambda: call(jp.init_state, SGD, ()), r"optimizer is a tuple: expected init_state\(params, optimizer\)"),
    ],
)
def test_arguments_that_are_swapped_or_of_another_kind_are_named(make, message):
    with pytest.raises(jp.BadInput, match=message):
        make()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda params, batch: RULE(params, batch)[1], r"value_and_grad returned a tuple: expected a pair"),
        (lambda params, batch: None, r"value_and_grad returned a NoneType: expected a pair \(cost, grads\)"),
        (
            lambda params, batch: RULE(params, batch)[::-1],
            r"value_and_grad returned gradients of shapes \(\): expected",
        ),
    ],
)
def test_a_gradient_that_is_no_pair_of_cost_and_gradients_is_named(rule, message):
    state = jp.init_state(NETWORK.init(jax.random.key(0)), SGD)
    with pytest.raises(jp.BadInput, match=message):
        jp.make_step(rule, SGD)(state, (jnp.ones((1, 2)), jnp.ones((1, 1))))


@pytest.mark.parametrize("optimizer", [optax.sgd(1.0), optax.sgd(0.1, momentum=0.9), optax.adam(0.01)])
@pytest.mark.parametrize("rule", [jp.backprop, jp.autodiff])
def test_training_with_any_optimizer_lowers_the_cost(rule, optimizer):
    _, costs = train(rule, optimizer, some_examples(40), epochs=30)
    assert costs[-2:].mean() < 0.8 * costs[:2].mean()


def test_both_gradients_take_the_same_100_steps_in_float64():
    """At most 1e-12 apart: rounding of 1e-16 a step, times 100 steps, times the 100 that a curved cost may amplify."""
    with jax.enable_x64(True):
        by_backprop, costs = train(jp.backprop, optax.sgd(3.0), some_examples(400), epochs=5)
        by_jax, jax_costs = train(jp.autodiff, optax.sgd(3.0), some_examples(400), epochs=5)
    assert len(costs) == 100
    np.testing.assert_allclose(costs, jax_costs, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(by_backprop.params), jax.tree.leaves(by_jax.params), strict=True):
        assert a.dtype == np.float64
        assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()


def test_the_same_keys_give_the_same_bits_and_others_do_not():
    first, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2)
    again, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2)
    other, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2, seed=5)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert not np.array_equal(first.params[0].W, other.params[0].W)


# The epoch

COUNT = jp.State(jnp.zeros(()), ())


def sums(state, batch):
    """A step that adds up its inputs, and counts."""
    return jp.State(state.params + 1, ()), jnp.sum(batch[0])


def test_an_epoch_takes_its_mini_batches_in_the_order_given():
    examples = some_examples(9)
    order = np.array([[8, 1], [0, 3], [3, 3]], np.int32)
    state, outcome = jp.make_epoch(sums, jp.as_batch)(COUNT, examples, order)
    expected = [examples.images[rows].sum() / 255 for rows in order]
    np.testing.assert_allclose(outcome.costs, expected, rtol=1e-5)  # float32 sums of 1,568 terms
    assert state.params == 3


def test_what_a_batch_is_belongs_to_the_caller():
    """Any number of arrays, of any shapes and types; `to_batch` is given the rows of a mini-batch, and nothing else."""
    seen = []

    def to_batch(a, b, c):
        seen.append([(x.shape, x.dtype.name) for x in (a, b, c)])
        return a * 2.0, (b, c)

    def step(state, batch):
        doubled, (b, c) = batch
        return state, jnp.sum(doubled) + jnp.sum(c) + b.shape[1]

    data = (np.arange(4, dtype=np.float32), np.zeros((4, 3, 1), np.uint8), np.arange(4, dtype=np.int32))
    _, outcome = jp.make_epoch(step, to_batch)(COUNT, data, np.array([[1, 3], [0, 2]]))
    np.testing.assert_array_equal(outcome.costs, [8 + 4 + 3, 4 + 2 + 3])
    assert seen == [[((2,), "float32"), ((2, 3, 1), "uint8"), ((2,), "int32")]] * len(seen)


def test_without_to_batch_the_data_are_inputs_and_targets_already():
    network, optimizer = jp.mlp((4, 3, 2)), optax.sgd(0.5)
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(6, 4)).astype(np.float32), rng.uniform(size=(6, 2)).astype(np.float32))
    step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
    start, order = jp.init_state(network.init(jax.random.key(0)), optimizer), np.array([[5, 0], [2, 4]])
    state, outcome = jax.jit(jp.make_epoch(step))(start, data, order)
    by_steps = start
    for rows, cost in zip(order, outcome.costs, strict=True):
        by_steps, expected = jax.jit(step)(by_steps, (data[0][rows], data[1][rows]))
        # Two programs, whose sums of a dozen terms may be ordered otherwise: a few ulps of float32.
        np.testing.assert_allclose(cost, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.params, by_steps.params)


@pytest.mark.parametrize(
    ("where", "number"), [(None, 0.0), *((w, n) for w in ("cost", "params", "opt_state") for n in (np.nan, -np.inf))]
)
def test_an_epoch_says_whether_its_costs_and_the_state_after_are_finite(where, number):
    """Planted in the second of three steps. Whole numbers are finite, and an infinity in a cost alone is enough."""

    def step(state, batch):
        count, total = state.opt_state
        planted = jnp.where(count == 1, number, 0.0)
        bad = {where: planted}
        after = jp.State(state.params + bad.get("params", 0.0), (count + 1, total + bad.get("opt_state", 0.0)))
        return after, bad.get("cost", jnp.zeros(()))

    start = jp.State(jnp.zeros(2), (jnp.zeros((), jnp.int32), jnp.zeros(())))
    _, outcome = jax.jit(jp.make_epoch(step))(start, (jnp.zeros((3, 1)), jnp.zeros((3, 1))), np.zeros((3, 1), int))
    assert outcome.finite.shape == ()
    assert bool(outcome.finite) == (where is None)
