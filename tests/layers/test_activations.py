"""Activations: their slopes on paper, against `jax.grad`, and at the ends of the range of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.layers import Layer, elementwise, identity, relu, sigmoid, tanh


def swish() -> Layer:
    """The example in the docstring of `elementwise`: its derivative needs both z and a."""
    s = jax.nn.sigmoid
    return elementwise("swish", lambda z: z * s(z), lambda z, a: a + s(z) * (1 - a))


ACTIVATIONS = {"sigmoid": sigmoid(), "relu": relu(), "tanh": tanh(), "identity": identity(), "swish": swish()}


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


@pytest.mark.parametrize("name", ["sigmoid", "relu", "tanh", "identity"])
def test_very_large_numbers_neither_overflow_nor_turn_into_nan(name):
    z = jnp.array([-1e30, -1e3, 1e3, 1e30])
    assert jnp.isfinite(ACTIVATIONS[name].forward((), z)[0]).all()
    assert jnp.isfinite(slopes(ACTIVATIONS[name], z)).all()


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
