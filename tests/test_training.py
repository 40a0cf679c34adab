import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxprop as jp

SIZES = (784, 6, 10)


def some_examples(n: int, seed: int = 0) -> jp.Examples:
    rng = np.random.default_rng(seed)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


def train(hand, optimizer, examples, epochs, batch_size=20, seed=0):
    """The state and the costs of every step after so many epochs of `hand`."""
    network = jp.mlp(SIZES)
    start = jp.init_state(network.init(jax.random.key(seed)), optimizer)
    epoch = jax.jit(jp.make_epoch(jp.make_step(hand(network, jp.squared_error), optimizer)))
    key = jax.random.key(seed + 1)
    states, metrics = zip(*jp.fit(epoch, start, examples, key=key, batch_size=batch_size, epochs=epochs), strict=True)
    return states[-1], np.concatenate([m.costs for m in metrics])


def test_a_step_of_sgd_goes_down_the_gradient_by_the_learning_rate():
    network = jp.mlp((2, 3, 1))
    params = network.init(jax.random.key(0))
    batch = (jnp.array([[0.2, 0.9]]), jnp.array([[1.0]]))
    hand = jp.backprop(network, jp.squared_error)
    optimizer = optax.sgd(0.5)
    state, cost = jp.make_step(hand, optimizer)(jp.init_state(params, optimizer), batch)
    expected_cost, grads = hand(params, batch)
    assert cost == expected_cost
    jax.tree.map(np.testing.assert_array_equal, state.params, jax.tree.map(lambda p, g: p - 0.5 * g, params, grads))


@pytest.mark.parametrize("optimizer", [optax.sgd(1.0), optax.sgd(0.1, momentum=0.9), optax.adam(0.01)])
@pytest.mark.parametrize("hand", [jp.backprop, jp.autodiff])
def test_training_with_any_optimizer_lowers_the_cost(hand, optimizer):
    _, costs = train(hand, optimizer, some_examples(40), epochs=30)
    assert costs[-2:].mean() < 0.8 * costs[:2].mean()


def test_both_hands_walk_the_same_100_steps_in_float64():
    """At most 1e-12 apart: rounding of 1e-16 a step, times 100 steps, times the 100 that a curved cost may amplify."""
    with jax.enable_x64(True):
        by_hand, hand_costs = train(jp.backprop, optax.sgd(3.0), some_examples(400), epochs=5)
        by_jax, jax_costs = train(jp.autodiff, optax.sgd(3.0), some_examples(400), epochs=5)
    assert len(hand_costs) == 100
    np.testing.assert_allclose(hand_costs, jax_costs, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(by_hand.params), jax.tree.leaves(by_jax.params), strict=True):
        assert a.dtype == np.float64
        assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()


def test_the_same_keys_give_the_same_bits_and_others_do_not():
    first, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2)
    again, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2)
    other, _ = train(jp.backprop, optax.sgd(1.0), some_examples(50), epochs=2, seed=5)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert not np.array_equal(first.params[0].W, other.params[0].W)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), data=st.data())
def test_an_order_visits_every_example_at_most_once_and_leaves_out_less_than_a_batch(n, data):
    batch_size = data.draw(st.integers(1, n))
    order = jp.epoch_order(jax.random.key(n), n, batch_size)
    assert order.shape == (n // batch_size, batch_size)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < n


def test_the_remainder_that_is_left_out_is_another_one_each_epoch():
    left_out = [set(range(10)) - set(jp.epoch_order(jax.random.key(i), 10, 4).flat) for i in range(20)]
    assert all(len(rest) == 2 for rest in left_out)
    assert set().union(*left_out) == set(range(10))


@pytest.mark.parametrize("batch_size", [0, -1, 11, 2.5, True])
def test_a_batch_that_is_empty_or_not_whole_or_larger_than_the_training_set_is_refused(batch_size):
    with pytest.raises(jp.BadInput, match=f"batch_size is {batch_size}: expected a whole number, 1 to 10"):
        jp.epoch_order(jax.random.key(0), 10, batch_size)


def test_an_epoch_takes_its_mini_batches_in_the_order_given():
    examples = some_examples(9)

    def step(state, batch):
        return state, jnp.sum(batch[0])

    epoch = jp.make_epoch(step)
    order = np.array([[8, 1], [0, 3]], np.int32)
    _, sums = epoch(jp.State(jnp.zeros(1), ()), examples, order)
    expected = [examples.images[rows].sum() / 255 for rows in order]
    np.testing.assert_allclose(sums, expected, rtol=1e-5)  # float32 sums of 1,568 terms
