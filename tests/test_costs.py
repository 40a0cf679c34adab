"""The one convention: a sum of squared differences, not half of it, averaged over the examples."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.autodiff import autodiff, loss
from jaxprop.backprop import backprop
from jaxprop.costs import squared_error
from jaxprop.layers import chain, identity
from jaxprop.networks import Network


def test_the_cost_of_one_example_is_the_sum_of_squared_differences_and_not_half_of_it():
    a, y = jnp.array([0.5, 1.0, 0.0]), jnp.array([0.0, 1.0, 2.0])
    assert squared_error.value(a, y) == 0.25 + 0 + 4
    np.testing.assert_array_equal(squared_error.gradient(a, y), [1, 0, -4])


def test_the_cost_of_the_network_is_the_average_over_the_examples():
    network = Network(chain(identity()), (2,))  # its outputs are its inputs
    batch = (jnp.array([[1.0, 0.0], [2.0, 2.0]]), jnp.zeros((2, 2)))
    params = network.init(jax.random.key(0))
    # One example costs 1, the other 4 + 4.
    assert loss(network, squared_error)(params, batch) == 4.5
    assert autodiff(network, squared_error)(params, batch)[0] == 4.5
    assert backprop(network, squared_error)(params, batch)[0] == 4.5


def test_the_gradient_is_that_of_the_value():
    a, y = jnp.array([0.3, -2.0, 5.0]), jnp.array([1.0, 0.0, 5.0])
    np.testing.assert_array_equal(squared_error.gradient(a, y), jax.grad(squared_error.value)(a, y))
