"""Normalisation: by hand on paper, what it does not see, and rows in which all numbers are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp

# Rows of four numbers with mean 0 and mean square 1, so that h is x and s is 1, but for eps, which vanishes here.
ROW = jnp.array([1.0, -1, 1, -1])
TINY = 1e-30


def test_layer_norm_worked_by_hand():
    # x = 5 + 3 ROW: h = ROW and s = 1/3. With g = (1, 1, 2, 1) and dy = (2, 0, 0, 0): dh = (2, 0, 0, 0), its mean is
    # 1/2, the mean of h dh is 1/2, so dx = (dh - 1/2 - ROW / 2) / 3 = (1, 0, -1, 0) / 3.
    layer = jp.layer_norm(eps=TINY)
    params = jp.Norm(g=jnp.array([1.0, 1, 2, 1]), b=jnp.array([0.0, 0, 0, 7]))
    y, residuals = layer.forward(params, 5 + 3 * ROW)
    np.testing.assert_allclose(y, [1, -1, 2, 6], rtol=1e-6)  # rsqrt, to a few ulps of float32
    grads, dx = layer.backward(params, residuals, jnp.array([2.0, 0, 0, 0]))
    np.testing.assert_allclose(dx, np.array([1, 0, -1, 0]) / 3, atol=1e-6)
    np.testing.assert_allclose(grads.g, [2, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(grads.b, [2, 0, 0, 0])


def test_rms_norm_worked_by_hand():
    # x = 3 ROW: h = ROW, s = 1/3; dh = (2, 0, 0, 0), mean of h dh is 1/2: dx = (dh - ROW / 2) / 3.
    layer = jp.rms_norm(eps=TINY)
    _, residuals = layer.forward(jnp.ones(4), 3 * ROW)
    dg, dx = layer.backward(jnp.ones(4), residuals, jnp.array([2.0, 0, 0, 0]))
    np.testing.assert_allclose(dx, np.array([1.5, 0.5, -0.5, 0.5]) / 3, atol=1e-6)
    np.testing.assert_allclose(dg, [2, 0, 0, 0], atol=1e-6)


NORMS = {
    "layer_norm": jp.layer_norm(eps=TINY),
    "rms_norm": jp.rms_norm(eps=TINY),
    "group_norm": jp.group_norm(2, eps=TINY),
}


@pytest.mark.parametrize("name", NORMS)
def test_no_derivative_asks_for_a_change_that_the_norm_takes_back(name):
    # A norm does not see how large x is, so dx is orthogonal to x. All but rms_norm do not see a shift: dx sums to 0.
    layer = NORMS[name]
    with jax.enable_x64(True):
        params, _ = layer.init(jax.random.key(0), (8,))
        x, dy = jax.random.normal(jax.random.key(1), (8,)), jax.random.normal(jax.random.key(2), (8,))
        _, residuals = layer.forward(params, x)
        _, dx = layer.backward(params, residuals, dy)
        groups = 2 if name == "group_norm" else 1
        along = (dx * x).reshape(groups, -1).sum(axis=1)
        np.testing.assert_allclose(along, 0, atol=1e-14)  # sums of eight terms of size 1
        if name != "rms_norm":
            np.testing.assert_allclose(dx.reshape(groups, -1).sum(axis=1), 0, atol=1e-14)
        assert jnp.abs(dx).max() > 0.01


@pytest.mark.parametrize("layer", [jp.layer_norm(), jp.group_norm(1), jp.group_norm(2)], ids=repr)
def test_a_row_of_equal_numbers_gives_its_bias_and_finite_derivatives(layer):
    params = jp.Norm(jnp.ones(4), jnp.array([0.0, 1, 2, 3]))
    y, residuals = layer.forward(params, jnp.full(4, 7.0))
    np.testing.assert_array_equal(y, [0, 1, 2, 3])
    grads, dx = layer.backward(params, residuals, jnp.array([1.0, 0, 0, 0]))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, dx)))


def test_one_group_is_a_layer_norm_of_the_whole_picture_and_a_group_a_channel_one_of_each():
    x = jax.random.normal(jax.random.key(0), (3, 3, 2))
    g, b = jnp.ones(2), jnp.zeros(2)
    whole, _ = jp.group_norm(1).forward(jp.Norm(g, b), x)
    flat, _ = jp.layer_norm().forward(jp.Norm(jnp.ones(18), jnp.zeros(18)), x.reshape(-1))
    np.testing.assert_allclose(whole.reshape(-1), flat, rtol=1e-5, atol=1e-6)
    each, _ = jp.group_norm(2).forward(jp.Norm(g, b), x)
    np.testing.assert_allclose(each.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose((each**2).mean(axis=(0, 1)), 1, atol=1e-3)  # eps takes a little


def test_what_does_not_fit_is_named_before_anything_runs():
    with pytest.raises(jp.BadInput, match="6 channels do not make 4 equal groups"):
        jp.group_norm(4).init(jax.random.key(0), (3, 3, 6))
    with pytest.raises(jp.BadInput, match="groups are 0"):
        jp.group_norm(0)
    for layer in (jp.layer_norm(), jp.rms_norm(), jp.group_norm(1)):
        with pytest.raises(jp.BadInput, match="the input is one number"):
            layer.init(jax.random.key(0), ())
