"""What one example wishes for, by hand on paper and against JAX, and what many wish for on average."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop import nudges
from jaxprop.layers import Dense
from jaxprop.networks import Activation
from jaxprop.structured import expand

SIZES = (7, 5, 4, 3)
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "tanh", "identity")
# Sums of fewer than 1,000 products in float64, each rounded by 1.1e-16 of its size.
TOLERANCE = 1e-13
RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (25, 28, 28), np.uint8), RNG.integers(0, 10, 25, np.int32))
NETWORK = jp.mlp((784, 4, 10))


@functools.cache
def one_example(activation: Activation = "sigmoid"):
    """Parameters, pixels, targets, and the wishes; in float64."""
    with jax.enable_x64(True):
        network = jp.mlp(SIZES, activation)
        params = network.init(jax.random.key(3))
        x, y = jax.random.uniform(jax.random.key(4), SIZES[:1]), jax.nn.one_hot(1, SIZES[-1], dtype=jnp.float64)
        return params, x, y, jax.jit(jp.wishes(network, jp.squared_error))(params, x, y)


@functools.cache
def parameters():
    with jax.enable_x64(True):
        return NETWORK.init(jax.random.key(0))


def close(actual, desired):
    def leaf(a, d):
        np.testing.assert_allclose(a, d, rtol=0, atol=TOLERANCE * np.abs(d).max())

    jax.tree.map(leaf, actual, desired)


# One example


def test_the_wishes_of_a_network_worked_by_hand():
    #  x = (1, 2), z1 = (1*1 - 1*2 + 3, 2*1 + 1*2 - 1) = (2, 3), both awake, so a1 = (2, 3)
    #  z2 = (3*2 - 2*3, 1*2 - 1*3 + 1) = (0, 0), so a2 = (1/2, 1/2), where the slope of the sigmoid is 1/4
    #  wished for: the first up to 1, the second down to 0.  2 (y - a) = (1, -1), and for z2 a quarter of that
    params = (
        Dense(jnp.array([[1.0, -1.0], [2.0, 1.0]]), jnp.array([3.0, -1.0])),
        (),
        Dense(jnp.array([[3.0, -2.0], [1.0, -1.0]]), jnp.array([0.0, 1.0])),
        (),
    )
    network = jp.mlp((2, 2, 2), "relu")
    wishes = jax.jit(jp.wishes(network, jp.squared_error))
    found = wishes(params, jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
    hidden, relu, outputs, sigmoid = jax.tree.map(np.asarray, found)

    np.testing.assert_array_equal(sigmoid.x, [0, 0])
    np.testing.assert_array_equal(sigmoid.y, [0.5, 0.5])
    np.testing.assert_array_equal(sigmoid.nudge_y, [1, -1])
    np.testing.assert_array_equal(sigmoid.nudge_x, [0.25, -0.25])
    assert sigmoid.nudge == ()

    np.testing.assert_array_equal(outputs.x, [2, 3])
    np.testing.assert_array_equal(outputs.nudge_y, [0.25, -0.25])
    np.testing.assert_array_equal(outputs.nudge.b, [0.25, -0.25])
    np.testing.assert_array_equal(expand(outputs.nudge).W, [[0.5, 0.75], [-0.5, -0.75]])
    np.testing.assert_array_equal(outputs.nudge_x, [0.5, -0.25])
    # The first output asks for a quarter of its weights (3, -2); the second for minus a quarter of its (1, -1).
    asked = jp.requests(network.layers[2])(params[2], outputs.x, outputs.nudge_y)
    np.testing.assert_array_equal(asked, [[0.75, -0.5], [-0.25, 0.25]])

    np.testing.assert_array_equal(relu.x, [2, 3])
    np.testing.assert_array_equal(relu.nudge_x, [0.5, -0.25])
    np.testing.assert_array_equal(hidden.nudge_y, [0.5, -0.25])
    np.testing.assert_array_equal(hidden.nudge_x, [0, -0.75])
    asked = jp.requests(network.layers[0])(params[0], hidden.x, hidden.nudge_y)
    np.testing.assert_array_equal(asked, [[0.5, -0.5], [-0.5, -0.25]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_requests_and_their_sums_are_what_jax_derives_for_every_layer(activation):
    network = jp.mlp(SIZES, activation)
    params, _, y, found = one_example(activation)

    @jax.jit
    def derive(found):
        """For each layer: the gradient of the cost by its input, the Jacobian of the layer, and the requests."""

        def cost(i, x):
            rest = jp.chain(*network.layers[i:])
            return jp.squared_error.value(rest.forward(params[i:], x)[0], y)

        def one_layer(i, x):
            return network.layers[i].forward(params[i], x)[0]

        return [
            (
                jax.grad(cost, 1)(i, w.x),
                jax.jacobian(one_layer, 1)(i, w.x),
                jp.requests(network.layers[i])(params[i], w.x, w.nudge_y),
            )
            for i, w in enumerate(found)
        ]

    with jax.enable_x64(True):
        for layer, (gradient, slopes, asked) in zip(found, derive(found), strict=True):
            close(asked, layer.nudge_y[:, None] * slopes)
            close(asked.sum(axis=0), -gradient)
            close(layer.nudge_x, -gradient)


def test_what_a_layer_is_asked_for_is_what_it_wishes():
    *_, found = one_example()
    assert len(found) == 6, "one for each layer: dense and activation by turns"
    for before, after in itertools.pairwise(found):
        np.testing.assert_array_equal(before.y, after.x)
        np.testing.assert_array_equal(before.nudge_y, after.nudge_x)
    assert found[0].nudge_x.shape == (7,)


def test_the_parameters_are_nudged_as_in_training():
    params, x, y, found = one_example()
    with jax.enable_x64(True):
        _, grads = jax.jit(jp.per_example(jp.mlp(SIZES), jp.squared_error))(params, (x[None], y[None]))
        assert len(found) == len(grads)
        for layer, grad in zip(found, expand(grads), strict=True):
            close(expand(layer.nudge), jax.tree.map(lambda g: -g[0], grad))


def test_the_requests_of_outputs_of_any_shape_have_that_shape_and_the_inputs():
    def outer_sum() -> jp.Layer:
        """y[j, k] = x[j] + x[k]: a matrix from a vector."""

        def backward(params, n, dy):
            return (), dy.sum(axis=1) + dy.sum(axis=0)

        return jp.Layer("outer_sum", lambda key, s: ((), (*s, *s)), lambda p, x: (x[:, None] + x, x.size), backward)

    nudge = jnp.arange(9.0).reshape(3, 3)
    asked = jp.requests(outer_sum())((), jnp.ones(3), nudge)
    assert asked.shape == (3, 3, 3)
    np.testing.assert_array_equal(asked[0, 2], [2, 0, 2])
    np.testing.assert_array_equal(asked[1, 1], [0, 8, 0])
    np.testing.assert_array_equal(asked.sum(axis=(0, 1)), outer_sum().backward((), 3, nudge)[1])


def test_parameters_and_examples_that_do_not_fit_are_refused():
    params, x, y, _ = one_example()
    with jax.enable_x64(True):
        with pytest.raises(jp.BadInput, match=r"inputs have shape \(1, 6\)"):
            jp.wishes(jp.mlp(SIZES), jp.squared_error)(params, x[:6], y)
        with pytest.raises(jp.BadInput, match=r"an example's target has shape \(2,\) and its outputs \(3,\)"):
            jp.wishes(jp.mlp(SIZES), jp.squared_error)(params, x, y[:2])
        with pytest.raises(jp.BadInput, match="params have shapes"):
            jp.wishes(jp.mlp((7, 5, 3)), jp.squared_error)(params, x, y)


# Many


def test_nudges_are_minus_the_gradients_and_keep_their_two_factors():
    params = parameters()
    with jax.enable_x64(True):
        batch = jp.as_batch(EXAMPLES.images[:6], EXAMPLES.labels[:6])
        costs, wished = jax.jit(jp.per_example_nudges(NETWORK, jp.squared_error))(params, batch)
        values, grads = jax.jit(jp.per_example(NETWORK, jp.squared_error))(params, batch)
        assert jax.tree.structure(wished) == jax.tree.structure(grads)
        close((costs, expand(wished)), (values, jax.tree.map(jnp.negative, expand(grads))))


# Chunks of ten: a part of one, exactly one, two and a part.
@pytest.mark.parametrize("n", [3, 10, 25])
def test_the_average_is_minus_the_gradient_whatever_the_number_of_examples(n, monkeypatch):
    monkeypatch.setattr(nudges, "_CHUNK", 10)
    examples, params = jp.Examples(*(x[:n] for x in EXAMPLES)), parameters()
    with jax.enable_x64(True):
        cost, average = jp.average_nudges(NETWORK, jp.squared_error, jp.as_batch)(params, examples)
        value, grads = jax.jit(jp.autodiff(NETWORK, jp.squared_error))(params, jp.as_batch(*examples))
        close((cost, average), (value, jax.tree.map(jnp.negative, grads)))


def test_without_to_batch_the_data_are_inputs_and_targets_already(monkeypatch):
    monkeypatch.setattr(nudges, "_CHUNK", 10)
    with jax.enable_x64(True):
        batch, params = jp.as_batch(*EXAMPLES), parameters()
        of_batch = jp.average_nudges(NETWORK, jp.squared_error)(params, batch)
        close(of_batch, jp.average_nudges(NETWORK, jp.squared_error, jp.as_batch)(params, EXAMPLES))


def test_the_average_is_in_the_precision_of_the_parameters():
    params = jax.tree.map(lambda leaf: leaf.astype("float32"), parameters())
    cost, average = jp.average_nudges(NETWORK, jp.squared_error, jp.as_batch)(params, EXAMPLES)
    assert {leaf.dtype for leaf in jax.tree.leaves((cost, average))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("mode", [lambda function: function, jax.jit], ids=["plainly", "compiled"])
def test_no_examples_have_no_average(mode):
    network = jp.mlp((784, 10))
    params, nothing = network.init(jax.random.key(0)), jp.Examples(*(x[:0] for x in EXAMPLES))
    with pytest.raises(jp.BadInput, match="N at least 1"):
        mode(jp.average_nudges(network, jp.squared_error, jp.as_batch))(params, nothing)
    batch = (np.zeros((0, 784), np.float32), np.zeros((0, 10), np.float32))
    with pytest.raises(jp.BadInput, match="B at least 1"):
        mode(jp.average_nudges(network, jp.squared_error))(params, batch)
