"""How far apart two arrays are: in angle, and in floating-point numbers that lie between."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprop.verify.comparison import angle_between, ulps_between


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_neighbours_are_one_ulp_apart(dtype):
    eps = jnp.finfo(dtype).eps
    b = np.array([1, 1, -1, 0, 1], dtype)
    a = np.array([1, 1 + eps, -1 - eps, -0.0, 2], dtype)
    np.testing.assert_array_equal(ulps_between(b, a), [0, 1, 1, 0, 2.0 ** jnp.finfo(dtype).nmant])


def test_ulps_are_counted_through_zero_and_up_to_the_largest_numbers():
    tiny, huge = 5e-324, np.finfo(np.float64).max
    assert ulps_between(np.array([-tiny]), np.array([tiny])) == 2
    assert ulps_between(np.array([-huge]), np.array([huge])) == 2 * 0x7FEFFFFFFFFFFFFF


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(-(2.0**127), 2.0**127, width=32), st.integers(0, 20))
def test_so_many_steps_up_are_so_many_ulps(x, steps):
    start = end = np.float32(x)
    for _ in range(steps):
        end = np.nextafter(end, np.float32(np.inf))
    assert ulps_between(np.array([start]), np.array([end])) == steps


def test_ulps_between_different_types_mean_nothing():
    with pytest.raises(TypeError, match="float32 and float64"):
        ulps_between(np.ones(1, np.float32), np.ones(1))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-3, 1.0, math.pi / 2, 3.0, math.pi])
def test_angles_are_seen_down_to_the_last_digits(angle):
    b, a = np.array([1.0, 0.0]), 7 * np.array([math.cos(angle), math.sin(angle)])
    # The arc sine is steep near pi, where half of the digits are lost.
    assert angle_between(b, a) == pytest.approx(angle, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_angle_does_not_depend_on_the_size_of_the_numbers(size):
    assert angle_between(np.array([1.0, 0.0]), size * np.array([1.0, 1.0])) == pytest.approx(math.pi / 4)


def test_zeros_have_no_direction():
    assert angle_between(np.zeros(3), np.ones(3)) is None
    assert angle_between(np.ones(3), np.zeros(3)) is None
