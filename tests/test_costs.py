"""The one convention: a sum of squared differences, not half of it, averaged over the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss
from jaxprop.layers import identity
from jaxprop.networks import Network


def test_the_cost_of_one_example_is_the_sum_of_squared_differences_and_not_half_of_it():
    a, y = jnp.array([0.5, 1.0, 0.0]), jnp.array([0.0, 1.0, 2.0])
    assert squared_error.value(a, y) == 0.25 + 0 + 4
    np.testing.assert_array_equal(squared_error.gradient(a, y), [1, 0, -4])


def test_the_cost_of_the_network_is_the_average_over_the_examples():
    network = Network((identity(),), (2,))  # its outputs are its inputs
    batch = (jnp.array([[1.0, 0.0], [2.0, 2.0]]), jnp.zeros((2, 2)))
    params = network.init(jax.random.key(0))
    # One example costs 1, the other 4 + 4.
    assert loss(network, squared_error)(params, batch) == 4.5
    assert autodiff(network, squared_error)(params, batch)[0] == 4.5
    assert backprop(network, squared_error)(params, batch)[0] == 4.5


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 1)])
def test_the_gradient_is_that_of_the_value_whatever_the_shape_of_the_outputs(shape):
    numbers = jnp.array([0.3, -2.0, 5.0, 0.25])
    a, y = jnp.resize(numbers, shape), jnp.resize(numbers[::-1], shape)
    np.testing.assert_array_equal(squared_error.gradient(a, y), jax.grad(squared_error.value)(a, y))
    assert not squared_error.takes_labels


@pytest.mark.parametrize("function", [squared_error.value, squared_error.gradient])
@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (jnp.ones(1), r"an example's target has shape \(1,\) and its outputs \(3,\): .* a number for each output"),
        (jnp.ones((3, 1)), r"an example's target has shape \(3, 1\)"),
        (jnp.ones(()), r"an example's target has shape \(\)"),
        (jnp.ones(3, int), "targets are int32: the squared error expects floats"),
        (jnp.ones(3, bool), "targets are bool"),
        (jnp.ones(3, complex), "targets are complex64"),
    ],
)
def test_a_target_that_would_be_broadcast_or_is_no_float_is_refused(function, target, complaint):
    with pytest.raises(BadInput, match=complaint):
        function(jnp.ones(3), target)
    with pytest.raises(BadInput, match=complaint):
        jax.jit(function)(jnp.ones(3), target)
