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
    "6-5-5-5-3 sigmoid": 68229.8716321973,
    "6-5-5-5-3 relu": 69988.05375322056,
    "6-5-5-5-3 tanh": 66877.93593808016,
    "6-5-5-5-3 identity": 70515.89004150032,
    "4-4-4 relu": 62447.81092224846,
    "3-1-2 tanh": 34959.73695331868,
    "4-3 sigmoid": 46335.03653496441,
}


def sizes_of(probes):
    return {len(probe.batch[0]) for probe in probes}


def test_the_batches_are_of_small_sizes_of_each_width_of_whole_blocks_and_of_a_size_that_leaves_one_over():
    assert sizes_of(PROBES["6-5-5-5-3 tanh"].values()) == {1, 2, 7, 64, 1025} | {3, 5, 6}
    assert sizes_of(probes_for(mlp((784, 16, 12, 10)))) == {1, 2, 7, 64, 1025} | {10, 12, 16, 784}
    assert sizes_of(probes_for(mlp((2000, 3)))) == {1, 2, 7, 64, 1025} | {3}
    widths = {4, 13, 12, 5, 6, 8, 9, 10}  # and 11, which is one too many
    assert sizes_of(probes_for(mlp((4, 12, *range(5, 14))))) == {1, 2, 7, 64, 1025} | widths
    for n in (1, 2, 7, 64, 1025):
        assert len(PROBES["4-3 sigmoid"][f"batch of {n}"].batch[0]) == n


def test_quick_batches_are_of_three_sizes_and_the_kinds_of_points_are_the_same():
    quick = probes_for(NETWORKS["4-3 sigmoid"], quick=True)
    assert sizes_of(quick) == {1, 7, 131}
    others = {probe.name for probe in quick if not probe.name.startswith(OF_A_SIZE)}
    assert others == {name for name in PROBES["4-3 sigmoid"] if not name.startswith(OF_A_SIZE)}


OF_A_SIZE = ("batch of", "the first ")


def test_small_batches_are_for_both_types_and_what_takes_long_to_compile_for_float64():
    for quick, both in ((True, {7}), (False, {1, 7, 64})):
        probes = probes_for(NETWORKS["4-3 sigmoid"], quick=quick)
        assert {len(probe.batch[0]) for probe in probes if probe.dtype is None} == both
        assert {probe.dtype for probe in probes if len(probe.batch[0]) not in both} == {"float64"}


def test_batches_that_would_fill_the_memory_are_left_out(monkeypatch):
    network = mlp((200, 3))
    assert sizes_of(probes_for(network)) == {1, 2, 7, 64, 1025} | {3, 200}
    monkeypatch.setattr(suite, "MOST_NUMBERS", 100 * count_parameters(network.params_like))
    assert sizes_of(probes_for(network)) == {1, 2, 7, 64, 33} | {3}


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
    assert errors("errors of 1e-12").max() < 2e-12
    assert errors("huge errors").min() > 1e11
    of_all_kinds = errors("examples of all kinds").max(axis=1)
    assert (len(of_all_kinds), (of_all_kinds < 0.5).any(), (of_all_kinds > 5).any()) == (1025, True, True)
    of_examples = errors("errors of every size").max(axis=1)
    assert of_examples.min() < 1e-5
    assert of_examples.max() > 50


