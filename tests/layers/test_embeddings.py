"""From tokens to vectors: rows that are looked up twice, and sequences that are too long."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp


def test_a_token_that_stands_there_twice_gets_both_derivatives_and_one_that_does_not_gets_none():
    layer = jp.embedding(4, 2)
    E, out_shape = layer.init(jax.random.key(0), (3,))
    assert (E.shape, out_shape) == ((4, 2), (3, 2))
    y, residuals = layer.forward(E, jnp.array([2, 0, 2]))
    np.testing.assert_array_equal(y, E[jnp.array([2, 0, 2])])
    dE, dx = layer.backward(E, residuals, jnp.array([[1.0, 2], [3, 4], [10, 20]]))
    assert isinstance(dE, jp.Rows)
    np.testing.assert_array_equal(jp.expand(dE), [[3, 4], [0, 0], [11, 22], [0, 0]])
    assert dx is None
    # (3, 4) and (11, 22): 25 + 605. Squared before they are added, the two of token 2 would give 505.
    assert jp.norm_squared(dE) == 630


def test_it_is_a_dense_layer_on_one_hot_vectors():
    ids, dy = jnp.array([1, 1, 0]), jax.random.normal(jax.random.key(1), (3, 4))
    E, _ = jp.embedding(5, 4).init(jax.random.key(0), (3,))
    one_hot = jax.nn.one_hot(ids, 5)
    dense = jp.positionwise(jp.dense(4))
    params = jp.Dense(E.T, jnp.zeros(4))
    _, residuals = dense.forward(params, one_hot)
    by_dense, _ = dense.backward(params, residuals, dy)
    by_lookup, _ = jp.embedding(5, 4).backward(E, ids, dy)
    np.testing.assert_allclose(jp.expand(by_lookup), jp.expand(by_dense).W.T, rtol=1e-6)


def test_each_place_has_its_vector_and_those_that_are_not_reached_get_nothing():
    layer = jp.positions(4)
    P, _ = layer.init(jax.random.key(0), (3, 2))
    x, dy = jnp.ones((3, 2)), jnp.arange(6.0).reshape(3, 2)
    y, residuals = layer.forward(P, x)
    np.testing.assert_array_equal(y, 1 + P[:3])
    dP, dx = layer.backward(P, residuals, dy)
    np.testing.assert_array_equal(dP, [[0, 1], [2, 3], [4, 5], [0, 0]])
    np.testing.assert_array_equal(dx, dy)


def test_what_does_not_fit_is_named_before_anything_runs():
    key = jax.random.key(0)
    with pytest.raises(jp.BadInput, match="a sequence of 65 is longer than the 64 positions"):
        jp.positions(64).init(key, (65, 2))
    with pytest.raises(jp.BadInput, match=r"take a sequence \(T, width\), not an input of shape \(65,\)"):
        jp.positions(64).init(key, (65,))
    with pytest.raises(jp.BadInput, match=r"takes one row of tokens, not an input of shape \(3, 3\)"):
        jp.embedding(5, 2).init(key, (3, 3))
    with pytest.raises(jp.BadInput, match="the table is 0 x 2"):
        jp.embedding(0, 2)


# Networks that begin with tokens

READER = jp.Network((jp.embedding(5, 4), jp.positions(3), jp.flatten(), jp.dense(2)), (3,))


def test_a_network_of_tokens_takes_integers_and_nothing_else():
    params = READER.init(jax.random.key(0))
    tokens, labels = jnp.array([[0, 4, 4], [1, 2, 3]]), jnp.array([1, 0])
    _, grads = jax.jit(jp.backprop(READER, jp.softmax_cross_entropy))(params, (tokens, labels))
    assert grads[0].shape == (5, 4)
    with pytest.raises(jp.BadInput, match=r"inputs are float32: this network expects integers, as embedding\(5, 4\)"):
        jp.loss(READER, jp.softmax_cross_entropy)(params, (tokens.astype(jnp.float32), labels))
    with pytest.raises(jp.BadInput, match="an input is float32: this network expects integers"):
        READER.apply(params, jnp.ones(3))


def test_tokens_can_only_be_the_first():
    with pytest.raises(jp.BadInput, match=r"layer 1 \(embedding\(5, 2\)\) is given float32, and takes integers"):
        jp.Network((jp.tanh(), jp.embedding(5, 2)), (3,))


def test_a_layer_that_gives_tokens_a_derivative_breaks_its_contract():
    right = jp.embedding(5, 2)
    wrong = right._replace(backward=lambda E, ids, dy: (right.backward(E, ids, dy)[0], jnp.zeros(3)))
    with pytest.raises(jp.BadInput, match="whose numbers are integers: expected None"):
        jp.Network((wrong, jp.flatten()), (3,))
