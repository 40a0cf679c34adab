"""Activations: their slopes on paper, against `jax.grad`, and at the ends of the range of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.errors import BadInput
from jaxprop.layers import (
    Layer,
    elementwise,
    gelu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    softmax,
    softplus,
    swiglu,
    swish,
    tanh,
)

ACTIVATIONS = {
    "sigmoid": sigmoid(),
    "relu": relu(),
    "leaky_relu(0.1)": leaky_relu(0.1),
    "softplus": softplus(),
    "swish": swish(),
    "gelu": gelu(),
    "gelu(exact)": gelu(exact=True),
    "tanh": tanh(),
    "identity": identity(),
}


def slopes(layer: Layer, z):
    """da/dz, for each of these numbers."""
    z = jnp.asarray(z)
    _, residuals = layer.forward((), z)
    _, dz = layer.backward((), residuals, jnp.ones(z.shape))
    return dz


def test_the_sigmoid_is_steepest_in_the_middle():
    # sigmoid(0) = 1/2, sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4; a (1 - a) is 1/4, 3/16, 3/16. A few ulps for exp.
    log3 = float(np.log(3))
    np.testing.assert_allclose(slopes(sigmoid(), [0, log3, -log3]), [1 / 4, 3 / 16, 3 / 16], rtol=1e-6)


def test_tanh_is_steepest_in_the_middle():
    # tanh(log(3) / 2) = (3 - 1) / (3 + 1) = 1/2, so the slope is 1 - 1/4.
    np.testing.assert_allclose(slopes(tanh(), [0, float(np.log(3)) / 2]), [1, 3 / 4], rtol=1e-6)


def test_relu_has_slope_1_where_it_is_awake_and_0_at_0():
    np.testing.assert_array_equal(slopes(relu(), [-1, -0.0, 0, 1e-30, 2]), [0, 0, 0, 1, 1])


def test_identity_has_slope_1():
    np.testing.assert_array_equal(slopes(identity(), [-5.0, 0.0, 5.0]), [1, 1, 1])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_is_what_jax_derives_from_the_function(name):
    layer = ACTIVATIONS[name]

    def function(z):
        return layer.forward((), z)[0]

    with jax.enable_x64(True):
        z = jnp.array([[-30.0, -3.0, -0.7, 0.0], [1e-3, 0.4, 2.0, 30.0]])  # any shape, with both flat ends
        by_jax = jax.vmap(jax.vmap(jax.grad(function)))(z)
        # A few roundings of 1.1e-16 of numbers of size 1: near 0 the slope is a difference of such.
        np.testing.assert_allclose(slopes(layer, z), by_jax, rtol=1e-13, atol=1e-15)
    assert by_jax.dtype == np.float64


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_comes_back_is_the_slope_times_what_was_given_number_by_number(name):
    z, da = jnp.linspace(-2, 2, 6).reshape(2, 3), jnp.arange(6.0).reshape(2, 3)
    _, residuals = ACTIVATIONS[name].forward((), z)
    dparams, dz = ACTIVATIONS[name].backward((), residuals, da)
    assert dparams == ()
    np.testing.assert_array_equal(dz, slopes(ACTIVATIONS[name], z) * da)


def test_one_of_your_own_takes_a_function_and_its_derivative():
    cube = elementwise("cube", lambda z: z**3, lambda z, a: 3 * z**2)
    np.testing.assert_array_equal(slopes(cube, [2.0, -1.0]), [12, 3])
    assert repr(cube) == "cube"


def test_a_leaky_relu_has_slope_1_at_0_as_jax_has_it():
    np.testing.assert_array_equal(slopes(leaky_relu(0.25), [-2, -1e-30, -0.0, 0, 2]), [0.25, 0.25, 1, 1, 1])


def test_gelu_turns_round_below_three_quarters():
    # It is lowest where Phi(z) + z phi(z) = 0, at z = -0.7518 (to four digits, by bisection): left of that it falls.
    found = slopes(gelu(exact=True), [-3.7, -1.0, -0.7519, -0.7517, 0.0])
    np.testing.assert_array_equal(np.sign(found), [-1, -1, -1, 1, 1])
    assert found[-1] == pytest.approx(0.5)
    # The tanh is near it everywhere: at most 0.0010 apart (Hendrycks and Gimpel's approximation, on a fine grid).
    z = jnp.linspace(-6, 6, 1201)
    assert float(jnp.abs(slopes(gelu(), z) - slopes(gelu(exact=True), z)).max()) < 2e-3


def test_a_softmax_raises_one_output_at_the_cost_of_all_others():
    # y = (1/4, 3/4); dy = (1, 0): dx = y (dy - 1/4) = (3/16, -3/16).
    y, residuals = softmax().forward((), jnp.array([0, float(np.log(3))]))
    np.testing.assert_allclose(y, [1 / 4, 3 / 4], rtol=1e-6)
    _, dx = softmax().backward((), residuals, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(dx, [3 / 16, -3 / 16], rtol=1e-6)
    with pytest.raises(BadInput, match="a softmax takes an axis of numbers to share one out: the input is one number"):
        softmax().init(jax.random.key(0), ())


def test_one_half_of_a_swiglu_opens_the_other():
    # a = 0: swish is 0 there with slope 1/2, so b gets nothing and a gets dy b / 2.
    y, residuals = swiglu().forward((), jnp.array([0.0, 6.0]))
    assert y == 0
    _, dx = swiglu().backward((), residuals, jnp.array([10.0]))
    np.testing.assert_array_equal(dx, [30, 0])
    with pytest.raises(BadInput, match=r"cuts the last axis in two halves: an input of shape \(4, 3\)"):
        swiglu().init(jax.random.key(0), (4, 3))


# Far out to the left and to the right.
ENDS = dict.fromkeys(("relu", "softplus", "swish", "gelu", "gelu(exact)"), (0, 1))
ENDS |= {"sigmoid": (0, 0), "tanh": (0, 0), "identity": (1, 1), "leaky_relu(0.1)": (0.1, 1)}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_largest_numbers_neither_overflow_nor_turn_into_nan_and_have_the_slope_of_the_ends(name, dtype):
    z = jnp.array([-1, -1e-3, 1e-3, 1], dtype) * jnp.finfo(dtype).max
    assert jnp.isfinite(ACTIVATIONS[name].forward((), z)[0]).all()
    left, right = ENDS[name]
    # A tenth is no number of either type, and off by at most 2^-12 of it in float16. The others are exact.
    np.testing.assert_allclose(slopes(ACTIVATIONS[name], z), [left, left, right, right], rtol=2**-12)


def test_gelu_has_the_slope_of_its_ends_in_float64_too():
    with jax.enable_x64(True):
        z = jnp.array([-1.7e308, -1e154, -30, 30, 1e154, 1.7e308])
        np.testing.assert_array_equal(slopes(gelu(), z), [0, 0, 0, 1, 1, 1])
        assert jnp.isnan(slopes(gelu(), jnp.array([jnp.nan]))).all()  # what was none before is none after


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_has_no_parameters_takes_any_shape_and_is_shown_by_its_name(name):
    assert ACTIVATIONS[name].init(jax.random.key(0), (8, 8, 1)) == ((), (8, 8, 1))
    assert repr(ACTIVATIONS[name]) == name


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_slope_keeps_the_type_of_the_numbers(name, dtype):
    z = jnp.ones(3, dtype)
    a, residuals = ACTIVATIONS[name].forward((), z)
    _, dz = ACTIVATIONS[name].backward((), residuals, a)
    assert a.dtype == dz.dtype == dtype