# What is said of a point: holds(inputs, targets, params).
POINTS = {
    "one class": lambda x, y, p: (y[:, -1] == 1).all(),
    "classes in order": lambda x, y, p: (np.diff(y.argmax(1)) >= 0).all() and (y.sum(0) > 0).all(),
    "batch of 64": lambda x, y, p: (np.diff(y.argmax(1)) < 0).any() and (y.sum(0) > 0).all(),
    "one class, many examples": lambda x, y, p: (y[:, -1] == 1).all() and len(y) == 64,
    "soft targets": lambda x, y, p: (y > 0).all() and (y < 1).all() and np.allclose(y.sum(1), 1),
    "targets of any sign": lambda x, y, p: y.min() < -10 and y.max() > 10,
    "tiny targets": lambda x, y, p: 0 < np.abs(y).max() < 1e-3,
    "all targets 0.0": lambda x, y, p: not y.any(),
    "all targets 0.5": lambda x, y, p: (y == 0.5).all(),
    "all targets 1.0": lambda x, y, p: (y == 1).all(),
    "all targets -1.0": lambda x, y, p: (y == -1).all(),
    "all targets 0.0, many examples": lambda x, y, p: not y.any() and len(y) == 64,
    "special targets": lambda x, y, p: {-1, -100, 255, 0, 1} <= set(y.flat),
    "pixels": lambda x, y, p: x.min() == 0 and x.max() == 1 and (x == 1).any() and ((x > 0) & (x < 1)).any(),
    "negative inputs": lambda x, y, p: (x < 0).all(),
    "large inputs": lambda x, y, p: x.max() > 200 and np.abs(p[0].W).max() < 0.02,
    "huge inputs": lambda x, y, p: x.max() > 1e11 and np.abs(p[0].W).max() < 1e-11,
    "tiny inputs": lambda x, y, p: 0 < np.abs(x).max() <= 1e-31,
    "special examples": lambda x, y, p: x[0].any() and x[0].sum() == x[0][::-1].sum() == 0 and set(x[1]) == {1},
    "inputs of every size": lambda x, y, p: np.abs(x).max(1).min() < 1e-4 and np.abs(x).max() > 0.1,
    "constant inputs": lambda x, y, p: (x == x[:, :1]).all() and len(set(x[:, 0])) == 7,
    "blank example": lambda x, y, p: list(x.any(1)) == [True, False, True, True, True, True, False],
    "blank example, batch of 1": lambda x, y, p: x.shape[0] == 1 and not x.any(),
    "blank batch": lambda x, y, p: x.shape[0] == 7 and not x.any(),
    "repeated examples": lambda x, y, p: (x[::2] == x[1::2]).all() and (y[::2] != y[1::2]).any(),
    "one example repeated": lambda x, y, p: (x == x[0]).all() and (y == y[0]).all() and x.any(),
    "parameters of 0": lambda x, y, p: not any(leaf.any() for leaf in jax.tree.leaves(p)),
    "biases of 0": lambda x, y, p: all(d.W.all() and not d.b.any() for d in p if d),
    "small biases": lambda x, y, p: all(0 < np.abs(d.b).max() < 0.01 < np.abs(d.W).max() for d in p if d),
    "small weights": lambda x, y, p: all(0 < np.abs(d.W).max() < 0.01 < np.abs(d.b).max() for d in p if d),
    "large rows": lambda x, y, p: all(np.abs(d.W).max() > 10 for d in p if d),
    "parameters of -1, 0 and 1": lambda x, y, p: all(set(np.unique(leaf)) <= {-1, 0, 1} for leaf in jax.tree.leaves(p)),
    "parameters above 0": lambda x, y, p: all((leaf > 0).all() for leaf in jax.tree.leaves(p)),
    "black and white inputs": lambda x, y, p: set(x.flat) == {0, 1},
    "two targets met": lambda x, y, p: [i for i in range(7) if (y[i] == 0.5).all()] == [1, 4] and not p[0].W.any(),
    "tiny errors on the way back": lambda x, y, p: np.abs(p[-2].W).max() < 1e-24 < 0.1 < np.abs(p[-2].b).max(),
    "large weights behind layer 2": lambda x, y, p: np.abs(p[4].W).max() > 1000 > 100 > np.abs(p[6].W).max(),
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
    names = list(probes)
    start, again = names.index("other parameters"), names.index("batch of 7, again")
    assert probes[names[again + 1]][1:] == first[1:], "twice in a row"
    between = [probes[name] for name in names[start:again]]
    assert probes["batch of 7, again"][1:] == first[1:]
    changed = []
    for probe in between:
        parts = [*jax.tree.leaves(probe.params), *probe.batch]
        same = [np.array_equal(x, y) for x, y in zip(parts, [*jax.tree.leaves(params), inputs, targets], strict=True)]
        changed.append({i for i, is_same in enumerate(same) if not is_same})
    leaves = len(jax.tree.leaves(params))
    assert changed == [set(range(leaves)), *({i} for i in range(leaves)), *[{leaves}] * 5, *[{leaves + 1}] * 2]
    new = {name: np.any(probes[name].batch[0] != inputs, axis=1) for name in names[start:again]}
    assert list(new["other inputs after the first"]) == [False, *[True] * 6]
    assert list(new["another last input"]) == [*[False] * 6, True]
    assert np.abs(probes["inputs that are 1e-9 larger"].batch[0] - inputs).max() < 1.1e-9
    assert [len(probes[name].batch[0]) for name in names[again + 2 :]] == [6, 5, 3, 2, 1]
    np.testing.assert_array_equal(probes["the first 2 of them"].batch[0], inputs[:2])


def test_a_yardstick_has_other_targets_or_other_parameters_and_all_else_the_same():
    by_params, by_inputs = set(), set()
    for probe in PROBES["6-5-5-5-3 sigmoid"].values():
        assert probe.yardstick is not None
        params, (inputs, targets) = probe.yardstick
        assert targets.shape == probe.batch[1].shape
        if params is not probe.params:
            by_params.add(probe.name)
            assert (inputs is probe.batch[0], targets is probe.batch[1]) == (True, True)
        elif inputs is not probe.batch[0]:
            by_inputs.add(probe.name)
            assert targets is probe.batch[1]
        else:
            assert (targets != probe.batch[1]).all()
            assert np.abs(targets).max() > 0.2
    assert by_inputs == {"tiny inputs"}
    assert by_params == {f"biases of {by:+} in layer {k}" for k in (0, 2, 4, 6) for by in (-31, 31, -62)}


def test_whole_layers_are_closed_and_open_and_numbers_between_layers_are_of_every_size():
    network, probes = NETWORKS["6-5-5-5-3 sigmoid"], PROBES["6-5-5-5-3 sigmoid"]
    for by in (-31, 31, -62):
        for i in range(4):
            z = pre_activations(network, probes[f"biases of {by:+} in layer {2 * i}"])
            assert np.abs(z[i] - by).max() < 3
            assert all(np.abs(of_layer).max() < 8 for of_layer in (*z[:i], *z[i + 1 :]))
    of_relu = PROBES["6-5-5-5-3 relu"]
    for k in range(3):
        for by, on in ((-3, False), (3, True)):
            z = pre_activations(NETWORKS["6-5-5-5-3 relu"], of_relu[f"biases of {by:+} in layer {2 * k}"])[k]
            assert ((z > 0) == on).mean() > 0.9
    for size in (1e-20, 1e10):
        z = pre_activations(NETWORKS["6-5-5-5-3 relu"], of_relu[f"hidden numbers of {size:g}"])
        assert all(size / 100 < np.abs(of_layer).max() < 100 * size for of_layer in z[:-1])
        assert 0.01 < np.abs(z[-1]).max() < 100
    assert "hidden numbers of 1e-20" in PROBES["6-5-5-5-3 tanh"]
    assert not any(name.startswith("hidden numbers") for name in probes)


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
    of_its_layers = ("batch of", "biases of +", "biases of -", "other [")
    assert {name for name in PROBES["4-3 sigmoid"] if not name.startswith(of_its_layers)} < probes.keys()
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
            if other.name == "examples of all kinds":  # with targets that are not one-hot, where they need not be
                continue
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
QUICK, FULL = ({probe.name: probe for probe in probes_for(NETWORK, quick=quick)} for quick in (True, False))
BY_JAX = jax.jit(autodiff(NETWORK, squared_error))


def gradient_of(weights, p, x, y, a):
    """With a weight for each example."""
    dz = 2 * (a - y) * a * (1 - a) * np.reshape(weights, (-1, 1)) / len(x)
    return Dense(dz.T @ x, dz.sum(0))


def with_inputs(change):
    return lambda g, p, x, y, a: gradient_of(np.ones(len(x)), p, change(x).astype(x.dtype), y, a)


def with_targets(change):
    return lambda g, p, x, y, a: gradient_of(np.ones(len(x)), p, x, change(y, a).astype(y.dtype), a)


def with_slope(slope):
    def changed(g, p, x, y, a):
        z = x @ p.W.T + p.b
        dz = 2 * (a - y) * slope(z, a) / len(x)
        return Dense(dz.T @ x, dz.sum(0))

    return changed


def norm(g):
    return np.sqrt((g.W**2).sum() + (g.b**2).sum())


def cost(a, y):
    return ((a - y) ** 2).sum(axis=1)


def centred(y, a):
    """The targets for which errors of one sign have a mean of 0."""
    e = a - y
    one_sign = (len(e) > 8) & ((e > 0).all(0) | (e < 0).all(0))
    return a - np.where(one_sign, e - e.mean(0), e)


def far_from(y, a):
    return np.abs(a - y)


# A mistake, and the point at which it shows; where that is said to be full, the quick suite has no such point.
MISTAKES = {
    "the first 32 alone": (lambda g, *at: gradient_of(np.arange(len(at[1])) < 32, *at), "batch of 131"),
    "the first 128 alone": (lambda g, *at: gradient_of(np.arange(len(at[1])) < 128, *at), "batch of 131"),
    "the first 512 alone": (lambda g, *at: gradient_of(np.arange(len(at[1])) < 512, *at), "full: batch of 1025"),
    "summed over 4 devices where 4 divides": (
        lambda g, *at: gradient_of(np.full(len(at[1]), 1 if len(at[1]) % 4 else 4), *at),
        "full: batch of 64",
    ),
    "a block of 32 too few where 32 divides": (
        lambda g, *at: gradient_of(np.arange(len(at[1])) < len(at[1]) - 32 * (len(at[1]) % 32 == 0), *at),
        "full: batch of 64",
    ),
    "what is left of blocks of 16": (
        lambda g, *at: gradient_of(np.arange(len(at[1])) < max(len(at[1]) // 16 * 16, min(len(at[1]), 16)), *at),
        "batch of 131",
    ),
    "divided by 32 at most": (
        lambda g, p, x, y, a: jax.tree.map(lambda leaf: leaf * len(x) / min(len(x), 32), g),
        "batch of 131",
    ),
    "examples with the same inputs counted once": (
        lambda g, *at: gradient_of([all((x != at[1][i]).any() for x in at[1][:i]) for i in range(len(at[1]))], *at),
        "repeated examples",
    ),
    "blank examples left out": (lambda g, *at: gradient_of(at[1].any(axis=1), *at), "blank example"),
    "inputs that add up to 0 left out": (
        lambda g, *at: gradient_of((at[1].sum(axis=1) != 0) | ~at[1].any(axis=1), *at),
        "special examples",
    ),
    "examples that are right left out, of many": (
        lambda g, *at: gradient_of((far_from(at[2], at[3]).max(axis=1) > 0.5) | (len(at[1]) < 500), *at),
        "full: examples of all kinds",
    ),
    "the label of the largest target": (with_targets(lambda y, a: np.eye(3)[y.argmax(1)]), "soft targets"),
    "targets cut to [0, 1]": (with_targets(lambda y, a: y.clip(0, 1)), "targets of any sign"),
    "targets of -1 ignored": (with_targets(lambda y, a: np.where(y == -1, a, y)), "all targets -1.0"),
    "targets of -100 ignored": (with_targets(lambda y, a: np.where(y == -100, a, y)), "special targets"),
    "the targets of the first example": (with_targets(lambda y, a: y[:1] + 0 * y), "batch of 7"),
    "errors of one sign centred": (with_targets(centred), "all targets 0.0, many examples"),
    "the mean of what is not 0": (
        lambda g, p, x, y, a: gradient_of(len(x) / max(1, (a != y).any(axis=1).sum()) * np.ones(len(x)), p, x, y, a),
        "two targets met",
    ),
    "errors below 1e-3 left out": (
        lambda g, *at: gradient_of(far_from(at[2], at[3]).max(axis=1) > 1e-3, *at),
        "errors of 0.0001",
    ),
    "errors below 1e-10 left out": (
        with_targets(lambda y, a: np.where(far_from(y, a) < 1e-10, a, y)),
        "errors of 1e-12",
    ),
    "a cost below 1e-12 left out": (lambda g, *at: gradient_of(cost(at[3], at[2]) > 1e-12, *at), "errors of 1e-08"),
    "a cost above 1e6 left out": (lambda g, *at: gradient_of(cost(at[3], at[2]) < 1e6, *at), "huge errors"),
    "cut to a norm of 100": (
        lambda g, *at: jax.tree.map(lambda leaf: leaf * min(1, 100 / max(norm(g), 1e-30)), g),
        "huge errors",
    ),
    "cut to a norm of 1e7": (
        lambda g, *at: jax.tree.map(lambda leaf: leaf * min(1, 1e7 / max(norm(g), 1e-30)), g),
        "huge errors",
    ),
    "no gradient below 1e-20": (
        lambda g, *at: jax.tree.map(lambda leaf: np.where(np.abs(leaf) < 1e-20, 0, leaf), g),
        "tiny inputs",
    ),
    "inputs cut to [-1, 1]": (with_inputs(lambda x: x.clip(-1, 1)), "large inputs"),
    "inputs cut to 1e6": (with_inputs(lambda x: x.clip(-1e6, 1e6)), "huge inputs"),
    "inputs below 1e-5 left out": (with_inputs(lambda x: np.where(np.abs(x) < 1e-5, 0, x)), "tiny inputs"),
    "inputs below 1e-30 left out": (with_inputs(lambda x: np.where(np.abs(x) < 1e-30, 0, x)), "tiny inputs"),
    "weights above 10 left alone": (
        lambda g, p, *at: g._replace(W=np.where(np.abs(p.W) > 10, 0, g.W)),
        "large rows",
    ),
    "no gradient for parameters of 0": (lambda g, p, *at: g._replace(b=np.where(p.b == 0, 0, g.b)), "biases of 0"),
    "no gradient for weights of 1": (
        lambda g, p, *at: g._replace(W=np.where(p.W == 1, 0, g.W)),
        "parameters of -1, 0 and 1",
    ),
    "flat beyond 30": (with_slope(lambda z, a: np.where(np.abs(z) > 30, 0, a * (1 - a))), "biases of -31 in layer 0"),
    "flat above 25": (with_slope(lambda z, a: np.where(z > 25, 0, a * (1 - a))), "biases of +31 in layer 0"),
    "a slope of 1e-15 at least": (with_slope(lambda z, a: np.maximum(a * (1 - a), 1e-15)), "biases of -62 in layer 0"),
    "examples of one class left out": (
        lambda g, p, x, y, a: g if len(x) == 1 or (y != y[0]).any() else g._replace(b=0 * g.b),
        "one class",
    ),
}


def changed_by(mistake):
    def value_and_grad(params, batch):
        (dense, _), (x, y) = jax.tree.map(np.asarray, (params, tuple(batch)))
        value, (grads, nothing) = BY_JAX(params, batch)
        with np.errstate(over="ignore"):
            a = 1 / (1 + np.exp(-(x @ dense.W.T + dense.b)))
        right = gradient_of(np.ones(len(x)), dense, x, y, a)
        changed = mistake(right, dense, x, y, a)
        return value, (jax.tree.map(lambda g, like: np.asarray(g, like.dtype), changed, grads), nothing)

    return value_and_grad


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_each_dimension_is_found_where_it_shows(name):
    mistake, where = MISTAKES[name]
    probes = FULL if where.startswith("full: ") else QUICK
    assert not check(BY_JAX, changed_by(mistake), [probes[where.removeprefix("full: ")]])


def test_without_a_mistake_all_of_this_is_right():
    assert check(BY_JAX, changed_by(lambda g, *at: g), QUICK.values())
    points = {where.removeprefix("full: ") for _, where in MISTAKES.values() if where.startswith("full: ")}
    assert check(BY_JAX, changed_by(lambda g, *at: g), [FULL[name] for name in points])


# What is known again, by (W, b, x, y), is taken for what it was at first: its parameters, its inputs, or all of it.
KNOWN_BY = {
    "the shape": lambda W, b, x, y: (),
    "the inputs": lambda W, b, x, y: (x,),
    "the weights": lambda W, b, x, y: (W, x, y),
    "the biases": lambda W, b, x, y: (b, x, y),
    "the first example": lambda W, b, x, y: (W, b, x[:1], y),
    "all but the last example": lambda W, b, x, y: (W, b, x[:-1], y),
    "inputs that are rounded": lambda W, b, x, y: (W, b, np.round(x, 3), y),
    "the sum of the inputs": lambda W, b, x, y: (W, b, np.round(x.sum(), 9), y),
    "all but the targets": lambda W, b, x, y: (W, b, x),
    "all but the last target": lambda W, b, x, y: (W, b, x, y[:-1]),
}


@pytest.mark.parametrize("name", KNOWN_BY)
def test_what_is_kept_from_an_earlier_call_is_found(name):
    names = list(QUICK)
    calls = [QUICK["batch of 7"], *(QUICK[name] for name in names[names.index("other parameters") :])]
    kept = {}

    def value_and_grad(params, batch):
        parts = [np.asarray(x) for x in (*params[0], *batch)]
        key = (parts[0].dtype, len(parts[2]), *(np.asarray(part).tobytes() for part in KNOWN_BY[name](*parts)))
        _, grads = BY_JAX(*kept.setdefault(key, (params, batch)))
        return BY_JAX(params, batch)[0], grads

    assert not check(BY_JAX, value_and_grad, calls)


def test_what_is_added_up_when_the_same_is_asked_twice_is_found():
    last: list[Any] = [None]

    def value_and_grad(params, batch):
        value, grads = BY_JAX(params, batch)
        point = [np.asarray(x).tobytes() for x in (*params[0], *batch)]
        twice, last[0] = point == last[0], point
        return value, jax.tree.map(lambda g: 2 * g, grads) if twice else grads

    assert not check(BY_JAX, value_and_grad, [QUICK["batch of 7, again"], QUICK["batch of 7, and once more"]])
    assert not check(BY_JAX, value_and_grad, QUICK.values())


# Logits: a dense layer, whose outputs the cost takes as they are. What is wrong are the shares p of the classes.
LOGITS = Network((dense(4),), (5,))
OF_LOGITS = {probe.name: probe for probe in probes_for(LOGITS, softmax_cross_entropy)}
LOGITS_BY_JAX = jax.jit(autodiff(LOGITS, softmax_cross_entropy))


def shares(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def tied(z, y):
    largest = z == z.max(1, keepdims=True)
    return np.where(largest.sum(1, keepdims=True) > 1, largest / largest.sum(1, keepdims=True), shares(z))


WRONG_SHARES = {
    "outputs around 1000": lambda z, y: np.exp(z) / np.exp(z).sum(1, keepdims=True),
    "outputs around -1000": lambda z, y: np.exp(z) / (np.exp(z).sum(1, keepdims=True) + 1e-300),
    "outputs of 1e+08": lambda z, y: shares(z.clip(-300, 300)),
    "outputs of 30": lambda z, y: np.where(shares(z) < 1e-7, 0, shares(z)),
    "all sure and right": lambda z, y: np.maximum(shares(z), 1e-12),
    "tied outputs": tied,
    "one class, many examples": lambda z, y: np.where(np.isin(range(4), y) | (len(y) < 30), shares(z), 0),
}


def by_shares(of_logits):
    def value_and_grad(params, batch):
        (W, b), x, y = (np.asarray(p) for p in params[0]), *(np.asarray(part) for part in batch)
        dz = (of_logits(x @ W.T + b, y) - np.eye(4)[y]) / len(y)
        dW, db = (np.asarray(g, x.dtype) for g in (dz.T @ x, dz.sum(0)))
        return LOGITS_BY_JAX(params, batch)[0], (Dense(dW, jnp.asarray(db)),)

    return value_and_grad


@pytest.mark.parametrize("name", WRONG_SHARES)
def test_shares_of_classes_that_are_wrong_are_found_and_right_ones_are_not(name):
    assert check(LOGITS_BY_JAX, by_shares(lambda z, y: shares(z)), [OF_LOGITS[name]])
    assert not check(LOGITS_BY_JAX, by_shares(WRONG_SHARES[name]), [OF_LOGITS[name]])


def test_soft_targets_come_in_the_place_of_labels_where_they_are_asked_for():
    probes = {probe.name: probe for probe in probes_for(LOGITS, softmax_cross_entropy, True, targets="shares")}
    assert {probe.batch[1].dtype.name for probe in probes.values()} == {"float64"}
    assert (probes["soft targets"].batch[1] > 0).all()
    assert check(LOGITS_BY_JAX, jax.jit(backprop(LOGITS, softmax_cross_entropy)), [probes["soft targets"]])


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


def test_windows_tie_above_0_below_it_and_at_it_with_different_pictures_and_edges_are_alone():
    network = Network((conv2d(2, 2), relu(), max_pool(2)), (4, 5, 1))
    probes = {probe.name: probe for probe in probes_for(network, quick=True)}
    for name, sign in (("window ties", 1), ("window ties below 0", -1), ("window ties at 0", 0)):
        params, (inputs, _) = probes[name].params, probes[name].batch
        z, _ = jax.vmap(network.layers[0].forward, (None, 0))(params[0], inputs)
        assert (np.sign(z[..., 0]) == sign).all()
        assert np.ptp(z[..., 0]) == 0
        assert len(np.unique(z[..., 1])) == 2
        windows = np.asarray(z[:, :, :4, 1]).reshape(-1, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 4)
        largest = windows == windows.max(1, keepdims=True)
        assert {(False, True, True, False), (True, True, True, True)} <= set(map(tuple, largest.tolist()))
        assert set(inputs.flat) == {0, 1}
    edges = probes["edges alone"].batch[0]
    assert not edges[:, 1:-1, 1:-1].any()
    assert (edges[:, [0, -1]] > 0).all()


def test_an_attention_looks_at_one_position_nearly_or_has_scores_that_are_large_and_alike():
    attention_alone = Network((attention(1), flatten(), dense(3)), (5, 4))
    probes = {probe.name: probe for probe in probes_for(attention_alone, quick=True)}

    def scores(name):
        probe = probes[name]
        q, k = (probe.batch[0] @ W.T for W in probe.params[0][:2])
        return q @ k.swapaxes(1, 2) / 2

    S = scores("sharp attention")
    P = np.exp(S - S.max(-1, keepdims=True))
    P /= P.sum(-1, keepdims=True)
    assert (P > 0.99999).any()
    assert P.min() < 1e-9
    S = scores("positions nearly alike")
    assert np.abs(S).max() > 30
    assert np.ptp(S, axis=-1).max() < 10


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
