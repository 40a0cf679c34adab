"""The name of the mistake: each planted one is named, or declared equal to others; and nothing else gets a name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.networks import Activation
from proof import naming
from proof.mistakes import HARMLESS, MISTAKES
from proof.mutants import in_activation, in_cost, in_dense, together
from proof.naming import BY_NAME, naming_for, network_of, say_what_is_wrong, sentence

NETWORK = jp.mlp((6, 5, 5, 5, 3))
# Two batches tell most mistakes apart. All probes of the suite are tried by the slow test.
PROBES = [probe for probe in jp.probes_for(NETWORK) if len(probe.batch[0]) in (2, 7)][:2]
NAME = naming_for(NETWORK, probes=PROBES)


def names(rule, name=NAME, network=NETWORK):
    return [tuple(mistake.name for mistake in group) for group in name(rule(network, jp.squared_error))]


# Every seventh of those that are made in a network of sigmoids: most of the time goes into compiling.
@pytest.mark.parametrize("mistake", [m for m in MISTAKES if m.activation == "sigmoid"][::7], ids=lambda m: m.name)
def test_a_planted_mistake_is_named(mistake):
    expected = [] if mistake in HARMLESS else [(mistake.name,)]
    assert names(mistake.rule) == expected


def test_two_at_once_are_named():
    pair = ("the 2 lost", "biases summed, weights averaged")
    assert names(together(*(BY_NAME[name].rule for name in pair))) == [pair]


@pytest.mark.parametrize(
    "rule",
    [
        in_cost(lambda a, y: 2.1 * (a - y)),
        in_cost(lambda a, y: 2 * jnp.tanh(a - y)),
        in_activation("sigmoid", lambda z, a, da: 1.01 * a * (1 - a) * da),
        in_dense(db=lambda p, a, dz: dz * 1.001),
        in_dense(da=lambda p, a, dz: jnp.roll(dz @ p.W, 1)),
    ],
)
def test_what_is_not_among_the_planted_gets_no_name(rule):
    assert names(rule) == []


def test_the_right_gradient_gets_no_name():
    assert names(jp.backprop) == []
    assert names(jp.autodiff) == []


def test_a_network_of_other_layers_gets_no_name():
    network = jp.Network((jp.flatten(), jp.dense(2)), (2, 2))
    assert naming_for(network)(jp.backprop(network, jp.squared_error)) == ()


def test_a_mistake_in_the_library_itself_is_named(monkeypatch):
    """The known mistakes are planted in layers that JAX differentiates, not in those that are wrong."""
    right = jp.sigmoid()
    wrong = right._replace(backward=lambda p, residuals, da: ((), (1 - residuals[1] ** 2) * da))
    layers = tuple(wrong if layer.name == "sigmoid" else layer for layer in NETWORK.layers)
    broken = jp.Network(layers, NETWORK.in_shape)
    assert names(jp.backprop, naming_for(broken, probes=PROBES), broken) == [("σ′ = 1 − a²",)]


def test_names_make_a_sentence():
    half, summed = BY_NAME["the 2 lost"], BY_NAME["sum for mean"]
    assert sentence(()) == ""
    assert sentence(((half,),)) == (
        "It equals a known mistake, to rounding: “the 2 lost” (most texts differentiate half the sum)."
    )
    assert "“the 2 lost” (most texts differentiate half the sum) together with “sum for" in sentence(((half, summed),))
    assert "one and the same on this network: “the 2 lost”" in sentence(((half,), (summed,)))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_network_behind_a_loss_is_told_by_its_value(activation: Activation):
    network = jp.mlp((3, 2, 2), activation)
    params = jax.tree.map(lambda x: np.full(x.shape, 0.3), network.params_like)
    batch = np.ones((2, 3)), np.eye(2)
    assert repr(network_of(jp.loss(network, jp.squared_error), params, batch)) == repr(network)
    assert network_of(lambda params, batch: jnp.float32(7), params, batch) is None
    assert network_of(lambda params, batch: jnp.float32(7), {"w": np.ones(3)}, batch) is None


def test_a_users_gradient_of_one_of_our_networks_is_named(monkeypatch):
    monkeypatch.setattr(naming, "naming_for", lambda network: NAME)  # the same, at fewer points
    _, params, batch, *_ = PROBES[0]
    loss = jp.loss(NETWORK, jp.squared_error)
    half = in_cost(lambda a, y: a - y)(NETWORK, jp.squared_error)
    named, *relations = say_what_is_wrong(loss, lambda params, batch: half(params, batch)[1], (params, batch))
    assert named.startswith("It equals a known mistake, to rounding: “the 2 lost”")
    assert relations[0] == (
        "[0].W: it is 0.5 times the right one, or it is divided by the number of examples once too often"
    )


# By construction: with a sigmoid at the outputs alone the two are one.
SAME = {
    frozenset({"y − a", "σ′ = a (a − 1)"}),
    frozenset({"σ′ missing", "σ′ of the outputs skipped"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_every_planted_mistake_is_named_in_three_networks(activation: Activation):
    network = jp.mlp((6, 5, 5, 5, 3), activation)
    name = naming_for(network)
    right = jp.backprop(network, jp.squared_error)
    for mistake in MISTAKES:
        found = names(mistake.rule, name, network)
        if found == []:  # it changes nothing in this network
            wrong = mistake.rule(network, jp.squared_error)
            assert jp.check(right, wrong, jp.probes_for(network)).agree, mistake.name
        elif found != [(mistake.name,)]:
            assert frozenset(name for (name,) in found) in SAME, mistake.name
            assert (mistake.name,) in found
