"""JAX's own hand, and the points where it and the mathematics part ways."""

import jax
import jax.numpy as jnp
import pytest

from jaxprop.gradients import autodiff, loss
from jaxprop.gradients import backprop
from jaxprop.costs import squared_error
from jaxprop.layers.core import Dense
from jaxprop.networks import mlp


def test_the_value_beside_the_gradient_is_the_loss():
    network = mlp((4, 3, 2))
    params, batch = network.init(jax.random.key(0)), (jnp.ones((5, 4)), jnp.zeros((5, 2)))
    value, grads = jax.jit(autodiff(network, squared_error))(params, batch)
    # One ulp apart is fair: each program is compiled, and its sums ordered, by itself.
    assert float(value) == pytest.approx(float(jax.jit(loss(network, squared_error))(params, batch)), rel=1e-6)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)


def test_at_a_kink_the_chain_rule_can_miss_the_derivative_of_a_smooth_function():
    # relu(x) - relu(-x) is x, whose derivative is 1 everywhere. At 0 autodiff adds two slopes, both 0 by convention.
    def same_as_x(x):
        return jax.nn.relu(x) - jax.nn.relu(-x)

    assert jax.grad(same_as_x)(1.0) == jax.grad(same_as_x)(-1.0) == 1
    assert jax.grad(same_as_x)(0.0) == 0
    h = 0.125
    assert (same_as_x(h) - same_as_x(-h)) / (2 * h) == 1


def test_a_maximum_with_0_has_slope_one_half_at_0_where_relu_has_0():
    # Both are max(x, 0). `jnp.maximum` shares the slope between its two arguments where they tie.
    assert jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0) == 0.5
    assert jax.grad(jax.nn.relu)(0.0) == 0


def test_both_hands_make_the_same_choice_where_a_relu_sits_exactly_at_0():
    network = mlp((1, 1, 1), "relu")
    params = (Dense(jnp.ones((1, 1)), jnp.zeros(1)), (), Dense(jnp.ones((1, 1)), jnp.zeros(1)), ())
    batch = (jnp.zeros((1, 1)), jnp.ones((1, 1)))
    for value_and_grad in (autodiff(network, squared_error), backprop(network, squared_error)):
        _, grads = jax.jit(value_and_grad)(params, batch)
        assert grads[0].b == 0
        assert grads[2].b != 0
