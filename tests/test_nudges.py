"""What one example wishes for, by hand on paper and against JAX, and what many wish for on average."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop import layers
from jaxprop.gradients import autodiff
from jaxprop.gradients import per_example
from jaxprop.data.batches import Examples, as_batch
from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.layers.core import Dense
from jaxprop.networks import Activation, mlp, mlp_layers
from jaxprop.nudges import average_nudges, nudges, wishes
from jaxprop.structured import expand

SIZES = (7, 5, 4, 3)
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "tanh", "identity")
# Sums of fewer than 1,000 products in float64, each rounded by 1.1e-16 of its size.
TOLERANCE = 1e-13
RNG = np.random.default_rng(0)
EXAMPLES = Examples(RNG.integers(0, 256, (25, 28, 28), np.uint8), RNG.integers(0, 10, 25, np.int32))
NETWORK = mlp((784, 4, 10))


@functools.cache
def one_example(activation: Activation = "sigmoid"):
    """Parameters, pixels, targets, and the wishes; in float64."""
    with jax.enable_x64(True):
        params = mlp(SIZES, activation).init(jax.random.key(3))
        x, y = jax.random.uniform(jax.random.key(4), SIZES[:1]), jax.nn.one_hot(1, SIZES[-1])
        return params, x, y, jax.jit(wishes(SIZES, squared_error, activation))(params, x, y)


@functools.cache
def parameters():
    with jax.enable_x64(True):
        return NETWORK.init(jax.random.key(0))


def close(actual, desired):
    def leaf(a, d):
        np.testing.assert_allclose(a, d, rtol=0, atol=TOLERANCE * np.abs(d).max())

    jax.tree.map(leaf, actual, desired)


def test_the_wishes_of_a_network_worked_by_hand():
    #  x = (1, 2), z1 = (1*1 - 1*2 + 3, 2*1 + 1*2 - 1) = (2, 3), both awake, so a1 = (2, 3)
    #  z2 = (3*2 - 2*3, 1*2 - 1*3 + 1) = (0, 0), so a2 = (1/2, 1/2), where the slope of the sigmoid is 1/4
    #  wished for: the first up to 1, the second down to 0.  2 (y - a) = (1, -1), and for z2 a quarter of that
    params = (
        Dense(jnp.array([[1.0, -1.0], [2.0, 1.0]]), jnp.array([3.0, -1.0])), (),
        Dense(jnp.array([[3.0, -2.0], [1.0, -1.0]]), jnp.array([0.0, 1.0])), (),
    )  # fmt: skip
    found = jax.jit(wishes((2, 2, 2), squared_error, "relu"))(params, jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
    hidden, outputs = jax.tree.map(np.asarray, found)

    np.testing.assert_array_equal(outputs.a_prev, [2, 3])
    np.testing.assert_array_equal(outputs.a, [0.5, 0.5])
    np.testing.assert_array_equal(outputs.nudge_a, [1, -1])
    np.testing.assert_array_equal(outputs.nudge_z, [0.25, -0.25])
    np.testing.assert_array_equal(outputs.nudge.b, [0.25, -0.25])
    np.testing.assert_array_equal(expand(outputs.nudge).W, [[0.5, 0.75], [-0.5, -0.75]])
    # The first output asks for a quarter of its weights (3, -2); the second for minus a quarter of its (1, -1).
    np.testing.assert_array_equal(outputs.requests, [[0.75, -0.5], [-0.25, 0.25]])
    np.testing.assert_array_equal(outputs.nudge_a_prev, [0.5, -0.25])

    np.testing.assert_array_equal(hidden.z, [2, 3])
    np.testing.assert_array_equal(hidden.nudge_a, [0.5, -0.25])
    np.testing.assert_array_equal(hidden.requests, [[0.5, -0.5], [-0.5, -0.25]])
    np.testing.assert_array_equal(hidden.nudge_a_prev, [0, -0.75])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_requests_and_their_sums_are_what_jax_derives_for_every_activation(activation):
    params, _, y, found = one_example(activation)
    stack = mlp_layers(SIZES, activation)

    def cost(i, a_prev):
        return squared_error.value(layers.chain(*stack[2 * i :]).forward(params[2 * i :], a_prev)[0], y)

    def one_layer(i, a_prev):
        return layers.chain(*stack[2 * i : 2 * i + 2]).forward(params[2 * i : 2 * i + 2], a_prev)[0]

    @jax.jit
    def derive(found):
        return [(jax.grad(cost, 1)(i, w.a_prev), jax.jacobian(one_layer, 1)(i, w.a_prev)) for i, w in enumerate(found)]

    with jax.enable_x64(True):
        for layer, (gradient, slopes) in zip(found, derive(found), strict=True):
            close(layer.requests, layer.nudge_a[:, None] * slopes)
            close(layer.requests.sum(axis=0), -gradient)
            close(layer.nudge_a_prev, -gradient)


def test_what_a_layer_is_asked_for_is_what_it_wishes():
    *_, (hidden, second, outputs) = one_example()
    np.testing.assert_array_equal(outputs.nudge_a_prev, second.nudge_a)
    np.testing.assert_array_equal(second.nudge_a_prev, hidden.nudge_a)
    assert hidden.nudge_a_prev.shape == (7,)


def test_the_parameters_are_nudged_as_in_training():
    params, x, y, found = one_example()
    with jax.enable_x64(True):
        _, grads = jax.jit(per_example(mlp(SIZES), squared_error))(params, (x[None], y[None]))
        for layer, grad in zip(found, grads[::2], strict=True):
            close(layer.nudge.b, -grad.b[0])
            close(expand(layer.nudge).W, -expand(grad).W[0])


def test_parameters_and_examples_that_do_not_fit_are_refused():
    params, x, y, _ = one_example()
    with pytest.raises(BadInput, match=r"inputs have shape \(1, 6\)"):
        wishes(SIZES, squared_error)(params, x[:6], y)
    with pytest.raises(BadInput, match="params have shapes"):
        wishes((7, 5, 3), squared_error)(params, x, y)


def test_nudges_are_minus_the_gradients_and_keep_their_two_factors():
    params = parameters()
    with jax.enable_x64(True):
        batch = as_batch(EXAMPLES.images[:6], EXAMPLES.labels[:6], np.float64)
        costs, wished = jax.jit(nudges(NETWORK, squared_error))(params, batch)
        values, grads = jax.jit(per_example(NETWORK, squared_error))(params, batch)
        assert jax.tree.structure(wished) == jax.tree.structure(grads)
        close((costs, expand(wished)), (values, jax.tree.map(jnp.negative, expand(grads))))


# Chunks of ten: a part of one, exactly one, two and a part.
@pytest.mark.parametrize("n", [3, 10, 25])
def test_the_average_is_minus_the_gradient_whatever_the_number_of_examples(n, monkeypatch):
    monkeypatch.setattr(sys.modules["jaxprop.nudges"], "_CHUNK", 10)  # the package's name `nudges` is the function
    examples, params = Examples(*(x[:n] for x in EXAMPLES)), parameters()
    with jax.enable_x64(True):
        cost, average = average_nudges(NETWORK, squared_error)(params, examples)
        value, grads = jax.jit(autodiff(NETWORK, squared_error))(params, as_batch(*examples, np.float64))
        close((cost, average), (value, jax.tree.map(jnp.negative, grads)))


def test_the_average_is_in_the_precision_of_the_parameters():
    params = jax.tree.map(lambda leaf: leaf.astype("float32"), parameters())
    cost, average = average_nudges(NETWORK, squared_error)(params, EXAMPLES)
    assert {leaf.dtype for leaf in jax.tree.leaves((cost, average))} == {jnp.dtype("float32")}


def test_no_examples_have_no_average():
    with pytest.raises(BadInput, match="N at least 1"):
        average_nudges(NETWORK, squared_error)(parameters(), Examples(*(x[:0] for x in EXAMPLES)))
