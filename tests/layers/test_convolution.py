"""The convolution: by hand on paper, the sum over examples as one convolution, and what it refuses."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp

# Shapes alone are refused when parameters are drawn, so no test here computes more than a few numbers.
KEY = jax.random.key(0)
conv2d: Any = jp.conv2d  # which is given what no type checker would let pass


def test_a_convolution_worked_by_hand():
    # One channel, a kernel of 2 x 2, no padding, so 2 x 3 windows of a picture of 3 x 4.
    #
    #   x = 1 2 0 1      W = 1  0      y[0, 0] = 1 * 1 + 0 * 2 + 2 * 0 - 1 * 3 + 10 = 8
    #       0 3 1 0          2 -1
    #       2 0 0 1
    #
    # dy is 1 at the first window and 5 at the last, which stands at row 1, column 2:
    #   dW = 1 * (1 2)  +  5 * (1 0)  =  6  2       db = 6
    #            (0 3)         (0 1)     0  8
    #   dx = W at the top left, and 5 W at the bottom right: not turned, and not transposed.
    layer = jp.conv2d(1, kernel=2, padding="VALID")
    x = jnp.array([[1.0, 2, 0, 1], [0, 3, 1, 0], [2, 0, 0, 1]])[..., None]
    params = jp.Conv(W=jnp.array([[1.0, 0], [2, -1]])[..., None, None], b=jnp.array([10.0]))
    y, residuals = layer.forward(params, x)
    np.testing.assert_array_equal(y[..., 0], [[8, 17, 12], [14, 13, 10]])

    dy = jnp.array([[1.0, 0, 0], [0, 0, 5]])[..., None]
    grads, dx = layer.backward(params, residuals, dy)
    assert isinstance(grads.W, jp.Correlation)
    np.testing.assert_array_equal(jp.expand(grads).W[..., 0, 0], [[6, 2], [0, 8]])
    np.testing.assert_array_equal(grads.b, [6])
    np.testing.assert_array_equal(dx[..., 0], [[1, 0, 0, 0], [2, -1, 5, 0], [0, 0, 10, -5]])


@pytest.mark.parametrize("remainder", [0, 1, 2])
def test_rows_that_no_window_reaches_get_nothing_whatever_is_left_over(remainder):
    # Kernels of 2, three apart: windows at rows 0-1 and 3-4 of 5 + remainder rows, of which row 2 lies between them.
    layer = jp.conv2d(1, kernel=2, stride=3, padding="VALID")
    rows = 5 + remainder
    _, out_shape = layer.init(KEY, (rows, rows, 1))
    assert out_shape == (2, 2, 1)
    params = jp.Conv(jnp.ones((2, 2, 1, 1)), jnp.zeros(1))
    _, residuals = layer.forward(params, jnp.ones((rows, rows, 1)))
    _, dx = layer.backward(params, residuals, jnp.ones(out_shape))
    reached = np.zeros(rows)
    reached[[0, 1, 3, 4]] = 1
    np.testing.assert_array_equal(dx[..., 0], np.outer(reached, reached))


def test_the_sum_over_examples_is_one_convolution_and_what_autodiff_runs_to_the_last_bit():
    layer = jp.conv2d(4, kernel=3, stride=2)
    params, out_shape = layer.init(KEY, (7, 8, 3))
    x = jax.random.normal(jax.random.key(1), (5, 7, 8, 3))
    dy = jax.random.normal(jax.random.key(2), (5, *out_shape))

    def by_hand(W, x, dy):
        def one(x, dy):
            return layer.backward(jp.Conv(W, params.b), x, dy)[0].W

        return jp.sum_over_examples(jax.vmap(one)(x, dy))

    def by_jax(W, x, dy):
        def outputs(W):
            return jax.vmap(lambda x: layer.forward(jp.Conv(W, params.b), x)[0])(x)

        return jax.vjp(outputs, W)[1](dy)[0]

    np.testing.assert_array_equal(jax.jit(by_hand)(params.W, x, dy), jax.jit(by_jax)(params.W, x, dy))

    factors = jp.Correlation(x, dy, (3, 3), (2, 2), ((1, 1), (0, 1)))
    program = jax.make_jaxpr(lambda factors: factors.sum_over_examples())(factors)
    assert [equation.primitive.name for equation in program.jaxpr.eqns] == ["conv_general_dilated"]


def test_same_keeps_the_size_and_a_stride_divides_it():
    assert jp.conv2d(2).init(KEY, (7, 5, 1))[1] == (7, 5, 2)
    assert jp.conv2d(2, stride=2).init(KEY, (7, 6, 1))[1] == (4, 3, 2)
    assert jp.conv2d(2, padding="VALID").init(KEY, (7, 5, 1))[1] == (5, 3, 2)
    assert jp.conv2d(2, padding=((1, 0), (0, 2))).init(KEY, (7, 5, 1))[1] == (6, 5, 2)


@pytest.mark.parametrize("gain", [1.0, 2**0.5])
def test_weights_start_as_wide_as_the_fan_in_asks(gain):
    params, _ = jp.conv2d(200, kernel=(4, 5), gain=gain).init(KEY, (9, 9, 50))
    assert params.W.shape == (4, 5, 50, 200)
    # 200,000 draws: the spread of their standard deviation is 1 / sqrt(400,000), and five of those are allowed.
    assert float(jnp.std(params.W)) == pytest.approx(gain / 1000**0.5, rel=5 / 400_000**0.5)
    assert not params.b.any()


@pytest.mark.parametrize(
    ("make", "in_shape", "complaint"),
    [
        (lambda: jp.conv2d(4, kernel=9, padding="VALID"), (8, 28, 1), "kernel of 9 x 9 does not fit into .* of 8 x 28"),
        (lambda: jp.conv2d(4, kernel=9, padding=((0, 0), (3, 3))), (28, 2, 1), "does not fit into a picture of 28 x 8"),
        (lambda: jp.conv2d(4), (28, 28), r"\(height, width, channels\), not an input of shape \(28, 28\)"),
        (lambda: jp.conv2d(0), (8, 8, 1), "channels are 0: expected"),
        (lambda: jp.conv2d(4, kernel=0), (8, 8, 1), "kernel is 0: expected"),
        (lambda: conv2d(4, kernel=(3, 3, 3)), (8, 8, 1), r"kernel is \(3, 3, 3\): expected"),
        (lambda: conv2d(4, stride=1.5), (8, 8, 1), "stride is 1.5: expected"),
        (lambda: conv2d(4, padding="same"), (8, 8, 1), "padding is 'same': expected"),
        (lambda: jp.conv2d(4, padding=((-1, 0), (0, 0))), (8, 8, 1), "padding is .*: expected"),
        (lambda: conv2d(4, padding=1), (8, 8, 1), "padding is 1: expected"),
        (lambda: jp.conv2d(4, padding=((True, 0), (0, 0))), (8, 8, 1), "padding is .*: expected"),
        (lambda: jp.conv2d(4, stride=True), (8, 8, 1), "stride is True: expected"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_runs(make, in_shape, complaint):
    with pytest.raises(jp.BadInput, match=complaint):
        make().init(KEY, in_shape)


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4), (4, 3), (1, 4, 4, 3)])
def test_an_input_that_does_not_fit_the_weights_is_named(shape):
    params, _ = jp.conv2d(2).init(KEY, (4, 4, 3))
    said = rf"an input has shape {re.escape(str(shape))}: the weights of this convolution expect \(height, width, 3\)"
    with pytest.raises(jp.BadInput, match=said):
        jp.conv2d(2).forward(params, jnp.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (jp.conv2d(16), "conv2d(16, 3x3)"),
        (jp.conv2d(4, (3, 1), 2), "conv2d(4, 3x1, stride=2x2)"),
        (jp.conv2d(4, 5, padding="VALID", gain=2**0.5), "conv2d(4, 5x5, padding=VALID, gain=1.414)"),
        (jp.conv2d(4, 5, padding=((1, 0), (0, 2))), "conv2d(4, 5x5, padding=((1, 0), (0, 2)))"),
    ],
)
def test_the_name_says_what_it_was_made_with(layer, name):
    assert repr(layer) == name


def test_an_input_of_another_float_type_is_widened_as_in_a_dense_layer():
    with jax.enable_x64(True):
        network = jp.Network((jp.conv2d(2, stride=2),), (5, 5, 1))
        params = network.init(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), (3, 5, 5, 1), jnp.float32)
        batch = x, jnp.ones((3, 3, 3, 2))
        (_, by_hand), (_, by_jax) = (
            make(network, jp.squared_error)(params, batch) for make in (jp.backprop, jp.autodiff)
        )
        for hand, reference in zip(jax.tree.leaves(by_hand), jax.tree.leaves(by_jax), strict=True):
            assert hand.dtype == jnp.float64
            np.testing.assert_allclose(hand, reference, rtol=0, atol=1e-13 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: jp.conv2d("3"),  # pyright: ignore
        lambda: jp.conv2d(2.5),  # pyright: ignore
        lambda: jp.conv2d(3, gain=None),  # pyright: ignore
        lambda: jp.conv2d(3, stride=-1),
        lambda: jp.conv2d(3, True),
        lambda: jp.max_pool(True),
        lambda: jp.dense(2.5),  # pyright: ignore
        lambda: jp.dense(0),
        lambda: jp.embedding("3", 4),  # pyright: ignore
        lambda: jp.leaky_relu(None),  # pyright: ignore
        lambda: jp.chain(1, 2),  # pyright: ignore
        lambda: jp.residual(jp.relu),  # pyright: ignore
        lambda: jp.positionwise(None),  # pyright: ignore
        lambda: jp.transformer(5, 5, 5, depth=0),
        lambda: jp.positions(0),
        lambda: jp.positions(2.5),  # pyright: ignore
        lambda: jp.positions(True),
        lambda: jp.layer_norm(0),
        lambda: jp.layer_norm(float("nan")),
        lambda: jp.layer_norm(True),
        lambda: jp.rms_norm(-1e-5),
        lambda: jp.rms_norm(float("inf")),
        lambda: jp.group_norm(2, None),  # pyright: ignore
        lambda: jp.group_norm(2, 0),
        lambda: jp.group_norm(True),
        lambda: jp.attention(True),
        lambda: jp.rnn(True),
        lambda: jp.rnn(0),
        lambda: jp.lstm(True),
        lambda: jp.lstm("3"),  # pyright: ignore
    ],
)
def test_what_no_layer_can_be_made_of_is_said_in_one_sentence(make):
    with pytest.raises(jp.BadInput, match=": expected ") as raised:
        make()
    assert "\n" not in str(raised.value)
