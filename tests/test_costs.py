"""The one convention: a sum of squared differences, not half of it, averaged over the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import softmax_cross_entropy, squared_error
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


# Cross-entropy


def test_cross_entropy_worked_by_hand():
    # softmax(0, log 3) = (1/4, 3/4). The label 0: -log(1/4), and the gradient (1/4 - 1, 3/4).
    z = jnp.array([0, float(np.log(3))])
    assert float(softmax_cross_entropy.value(z, jnp.array(0))) == pytest.approx(np.log(4), rel=1e-6)
    np.testing.assert_allclose(softmax_cross_entropy.gradient(z, jnp.array(0)), [-3 / 4, 3 / 4], rtol=1e-6)
    # Soft: -(log(1/4) + log(3/4)) / 2.
    half = jnp.array([0.5, 0.5])
    assert float(softmax_cross_entropy.value(z, half)) == pytest.approx(np.log(16 / 3) / 2, rel=1e-6)
    np.testing.assert_allclose(softmax_cross_entropy.gradient(z, half), [-1 / 4, 1 / 4], rtol=1e-6)


def test_only_the_cross_entropy_takes_labels():
    assert (softmax_cross_entropy.takes_labels, squared_error.takes_labels) == (True, False)


def test_where_there_are_positions_the_cross_entropy_is_their_mean():
    z, labels = jax.random.normal(jax.random.key(0), (3, 4)), jnp.array([2, 0, 2])
    each = [float(softmax_cross_entropy.value(row, label)) for row, label in zip(z, labels, strict=True)]
    assert float(softmax_cross_entropy.value(z, labels)) == pytest.approx(np.mean(each), rel=1e-6)
    first = softmax_cross_entropy.gradient(z[0], labels[0]) / 3
    np.testing.assert_allclose(softmax_cross_entropy.gradient(z, labels)[0], first, rtol=1e-6)


@pytest.mark.parametrize(
    "target", [jnp.array([1, 0]), jnp.array([[0.2, 0.3, 0.5], [1, 0, 0]]), jnp.array([[2.0, 0, -1], [0, 0, 0]])]
)
def test_the_gradient_of_the_cross_entropy_is_that_of_its_value_whatever_the_targets_add_up_to(target):
    with jax.enable_x64(True):
        z = jnp.array([[0.3, -2.0, 5.0], [0.0, 0.0, 1e-3]])
        target = target.astype(float) if jnp.issubdtype(target.dtype, jnp.floating) else target
        by_jax = jax.grad(softmax_cross_entropy.value)(z, target)
        # Sums of three terms of size 1.
        np.testing.assert_allclose(softmax_cross_entropy.gradient(z, target), by_jax, rtol=0, atol=1e-15)


def test_the_cross_entropy_of_a_class_that_is_all_but_ruled_out_is_finite():
    z = jnp.array([0.0, 1000.0])
    assert softmax_cross_entropy.value(z, jnp.array(0)) == 1000
    np.testing.assert_array_equal(softmax_cross_entropy.gradient(z, jnp.array(0)), [-1, 1])


def test_a_class_that_is_masked_costs_nothing_where_nobody_asks_for_it():
    z = jnp.array([0.0, -jnp.inf, 0.0])
    assert float(softmax_cross_entropy.value(z, jnp.array(0))) == pytest.approx(np.log(2), rel=1e-6)
    np.testing.assert_allclose(softmax_cross_entropy.gradient(z, jnp.array(0)), [-1 / 2, 0, 1 / 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("z", "target"),
    [
        (jnp.ones(3), jnp.ones(3, jnp.int32)),  # one-hot, as integers
        (jnp.ones(3), jnp.array(1.0)),  # a class, as a float
        (jnp.ones((2, 3)), jnp.array(1)),  # one class for two rows
        (jnp.ones(3), jnp.ones(4)),
        (jnp.array(1.0), jnp.array(0)),
    ],
)
def test_the_cross_entropy_refuses_targets_of_another_kind(z, target):
    for function in (softmax_cross_entropy.value, softmax_cross_entropy.gradient):
        with pytest.raises(BadInput, match="the cross-entropy expects whole numbers, a class for each row"):
            function(z, target)
