"""Layers that change the shape of what they are given, or take a part of it, and no number of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.errors import BadInput
from jaxprop.layers import flatten, last


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


def test_last_takes_the_last_position_and_gives_all_that_comes_back_to_it():
    params, out_shape = last().init(jax.random.key(0), (3, 2))
    y, residuals = last().forward(params, jnp.arange(6.0).reshape(3, 2))
    assert out_shape == (2,)
    np.testing.assert_array_equal(y, [4, 5])
    dparams, dx = last().backward(params, residuals, jnp.array([7.0, 8.0]))
    assert dparams == ()
    np.testing.assert_array_equal(dx, [[0, 0], [0, 0], [7, 8]])
    with pytest.raises(BadInput, match="last takes a first axis of positions"):
        last().init(jax.random.key(0), ())
