"""One check over many probes: what it finds, where it points, and what it leaves alone."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import Cost, squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop
from jaxprop.layers import Layer, dense, flatten, sigmoid, tanh
from jaxprop.networks import Network, mlp
from jaxprop.verify import checking
from jaxprop.verify.checking import check, check_rule
from jaxprop.verify.points import Probe
from jaxprop.verify.suite import probe_networks, probes_for

NETWORK = mlp((4, 3))
PROBES = probes_for(NETWORK)
SMALL = [probe for probe in PROBES if len(probe.batch[0]) in (1, 2, 7)]
BY_JAX = jax.jit(autodiff(NETWORK, squared_error))
BY_BACKPROP = jax.jit(backprop(NETWORK, squared_error))


def mistaken(change):
    """The gradient of one dense layer, changed by `change(dense_grads, params, inputs, targets)`."""

    def value_and_grad(params, batch):
        value, (grads, nothing) = BY_BACKPROP(params, batch)
        return value, (change(grads, params[0], *batch), nothing)

    return value_and_grad


def test_backprop_is_right_at_every_probe_in_both_types():
    checked = check(BY_JAX, BY_BACKPROP, PROBES)
    assert checked.agree
    assert checked.failing_leaves == ()
    tried = [
        (probe.name, dtype) for dtype in ("float64", "float32") for probe in PROBES if probe.dtype in (None, dtype)
    ]
    assert [(name, comparison.dtype) for name, comparison in checked.results] == tried
    assert len(PROBES) < len(tried) < 2 * len(PROBES), "some are for both, and some for float64 alone"


MISTAKES = {
    "1 % on a single bias": (lambda g, p, x, y: g._replace(b=g.b.at[2].multiply(1.01)), ["[0].b"]),
    "1e-9 on a single weight": (lambda g, p, x, y: g._replace(W=g.W.at[1, 1].multiply(1 + 1e-9)), ["[0].W"]),
    "a batch of 1": (lambda g, p, x, y: g._replace(b=g.b * (2 if len(x) == 1 else 1)), ["[0].b"]),
    "a batch of 2": (lambda g, p, x, y: g._replace(b=g.b * (2 if len(x) == 2 else 1)), ["[0].b"]),
    "an input of 0": (lambda g, p, x, y: g._replace(W=g.W + 1e-6 * (x == 0).any(0)), ["[0].W"]),
    "a weight of 0": (lambda g, p, x, y: g._replace(W=g.W + 1e-6 * (p.W == 0)), ["[0].W"]),
    "the last class": (lambda g, p, x, y: g._replace(b=g.b * (1 + 1e-3 * y[:, -1].mean())), ["[0].b"]),
    "saturation": (lambda g, p, x, y: g._replace(b=jnp.where(jnp.abs(p.b) > 15, 1e-3, g.b)), ["[0].b"]),
    "an epsilon beside small numbers": (lambda g, p, x, y: g._replace(b=g.b + 1e-9), ["[0].b"]),
    "sums in float32": (lambda g, p, x, y: g._replace(W=g.W.astype("float32").astype(g.W.dtype)), ["[0].W"]),
    "float32 returned for float64": (lambda g, p, x, y: jax.tree.map(lambda leaf: leaf.astype("float32"), g), None),
    "only in float32": (lambda g, p, x, y: g._replace(b=g.b + 0.1 * (g.b.dtype == "float32")), ["[0].b"]),
    "an infinity": (lambda g, p, x, y: g._replace(W=g.W.at[0, 0].set(jnp.inf)), ["[0].W"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_and_its_leaf_named_and_no_other(name):
    change, leaves = MISTAKES[name]
    assert check(BY_JAX, mistaken(change), SMALL).failing_leaves == tuple(leaves or ["[0].b", "[0].W"])


def test_a_wrong_value_is_found_beside_a_right_gradient():
    checked = check(BY_JAX, lambda *point: (BY_BACKPROP(*point)[0] / 2, BY_BACKPROP(*point)[1]), PROBES[:1])
    assert checked.failing_leaves == ("value",)


def test_the_layer_nearest_to_the_output_comes_first_where_a_mistake_has_spread():
    wrong = tanh()._replace(backward=lambda params, residuals, da: ((), (1 + residuals[1] ** 2) * da))
    right_network, wrong_network = (
        Network((dense(5), tanh(), dense(4), layer, dense(3), sigmoid()), (6,)) for layer in (tanh(), wrong)
    )
    by_jax = jax.jit(autodiff(right_network, squared_error))
    checked = check(by_jax, jax.jit(backprop(wrong_network, squared_error)), probes_for(right_network)[2:3])
    assert checked.failing_leaves == ("[2].b", "[2].W", "[0].b", "[0].W")
    text = str(checked)
    assert text.startswith("They do NOT agree: look at [2].b first, the nearest to the output")
    assert text.index("[4].b") < text.index("[2].W") < text.index("[0].W"), "rows go from the output to the input"


def test_anybodys_gradient_can_be_checked_on_probes_of_ones_own():
    def loss(params, batch):  # a line through points, by absolute distance
        return jnp.mean(jnp.abs(params["slope"] * batch["x"] + params["offset"] - batch["y"])) + batch["k"][0] * 0.0

    def by_hand(params, batch, wrong=False):
        side = jnp.sign(params["slope"] * batch["x"] + params["offset"] - batch["y"])
        offset = jnp.sum(side) if wrong else jnp.mean(side)
        return loss(params, batch), {"slope": jnp.mean(side * batch["x"]), "offset": offset}

    random = np.random.RandomState(0)
    batch = {"x": random.normal(size=5), "y": random.normal(size=5), "k": np.arange(5)}
    probes = [Probe("five points", {"slope": np.float64(0.5), "offset": np.float64(0.1)}, batch)]
    by_jax, right, wrong = (jax.jit(f) for f in (jax.value_and_grad(loss), by_hand, partial(by_hand, wrong=True)))
    assert check(by_jax, right, probes).agree
    assert check(by_jax, wrong, probes).failing_leaves == ("['offset']",)


def test_whole_numbers_in_a_batch_stay_whole_and_floats_take_the_type_that_is_tried():
    seen = []

    def value_and_grad(params, batch):
        seen.append((params.dtype.name, batch["x"].dtype.name, batch["labels"].dtype.name))
        return jnp.sum(params), jnp.ones_like(params)

    check(value_and_grad, value_and_grad, [Probe("one", np.ones(2), {"x": np.ones(3), "labels": np.arange(3)})])
    assert seen == 2 * [("float64", "float64", "int64")] + 2 * [("float32", "float32", "int32")]


@pytest.mark.parametrize("x64", [False, True])
def test_the_x64_switch_is_left_as_it_was(x64):
    with jax.enable_x64(x64):
        assert check(BY_JAX, BY_BACKPROP, PROBES[:1]).agree
        assert jnp.ones(1).dtype == ("float64" if x64 else "float32")


def test_the_record_is_for_json_and_for_people():
    probes = [probe._replace(dtype=None) for probe in PROBES[:2]]
    checked = check(BY_JAX, mistaken(MISTAKES["an infinity"][0]), probes)
    record = json.loads(json.dumps(checked.to_dict(), allow_nan=False))
    assert record["failing_leaves"] == ["[0].W"]
    assert not record["agree"]
    assert [(p["probe"], p["dtype"], p["failures"]) for p in record["probes"]] == [
        (name, dtype, ["[0].W"]) for dtype in ("float64", "float32") for name in ("batch of 1", "batch of 2")
    ]
    (row,) = (line for line in str(checked).splitlines() if line.startswith("  [0].W"))
    assert "4 of 4" in row
    assert "batch of 1, float64" in row
    assert "holds inf at [0, 0]" in row
    assert str(check(BY_JAX, BY_BACKPROP, probes)).startswith("They agree at 2 probes, in float64 and in float32")
    in_one = [probes[0]._replace(dtype="float64"), probes[1]]
    assert str(check(BY_JAX, BY_BACKPROP, in_one)).startswith("They agree at 2 probes in float64 and 1 in float32")


def test_the_table_shows_each_leaf_where_it_is_worst():
    checked = check(BY_JAX, mistaken(MISTAKES["a batch of 2"][0]), SMALL)
    (row,) = (line for line in str(checked).splitlines() if line.startswith("  [0].b"))
    assert row.split()[1:4] == ["2", "of", str(len(checked.results))]  # batches of 2
    assert "the first 2 of them, float64" in row
    assert "differs by 0.44 of its scale" in row  # of that of other targets, by which it is measured


def test_a_point_where_nothing_can_be_compared_is_named():
    probes = [*PROBES[:1], PROBES[1]._replace(batch=(np.ones((0, 4)), np.ones((0, 3))))]
    with pytest.raises(BadInput, match="at the probe 'batch of 2' in float64: the batch is empty"):
        check(BY_JAX, BY_BACKPROP, probes)


def test_a_check_of_nothing_is_refused():
    with pytest.raises(BadInput, match="there are no probes"):
        check(BY_JAX, BY_BACKPROP, [])


def test_a_rule_is_checked_on_every_network_of_the_suite(monkeypatch):
    small = {"4-3 sigmoid": NETWORK, "3-1-2 tanh": mlp((3, 1, 2), "tanh")}
    assert small.keys() < probe_networks().keys()
    monkeypatch.setattr(checking, "probe_networks", lambda: small)
    monkeypatch.setattr(checking, "probes_for", lambda network, cost, quick: probes_for(network, cost, quick)[:1])
    checked = check_rule(autodiff, backprop)
    assert checked.keys() == small.keys()
    assert all(found.agree for found in checked.values())
    half = squared_error._replace(gradient=lambda a, y: a - y)
    wrong = check_rule(autodiff, lambda network, cost: backprop(network, half))
    assert not any(found.agree for found in wrong.values())


def test_a_rule_is_checked_quickly_where_that_is_wanted(monkeypatch):
    asked = []
    monkeypatch.setattr(checking, "probe_networks", lambda: {"4-3 sigmoid": NETWORK})
    monkeypatch.setattr(checking, "probes_for", lambda *arguments: asked.append(arguments) or PROBES[:1])
    check_rule(autodiff, backprop)
    check_rule(autodiff, backprop, quick=True)
    assert asked == [(NETWORK, squared_error, False), (NETWORK, squared_error, True)]


def test_differences_are_measured_by_the_yardstick_where_it_is_larger():
    """A sum in which large terms cancel, added up in two orders."""
    params, batch = np.float64(1), np.array([1e9, 1.0, -1e9])
    yardstick = params, np.array([1e9, 1.0, 1e9])
    in_order = jax.value_and_grad(lambda p, x: p * (x[0] + x[1] + x[2]))
    other = jax.value_and_grad(lambda p, x: p * (x[0] + x[2] + x[1] * (1 + 1e-6)))
    assert check(in_order, other, [Probe("cancels", params, batch)]).failing_leaves == ("value", "all")
    assert check(in_order, other, [Probe("cancels", params, batch, yardstick)]).agree
    # Where the yardstick is the smaller one, it is the gradient at the probe that counts.
    small = params, batch * 1e-12
    assert check(in_order, in_order, [Probe("large", *yardstick, small)]).agree
    twice = jax.value_and_grad(lambda p, x: 2 * p * jnp.sum(x))
    assert check(in_order, twice, [Probe("large", *yardstick, small)]).failing_leaves == ("value", "all")
    ((_, found), _) = check(in_order, twice, [Probe("large", *yardstick, small)]).results
    assert found.value.scale == 2e9 + 1


@pytest.mark.slow
def test_backprop_passes_the_whole_suite():
    assert all(found.agree for found in check_rule(autodiff, backprop).values())


# Any network, any cost


def scaled(mistake: float = 1.0) -> Layer:
    """A layer of one's own for pictures, with one scalar parameter, whose gradient may be off by a factor."""

    def backward(params, x, dy):
        return {"scale": mistake * jnp.sum(x * dy)}, params["scale"] * dy

    return Layer(
        "scaled",
        lambda key, in_shape: ({"scale": jnp.ones(())}, in_shape),
        lambda params, x: (params["scale"] * x, x),
        backward,
    )


