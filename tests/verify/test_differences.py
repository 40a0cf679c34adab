"""Finite differences: their extrapolation, the error that they own up to, and the kinks that they point out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxprop.gradients import autodiff, loss
from jaxprop.gradients import backprop
from jaxprop.costs import squared_error
from jaxprop.verify.oracles import central_differences, name_coordinates, relu_pattern
from jaxprop.networks import mlp
from jaxprop.verify.suite import random_point
from jaxprop.verify.oracles import in_float64


def differences(function, x, **options):
    """Of `function` of numbers one by one, at each of x."""
    found = central_differences(lambda params, batch: jnp.sum(function(params)), **options)
    return in_float64(found)(np.asarray(x, float), None, np.arange(len(x)))


def test_the_slope_of_a_polynomial_of_degree_six_is_exact():
    # The error that is left after two extrapolations is in the seventh derivative.
    x = np.array([-1.0, 0.0, 0.5, 2.0])
    found = differences(lambda x: x**6 - 3 * x**5 + x, x)
    # What is rounded is a sum of size 34, over steps of 1/256 or more.
    np.testing.assert_allclose(found.slopes, 6 * x**5 - 15 * x**4 + 1, atol=1e-11)


@pytest.mark.parametrize("step", [2**-3, 2**-6, 2**-12, 2**-20])
def test_the_error_is_at_most_the_estimate_and_the_estimate_is_of_use(step):
    x = np.linspace(-2, 2, 9)
    found = differences(jnp.sin, x, step=step)
    assert (np.abs(found.slopes - np.cos(x)) <= found.errors).all()
    # Truncation: h^4 times a fifth derivative of size 1, less what extrapolation gains; rounding: ulps over the step.
    assert (found.errors < step**4 + 1e-14 / step).all()


def test_large_parameters_take_large_steps():
    # One step of 1/64 at a million would leave ten digits of the difference to rounding.
    found = differences(lambda x: x * 1e-6, np.array([1e6, -1e6]))
    np.testing.assert_allclose(found.slopes, 1e-6, rtol=1e-12)


def test_a_kink_inside_the_step_is_found_and_named():
    x = np.array([-1.0, -0.01, 0.0, 0.005, 1.0])
    found = differences(jax.nn.relu, x, pattern=lambda params, batch: params > 0)
    np.testing.assert_array_equal(found.flipped, [False, True, True, True, False])
    np.testing.assert_allclose(found.slopes[[0, 4]], [0, 1], atol=1e-13)
    assert name_coordinates({"a": x}, np.flatnonzero(found.flipped)) == ["['a'][1]", "['a'][2]", "['a'][3]"]
    # Without a pattern nothing is known of kinks, and a smaller step avoids all but the one that is met exactly.
    assert not differences(jax.nn.relu, x).flipped.any()
    smaller = differences(jax.nn.relu, x, pattern=lambda params, batch: params > 0, step=2**-10)
    np.testing.assert_array_equal(smaller.flipped, [False, False, True, False, False])


def test_coordinates_are_named_as_they_are_counted():
    params = [{"W": np.zeros((2, 3)), "b": np.zeros(2)}, np.zeros(())]
    names = name_coordinates(params, range(9))
    assert names[:3] == ["[0]['W'][0, 0]", "[0]['W'][0, 1]", "[0]['W'][0, 2]"]
    assert names[5:] == ["[0]['W'][1, 2]", "[0]['b'][0]", "[0]['b'][1]", "[1][]"]
    flat, unravel = ravel_pytree(params)
    assert unravel(flat.at[5].set(1))[0]["W"][1, 2] == 1


def test_the_pattern_of_a_network_is_which_of_its_relus_are_awake():
    network = mlp((3, 2, 2, 1), "relu")
    params, batch = random_point(network, np.random.RandomState(0), 5)
    first, second = jax.jit(relu_pattern(network))(params, batch)
    assert (first.shape, second.shape) == ((5, 2), (5, 2))
    np.testing.assert_array_equal(first, batch[0] @ params[0].W.T + params[0].b > 0)
    assert relu_pattern(mlp((3, 2, 2, 1), "tanh"))(params, batch) == []


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) if s >= 2 else s for s in range(20)])
def test_both_hands_lie_within_the_estimated_error_on_random_networks(seed):
    """32 coordinates drawn from each leaf; entries with a kink inside the step are counted, and left out."""
    random = np.random.RandomState(seed)
    sizes = np.exp(random.uniform(0, np.log(64.99), random.randint(3, 7))).astype(int).tolist()
    network = mlp(sizes, ("relu", "sigmoid", "tanh", "identity")[seed % 4])
    point = random_point(network, random, random.randint(1, 33))
    leaf_of = np.concatenate([np.full(leaf.size, i) for i, leaf in enumerate(jax.tree.leaves(point[0]))])
    drawn = np.concatenate([random.permutation(np.flatnonzero(leaf_of == i))[:32] for i in range(leaf_of[-1] + 1)])

    # A small step: the deeper a ReLU network, the more of its kinks lie inside a large one.
    judge = central_differences(loss(network, squared_error), relu_pattern(network), step=2**-10)
    found = in_float64(judge)(*point, drawn)
    smooth = ~found.flipped
    assert smooth.mean() > 0.8
    for rule in (autodiff, backprop):
        _, grads = in_float64(jax.jit(rule(network, squared_error)))(*point)
        slopes = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])[drawn]
        assert (np.abs(slopes - found.slopes) <= found.errors)[smooth].all()
