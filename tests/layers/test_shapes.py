"""Layers that change the shape of what they are given, and no number of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.layers import flatten


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (4, 3, 1)])
def test_flatten_lays_all_numbers_in_one_row_and_puts_what_comes_back_in_its_place(shape):
    layer, x = flatten(), jax.random.normal(jax.random.key(0), shape)
    params, out_shape = layer.init(jax.random.key(0), shape)
    y, residuals = layer.forward(params, x)
    assert (params, out_shape) == ((), (x.size,))
    np.testing.assert_array_equal(y, np.ravel(x))
    dy = jnp.arange(float(x.size))
    dparams, dx = layer.backward(params, residuals, dy)
    assert dparams == ()
    np.testing.assert_array_equal(dx, np.reshape(dy, shape))
    assert repr(layer) == "flatten"
