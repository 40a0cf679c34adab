"""The suite: every kind of point that a mistake could hide from is in it, and it stays as it is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import Cost, softmax_cross_entropy, squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop
from jaxprop.layers import (
    Dense,
    Layer,
    attention,
    avg_pool,
    chain,
    conv2d,
    dense,
    embedding,
    flatten,
    gelu,
    group_norm,
    last,
    layer_norm,
    leaky_relu,
    lstm,
    max_pool,
    positions,
    positionwise,
    relu,
    residual,
    rms_norm,
    rnn,
    sigmoid,
    softmax,
    softplus,
    swiglu,
    swish,
    tanh,
)
from jaxprop.networks import Network, count_parameters, mlp, transformer
from jaxprop.verify import suite
from jaxprop.verify.checking import check
from jaxprop.verify.suite import _Drawing, _forward_in_blocks, _kinds, probe_networks, probes_for, random_point

NETWORKS = probe_networks()
PROBES = {name: {probe.name: probe for probe in probes_for(network)} for name, network in NETWORKS.items()}


def pre_activations(network, probe) -> list[np.ndarray]:
    """z of every dense layer, (B, width) each. What a dense layer remembers is the activations before it."""
    _, residuals = jax.vmap(network.layer.forward, (None, 0))(probe.params, probe.batch[0])
    dense = [(p, np.asarray(a)) for p, a in zip(probe.params, residuals, strict=True) if isinstance(p, Dense)]
    return [a @ np.asarray(p.W).T + np.asarray(p.b) for p, a in dense]


def test_the_suite_is_frozen():
    # A change of these numbers changes what the suite can find: then its power must be measured again.
    found = {}
    for name, probes in PROBES.items():
        points = [(probe.params, probe.batch, probe.yardstick) for probe in probes.values()]
        numbers = np.concatenate([np.ravel(x) for x in jax.tree.leaves(points)])
        # arcsinh, so that small numbers are heard beside large ones; weights tell an exchange of two from none.
        found[name] = float(np.abs(np.arcsinh(numbers)) @ np.linspace(1, 2, len(numbers)))
    assert found == pytest.approx(FROZEN, rel=1e-9)


FROZEN = {
    "6-5-5-5-3 sigmoid": 16633.072447970135,
    "6-5-5-5-3 relu": 16628.438058414056,
    "6-5-5-5-3 tanh": 16629.782031165378,
    "6-5-5-5-3 identity": 16649.287489307808,
    "4-4-4 relu": 13441.395773531298,
    "3-1-2 tanh": 7112.204671831791,
    "4-3 sigmoid": 10449.110771125032,
}


def sizes_of(probes):
    return {len(probe.batch[0]) for probe in probes}


def test_the_batches_are_of_small_sizes_of_a_block_and_one_of_the_widths_and_of_one_that_is_large():
    assert sizes_of(PROBES["6-5-5-5-3 tanh"].values()) == {1, 2, 7, 33} | {3, 5, 6} | {301}
    assert sizes_of(probes_for(mlp((784, 16, 16, 10)))) == {1, 2, 7, 33} | {10, 16, 784}
    assert sizes_of(probes_for(mlp((2000, 3)))) == {1, 2, 7, 33} | {3} | {301}
    for n in (1, 2, 7, 33, 301):
        assert len(PROBES["4-3 sigmoid"][f"batch of {n}"].batch[0]) == n


def test_quick_batches_are_of_three_sizes_and_the_kinds_of_points_are_the_same():
    quick = probes_for(NETWORKS["4-3 sigmoid"], quick=True)
    assert sizes_of(quick) == {1, 7, 131}
    others = {probe.name for probe in quick if "batch of" not in probe.name}
    assert others == {name for name in PROBES["4-3 sigmoid"] if "batch of" not in name}


def test_batches_that_would_fill_the_memory_are_left_out(monkeypatch):
    network = mlp((200, 3))
    assert sizes_of(probes_for(network)) == {1, 2, 7, 33} | {3, 200}
    monkeypatch.setattr(suite, "MOST_NUMBERS", 100 * count_parameters(network.params_like))
    assert sizes_of(probes_for(network)) == {1, 2, 7, 33} | {3}


def test_layers_are_square_twice_in_a_row_and_oblong_both_ways():
    shapes = [p.W.shape for p in PROBES["6-5-5-5-3 relu"]["batch of 1"].params if isinstance(p, Dense)]
    assert shapes == [(5, 6), (5, 5), (5, 5), (3, 5)]


def test_every_activation_is_there():
    assert {name.split()[1] for name in NETWORKS} == {"sigmoid", "relu", "tanh", "identity"}


@pytest.mark.parametrize("classes", [1, 3, 10, 23, 400])
@pytest.mark.parametrize("quick", [False, True])
def test_every_class_is_a_target_where_the_parameters_are_ordinary(classes, quick):
    probes = [p for p in probes_for(mlp((4, classes)), quick=quick) if p.name.startswith(("batch of", "classes from"))]
    targets = np.concatenate([probe.batch[1] for probe in probes])
    assert set(targets.argmax(axis=1)) == set(range(classes))
    np.testing.assert_array_equal(targets.sum(axis=1), 1)


def test_inputs_hold_exact_zeros_everywhere_and_no_bias_is_0_in_ordinary_probes():
    for probes in PROBES.values():
        for name in ("batch of 1", "batch of 2", "batch of 7"):
            assert (probes[name].batch[0] == 0).any()
            assert all((p.b != 0).all() for p in probes[name].params if isinstance(p, Dense))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("probe", ["zeros", "zeros, batch of 1"])
def test_every_layer_has_weights_and_pre_activations_that_are_exactly_0(name, probe):
    for z in pre_activations(NETWORKS[name], PROBES[name][probe]):
        assert (z[:, 0] == 0).all()
        assert z.shape[1] == 1 or (z[:, 1:] != 0).all()
    assert all((p.W[0] == 0).all() for p in PROBES[name][probe].params if isinstance(p, Dense))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_saturates_in_part(name):
    for z in pre_activations(NETWORKS[name], PROBES[name]["saturated"]):
        assert (z[:, 1::4] > 15).all()
        with np.errstate(over="ignore"):
            assert np.isinf(np.exp(-z[:, 3::4])).all()
        assert (np.abs(z[:, ::2]) < 6).all()


def test_small_activations_are_small():
    for z in pre_activations(NETWORKS["6-5-5-5-3 tanh"], PROBES["6-5-5-5-3 tanh"]["small"]):
        assert (np.abs(z) < 0.01).all()
        assert (z != 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_other_pre_activation_lies_beside_a_kink(name):
    for z in pre_activations(NETWORKS[name], PROBES[name]["near kinks"]):
        assert (np.abs(z[:, ::2]) < 1e-3).all()
        assert (z[:, ::2] != 0).all()


def outputs(network, probe):
    return np.asarray(jax.vmap(network.apply, (None, 0))(probe.params, probe.batch[0]))


def errors(name):
    network, probe = NETWORKS["6-5-5-5-3 tanh"], PROBES["6-5-5-5-3 tanh"][name]
    with jax.enable_x64(True):
        return np.abs(outputs(network, probe) - probe.batch[1])


def test_errors_of_an_example_may_cancel_and_targets_in_a_square_are_not_their_own_transpose():
    network, probes = NETWORKS["6-5-5-5-3 tanh"], PROBES["6-5-5-5-3 tanh"]
    probe = probes["errors that add up to 0"]
    with jax.enable_x64(True):
        found = outputs(network, probe) - probe.batch[1]
    assert np.abs(found).min() > 0.01
    assert np.abs(found.sum(axis=1)).max() < 1e-14
    _, targets = probes["batch of 3"].batch
    assert not np.array_equal(targets, targets.T)


def test_outputs_are_near_their_targets_and_far_from_them():
    for size in (1e-2, 1e-4, 1e-8):
        found = errors(f"errors of {size:g}")
        assert found.min() > 0.4 * size
        assert found.max() < 1.6 * size
    assert errors("cost of 0").max() < 1e-15
    assert errors("huge errors").min() > 1e4
    of_examples = errors("errors of every size").max(axis=1)
    assert of_examples.min() < 1e-5
    assert of_examples.max() > 50


# What is said of a point: holds(inputs, targets, params).
POINTS = {
    "one class": lambda x, y, p: (y[:, -1] == 1).all(),
    "classes in order": lambda x, y, p: (np.diff(y.argmax(1)) >= 0).all() and (y.sum(0) > 0).all(),
    "batch of 33": lambda x, y, p: (np.diff(y.argmax(1)) < 0).any() and (y.sum(0) > 0).all(),
    "soft targets": lambda x, y, p: (y > 0).all() and (y < 1).all() and np.allclose(y.sum(1), 1),
    "targets of any sign": lambda x, y, p: y.min() < -10 and y.max() > 10,
    "tiny targets": lambda x, y, p: 0 < np.abs(y).max() < 1e-3,
    "all targets 0.0": lambda x, y, p: not y.any(),
    "all targets 0.5": lambda x, y, p: (y == 0.5).all(),
    "all targets 1.0": lambda x, y, p: (y == 1).all(),
    "pixels": lambda x, y, p: x.min() == 0 and x.max() == 1 and (x == 1).any() and ((x > 0) & (x < 1)).any(),
    "negative inputs": lambda x, y, p: (x < 0).all(),
    "large inputs": lambda x, y, p: x.max() > 200 and np.abs(p[0].W).max() < 0.02,
    "tiny inputs": lambda x, y, p: 0 < np.abs(x).max() <= 1e-6,
    "inputs of every size": lambda x, y, p: np.abs(x).max(1).min() < 1e-4 and np.abs(x).max() > 0.1,
    "constant inputs": lambda x, y, p: (x == x[:, :1]).all() and len(set(x[:, 0])) == 7,
    "blank example": lambda x, y, p: list(x.any(1)) == [True, False, True, True, True, True, False],
    "blank example, batch of 1": lambda x, y, p: x.shape[0] == 1 and not x.any(),
    "blank batch": lambda x, y, p: x.shape[0] == 7 and not x.any(),
    "repeated examples": lambda x, y, p: (x[::2][:16] == x[1::2]).all() and (y[::2][:16] != y[1::2]).any(),
    "one example repeated": lambda x, y, p: (x == x[0]).all() and (y == y[0]).all() and x.any(),
    "parameters of 0": lambda x, y, p: not any(leaf.any() for leaf in jax.tree.leaves(p)),
    "biases of 0": lambda x, y, p: all(d.W.all() and not d.b.any() for d in p if d),
    "small biases": lambda x, y, p: all(0 < np.abs(d.b).max() < 0.01 < np.abs(d.W).max() for d in p if d),
    "small weights": lambda x, y, p: all(0 < np.abs(d.W).max() < 0.01 < np.abs(d.b).max() for d in p if d),
    "large rows": lambda x, y, p: all(np.abs(d.W).max() > 10 for d in p if d),
    "equal neurons": lambda x, y, p: all(not np.ptp(d.W, axis=0).any() and not np.ptp(d.b) for d in p[:-2] if d),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_point_is_what_it_is_called(name):
    probe = PROBES["6-5-5-5-3 sigmoid"][name]
    assert POINTS[name](*probe.batch, probe.params)


def test_a_point_comes_again_after_others_that_differ_in_one_thing():
    probes = PROBES["6-5-5-5-3 sigmoid"]
    first = probes["batch of 7"]
    params, (inputs, targets) = first.params, first.batch
    *_, other_params, other_inputs, other_targets, again = probes.values()
    assert again._replace(name=first.name) is not first
    assert again[1:] == first[1:]
    assert other_params.params is not params
    assert other_params.batch[1] is other_inputs.batch[1] is targets
    assert other_inputs.params is other_targets.params is params
    assert other_targets.batch[0] is inputs
    assert (other_inputs.batch[0] != inputs).any()
    assert (other_targets.batch[1] != targets).any()


def test_a_yardstick_has_other_targets_and_all_else_the_same():
    for probe in PROBES["6-5-5-5-3 sigmoid"].values():
        assert probe.yardstick is not None
        params, (inputs, targets) = probe.yardstick
        assert params is probe.params
        assert inputs is probe.batch[0]
        assert targets.shape == probe.batch[1].shape
        assert (targets != probe.batch[1]).all()
        assert np.abs(targets).max() > 0.2


def test_rounding_does_not_decide_on_which_side_of_a_relu_a_pre_activation_lies():
    network = mlp((4, 6, 3), "relu")
    forward = _forward_in_blocks(network)
    params, (inputs, _) = random_point(network, np.random.RandomState(0), 70)
    z = inputs @ params[0].W.T + params[0].b
    params[0].b[2] -= z[66, 2] - 1e-7  # now z[66, 2] is 1e-7
    found, steady = forward(params, inputs)
    assert list(np.flatnonzero(~steady)) == [66]
    with jax.enable_x64(True):
        expected = jax.vmap(network.apply, (None, 0))(params, inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)  # a few ulps of 1
    draw = _Drawing(
        network, squared_error, "any", np.random.RandomState(0), np.random.RandomState(1), forward, _kinds(network)
    )
    asked = iter([inputs, inputs[:1] / 2])
    drawn = draw.inputs(params, 70, lambda random, shape: next(asked).copy())
    np.testing.assert_array_equal(drawn[66], inputs[0] / 2)
    np.testing.assert_array_equal(np.delete(drawn, 66, axis=0), np.delete(inputs, 66, axis=0))


def test_random_points_depend_on_nothing_but_their_generator():
    network = mlp((4, 3))
    one, same, other = (random_point(network, np.random.RandomState(seed), 5) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(one[0]), jax.tree.leaves(other[0]), strict=True))


# Any network


def scaled() -> Layer:
    """A layer of one's own with one scalar parameter, and an empty one."""

    def init(key, in_shape):
        return {"scale": jnp.ones(()), "none": jnp.ones((0, 3))}, in_shape

    def backward(params, x, dy):
        return {"scale": jnp.sum(x * dy), "none": params["none"]}, params["scale"] * dy

    return Layer("scaled", init, lambda params, x: (params["scale"] * x, x), backward)