def cross_entropy() -> Cost:
    return Cost(
        lambda a, label: jax.nn.logsumexp(a) - a[label],
        lambda a, label: jax.nn.softmax(a) - jax.nn.one_hot(label, a.size, dtype=a.dtype),
        takes_labels=True,
    )


def checked_network(mistake: float, cost: Cost, layers: tuple[Layer, ...]):
    """The check of backprop with such a layer in a network against autodiff, on the probes of seven examples."""
    network = Network((scaled(mistake), *layers), (2, 2))
    by_jax, by_backprop = (jax.jit(rule(network, cost)) for rule in (autodiff, backprop))
    return check(
        by_jax, by_backprop, [probe for probe in probes_for(network, cost, quick=True) if len(probe.batch[0]) == 7]
    )


@pytest.mark.parametrize("cost", [squared_error, cross_entropy()], ids=["a vector as target", "a label as target"])
def test_a_layer_and_a_cost_of_ones_own_are_checked(cost):
    layers = (flatten(), dense(5), tanh(), dense(3))
    assert checked_network(1.0, cost, layers).agree
    assert checked_network(1.001, cost, layers).failing_leaves == ("[0]['scale']",)


def test_outputs_that_are_no_vector_are_checked():
    assert checked_network(1.0, squared_error, (tanh(),)).agree
    assert checked_network(1.001, squared_error, (tanh(),)).failing_leaves == ("[0]['scale']",)


