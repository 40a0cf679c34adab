"""The oracles against each other and against both gradients, over all 13,002 parameters of the lesson's network."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss
from jaxprop.layers import conv2d, dense, flatten, softplus
from jaxprop.networks import Network, mlp
from jaxprop.verify import oracles
from jaxprop.verify.comparison import compare
from jaxprop.verify.differences import finite_differences
from jaxprop.verify.oracles import chunk, complex_step, forward_mode, hvp, in_float64, name_coordinates
from jaxprop.verify.suite import random_point

LESSON = mlp((784, 16, 16, 10))
POINT = random_point(LESSON, np.random.RandomState(0), 16)
LOSS = loss(LESSON, squared_error)
BY_BACKPROP = in_float64(jax.jit(backprop(LESSON, squared_error)))


@pytest.mark.parametrize(
    ("oracle", "tolerance"),
    [
        # Nothing is subtracted in these two: some ulps of float64, for sums of 784 terms and 16 examples.
        (forward_mode(LOSS), 1e-13),
        (complex_step(LOSS), 1e-13),
        # Rounding a cost of size 1 leaves about 1e-13 in a slope over a step of 1/32; leaves are as small as 1e-3. As a
        # plain gradient here, without the errors that it knows.
        (finite_differences(LOSS).__call__, 1e-9),
    ],
    ids=["forward mode", "complex step", "finite differences"],
)
def test_backprop_is_upheld_on_every_parameter_of_the_lesson(oracle, tolerance):
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, POINT[0])
        comparison = compare(in_float64(oracle), BY_BACKPROP, params, POINT[1], tolerance=tolerance)
    assert comparison.agree, f"\n{comparison}"
    assert sum(np.prod(leaf.shape) for leaf in comparison.leaves) == 13_002


@pytest.mark.parametrize("oracle", [forward_mode, complex_step, finite_differences])
def test_an_oracle_knows_derivatives_from_school(oracle):
    def loss(params, batch):  # over any tree, of any shapes
        return batch * jnp.sum(jnp.sin(params["a"])) + params["b"][0] * params["b"][1] ** 2 + jnp.exp(params["c"])

    params = {"a": np.array([[0.0, 1.0], [2.0, 3.0]]), "b": [np.float64(2), np.float64(5)], "c": np.ones(())}
    value, grads = in_float64(oracle(loss))(params, 3.0)
    assert value == pytest.approx(3 * np.sin([0, 1, 2, 3]).sum() + 50 + np.e)
    # Finite differences of a loss of size 50 are good to about 1e-11; the other two to rounding.
    np.testing.assert_allclose(grads["a"], 3 * np.cos(params["a"]), atol=1e-10)
    np.testing.assert_allclose(grads["b"], [25, 20], atol=1e-10)
    np.testing.assert_allclose(grads["c"], np.e, atol=1e-10)


@pytest.mark.parametrize("oracle", [forward_mode, finite_differences])
def test_an_oracle_finds_what_reverse_mode_is_told_wrong(oracle):
    @jax.custom_jvp
    def square(x):
        return x * x

    square.defjvp(lambda x, dx: (square(*x), 3 * x[0] * dx[0]))  # a rule with a mistake
    _, slope = in_float64(oracle(lambda params, batch: square(params)))(np.float64(1), None)
    # Forward mode follows the rule as reverse mode does, mistake and all. Only differences judge the function itself.
    assert slope == pytest.approx(3 if oracle is forward_mode else 2, abs=1e-11)


CONVOLUTIONAL = Network((conv2d(2, 2, 2), softplus(), flatten(), dense(3)), (4, 5, 1))


@pytest.mark.parametrize(
    "network", [mlp((5, 4, 3), "sigmoid"), mlp((5, 4, 3), "tanh"), mlp((5, 4, 3), "identity"), CONVOLUTIONAL]
)
def test_the_complex_step_takes_every_analytic_activation_and_a_convolution(network):
    params, batch = random_point(network, np.random.RandomState(0), 3)
    truth = in_float64(complex_step(loss(network, squared_error)))
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
        assert compare(truth, in_float64(autodiff(network, squared_error)), params, batch, tolerance=1e-13).agree


@pytest.mark.parametrize(
    "network", [LESSON, mlp((6, 5, 4), "tanh"), mlp((6, 5, 4), "relu"), mlp((6, 5, 4), "identity")]
)
def test_curvature_by_backprop_is_curvature_by_autodiff(network):
    point, (direction, _) = (random_point(network, np.random.RandomState(seed), 16) for seed in (0, 1))
    products = [
        in_float64(jax.jit(hvp(rule(network, squared_error))))(*point, direction) for rule in (backprop, autodiff)
    ]
    for by_backprop, by_jax in zip(*map(jax.tree.leaves, products), strict=True):
        # 1e-11 of each leaf's largest: second derivatives add up more terms, of both signs.
        assert np.abs(by_backprop - by_jax).max() <= 1e-11 * np.abs(by_jax).max()
        assert by_jax.any()


def test_a_hessian_vector_product_from_school():
    # f = x^2 y has the Hessian [[2y, 2x], [2x, 0]]: at (3, 5), along (1, 2), that is (10 + 12, 6).
    product = hvp(jax.value_and_grad(lambda p, batch: p[0] ** 2 * p[1]))
    np.testing.assert_array_equal(product(jnp.array([3.0, 5.0]), None, jnp.array([1.0, 2.0])), [22, 6])


def test_the_truth_is_float64_on_the_host_and_leaves_the_switch_alone():
    seen = []

    def function(params, labels):
        seen.append((params.dtype.name, labels.dtype.name, params.device.platform))
        return {"sum": params.sum()}

    found = in_float64(function)(jnp.full(3, 1 / 3, jnp.float32), jnp.arange(3))
    assert seen == [("float64", "int32", "cpu")]
    assert isinstance(found["sum"], np.ndarray)
    assert (found["sum"].dtype, found["sum"]) == (np.float64, 3 * float(np.float32(1 / 3)))
    assert jnp.ones(1).dtype == "float32"


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_without_a_cpu_the_message_says_what_to_add(monkeypatch, kind):
    def no_cpu(backend):
        raise kind(f"Unknown backend {backend}")

    monkeypatch.setattr(oracles.jax, "local_devices", no_cpu)
    with pytest.raises(BadInput, match="add cpu to JAX_PLATFORMS"):
        in_float64(lambda x: x)(1.0)


def test_fewer_parameters_are_tried_at_once_where_each_copy_is_large():
    assert [chunk(n) for n in (1, 13_002, 2**20, 2**30)] == [128, 128, 2, 1]


def test_of_300_parameters_128_are_tried_at_once_and_not_one_by_one_or_all():
    """The program says how many turns its loop takes, which no result shows."""
    program = str(jax.make_jaxpr(forward_mode(lambda params, batch: jnp.sum(params**2)))(jnp.ones(300), None))
    assert re.findall(r"\blength=(\d+)", program) == ["2"], "two turns of 128, and the rest beside them"


def test_coordinates_are_named_as_they_are_counted():
    params = [{"W": np.zeros((2, 3)), "b": np.zeros(2)}, np.zeros(())]
    names = name_coordinates(params, range(9))
    assert names[:3] == ["[0]['W'][0, 0]", "[0]['W'][0, 1]", "[0]['W'][0, 2]"]
    assert names[5:] == ["[0]['W'][1, 2]", "[0]['b'][0]", "[0]['b'][1]", "[1]"]
    flat, unravel = ravel_pytree(params)
    assert unravel(flat.at[5].set(1))[0]["W"][1, 2] == 1


def test_a_gradient_by_no_parameter_is_empty():
    assert chunk(0) > 0
    with jax.enable_x64(True):
        for oracle in (forward_mode, complex_step, finite_differences):
            value, grads = oracle(lambda params, batch: jnp.sum(params) + batch)(jnp.zeros(0), 3.0)
            assert value == 3
            assert grads.shape == (0,)
