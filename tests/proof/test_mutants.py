"""The hand-derived gradient, taken apart: whole as long as nothing is exchanged, and else wrong just where it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.verify.comparison import on_host
from jaxprop.verify.comparison import per_example_scale
from jaxprop.networks import Activation
from jaxprop.verify.suite import random_point
from proof.mutants import by_hand, in_activation, in_average, in_dense, in_errors, in_mean, in_walk, in_weights

SIZES = (4, 5, 5, 3)
PARAMS, BATCH = jax.tree.map(np.float32, random_point(jp.mlp(SIZES), np.random.RandomState(0), 3))


def gradient(change=lambda hand: hand, activation: Activation = "sigmoid"):
    """By path."""
    return on_host(by_hand(SIZES, activation, change)(PARAMS, BATCH)[1])


def changed_leaves(change, activation: Activation = "sigmoid"):
    right, wrong = gradient(activation=activation), gradient(change, activation)
    assert {path: g.shape for path, g in wrong.items()} == {path: g.shape for path, g in right.items()}
    return {path for path, g in right.items() if (g != wrong[path]).any()}


ALL = {"[0].W", "[0].b", "[2].W", "[2].b", "[4].W", "[4].b"}


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh", "identity"])
def test_put_together_with_nothing_exchanged_it_is_backprop(activation):
    """But for rounding: backprop divides by the batch size before the walk, and this after it."""
    network = jp.mlp(SIZES, activation)
    with jax.enable_x64(True):
        point = jax.tree.map(np.float64, (PARAMS, BATCH))
        scale = per_example_scale(jp.per_example(network, jp.squared_error), *point)
        right, whole = jp.backprop(network, jp.squared_error), by_hand(SIZES, activation)
        # 1e-14: 45 ulps, for sums of at most 5 terms in each of three layers
        compared = jp.compare(right, whole, *point, tolerance=1e-14, scale=scale)
    assert compared.agree, compared


def test_the_cost_stays_right_in_a_mutant():
    value, _ = by_hand(SIZES, "sigmoid", in_errors(lambda a, y: a - y))(PARAMS, BATCH)
    assert value == by_hand(SIZES, "sigmoid")(PARAMS, BATCH)[0]


def test_a_slope_is_exchanged_in_one_kind_of_activation_alone():
    nothing_through = in_activation("tanh", lambda z, da: 0 * da)
    assert changed_leaves(nothing_through, "sigmoid") == set()
    assert changed_leaves(nothing_through, "tanh") == ALL - {"[4].W", "[4].b"}  # the outputs are sigmoids
    assert changed_leaves(in_activation("sigmoid", lambda z, da: 2 * da), "tanh") == ALL
    exact = in_activation("tanh", lambda z, da: (1 - jnp.tanh(z) * jnp.tanh(z)) * da)
    assert changed_leaves(exact, "tanh") == set()  # z is what the slope is given


def test_one_avenue_of_dense_layers_is_exchanged_in_all_of_them_or_in_some():
    assert changed_leaves(in_dense(db=lambda p, a, dz: 2 * dz)) == {"[0].b", "[2].b", "[4].b"}
    assert changed_leaves(in_dense(dW=lambda p, a, dz: jp.Outer(-dz, a), at=slice(1, 2))) == {"[2].W"}
    assert changed_leaves(in_dense(da=lambda p, a, dz: -p.W.T @ dz, at=slice(-1, None))) == ALL - {"[4].W", "[4].b"}


def test_another_walk_gets_what_the_forward_pass_has_kept():
    def backward(layers, params, residuals, dy):
        assert len(layers) == len(params) == len(residuals) == 6
        return jp.chain(*layers).backward(params, residuals, 2 * dy)

    assert changed_leaves(in_walk(backward)) == ALL


def test_weights_of_examples_make_the_sum_that_they_say():
    mean, first = gradient(in_weights(lambda n: np.full(n, 1 / n))), gradient(in_weights(lambda n: np.arange(n) == 0))
    _, each = jp.per_example(jp.mlp(SIZES), jp.squared_error)(PARAMS, BATCH)
    of_first = on_host(jax.tree.map(lambda g: g[0], jp.expand(each)))
    for path, right in gradient().items():
        # 1e-6: a few ulps of float32, for a sum of three terms in another order
        np.testing.assert_allclose(mean[path], right, rtol=0, atol=1e-6 * np.abs(right).max())
        np.testing.assert_allclose(first[path], of_first[path], rtol=0, atol=1e-6 * np.abs(right).max())


def test_an_average_may_see_the_factors_or_the_matrices():
    def shapes_of(make):
        seen = []

        def average(x):
            seen.append(jax.tree.map(jnp.shape, x))
            return jp.mean_over_examples(x) if make is in_average else x.mean(0)

        gradient(make(average))
        return seen

    ((first, *_),) = shapes_of(in_average)
    assert (first.W.dz, first.W.a, first.b) == ((3, 5), (3, 4), (3, 5))
    assert shapes_of(in_mean)[:2] == [(3, 5, 4), (3, 5)]
