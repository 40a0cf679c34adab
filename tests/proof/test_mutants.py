"""Mutants of backprop: backprop to the bit where nothing is changed, and else wrong just where they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify.comparison import on_host
from jaxprop.verify.suite import random_point
from proof.mutants import in_activation, in_cost, in_dense, in_sum, in_targets, in_walk, in_weights

NETWORK = jp.mlp((4, 5, 5, 3))
PARAMS, BATCH = jax.tree.map(np.float32, random_point(NETWORK, np.random.RandomState(0), 3))


def gradient(rule=jp.backprop, network=NETWORK):
    """By path."""
    _, grads = rule(network, jp.squared_error)(PARAMS, BATCH)
    return on_host(grads)


def changed_leaves(rule, activation: Activation = "sigmoid"):
    network = jp.mlp((4, 5, 5, 3), activation)
    right, wrong = gradient(network=network), gradient(rule, network)
    assert {path: g.shape for path, g in wrong.items()} == {path: g.shape for path, g in right.items()}
    return {path for path, g in right.items() if (g != wrong[path]).any()}


ALL = {"[0].W", "[0].b", "[2].W", "[2].b", "[4].W", "[4].b"}

# Each seam, with the right part put in the place of the right part.
UNCHANGED = {
    "sigmoid": in_activation("sigmoid", lambda z, a, da: a * (1 - a) * da),
    "relu": in_activation("relu", lambda z, a, da: (z > 0) * da),
    "tanh": in_activation("tanh", lambda z, a, da: (1 - a * a) * da),
    "identity": in_activation("identity", lambda z, a, da: 1 * da),
    "dense": in_dense(dW=lambda p, a, dz: jp.Outer(dz, a), db=lambda p, a, dz: dz, da=lambda p, a, dz: dz @ p.W),
    "walk": in_walk(lambda layers, *arguments: jp.chain(*layers).backward(*arguments)),
    "cost": in_cost(lambda a, y: 2 * (a - y)),
    "targets": in_targets(lambda y: y),
    "sum": in_sum(jp.sum_over_examples),
    "weights": in_weights(np.ones),
}


@pytest.mark.parametrize("seam", UNCHANGED)
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh", "identity"])
def test_with_nothing_changed_a_mutant_is_backprop_to_the_bit(seam, activation):
    network = jp.mlp((4, 5, 5, 3), activation)
    right = jp.backprop(network, jp.squared_error)(PARAMS, BATCH)
    jax.tree.map(np.testing.assert_array_equal, UNCHANGED[seam](network, jp.squared_error)(PARAMS, BATCH), right)


@pytest.mark.parametrize("seam", UNCHANGED)
def test_what_backprop_returns_a_mutant_returns(seam, monkeypatch):
    """So it is the shipped function that a mutant changes, and not another one like it."""
    nothing = jax.tree.map(np.zeros_like, PARAMS)

    def backprop(network, cost):
        assert network.in_shape == NETWORK.in_shape
        return lambda params, batch: (jnp.zeros(()), (nothing,) if len(params) == 1 else nothing)

    monkeypatch.setattr(jp, "backprop", backprop)
    for g in gradient(UNCHANGED[seam]).values():
        assert not g.any()


def test_a_slope_is_changed_in_one_kind_of_activation_alone():
    nothing_through = in_activation("tanh", lambda z, a, da: 0 * da)
    assert changed_leaves(nothing_through, "sigmoid") == set()
    assert changed_leaves(nothing_through, "tanh") == ALL - {"[4].W", "[4].b"}  # the outputs are sigmoids
    assert changed_leaves(in_activation("sigmoid", lambda z, a, da: 2 * da), "tanh") == ALL
    from_z = in_activation("tanh", lambda z, a, da: (1 - jnp.tanh(z) * jnp.tanh(z)) * da)
    assert changed_leaves(from_z, "tanh") == set()  # z is the pre-activation


def test_one_gradient_of_dense_layers_is_changed_in_all_of_them_or_in_some():
    assert changed_leaves(in_dense(db=lambda p, a, dz: 2 * dz)) == {"[0].b", "[2].b", "[4].b"}
    assert changed_leaves(in_dense(dW=lambda p, a, dz: jp.Outer(-dz, a), at=slice(1, 2))) == {"[2].W"}
    assert changed_leaves(in_dense(da=lambda p, a, dz: -p.W.T @ dz, at=slice(-1, None))) == ALL - {"[4].W", "[4].b"}


def test_another_walk_gets_what_the_forward_pass_has_kept():
    def walk(layers, params, residuals, dy):
        assert layers == NETWORK.layers
        assert len(params) == len(residuals) == 6
        return jp.chain(*layers).backward(params, residuals, 2 * dy)

    wrong = gradient(in_walk(walk))
    for path, right in gradient().items():
        np.testing.assert_array_equal(wrong[path], 2 * right)  # a factor of two rounds nothing


def test_other_targets_leave_the_value_alone():
    value, _ = in_targets(lambda y: 1 - y)(NETWORK, jp.squared_error)(PARAMS, BATCH)
    assert value == jp.backprop(NETWORK, jp.squared_error)(PARAMS, BATCH)[0]
    inputs, targets = BATCH
    _, grads = jp.backprop(NETWORK, jp.squared_error)(PARAMS, (inputs, 1 - targets))
    wrong = gradient(in_targets(lambda y: 1 - y))
    for path, other in on_host(grads).items():
        np.testing.assert_array_equal(wrong[path], other)


def test_weights_of_examples_make_the_sum_that_they_say():
    first = gradient(in_weights(lambda n: np.arange(n) == 0))
    _, each = jp.per_example(NETWORK, jp.squared_error)(PARAMS, BATCH)
    expected = on_host(jax.tree.map(lambda g: g[0] / 3, jp.expand(each)))
    for path, right in expected.items():
        # 1e-6: a few ulps of float32, for products in another order
        np.testing.assert_allclose(first[path], right, rtol=0, atol=1e-6 * np.abs(right).max())


def test_a_sum_gets_each_leaf_of_all_examples_in_its_factors():
    def total(g):
        seen.append(jax.tree.map(jnp.shape, g))
        return jp.sum_over_examples(g)

    seen = []
    gradient(in_sum(total))
    dW, db = seen[:2]
    assert (dW.dz, dW.a, db) == ((3, 5), (3, 4), (3, 5))
    assert len(seen) == 6


def test_of_a_structured_gradient_only_the_sum_is_another_one(monkeypatch):
    used = []
    monkeypatch.setattr(jp, "backprop", lambda network, cost: used.append(network))
    in_sum(lambda g: 0 * jp.sum_over_examples(g))(NETWORK, jp.squared_error)
    _, wrong = jp.per_example(used[0], jp.squared_error)(PARAMS, BATCH)
    _, right = jp.per_example(NETWORK, jp.squared_error)(PARAMS, BATCH)
    jax.tree.map(np.testing.assert_array_equal, jp.expand(wrong), jp.expand(right))
    norms = jax.vmap(jp.norm_squared)
    np.testing.assert_array_equal(norms(wrong), norms(right))
    assert not any(leaf.any() for leaf in jax.tree.leaves(jp.sum_over_examples(wrong)))
