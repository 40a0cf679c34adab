"""The suite: every kind of point that a mistake could hide from is in it, and it stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import Cost
from jaxprop.layers import Dense, Layer, dense, flatten, tanh
from jaxprop.networks import Network, mlp
from jaxprop.verify.suite import probe_networks, probes_for, random_point

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
        points = [(probe.params, probe.batch) for probe in probes.values()]
        numbers = np.concatenate([np.ravel(x) for x in jax.tree.leaves(points)])
        # The weights tell an exchange of two numbers from none.
        found[name] = float(np.abs(numbers) @ np.linspace(1, 2, len(numbers)))
    assert found == pytest.approx(FROZEN, rel=1e-12)


FROZEN = {
    "6-5-5-5-3 sigmoid": 4696.135255414759,
    "6-5-5-5-3 relu": 4696.135255414759,
    "6-5-5-5-3 tanh": 4696.135255414759,
    "6-5-5-5-3 identity": 4696.135255414759,
    "4-4-4 relu": 2988.6458255532125,
    "3-1-2 tanh": 154.09855363535115,
    "4-3 sigmoid": 185.46045433392257,
}


def test_the_batches_are_of_1_2_and_7():
    for probes in PROBES.values():
        assert {len(probe.batch[0]) for probe in probes.values()} == {1, 2, 7}
        assert [len(probes[f"batch of {n}"].batch[0]) for n in (1, 2, 7)] == [1, 2, 7]


def test_layers_are_square_twice_in_a_row_and_oblong_both_ways():
    shapes = [p.W.shape for p in PROBES["6-5-5-5-3 relu"]["batch of 1"].params if isinstance(p, Dense)]
    assert shapes == [(5, 6), (5, 5), (5, 5), (3, 5)]


def test_every_activation_is_there():
    assert {name.split()[1] for name in NETWORKS} == {"sigmoid", "relu", "tanh", "identity"}


@pytest.mark.parametrize("classes", [1, 3, 10, 23])
def test_every_class_is_a_target_where_the_parameters_are_ordinary(classes):
    probes = [probe for probe in probes_for(mlp((4, classes))) if "batch" in probe.name or "classes" in probe.name]
    targets = np.concatenate([probe.batch[1] for probe in probes if "zeros" not in probe.name])
    assert set(targets.argmax(axis=1)) == set(range(classes))
    np.testing.assert_array_equal(targets.sum(axis=1), 1)


def test_inputs_hold_exact_zeros_everywhere_and_no_bias_is_0_in_ordinary_probes():
    for probes in PROBES.values():
        assert all((probe.batch[0] == 0).any() for probe in probes.values())
        for name in ("batch of 1", "batch of 2", "batch of 7"):
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
    assert probes.keys() == PROBES["4-3 sigmoid"].keys()
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
    probes = [probe for probe in probes_for(PICTURES) if probe.name.startswith("batch")]
    targets = np.concatenate([probe.batch[1] for probe in probes])
    np.testing.assert_array_equal(targets.sum(axis=(1, 2)), 1)
    assert (targets.sum(axis=0) > 0).all()


def test_targets_are_whole_numbers_where_the_cost_takes_labels():
    for network, classes in ((mlp((4, 3)), 3), (PICTURES, 6), (mlp((4, 23)), 23)):
        floats, whole = probes_for(network), probes_for(network, LABELS)
        for one, other in zip(floats, whole, strict=True):
            assert one.name == other.name
            labels = other.batch[1]
            assert (labels.dtype, labels.shape) == (np.int32, (len(other.batch[0]),))
            np.testing.assert_array_equal(one.batch[1].reshape(len(labels), -1).argmax(axis=1), labels)
        ordinary = [probe for probe in whole if "batch of" in probe.name or "classes" in probe.name]
        assert {int(k) for probe in ordinary for k in probe.batch[1]} == set(range(classes))
