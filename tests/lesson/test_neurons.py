"""A layer of neurons in one record: what it says is what JAX derives."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from lesson.neurons import wishes_of_neurons

# Float64, sums of up to five numbers around 1.
ROUNDING = 1e-14


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def example():
    """A network of three layers of neurons with its parameters, and one example."""
    network = jp.mlp((5, 4, 3, 2))
    params = network.init(jax.random.key(0))
    return network, params, jax.random.uniform(jax.random.key(1), (5,)), jnp.array([0.0, 1.0])


def test_there_is_one_record_for_each_layer_of_neurons_and_they_fit_together(example):
    network, params, x, y = example
    found = wishes_of_neurons(network, jp.squared_error)(params, x, y)
    assert [neurons.a.shape for neurons in found] == [(4,), (3,), (2,)]
    np.testing.assert_array_equal(found[0].a_prev, x)
    np.testing.assert_array_equal(found[-1].a, network.apply(params, x))
    np.testing.assert_allclose(found[-1].nudge_a, 2 * (y - found[-1].a), rtol=0, atol=ROUNDING)
    for before, after in pairwise(found):
        np.testing.assert_array_equal(after.a_prev, before.a)
        np.testing.assert_array_equal(after.nudge_a_prev, before.nudge_a)


def test_the_nudges_are_minus_the_derivatives_that_jax_finds(example):
    network, params, x, y = example
    found = wishes_of_neurons(network, jp.squared_error)(params, x, y)

    def cost_above(i, z):
        """Where the pre-activations of layer i are z."""
        outputs, _ = jp.chain(*network.layers[2 * i + 1 :]).forward(params[2 * i + 1 :], z)
        return jp.squared_error.value(outputs, y)

    for i, neurons in enumerate(found):
        W, b = params[2 * i]
        np.testing.assert_allclose(neurons.z, W @ neurons.a_prev + b, rtol=0, atol=ROUNDING)
        nudge_z = -jax.grad(cost_above, argnums=1)(i, neurons.z)
        np.testing.assert_allclose(neurons.nudge_z, nudge_z, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(neurons.nudge.b, nudge_z, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(jp.expand(neurons.nudge.W), np.outer(nudge_z, neurons.a_prev), rtol=0, atol=ROUNDING)


def test_each_neuron_asks_in_proportion_to_its_weights_and_the_requests_add_up(example):
    network, params, x, y = example
    for i, neurons in enumerate(wishes_of_neurons(network, jp.squared_error)(params, x, y)):
        np.testing.assert_allclose(neurons.requests, neurons.nudge_z[:, None] * params[2 * i].W, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(neurons.requests.sum(axis=0), neurons.nudge_a_prev, rtol=0, atol=ROUNDING)