def test_a_rule_is_checked_with_the_cost_that_is_given(monkeypatch):
    small = {"5-4-3": Network((dense(4), tanh(), dense(3)), (5,))}
    monkeypatch.setattr(checking, "probe_networks", lambda: small)
    monkeypatch.setattr(checking, "probes_for", lambda network, cost, quick: probes_for(network, cost, quick)[:1])
    right, wrong = cross_entropy(), cross_entropy()._replace(gradient=lambda a, label: jax.nn.softmax(a))
    assert check_rule(autodiff, backprop, right)["5-4-3"].agree
    assert not check_rule(autodiff, lambda network, cost: backprop(network, wrong), right)["5-4-3"].agree


# Somebody's probes and functions


def squares(params, batch):
    return jnp.sum(params**2) + 0 * jax.random.normal(batch, ()), 2 * params


def test_a_check_is_true_where_all_agree():
    right = check(BY_JAX, BY_BACKPROP, PROBES[:1])
    assert right
    assert not check(BY_JAX, mistaken(MISTAKES["an infinity"][0]), PROBES[:1])


def test_a_name_of_a_probe_may_be_anything_and_keys_may_be_in_the_batch():
    found = check(squares, squares, [Probe("a [/red] herring", np.ones(2), jax.random.key(0))])
    assert found
    assert "a [/red] herring, float64" in str(found)


def test_a_candidate_that_raises_is_named_with_its_probe_and_its_type():
    def raises(params, batch):
        raise ZeroDivisionError("the cat sat on it")

    said = "at the probe 'batch of 1' in float64: the candidate raised ZeroDivisionError, which says: the cat sat on it"
    with pytest.raises(BadInput, match=said) as caught:
        check(BY_JAX, raises, PROBES)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_a_comparison_notes_stands_below_the_table_with_its_probe():
    random = np.random.RandomState(0)

    def dropout(params, batch):
        value, grads = squares(params, batch)
        return value, grads * random.uniform(0, 2)

    text = " ".join(str(check(squares, dropout, [Probe("one", np.ones(2), jax.random.key(0))])).split())
    for dtype in ("float64", "float32"):
        assert f"one, {dtype}: the candidate is not repeatable: called twice" in text
