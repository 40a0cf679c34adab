"""Finite differences as the referee: what they measure, the error that they own up to, and the kinks that they see.

Every family of losses is compiled once and tried at many random points: no right gradient may be called wrong there,
and a wrong number must be found.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss
from jaxprop.networks import mlp
from jaxprop.verify.comparison import Measuring, compare
from jaxprop.verify.differences import _in_equal_chunks, central_differences, finite_differences
from jaxprop.verify.oracles import in_float64, name_coordinates
from jaxprop.verify.suite import random_point


def differences(function, x):
    """Of `function` of numbers one by one, at each of x."""
    found = central_differences(lambda params, batch: jnp.sum(function(params)))
    return in_float64(found)(np.asarray(x, float), None, np.arange(len(x)))


# How many at a time


def test_300_parameters_are_shared_out_to_three_equal_turns():
    """The program says how many turns its loop takes, which no result shows."""
    taken = partial(_in_equal_chunks, lambda i: 2 * i, largest=128)
    assert re.findall(r"\blength=(\d+)", str(jax.make_jaxpr(taken)(jnp.arange(300)))) == ["3"]
    np.testing.assert_array_equal(taken(jnp.arange(300)), 2 * np.arange(300))


# Slopes and their errors


def test_the_slope_of_a_polynomial_of_degree_eight_is_exact():
    # The error that is left after three extrapolations is in the ninth derivative.
    x = np.array([-1.0, 0.0, 0.5, 2.0])
    found = differences(lambda x: x**8 - 3 * x**5 + x, x)
    # What is rounded is a sum of size 200, over steps of 1/32.
    np.testing.assert_allclose(found.slopes, 8 * x**7 - 15 * x**4 + 1, atol=1e-10)


@pytest.mark.parametrize("speed", [1, 30, 1000, 1e4])
def test_the_error_is_at_most_the_estimate_and_the_estimate_is_of_use(speed):
    x = np.linspace(-2, 2, 9)
    found = differences(lambda x: jnp.sin(speed * x), x)
    assert (np.abs(found.slopes - speed * np.cos(speed * x)) <= found.errors).all()
    # Nine digits, as the steps stop shrinking at; rounding is more where they must be small: ulps times the speed.
    assert (found.errors < (1e-8 + 1e-12 * speed) * speed).all()
    assert not found.bends.any()


@pytest.mark.parametrize("size", [1e6, 1e-6, 1e-9])
def test_large_parameters_take_large_steps_and_tiny_ones_tiny_steps(size):
    found = differences(lambda x: jnp.log(x), np.array([size, 2 * size]))
    np.testing.assert_allclose(found.slopes * size, [1, 0.5], rtol=1e-6)


def test_the_rounding_of_a_loss_that_is_narrower_inside_is_noticed():
    """In float32 it stands still over tiny steps, as a loss does whose slope is 0."""
    x = np.linspace(0.3, 2, 9)
    found = differences(lambda x: jnp.sin(x.astype(jnp.float32)).astype(x.dtype), x)
    # Half an ulp of a sum of size 8 in float32 is 2.4e-7; over a step of 1/32 that is 1e-5, and 8 deviations are less
    # than a hundred times as much.
    assert (np.abs(found.slopes - np.cos(x)) <= found.errors).all()
    assert (found.errors < 1e-2).all()


# Kinks


def test_wherever_a_kink_lies_the_error_covers_what_it_does_to_the_slope():
    """Both steps of the estimate miss a kink at certain distances, and never the same ones."""
    x = np.concatenate([np.geomspace(1e-12, 1, 300), np.linspace(1e-3, 2**-5, 300)])
    for distance in (x, -x):
        found = differences(jax.nn.relu, distance)
        right = np.abs(found.slopes - (distance > 0)) <= found.errors
        assert (right | found.bends).all()
        # There a step finds room beside the kink: 80 times the rounding of a sum of size 100, over 1e-4 and less.
        assert (found.errors[np.abs(distance) > 1e-4] < 1e-5).all()


@pytest.mark.parametrize(
    "function",
    [jax.nn.relu, jnp.abs, jnp.sign, lambda x: jnp.maximum(x, 2 * x), lambda x: jnp.floor(x + 1), jnp.cbrt],
    ids=["relu", "abs", "sign", "max", "floor", "a vertical tangent"],
)
def test_a_kink_or_a_jump_at_the_point_itself_is_seen_and_its_coordinate_named(function):
    x = np.array([-0.7, 0.0, 0.6])
    found = differences(function, x)
    np.testing.assert_array_equal(found.bends, [False, True, False])
    assert name_coordinates({"a": x}, np.flatnonzero(found.bends)) == ["['a'][1]"]


def test_stairs_are_flat_between_two_steps_though_they_climb_from_afar():
    x = np.linspace(-2.048, 2.048, 37) + 1e-4
    found = differences(lambda x: jnp.round(1000 * x) / 1000 + jnp.tanh(x), x)
    near = np.abs(found.slopes - 1 / np.cosh(x) ** 2) <= found.errors
    assert (near | found.bends).all()
    assert near.sum() > 30


# No right gradient is called wrong, no wrong one right


def two_layers(activation: Callable, cost: Callable = lambda a, y: jnp.mean((a - y) ** 2)) -> Callable:
    def loss(params, batch):
        inputs, targets = batch
        hidden = activation(inputs @ params["W1"] + params["b1"])
        return cost(hidden @ params["W2"] + params["b2"], targets)

    return loss


def cross_entropy(a, y):  # adding the same to all of a changes nothing: the slopes of b2 cancel
    return jnp.mean(jax.nn.logsumexp(a, axis=1) - jnp.sum(a * jax.nn.softmax(y), axis=1))


def pooled(z):
    return jnp.tile(z.reshape(len(z), 3, 2).max(axis=2), 2)


class Family(NamedTuple):
    """A loss, and what is done to parameters drawn from a normal distribution."""

    loss: Callable
    change: Callable[[dict], Any] = lambda params: params


def shifted(shift, rows=slice(None)):
    return lambda params: params["b1"].__setitem__(rows, params["b1"][rows] + shift)


def scaled(factor):
    return lambda params: [leaf.__imul__(factor) for leaf in params.values()]


def zero_rows(params):
    params["b1"][:2] = 0
    params["W1"][:, :2] = 0


FAMILIES = {
    "relu": Family(two_layers(jax.nn.relu)),
    "max": Family(two_layers(pooled)),
    "abs": Family(two_layers(jnp.abs, lambda a, y: jnp.mean(jnp.abs(a - y)))),
    "a dead layer": Family(two_layers(jax.nn.relu), shifted(-100)),
    "dead neurons": Family(two_layers(jax.nn.relu), shifted(-100, slice(3))),
    "cancelled by softmax": Family(two_layers(jax.nn.relu, cross_entropy)),
    "large and smooth": Family(two_layers(jnp.tanh), scaled(5)),
}
MORE_FAMILIES = {
    "larger and smooth": Family(two_layers(jnp.tanh), scaled(30)),
    "waves": Family(two_layers(jnp.sin), scaled(20)),
    "a large constant": Family(two_layers(jnp.tanh, lambda a, y: 1e8 + jnp.sum(a))),
    "tiny parameters": Family(two_layers(jnp.tanh), scaled(1e-6)),
    "kinks near by": Family(two_layers(jax.nn.relu), lambda p: (p["W1"].__imul__(1e-7), p["b1"].__imul__(1e-8))),
    "stairs": Family(two_layers(lambda z: z + jnp.floor(8 * z))),
    "fine stairs": Family(two_layers(lambda z: jnp.round(1000 * z) / 1000 + jnp.tanh(z))),
    "clipped": Family(two_layers(lambda z: jnp.clip(z, -0.1, 0.1))),
    "poles": Family(two_layers(lambda z: 1 / z)),
    "roots": Family(two_layers(lambda z: jnp.sqrt(jnp.abs(z)))),
    "zeros": Family(two_layers(jax.nn.relu), zero_rows),
}


def point(seed: int, change: Callable = lambda params: None) -> tuple[dict, tuple]:
    """57 parameters and a batch of 8."""
    random = np.random.RandomState(seed)
    shapes = {"W1": (5, 6), "b1": (6,), "W2": (6, 3), "b2": (3,)}
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    change(params)
    return params, (random.normal(size=(8, 5)), random.normal(size=(8, 3)))


@cache
def compiled(loss: Callable) -> tuple[Any, Callable]:
    return in_float64(finite_differences(loss)), jax.jit(jax.value_and_grad(loss))


def with_one_wrong(value_and_grad: Callable, name: str, at: tuple[int, ...]) -> Callable:
    """The gradient with one number off by a hundredth of the largest of its leaf."""

    def wrong(params, batch):
        value, grads = value_and_grad(params, batch)
        leaf = grads[name]
        return value, {**grads, name: leaf.at[at].add(0.01 * jnp.abs(leaf).max())}

    return wrong


def alarms_and_finds(family: Family, seed: int) -> tuple[bool, bool, int]:
    """Whether the right gradient is called wrong, a wrong weight is found, and how many were not judged."""
    by_differences, by_jax = compiled(family.loss)
    params, batch = point(seed, family.change)
    measured = by_differences.measured(params, batch)
    reference = Measuring(lambda params, batch: measured)
    with jax.enable_x64(True):
        right = compare(reference, by_jax, params, batch)
        # Of the last layer: below a dead one there is nothing that a factor would change.
        wrong = compare(reference, with_one_wrong(by_jax, "b2", (seed % 3,)), params, batch)
    return not right, not wrong, sum(leaf.unjudged for leaf in right.leaves)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_right_gradient_is_called_wrong_and_a_wrong_number_is_found(name):
    for seed in range(40):
        assert alarms_and_finds(FAMILIES[name], seed) == (False, True, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES | MORE_FAMILIES)
def test_none_of_500_right_gradients_is_called_wrong(name):
    found = np.array([alarms_and_finds((FAMILIES | MORE_FAMILIES)[name], seed) for seed in range(500)])
    print(f"{name}: of 500, {found[:, 0].sum()} alarms, {found[:, 1].sum()} found; {found[:, 2].sum()} not judged")
    assert not found[:, 0].any()
    assert found[:, 1].mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(3, 4, 2), (5, 8, 3), (8, 16, 4), (4, 2, 1)])
def test_right_relu_gradients_of_four_sizes_are_upheld(sizes):
    def loss(params, batch):
        for layer in params[:-1]:
            batch = jax.nn.relu(batch @ layer["W"] + layer["b"])
        return jnp.mean((batch @ params[-1]["W"] + params[-1]["b"]) ** 2)

    by_differences, by_jax = in_float64(finite_differences(loss)), jax.jit(jax.value_and_grad(loss))
    for seed in range(10):
        random = np.random.RandomState(seed)
        params = [{"W": random.normal(size=shape), "b": random.normal(size=shape[1])} for shape in pairwise(sizes)]
        with jax.enable_x64(True):
            assert compare(by_differences, by_jax, params, random.normal(size=(16, sizes[0])))


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) if s >= 2 else s for s in range(20)])
def test_both_gradients_lie_within_the_estimated_error_on_random_networks(seed):
    """32 coordinates drawn from each leaf."""
    random = np.random.RandomState(seed)
    sizes = np.exp(random.uniform(0, np.log(64.99), random.randint(3, 7))).astype(int).tolist()
    network = mlp(sizes, ("relu", "sigmoid", "tanh", "identity")[seed % 4])
    params, batch = random_point(network, random, random.randint(1, 33))
    leaf_of = np.concatenate([np.full(leaf.size, i) for i, leaf in enumerate(jax.tree.leaves(params))])
    drawn = np.concatenate([random.permutation(np.flatnonzero(leaf_of == i))[:32] for i in range(leaf_of[-1] + 1)])

    found = in_float64(central_differences(loss(network, squared_error)))(params, batch, drawn)
    assert not found.bends.any()
    for rule in (autodiff, backprop):
        _, grads = in_float64(jax.jit(rule(network, squared_error)))(params, batch)
        slopes = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])[drawn]
        assert (np.abs(slopes - found.slopes) <= found.errors).all()


# Beside a kink


RELU = FAMILIES["relu"].loss


def beside_a_kink(value_and_grad: Callable):
    """The first two neurons are exactly at their kink; the other four are not."""
    params, batch = point(0, zero_rows)
    with jax.enable_x64(True):
        return compare(compiled(RELU)[0], value_and_grad, params, batch)


def test_what_bends_is_named_counted_and_not_judged():
    found = beside_a_kink(compiled(RELU)[1])
    assert found
    W1, W2, b1, b2 = found.leaves
    assert (W1.unjudged, b1.unjudged, W2.unjudged, b2.unjudged) == (10, 2, 0, 0)
    assert b1.verdict == "agrees; kink here, not judged: 2 of 6"
    assert b1.kinks == ((0,), (1,))
    (note,) = found.notes
    assert note.startswith("kink here, not judged: 12 of 57 coordinates: ['W1'][0, 0], ['W1'][0, 1], ")
    assert note.endswith(" and 2 more")
    text = str(found)
    assert text.startswith("They agree, where they could be judged")
    assert "kink here, not judged: 12 of 57 coordinates" in " ".join(text.split())
    assert found.to_dict()["notes"] == [note]


@pytest.mark.parametrize(("name", "at"), [("b1", (2,)), ("W1", (3, 5)), ("W1", (0, 2)), ("W2", (0, 0)), ("b2", (1,))])
def test_a_wrong_number_beside_a_kink_is_found(name, at):
    found = beside_a_kink(with_one_wrong(compiled(RELU)[1], name, at))
    assert [leaf.path for leaf in found.failures] == [f"['{name}']"]
    assert found.failures[0].worst_index == at


def test_the_mask_of_a_wrong_relu_is_found_beside_a_kink():
    def wrong(params, batch):
        inputs, targets = batch
        z = inputs @ params["W1"] + params["b1"]
        a = jax.nn.relu(z) @ params["W2"] + params["b2"]
        da = 2 * (a - targets) / a.size
        dz = (da @ params["W2"].T) * (z > 0.5)  # which should be z > 0
        W1, b1 = inputs.T @ dz, dz.sum(axis=0)
        return jnp.mean((a - targets) ** 2), {"W1": W1, "b1": b1, "W2": jax.nn.relu(z).T @ da, "b2": da.sum(axis=0)}

    assert [leaf.path for leaf in beside_a_kink(wrong).failures] == ["['b1']", "['W1']"]


def test_a_leaf_that_bends_throughout_does_not_read_agrees():
    params, batch = {"kink": np.zeros(2), "smooth": np.ones(2)}, None

    def loss(params, batch):
        return jnp.sum(jnp.abs(params["kink"])) + jnp.sum(params["smooth"] ** 2)

    with jax.enable_x64(True):
        found = compare(in_float64(finite_differences(loss)), jax.value_and_grad(loss), params, batch)
    kink, smooth = found.leaves
    assert kink.verdict == "not judged: kink at each of 2"
    assert smooth.verdict == "agrees"
    assert "They agree, where they could be judged" in str(found)


def test_a_point_where_all_bends_is_refused():
    def loss(params, batch):
        return jnp.sum(jnp.abs(params))

    with jax.enable_x64(True), pytest.raises(BadInput, match="bends or jumps at this point along each of its 2 param"):
        compare(in_float64(finite_differences(loss)), jax.value_and_grad(loss), np.zeros(2), None)


# As a gradient like any other


def test_the_errors_are_known_through_jit_and_float64_and_forgotten_in_a_plain_gradient():
    by_differences = finite_differences(RELU)
    params, batch = point(0)
    with jax.enable_x64(True):
        for reference in (jax.jit(by_differences), in_float64(by_differences)):
            assert compare(reference, compiled(RELU)[1], params, batch).leaves[0].error is not None
        value, grads = by_differences(params, batch)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert value.shape == ()


def test_what_is_exactly_zero_agrees_to_what_could_be_measured():
    params, batch = point(0, shifted(-100))
    with jax.enable_x64(True):
        found = compare(compiled(RELU)[0], compiled(RELU)[1], params, batch)
    W1 = found.leaves[0]
    assert (W1.scale, W1.agree) == (0, True)
    assert W1.error is not None
    assert W1.error < 1e-12
    assert W1.verdict.startswith("agrees to ")


def in_halves(x):
    return x.astype(jnp.bfloat16).astype(x.dtype)


def partly_in_halves(params, batch):
    return 1000 * jnp.sum(params["wide"] ** 2) + in_halves(jnp.sum(params["narrow"]))


def by_hand_throughout(params, batch):
    wide, narrow = params["wide"], params["narrow"]
    return 1000 * jnp.sum(wide**2) + jnp.sum(narrow), {"wide": 2000 * wide, "narrow": jnp.ones_like(narrow)}


def test_what_rounding_of_the_loss_hides_is_not_judged_and_the_value_is_judged_by_it():
    params = {"narrow": np.array([0.3, 0.71, 2.1]), "wide": np.array([0.2, 0.5])}
    with jax.enable_x64(True):
        apart = abs(float(partly_in_halves(params, None) - by_hand_throughout(params, None)[0]))
        found = compare(in_float64(finite_differences(partly_in_halves)), by_hand_throughout, params, None)
    assert apart > 1e-6 * 1000 * 0.29, "in full precision the values would differ"
    assert found.value.agree
    narrow, wide = found.leaves
    assert narrow.verdict == "not judged: lost in rounding at each of 3"
    assert (narrow.unjudged, narrow.unmeasured, narrow.kinks) == (3, 3, ())
    assert wide.verdict.startswith("agrees")
    assert found.notes == ("lost in rounding, not judged: 3 of 5 coordinates, in ['narrow']",)
    assert "They agree, where they could be judged" in str(found)


def test_a_wrong_value_is_found_beside_what_rounding_explains():
    params = {"narrow": np.array([0.3, 0.71, 2.1]), "wide": np.array([0.2, 0.5])}

    def off(params, batch):
        value, grads = by_hand_throughout(params, batch)
        return value * 1.01, grads

    with jax.enable_x64(True):
        found = compare(in_float64(finite_differences(partly_in_halves)), off, params, None)
    assert [leaf.path for leaf in found.failures] == ["value"]


def test_a_loss_whose_rounding_hides_all_is_refused():
    def loss(params, batch):
        return in_halves(jnp.sum(params * batch))

    with (
        jax.enable_x64(True),
        pytest.raises(BadInput, match="rounding of the loss hides its slopes along each of its 3"),
    ):
        compare(in_float64(finite_differences(loss)), jax.value_and_grad(loss), np.ones(3), np.array([0.3, 0.2, 0.7]))


def test_a_constant_loss_has_a_gradient_of_0():
    def loss(params, batch):
        return 3 + 0 * jnp.sum(params)

    with jax.enable_x64(True):
        found = compare(in_float64(finite_differences(loss)), jax.value_and_grad(loss), np.ones(3), None)
        wrong = compare(in_float64(finite_differences(loss)), lambda p, b: (loss(p, b), p / 100), np.ones(3), None)
    assert found
    assert not wrong


def test_tiny_parameters_with_huge_slopes_are_measured_and_judged():
    def loss(params, batch):
        return jnp.sum(jnp.sin(1e9 * params))

    x = np.array([1e-9, -3e-9, 2.5e-9])
    found = differences(lambda x: jnp.sin(1e9 * x), x)
    assert (np.abs(found.slopes - 1e9 * np.cos(1e9 * x)) <= found.errors).all()
    assert (found.errors < 1e-6 * 1e9).all()
    with jax.enable_x64(True):
        compared = compare(
            in_float64(finite_differences(loss)), lambda p, b: (loss(p, b), 1.001e9 * jnp.cos(1e9 * p)), x, None
        )
    assert not compared


def test_rounding_to_fewer_bits_inside_is_noticed():
    """`lax.reduce_precision` leaves the type as it is."""
    x = np.linspace(0.3, 2, 9)
    found = differences(lambda x: jax.lax.reduce_precision(jnp.sin(x), 8, 23), x)
    assert (np.abs(found.slopes - np.cos(x)) <= found.errors).all()
    assert (found.errors < 1e-2).all()
