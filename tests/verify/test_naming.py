"""Relations between a wrong leaf and the right one: each is told where it holds, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.verify.naming import name_relations

DECAY = 0.01


def loss(params, batch):
    x, y = batch
    a = jnp.tanh(jnp.tanh(x @ params["V"].T) @ params["W"].T + params["b"])
    return jnp.mean(jnp.sum((a - y) ** 2, axis=1)) + DECAY * jnp.sum(params["W"] ** 2)


RIGHT = jax.jit(jax.value_and_grad(loss))


def probe(examples):
    random = np.random.default_rng(examples)
    params = {"V": random.normal(size=(3, 3)), "W": random.normal(size=(3, 3)), "b": random.normal(size=3)}
    return jp.Probe(
        f"batch of {examples}", params, (random.normal(size=(examples, 3)), random.normal(size=(examples, 3)))
    )


PROBES = [probe(2), probe(4)]


def said(change, probes=PROBES):
    """What is told of a gradient that `change(grads, params, batch)` has altered."""

    def candidate(params, batch):
        value, grads = RIGHT(params, batch)
        return value, grads | change(grads, params, batch)

    return name_relations(RIGHT, candidate, probes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda g, p, b: {"W": -g["W"]}, "its sign is wrong"),
        (lambda g, p, b: {"W": g["W"] / 2}, "it is 0.5 times the right one"),
        (lambda g, p, b: {"W": g["W"] * len(b[0])}, "it is the sum over the examples: expected the mean"),
        (
            lambda g, p, b: {"W": g["W"] / len(b[0])},
            "it is divided by the number of examples once too often",
        ),
        (lambda g, p, b: {"W": 0 * g["W"]}, "it is 0 everywhere"),
        (lambda g, p, b: {"W": g["W"].T}, "it is transposed"),
        (lambda g, p, b: {"W": g["W"][::-1]}, "it is in another order along axis 0: reversed"),
        (
            lambda g, p, b: {"W": jnp.roll(g["W"], -1, axis=1)},
            "it is in another order along axis 1: place 0 holds what belongs to place 1, and so on round",
        ),
        (
            lambda g, p, b: {"W": g["W"][jnp.array([0, 2, 1])]},
            "it is in another order along axis 0: its places hold what belongs to 0, 2, 1",
        ),
        (lambda g, p, b: {"W": g["V"]}, "it is the gradient of ['V']"),
        (lambda g, p, b: {"W": g["V"], "V": g["W"]}, "it is the gradient of ['V'], and the two are swapped"),
        (
            lambda g, p, b: {"W": g["W"] - DECAY * p["W"]},
            "it is 0.01 times the parameter less: look at the derivative of a penalty on its size",
        ),
        (lambda g, p, b: {"W": jnp.full((3, 3), jnp.sum(g["W"]))}, "it holds in every place the sum over all of it"),
        (
            lambda g, p, b: {"W": jnp.broadcast_to(jnp.mean(g["W"], axis=0), (3, 3))},
            "it holds in every place the mean over axis 0",
        ),
        (lambda g, p, b: {"W": jnp.clip(g["W"], -0.4, 0.4)}, "it is clipped at 0.4"),
        (lambda g, p, b: {"W": jnp.maximum(g["W"], 0)}, "its negative numbers are 0"),
        (
            lambda g, p, b: {"W": g["W"].at[:, 1].set(0)},
            "it is right but for index 1 of axis 1, where it is 0",
        ),
    ],
)
def test_a_relation_is_told(change, expected):
    assert said(change)["['W']"] == (expected,)


def test_a_wrong_shape_may_be_a_transposition():
    def reference(params, batch):
        return jnp.sum(batch @ params), jnp.outer(jnp.sum(batch, axis=0), jnp.ones(2))

    def candidate(params, batch):
        value, grads = reference(params, batch)
        return value, grads.T

    probes = [jp.Probe("a point", np.ones((3, 2)), np.arange(6.0).reshape(2, 3))]
    assert name_relations(reference, candidate, probes) == {"all": ("it is transposed",)}


def test_what_is_right_is_not_named():
    assert said(lambda g, p, b: {}) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda g, p, b: {"W": g["W"] + 1e-3 * jnp.cos(jnp.arange(9.0)).reshape(3, 3)},
        lambda g, p, b: {"W": g["W"] * (1 + 1e-3 * len(b[0]))},  # another factor at each point
        lambda g, p, b: {"W": g["W"].T + 1e-7 * jnp.cos(jnp.arange(9.0)).reshape(3, 3)},  # nearly a transposition
        lambda g, p, b: {"W": -g["W"] + 1e-7 * jnp.cos(jnp.arange(9.0)).reshape(3, 3)},
        lambda g, p, b: {"W": g["W"] * jnp.nan},
        lambda g, p, b: {"W": g["W"].at[0, 0].multiply(1.01)},
        lambda g, p, b: {"W": jnp.roll(g["W"], len(b[0]), axis=0)},  # another order at each point
        lambda g, p, b: {"W": jnp.clip(g["W"], -0.4, 0.4)[: len(b[0])]},  # a row too few at one point
    ],
)
def test_nothing_is_guessed(change):
    assert said(change) == {}


def test_an_order_is_only_told_of_small_numbers_that_are_the_same_ones():
    right = 1e-6 * jax.random.normal(jax.random.key(0), (3, 3))
    other = right[::-1] * (1 + 1e-3 * jnp.arange(9).reshape(3, 3))
    at = [jp.Probe("a point", np.zeros((3, 3)), np.ones(1))]
    for candidate, expected in ((right[::-1], ("it is in another order along axis 0: reversed",)), (other, None)):
        told = name_relations(lambda p, b: (1e-6, right), lambda p, b, given=candidate: (1e-6, given), at)
        assert told.get("all") == expected


def test_one_number_alone_proves_no_factor():
    reference = lambda params, batch: (params**3, 3 * params**2)  # noqa: E731
    candidate = lambda params, batch: (params**3, params**2)  # noqa: E731
    at = [jp.Probe("a point", np.float64(x), np.ones(1)) for x in (2.0, 3.0)]
    assert name_relations(reference, candidate, at[:1]) == {}
    assert name_relations(reference, candidate, at) == {"all": ("it is 0.333333 times the right one",)}


def test_at_one_point_a_factor_may_be_the_number_of_examples_too():
    (told,) = said(lambda g, p, b: {"b": 4 * g["b"]}, PROBES[1:])["['b']"]
    assert told == "it is 4 times the right one, or it is the sum over the examples: expected the mean"


def test_two_numbers_that_are_cut_show_that_it_is_clipped_and_one_does_not():
    reference = lambda params, batch: (jnp.sum(params**2), 2 * params)  # noqa: E731
    candidate = lambda params, batch: (jnp.sum(params**2), jnp.minimum(2 * params, 3))  # noqa: E731
    at = [jp.Probe("a point", np.array([0.5, 1.0, x]), np.ones(1)) for x in (2.0, 4.0)]
    assert name_relations(reference, candidate, at[:1]) == {}
    assert name_relations(reference, candidate, at) == {"all": ("it is clipped at 3",)}
