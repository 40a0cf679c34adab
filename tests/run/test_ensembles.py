import jax
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch

K = 3


def some_examples(n: int) -> jp.Examples:
    rng = np.random.default_rng(0)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


@pytest.mark.parametrize("optimizer", [optax.sgd(2.0), optax.adam(0.01)])
def test_networks_trained_together_end_as_each_would_alone(optimizer):
    """In float64 within 1e-12: 20 steps of roundings of 1e-16, which a curved cost may amplify a hundredfold."""
    with jax.enable_x64(True):
        network, examples, keys = jp.mlp((784, 5, 10)), some_examples(40), jax.random.split(jax.random.key(0), K)
        step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
        order = np.concatenate([jp.epoch_order(key, 40, 10) for key in jax.random.split(jax.random.key(1), 5)])
        states, costs = jax.jit(make_ensemble_epoch(step))(init_ensemble(network, optimizer, keys), examples, order)
        assert costs.shape == (K, 20)
        epoch = jax.jit(jp.make_epoch(step))
        for i, key in enumerate(keys):
            alone, its_costs = epoch(jp.init_state(network.init(key), optimizer), examples, order)
            np.testing.assert_allclose(costs[i], its_costs, rtol=1e-12)
            for together, by_itself in zip(jax.tree.leaves(states), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(together[i], by_itself, rtol=0, atol=1e-12)


def test_networks_of_different_keys_stay_different():
    optimizer = optax.sgd(1.0)
    network, examples = jp.mlp((784, 5, 10)), some_examples(20)
    states = init_ensemble(network, optimizer, jax.random.split(jax.random.key(0), K))
    epoch = make_ensemble_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer))
    states, costs = epoch(states, examples, jp.epoch_order(jax.random.key(1), 20, 10))
    assert len(np.unique(costs[:, -1])) == K


def test_an_ensemble_fits_like_a_single_network():
    optimizer = optax.sgd(1.0)
    network, examples = jp.mlp((784, 5, 10)), some_examples(20)
    states = init_ensemble(network, optimizer, jax.random.split(jax.random.key(0), K))
    epoch = jax.jit(make_ensemble_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer)))
    fitting = jp.fit(epoch, states, examples, key=jax.random.key(1), batch_size=10, epochs=3)
    assert [metrics.costs.shape for _, metrics in fitting] == [(K, 2)] * 3


def test_each_network_can_have_its_own_learning_rate():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    network, examples, rates = jp.mlp((784, 5, 10)), some_examples(20), np.array([0.1, 1.0, 3.0], np.float32)
    key = jax.random.key(0)
    states = init_ensemble(network, optimizer, jax.numpy.stack([key] * K), rates)
    order = jp.epoch_order(jax.random.key(1), 20, 10)
    gradient = jp.backprop(network, jp.squared_error)
    states, _ = make_ensemble_epoch(jp.make_step(gradient, optimizer))(states, examples, order)
    for i, rate in enumerate(rates):
        sgd = optax.sgd(rate)
        alone, _ = jp.make_epoch(jp.make_step(gradient, sgd))(jp.init_state(network.init(key), sgd), examples, order)
        for together, by_itself in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
            # Two steps of float32 sums of 784 products: a few roundings of 6e-8.
            np.testing.assert_allclose(together[i], by_itself, rtol=0, atol=1e-6)


def test_learning_rates_that_fit_nowhere_are_refused():
    network, keys = jp.mlp((784, 5, 10)), jax.random.split(jax.random.key(0), K)
    with pytest.raises(jp.BadInput, match="learning_rates go nowhere"):
        init_ensemble(network, optax.sgd(1.0), keys, np.ones(K, np.float32))
    with pytest.raises(jp.BadInput, match=r"learning_rates have shape \(2,\): expected one for each of 3 keys"):
        init_ensemble(network, optax.sgd(1.0), keys, np.ones(2, np.float32))
