"""The oracles against each other and against both gradients, over all 13,002 parameters of the lesson's network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss
from jaxprop.layers import Layer, dense, elementwise, flatten, relu
from jaxprop.networks import Network, mlp
from jaxprop.verify import oracles
from jaxprop.verify.comparison import compare
from jaxprop.verify.oracles import (
    central_differences,
    chunk,
    complex_step,
    finite_differences,
    forward_mode,
    hvp,
    in_float64,
    name_coordinates,
    relu_pattern,
)
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
        # Rounding a cost of size 1 leaves about 1e-13 in a slope over a step of 1/64; leaves are as small as 1e-3.
        (finite_differences(LOSS), 1e-9),
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


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "identity"])
def test_the_complex_step_takes_every_analytic_activation(activation):
    network = mlp((5, 4, 3), activation)
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


def test_without_a_cpu_the_message_says_what_to_add(monkeypatch):
    def no_cpu(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(oracles.jax, "local_devices", no_cpu)
    with pytest.raises(BadInput, match="add cpu to JAX_PLATFORMS"):
        in_float64(lambda x: x)(1.0)


def test_fewer_parameters_are_tried_at_once_where_each_copy_is_large():
    assert [chunk(n) for n in (1, 13_002, 2**20, 2**30)] == [128, 128, 2, 1]


# Finite differences: their extrapolation, the error that they own up to, and the kinks that they point out


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


def test_only_layers_that_are_named_relu_count_whatever_others_remember():
    """A layer of one's own may keep masks of its own; and a relu in it is its own affair."""

    def half_dead() -> Layer:
        def forward(params, x):
            awake = x > 0.5
            return x * awake, awake

        return Layer("half_dead", lambda key, s: ((), s), forward, lambda params, awake, dy: ((), awake * dy))

    leaky = elementwise("leaky relu", lambda z: jnp.where(z > 0, z, z / 8), lambda z, a: jnp.where(z > 0, 1, 1 / 8))
    network = Network((half_dead(), dense(3), relu(), dense(2), leaky), (4,))
    params, batch = random_point(network, np.random.RandomState(0), 5)
    (signs,) = relu_pattern(network)(params, batch)
    np.testing.assert_array_equal(signs, (batch[0] * (batch[0] > 0.5)) @ params[1].W.T + params[1].b > 0)


def test_a_relu_anywhere_and_of_any_shape_is_in_the_pattern():
    network = Network((relu(), flatten(), relu(), dense(2)), (2, 3))
    params, batch = random_point(network, np.random.RandomState(0), 5)
    first, second = relu_pattern(network)(params, batch)
    np.testing.assert_array_equal(first, batch[0] > 0)
    np.testing.assert_array_equal(second, batch[0].reshape(5, 6) > 0)


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) if s >= 2 else s for s in range(20)])
def test_both_gradients_lie_within_the_estimated_error_on_random_networks(seed):
    """32 coordinates drawn from each leaf; entries with a kink inside the step are counted, and left out."""
    random = np.random.RandomState(seed)
    sizes = np.exp(random.uniform(0, np.log(64.99), random.randint(3, 7))).astype(int).tolist()
    network = mlp(sizes, ("relu", "sigmoid", "tanh", "identity")[seed % 4])
    point = random_point(network, random, random.randint(1, 33))
    leaf_of = np.concatenate([np.full(leaf.size, i) for i, leaf in enumerate(jax.tree.leaves(point[0]))])
    drawn = np.concatenate([random.permutation(np.flatnonzero(leaf_of == i))[:32] for i in range(leaf_of[-1] + 1)])

    # A small step: the deeper a ReLU network, the more of its kinks lie inside a large one.
    oracle = central_differences(loss(network, squared_error), relu_pattern(network), step=2**-10)
    found = in_float64(oracle)(*point, drawn)
    smooth = ~found.flipped
    assert smooth.mean() > 0.8
    for rule in (autodiff, backprop):
        _, grads = in_float64(jax.jit(rule(network, squared_error)))(*point)
        slopes = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])[drawn]
        assert (np.abs(slopes - found.slopes) <= found.errors)[smooth].all()
