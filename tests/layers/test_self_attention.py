"""Attention: by hand on paper, masks, and what no position may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp


def of_one_head(*rows):
    return jnp.array(rows, float)[:, None, :]


def test_attention_worked_by_hand():
    # Two positions, one head of width 1, q = (0, log 3), k = (0, 1), v = (4, 8).
    # Position 0 looks at both alike: P = (1/2, 1/2), o = 6. Position 1 has scores (0, log 3): P = (1/4, 3/4), o = 7.
    # With do = (0, 16): dv = 16 P[1] = (4, 12); dP[1] = 16 v = (64, 128), D = 16/4 * 4 + 16 * 3/4 * 8 = 112,
    # dS[1] = (1/4 * (64 - 112), 3/4 * (128 - 112)) = (-12, 12); dq[1] = dS k = 12, dk = dS^T q = (-12, 12) log 3.
    log3 = float(np.log(3))
    q, k, v = of_one_head([0], [log3]), of_one_head([0], [1]), of_one_head([4], [8])
    o, P = jp.attend(q, k, v, jnp.ones((2, 2), bool))
    np.testing.assert_allclose(P[0], [[1 / 2, 1 / 2], [1 / 4, 3 / 4]], rtol=1e-6)  # exp, to a few ulps of float32
    np.testing.assert_allclose(o[:, 0, 0], [6, 7], rtol=1e-6)
    dq, dk, dv = jp.attend_backward(q, k, v, P, of_one_head([0], [16]))
    np.testing.assert_allclose(dv[:, 0, 0], [4, 12], rtol=1e-6)
    np.testing.assert_allclose(dq[:, 0, 0], [0, 12], rtol=1e-5)  # 128 - 112 and 64 - 112 lose a digit
    np.testing.assert_allclose(dk[:, 0, 0], [-12 * log3, 12 * log3], rtol=1e-5)


def test_where_a_position_may_look_at_nothing_it_gets_nothing_and_no_nan_comes_of_it():
    q, k, v = (jax.random.normal(jax.random.key(i), (3, 2, 4)) for i in range(3))
    mask = jnp.array([[True, True, False], [False, False, False], [True, False, True]])

    def outputs(q, k, v):
        return jp.attend(q, k, v, mask)[0]

    o, P = jp.attend(q, k, v, mask)
    assert not o[1].any()
    assert not P[:, ~mask].any()
    do = jnp.ones_like(o)
    by_hand = jp.attend_backward(q, k, v, P, do)
    by_jax = jax.vjp(outputs, q, k, v)[1](do)
    for a, b in zip(by_hand, by_jax, strict=True):
        assert jnp.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=1e-5)  # sums of a few terms of size 1, in float32
    assert not by_hand[0][1].any()


def test_a_position_that_looks_at_one_alone_asks_for_no_change_of_where_to_look():
    # With one position, softmax gives 1 whatever the scores: dq and dk are 0, and not rounding.
    layer = jp.attention(2)
    params, _ = layer.init(jax.random.key(0), (1, 6))
    _, residuals = layer.forward(params, jax.random.normal(jax.random.key(1), (1, 6)))
    grads, _ = layer.backward(params, residuals, jnp.ones((1, 6)))
    grads = jp.expand(grads)
    assert not grads.Wq.any()
    assert not grads.Wk.any()
    assert grads.Wv.any()
    assert grads.Wo.any()


def test_a_causal_layer_tells_no_position_of_a_later_one():
    layer = jp.attention(2, causal=True)
    params, _ = layer.init(jax.random.key(0), (5, 4))
    x = jax.random.normal(jax.random.key(1), (5, 4))
    y, residuals = layer.forward(params, x)
    y_changed, _ = layer.forward(params, x.at[3:].add(1.0))
    np.testing.assert_array_equal(y[:3], y_changed[:3])
    assert (y[3:] != y_changed[3:]).any()
    _, dx = layer.backward(params, residuals, jnp.zeros((5, 4)).at[2].set(1))
    assert dx[:3].any()
    assert not dx[3:].any()


def test_without_a_mask_the_order_of_the_positions_does_not_matter():
    layer = jp.attention(2)
    params, _ = layer.init(jax.random.key(0), (5, 4))
    x = jax.random.normal(jax.random.key(1), (5, 4))
    np.testing.assert_allclose(layer.forward(params, x[::-1])[0], layer.forward(params, x)[0][::-1], atol=1e-5)


def test_what_does_not_fit_is_named_before_anything_runs():
    with pytest.raises(jp.BadInput, match="a width of 6 does not make 4 equal heads"):
        jp.attention(4).init(jax.random.key(0), (5, 6))
    with pytest.raises(jp.BadInput, match=r"takes a sequence \(T, width\), not an input of shape \(6,\)"):
        jp.attention(2).init(jax.random.key(0), (6,))
    with pytest.raises(jp.BadInput, match="the heads of attention are 0"):
        jp.attention(0)
