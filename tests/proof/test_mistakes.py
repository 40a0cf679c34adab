"""The mistakes: each changes the shipped backprop and not the cost, and is caught by the leaves that are wrong."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.verify.comparison import on_host
from jaxprop.verify.suite import random_point
from proof import mistakes
from proof.cases import make_case, wrong_leaves
from proof.judges import failing_leaves, remembering
from proof.mistakes import MISTAKES, Decayed

NOT_COUNTED = {mistake.name for mistake in mistakes.HARMLESS}  # right in other words
BY_NAME = {mistake.name: mistake for mistake in MISTAKES}
NETWORK = jp.mlp((4, 5, 5, 3))
PARAMS, BATCH = jax.tree.map(np.float32, random_point(NETWORK, np.random.RandomState(0), 3))


def test_seventy_three_changes_are_planted_and_no_two_have_one_name():
    assert len(MISTAKES) == len(BY_NAME) == 73
    assert {"ReLU mask from a", "σ′ = σ(z) σ(−z)", "tanh′ = 1 / cosh²", "divided by B after the walk"} == NOT_COUNTED


def test_every_mistake_is_made_in_a_network_of_the_suite():
    networks = jp.probe_networks()
    for mistake in MISTAKES:
        assert repr(networks[mistake.home]) == repr(jp.mlp((6, 5, 5, 5, 3), mistake.activation))


def test_what_backprop_returns_every_mistake_returns(monkeypatch):
    """So it is the shipped function that is changed, and not another one like it."""
    asked = []

    def backprop(network, cost):
        def value_and_grad(params, batch):
            asked.append(network)
            return jnp.zeros(()), jax.tree.map(lambda p: np.full_like(p, np.nan), params)

        return value_and_grad

    monkeypatch.setattr(jp, "backprop", backprop)
    for number, mistake in enumerate(MISTAKES, start=1):
        _, grads = mistake.rule(NETWORK, jp.squared_error)(PARAMS, BATCH)
        assert all(np.isnan(g).all() for g in jax.tree.leaves(grads)), mistake.name
        assert len(asked) == number, mistake.name


def test_the_value_stays_right_in_every_mistake():
    right, _ = jp.backprop(NETWORK, jp.squared_error)(PARAMS, BATCH)
    for mistake in MISTAKES:
        value, grads = mistake.rule(NETWORK, jp.squared_error)(PARAMS, BATCH)
        assert value == right, mistake.name
        assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, PARAMS), mistake.name


def leaves_by_network(mistake, cases):
    """Those that are wrong, and those that `check` names, in each network."""
    wrong, failing = {}, {}
    for case in cases:
        value_and_grad = remembering(mistake.rule(case.network, jp.squared_error))
        wrong[case.name] = wrong_leaves(case, value_and_grad)
        failing[case.name] = failing_leaves(case, value_and_grad)
    return wrong, failing


def assert_every_mistake_is_caught_by_its_leaves(some, cases_for):
    counting = set()
    for mistake in some:
        wrong, failing = leaves_by_network(mistake, cases_for(mistake))
        assert failing == wrong, mistake.name
        if any(wrong.values()):
            counting.add(mistake.name)
    assert counting == {mistake.name for mistake in some} - NOT_COUNTED


make_case_once = cache(make_case)


def at_home(mistake):
    """The network that a mistake is made in."""
    return [make_case_once(mistake.home)]


# Every sixteenth: most of the time goes into compiling operations that no other mistake has. `test_planted_bugs.py` has
# others, in a smaller network.
def test_mistakes_are_caught_by_their_leaves_in_the_network_that_they_are_made_in():
    assert_every_mistake_is_caught_by_its_leaves(MISTAKES[4::16], at_home)


@pytest.mark.slow
def test_every_mistake_is_caught_by_its_leaves_in_the_network_that_it_is_made_in():
    assert_every_mistake_is_caught_by_its_leaves(MISTAKES, at_home)


@pytest.mark.slow
def test_every_mistake_is_caught_by_its_leaves_in_the_whole_suite():
    suite = [make_case_once(name) for name in jp.probe_networks()]
    assert_every_mistake_is_caught_by_its_leaves(MISTAKES, lambda mistake: suite)


def gradient(name):
    """By path, and with it what each example gives without the mistake: dz and a of each dense layer."""
    _, grads = BY_NAME[name].rule(NETWORK, jp.squared_error)(PARAMS, BATCH)
    _, each = jp.per_example(NETWORK, jp.squared_error)(PARAMS, BATCH)
    return on_host(grads), {place: layer.W for place, layer in enumerate(each) if layer}


def assert_close(given, expected):
    # 1e-6: a few ulps of float32, for a sum of three terms in another order
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_an_average_over_the_batch_of_each_factor_apart():
    grads, each = gradient("outer product of means")
    for place, (dz, a) in each.items():
        assert_close(grads[f"[{place}].W"], np.outer(np.mean(dz, axis=0), np.mean(a, axis=0)))
        assert_close(grads[f"[{place}].b"], np.mean(dz, axis=0))


def test_a_sum_in_the_place_of_the_mean():
    grads, each = gradient("sum for mean")
    for place, (dz, a) in each.items():
        assert_close(grads[f"[{place}].W"], np.asarray(dz).T @ np.asarray(a))
        assert_close(grads[f"[{place}].b"], np.sum(dz, axis=0))


def test_weight_decay_of_one_size_whatever_the_batch_size_is():
    grads, each = gradient("weight decay slipped in")
    for place, (dz, a) in each.items():
        W, _ = PARAMS[place]
        assert_close(grads[f"[{place}].W"], np.asarray(dz).T @ np.asarray(a) / 3 + 1e-4 * W)


def test_a_decayed_gradient_is_as_structured_ones_are():
    dz = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    a = jnp.array([[1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    decayed = Decayed(jp.Outer(dz, a), W=jnp.ones((2, 2, 3)))
    assert isinstance(decayed, jp.Structured)
    expanded = jp.expand(decayed)
    assert_close(expanded, dz[:, :, None] * a[:, None, :] + 1e-4)
    assert_close(jax.vmap(jp.norm_squared)(decayed), np.sum(np.square(expanded), axis=(1, 2)))


def test_targets_that_broadcast_to_a_table_and_are_averaged():
    def errors_of_the_table(params, batch):
        inputs, y = batch
        a, residuals = jax.vmap(NETWORK.layer.forward, (None, 0))(params, inputs)
        errors = 2 * jnp.mean(a[:, None] - y[None], axis=1)
        grads, _ = jax.vmap(NETWORK.layer.backward, (None, 0, 0))(params, residuals, errors)
        return jp.mean_over_examples(grads)

    expected = on_host(errors_of_the_table(PARAMS, BATCH))
    grads, _ = gradient("(B,) against (B, 1)")
    for path, g in grads.items():
        assert_close(g, expected[path])
