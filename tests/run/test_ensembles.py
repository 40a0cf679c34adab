"""Networks trained together end as each would alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp

K = 3
NETWORK = jp.mlp((784, 5, 10))


def some_examples(n: int) -> jp.Examples:
    rng = np.random.default_rng(0)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


@pytest.mark.parametrize("optimizer", [optax.sgd(2.0), optax.adam(0.01)])
def test_networks_trained_together_end_as_each_would_alone(optimizer):
    """In float64 within 1e-12: 20 steps of roundings of 1e-16, which a curved cost may amplify a hundredfold."""
    with jax.enable_x64(True):
        examples, keys = some_examples(40), jax.random.split(jax.random.key(0), K)
        step = jp.make_step(jp.backprop(NETWORK, jp.squared_error), optimizer)
        order = np.concatenate([jp.epoch_order(key, 40, 10) for key in jax.random.split(jax.random.key(1), 5)])
        together = jax.jit(jp.make_ensemble_epoch(step, jp.as_batch))
        states, outcome = together(jp.init_ensemble(NETWORK, optimizer, keys), examples, order)
        assert outcome.costs.shape == (K, 20)
        assert outcome.finite.tolist() == [True] * K
        epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
        for i, key in enumerate(keys):
            alone, its_outcome = epoch(jp.init_state(NETWORK.init(key), optimizer), examples, order)
            np.testing.assert_allclose(outcome.costs[i], its_outcome.costs, rtol=1e-12)
            for one_of_all, by_itself in zip(jax.tree.leaves(states), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(one_of_all[i], by_itself, rtol=0, atol=1e-12)


def test_networks_of_different_keys_stay_different_and_fit_like_a_single_one():
    optimizer, examples = optax.sgd(1.0), some_examples(20)
    states = jp.init_ensemble(NETWORK, optimizer, jax.random.split(jax.random.key(0), K))
    step = jp.make_step(jp.backprop(NETWORK, jp.squared_error), optimizer)
    epoch = jax.jit(jp.make_ensemble_epoch(step, jp.as_batch))
    fitting = jp.fit(epoch, states, examples, key=jax.random.key(1), batch_size=10, epochs=3)
    costs = [metrics.costs for _, metrics in fitting]
    assert [x.shape for x in costs] == [(K, 2)] * 3
    assert all(len(np.unique(x[:, -1])) == K for x in costs)


def test_a_nan_in_one_network_is_its_own_and_stops_the_fit_of_all():
    """The flag says which; its neighbours go on as if nothing had happened."""
    network = jp.mlp((2, 1))
    optimizer = optax.sgd(1.0)
    data = (np.ones((2, 2), np.float32), np.ones((2, 1), np.float32))
    states = jp.init_ensemble(network, optimizer, jax.random.split(jax.random.key(0), K))
    spoiled = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), states)
    epoch = jax.jit(jp.make_ensemble_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer)))
    after, outcome = epoch(spoiled, data, np.array([[0, 1]]))
    assert outcome.finite.tolist() == [True, False, True]
    expected, _ = epoch(states, data, np.array([[0, 1]]))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[::2], b[::2]), after.params, expected.params)
    with pytest.raises(jp.NonFinite):
        next(jp.fit(epoch, spoiled, data, key=jax.random.key(0), batch_size=2, epochs=1))


def test_each_network_can_have_its_own_learning_rate():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    examples, rates = some_examples(20), np.array([0.1, 1.0, 3.0], np.float32)
    key = jax.random.key(0)
    states = jp.init_ensemble(NETWORK, optimizer, jnp.stack([key] * K), rates)
    order = jp.epoch_order(jax.random.key(1), 20, 10)
    gradient = jp.backprop(NETWORK, jp.squared_error)
    states, _ = jax.jit(jp.make_ensemble_epoch(jp.make_step(gradient, optimizer), jp.as_batch))(states, examples, order)
    for i, rate in enumerate(rates):
        sgd = optax.sgd(rate)
        epoch = jax.jit(jp.make_epoch(jp.make_step(gradient, sgd), jp.as_batch))
        alone, _ = epoch(jp.init_state(NETWORK.init(key), sgd), examples, order)
        for together, by_itself in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
            # Two steps of float32 sums of 784 products: a few roundings of 6e-8.
            np.testing.assert_allclose(together[i], by_itself, rtol=0, atol=1e-6)


def test_learning_rates_that_fit_nowhere_are_refused():
    keys = jax.random.split(jax.random.key(0), K)
    with pytest.raises(jp.BadInput, match="learning_rates go nowhere"):
        jp.init_ensemble(NETWORK, optax.sgd(1.0), keys, np.ones(K, np.float32))
    with pytest.raises(jp.BadInput, match=r"learning_rates have shape \(2,\): expected one for each of 3 keys"):
        jp.init_ensemble(NETWORK, optax.sgd(1.0), keys, np.ones(2, np.float32))