def as_matrix() -> Layer:
    return Layer(
        "as_matrix",
        lambda key, in_shape: ((), (2, in_shape[0] // 2)),
        lambda params, x: (x.reshape(2, -1), ()),
        lambda params, residuals, dy: ((), dy.reshape(-1)),
    )


PICTURES = Network((flatten(), scaled(), dense(6), tanh(), as_matrix()), (2, 2, 1))
LABELS = Cost(lambda a, y: -a.reshape(-1)[y], lambda a, y: -jax.nn.one_hot(y, a.size).reshape(a.shape), True)


def test_probes_have_the_shapes_of_any_network_and_scalars_take_part():
    probes = {probe.name: probe for probe in probes_for(PICTURES)}
    assert {name for name in PROBES["4-3 sigmoid"] if "batch of" not in name} < probes.keys()
    for probe in probes.values():
        PICTURES.check_params(probe.params)
        PICTURES.check_batch(probe.batch)
        inputs, targets = probe.batch
        assert (inputs.shape[1:], targets.shape[1:]) == ((2, 2, 1), (2, 3))
        assert probe.params[1]["none"].shape == (0, 3)
    scales = {name: float(probe.params[1]["scale"]) for name, probe in probes.items()}
    assert scales["zeros"] == scales["zeros, batch of 1"] == 0
    assert 0 < abs(scales["small"]) < 0.01
    assert all(scales[name] != 0 for name in ("batch of 1", "batch of 2", "batch of 7", "saturated"))


def test_every_output_of_a_matrix_is_a_target_once():
    probes = [probe for probe in probes_for(PICTURES) if probe.name.startswith("batch of")]
    targets = np.concatenate([probe.batch[1] for probe in probes])
    np.testing.assert_array_equal(targets.sum(axis=(1, 2)), 1)
    assert (targets.sum(axis=0) > 0).all()


def test_targets_are_whole_numbers_where_the_cost_takes_labels():
    for network, classes in ((mlp((4, 3)), 3), (PICTURES, 6), (mlp((4, 23)), 23)):
        floats = {probe.name: probe for probe in probes_for(network, quick=True)}
        for other in probes_for(network, LABELS, quick=True):
            labels = other.batch[1]
            assert (labels.dtype, labels.shape) == (np.int32, (len(other.batch[0]),))
            assert 0 <= labels.min() <= labels.max() < classes
            one = floats[other.name]
            np.testing.assert_array_equal(one.batch[0], other.batch[0])
            np.testing.assert_array_equal(one.batch[1].reshape(len(labels), -1).argmax(axis=1), labels)


CROSS_ENTROPY = Cost(
    lambda a, y: -jnp.sum(y * jnp.log(a) + (1 - y) * jnp.log(1 - a)),
    lambda a, y: (a - y) / (a * (1 - a)),
)


def test_targets_of_a_cost_of_ones_own_are_shares_and_where_it_is_infinite_there_is_no_point():
    probes = {probe.name: probe for probe in probes_for(mlp((4, 3)), CROSS_ENTROPY, quick=True)}
    for probe in probes.values():
        assert (probe.batch[1] >= 0).all()
        np.testing.assert_allclose(probe.batch[1].sum(axis=1), 1, rtol=0, atol=1e-15)  # a few ulps of 1
    assert "soft targets" in probes
    assert "saturated" not in probes
    assert len(probes) > 20
    network = mlp((4, 3))
    by_jax, by_hand = (jax.jit(rule(network, CROSS_ENTROPY)) for rule in (autodiff, backprop))
    assert check(by_jax, by_hand, list(probes.values())).agree


def test_targets_are_one_hot_where_nothing_else_is_legal():
    for probe in probes_for(mlp((4, 3)), quick=True, targets="one-hot"):
        assert set(map(tuple, probe.batch[1])) <= set(map(tuple, np.eye(3)))


def test_unknown_targets_are_refused():
    with pytest.raises(BadInput, match="targets are 'probabilities': expected one of any, shares, one-hot"):
        probes_for(mlp((4, 3)), targets="probabilities")  # pyright: ignore[reportArgumentType]


# Mistakes for all dimensions, in the gradient of one dense layer: grads, parameters, inputs, targets, outputs -> grads.

NETWORK = NETWORKS["4-3 sigmoid"]
QUICK = probes_for(NETWORK, quick=True)
BY_JAX = jax.jit(autodiff(NETWORK, squared_error))
CALLS = []


def gradient_of(weights, p, x, y, a):
    """With a weight for each example."""
    dz = 2 * (a - y) * a * (1 - a) * np.reshape(weights, (-1, 1)) / len(x)
    return Dense(dz.T @ x, dz.sum(0))


def kept(g, p, x, y, a):
    CALLS.append(g)
    return next(known for known in CALLS if known.W.dtype == g.W.dtype) if len(x) == 7 else g


def norm(g):
    return np.sqrt((g.W**2).sum() + (g.b**2).sum())


def cost(a, y):
    return ((a - y) ** 2).sum(axis=1)


MISTAKES = {
    "the first 32 alone": lambda g, *at: gradient_of(np.arange(len(at[1])) < 32, *at),
    "the first 128 alone": lambda g, *at: gradient_of(np.arange(len(at[1])) < 128, *at),
    "what is left of blocks of 16": lambda g, *at: gradient_of(
        np.arange(len(at[1])) < max(len(at[1]) // 16 * 16, min(len(at[1]), 16)), *at
    ),
    "divided by 32 at most": lambda g, p, x, y, a: jax.tree.map(lambda leaf: leaf * len(x) / min(len(x), 32), g),
    "examples with the same inputs counted once": lambda g, *at: gradient_of(
        [all((x != at[1][i]).any() for x in at[1][:i]) for i in range(len(at[1]))], *at
    ),
    "blank examples left out": lambda g, *at: gradient_of(at[1].any(axis=1), *at),
    "the label of the largest target": lambda g, p, x, y, a: gradient_of(
        np.ones(len(x)), p, x, np.eye(3)[y.argmax(1)].astype(y.dtype), a
    ),
    "targets cut to [0, 1]": lambda g, p, x, y, a: gradient_of(np.ones(len(x)), p, x, y.clip(0, 1), a),
    "the targets of the first example": lambda g, p, x, y, a: gradient_of(np.ones(len(x)), p, x, y[:1] + 0 * y, a),
    "errors below 1e-3 left out": lambda g, *at: gradient_of(np.abs(at[3] - at[2]).max(axis=1) > 1e-3, *at),
    "a cost below 1e-12 left out": lambda g, *at: gradient_of(cost(at[3], at[2]) > 1e-12, *at),
    "a cost above 1e6 left out": lambda g, *at: gradient_of(cost(at[3], at[2]) < 1e6, *at),
    "cut to a norm of 100": lambda g, *at: jax.tree.map(lambda leaf: leaf * min(1, 100 / max(norm(g), 1e-30)), g),
    "no gradient below a norm of 1e-6": lambda g, *at: jax.tree.map(lambda leaf: leaf * (norm(g) > 1e-6), g),
    "inputs cut to [-1, 1]": lambda g, p, x, y, a: gradient_of(np.ones(len(x)), p, x.clip(-1, 1), y, a),
    "inputs below 1e-5 left out": lambda g, p, x, y, a: gradient_of(
        np.ones(len(x)), p, np.where(np.abs(x) < 1e-5, 0, x).astype(x.dtype), y, a
    ),
    "weights above 10 left alone": lambda g, p, x, y, a: g._replace(W=np.where(np.abs(p.W) > 10, 0, g.W)),
    "no gradient for parameters of 0": lambda g, p, x, y, a: g._replace(b=np.where(p.b == 0, 0, g.b)),
    "examples of one class left out": lambda g, p, x, y, a: (
        g if len(x) == 1 or (y != y[0]).any() else g._replace(b=0 * g.b)
    ),
    "the gradient of the first call": kept,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_each_dimension_is_found(name):
    def value_and_grad(params, batch):
        (dense, _), (x, y) = jax.tree.map(np.asarray, (params, tuple(batch)))
        value, (grads, nothing) = BY_JAX(params, batch)
        with np.errstate(over="ignore"):
            a = 1 / (1 + np.exp(-(x @ dense.W.T + dense.b)))
        right = gradient_of(np.ones(len(x)), dense, x, y, a)
        changed = MISTAKES[name](right, dense, x, y, a)
        return value, (jax.tree.map(lambda g, like: np.asarray(g, like.dtype), changed, grads), nothing)

    assert not check(BY_JAX, value_and_grad, QUICK).agree


def test_without_a_mistake_all_of_this_is_right():
    MISTAKES["none"] = lambda g, *at: g
    with pytest.raises(AssertionError):
        test_a_mistake_of_each_dimension_is_found("none")
    del MISTAKES["none"]


# Tokens, labels by position, pictures


TOKENS = Network((embedding(5, 2), positions(3), attention(1, causal=True), positionwise(dense(4))), (3,))
OF_TOKENS = {probe.name: probe for probe in probes_for(TOKENS, softmax_cross_entropy, quick=True)}


def test_a_network_of_tokens_gets_every_row_of_its_table_and_a_label_for_each_position():
    for probe in OF_TOKENS.values():
        TOKENS.check_params(probe.params)
        TOKENS.check_batch(probe.batch)
        assert probe.yardstick is not None
        (tokens, labels), (_, others) = probe.batch, probe.yardstick[1]
        assert tokens.dtype == labels.dtype == np.int32
        assert tokens.shape == labels.shape == others.shape == (len(tokens), 3)
        assert 0 <= tokens.min() <= tokens.max() < 5
        assert 0 <= labels.min() <= labels.max() < 4
    for name in ("every token", "batch of 131"):
        tokens, labels = OF_TOKENS[name].batch
        assert set(tokens.flat) == set(range(5))
        assert set(labels.flat) == set(range(4))
        assert np.ptp(labels, axis=1).any(), "positions have labels of their own"


OF_ROWS = {
    "first and last tokens": lambda ids: set(ids.flat) == {0, 4},
    "one token in each example": lambda ids: not np.ptp(ids, axis=1).any() and len(set(ids.flat)) == 5,
    "one token": lambda ids: (ids == 4).all() and len(ids) == 7,
    "one token, batch of 1": lambda ids: (ids == 2).all() and len(ids) == 1,
    "each token twice": lambda ids: any(len(set(row)) < 3 for row in ids) and (np.diff(ids.flat) != 0).any(),
    "repeated examples": lambda ids: (ids[::2][:65] == ids[1::2]).all() and len(ids) == 131,
    "one example repeated": lambda ids: (ids == ids[0]).all() and len(ids) == 7,
}


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_point_of_tokens_is_what_it_is_called(name):
    assert OF_ROWS[name](OF_TOKENS[name].batch[0])


def test_a_sequence_of_one_token_and_targets_that_are_numbers_get_points_too():
    network = Network((embedding(4, 2), flatten(), dense(3)), (1,))
    for probe in probes_for(network, quick=True):
        network.check_batch(probe.batch)
        assert probe.batch[1].shape == (len(probe.batch[0]), 3)
    params, (tokens, _) = random_point(network, np.random.RandomState(0), 50)
    network.check_params(params)
    assert set(tokens.flat) == set(range(4))


def test_integers_without_a_table_are_refused_with_a_way_out():
    def backward(params, ids, dy) -> Any:
        return (), None

    as_floats = Layer(
        "as_floats", lambda key, shape: ((), shape), lambda p, ids: (ids / 9, ids), backward, takes_integers=True
    )
    with pytest.raises(BadInput, match=r"inputs of as_floats are integers, .* no table of rows.* jaxprop.probes"):
        probes_for(Network((as_floats, dense(2)), (3,)))


def test_a_label_is_for_all_outputs_where_a_cost_of_ones_own_takes_one():
    by_position = Network((positionwise(dense(3)),), (2, 4))
    assert random_point(by_position, np.random.RandomState(0), 5, cost=LABELS)[1][1].shape == (5,)
    labels = random_point(by_position, np.random.RandomState(0), 5, cost=softmax_cross_entropy)[1][1]
    np.testing.assert_array_equal(labels.flat, np.arange(10) % 3)


def test_windows_tie_above_0_with_different_pictures_below_and_edges_are_alone():
    network = Network((conv2d(2, 2), relu(), max_pool(2)), (4, 5, 1))
    probes = {probe.name: probe for probe in probes_for(network, quick=True)}
    params, (inputs, _) = probes["window ties"].params, probes["window ties"].batch
    z, _ = jax.vmap(network.layers[0].forward, (None, 0))(params[0], inputs)
    assert (z[..., 0] == z[0, 0, 0, 0]).all()
    assert z[0, 0, 0, 0] > 0
    assert np.ptp(z[..., 1]) > 0
    assert set(inputs.flat) == {0, 1}
    edges = probes["edges alone"].batch[0]
    assert not edges[:, 1:-1, 1:-1].any()
    assert (edges[:, [0, -1]] > 0).all()


# Right networks of every family: nothing may be called wrong.
FAMILIES = {
    "softmax at the end": (Network((dense(4), tanh(), dense(5), softmax()), (4,)), squared_error),
    "attention": (Network((attention(2), attention(2, causal=True), flatten(), dense(3)), (5, 4)), squared_error),
    "attention of tokens": (TOKENS, softmax_cross_entropy),
    "transformer": (transformer(5, 3, 4, width=4, heads=2, depth=2), softmax_cross_entropy),
    "convolution, ties": (
        Network((conv2d(2, 2), relu(), max_pool(2), flatten(), dense(3)), (5, 4, 1)),
        softmax_cross_entropy,
    ),
    "group norm": (
        Network((conv2d(4, 3), group_norm(2), swish(), avg_pool(2), flatten(), dense(3)), (5, 5, 1)),
        softmax_cross_entropy,
    ),
    "lstm of tokens": (Network((embedding(6, 4), lstm(3), last(), dense(3)), (5,)), softmax_cross_entropy),
    "rnn by position": (
        Network((embedding(3, 4), positions(7), rnn(3), positionwise(dense(4))), (5,)),
        softmax_cross_entropy,
    ),
    "norms": (
        Network((dense(5), residual(chain(layer_norm(), dense(5), gelu(True))), rms_norm(), dense(3)), (4,)),
        squared_error,
    ),
    "a row of tokens each": (
        Network((positionwise(embedding(5, 3)), positionwise(flatten()), attention(2), positionwise(dense(3))), (3, 2)),
        softmax_cross_entropy,
    ),
    "one token": (Network((embedding(6, 4), flatten(), dense(3), sigmoid()), (1,)), squared_error),
    "gates": (
        Network((dense(8), swiglu(), dense(5), softplus(), dense(4), leaky_relu(), dense(3)), (4,)),
        softmax_cross_entropy,
    ),
    "a strided convolution": (
        Network((conv2d(3, 3, 2), tanh(), max_pool(2), flatten(), dense(3), sigmoid()), (9, 8, 1)),
        squared_error,
    ),
}


def both(name):
    network, cost = FAMILIES[name]
    return [jax.jit(rule(network, cost)) for rule in (autodiff, backprop)]


# Where rounding does most; and what is there for these networks alone.
HARD = {
    "softmax at the end": ("saturated",),
    "attention": ("constant inputs", "large inputs"),
    "attention of tokens": ("saturated", "small", "one token", "each token twice"),
}


@pytest.mark.parametrize("name", HARD)
def test_a_right_gradient_is_not_called_wrong_where_rounding_does_most(name):
    points = [probe for probe in probes_for(*FAMILIES[name], quick=True) if probe.name in HARD[name]]
    assert len(points) == len(HARD[name])
    by_jax, by_hand = both(name)
    assert check(by_jax, by_hand, points)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("quick", [False, True])
def test_a_right_gradient_of_any_family_is_never_called_wrong(name, quick):
    by_jax, by_hand = both(name)
    assert check(by_jax, by_hand, probes_for(*FAMILIES[name], quick=quick))


def test_a_row_that_is_looked_up_twice_and_gets_one_of_both_is_found_where_tokens_repeat():
    network, cost = FAMILIES["one token"]
    by_jax = both("one token")[0]

    def overwritten(params, batch):
        value, (_, *others) = by_jax(params, batch)
        tokens = jnp.asarray(batch[0])
        of_examples = jax.vmap(jax.grad(lambda p, x, y: cost.value(network.apply(p, x), y)), (None, 0, 0))
        dE = of_examples(params, tokens, jnp.asarray(batch[1]))[0] / len(tokens)
        last = jnp.zeros_like(params[0]).at[tokens[:, 0]].set(dE[jnp.arange(len(tokens)), tokens[:, 0]])
        return value, (last, *others)

    found = check(by_jax, jax.jit(overwritten), [p for p in probes_for(network, quick=True) if len(p.batch[0]) < 131])
    assert found.failing_leaves == ("[0]",)
    right = {name for name, comparison in found.results if comparison}
    assert "one token, batch of 1" in right
    assert not {"one token", "every token", "one token in each example"} & right
