"""Two gradients, leaf by leaf: what agrees, what fails and by which name, and what cannot be compared."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, per_example
from jaxprop.networks import mlp
from jaxprop.structured import expand
from jaxprop.verify.comparison import angle_between, compare, per_example_scale, ulps_between
from jaxprop.verify.suite import random_point

PARAMS = {"W": jnp.ones((300, 300)), "b": jnp.ones(10)}
GRADS = {"W": jnp.linspace(-1, 1, 90_000).reshape(300, 300), "b": jnp.linspace(-1e-3, 1e-3, 10)}
BATCH = jnp.ones(3)


def returns(value, grads):
    """A `value_and_grad` that has made up its mind."""
    return lambda params, batch: (value, grads)


REFERENCE = returns(jnp.float32(2), GRADS)


def comparison_with(grads, value=2.0, **options):
    return compare(REFERENCE, returns(jnp.float32(value), grads), PARAMS, BATCH, **options)


def leaf(comparison, path):
    (found,) = (leaf for leaf in comparison.leaves if leaf.path == path)
    return found


def test_the_same_gradient_agrees_in_every_measure():
    comparison = comparison_with(GRADS)
    assert comparison.agree
    assert comparison.value_difference == 0
    for found in comparison.leaves:
        assert (found.max_difference, found.scaled_difference, found.angle) == (0, 0, 0)
        assert (found.ulps_median, found.ulps_max, found.verdict) == (0, 0, "agrees")


def test_the_record_says_what_was_compared_and_where():
    comparison = comparison_with(GRADS)
    assert [(found.path, found.shape, found.dtype) for found in comparison.leaves] == [
        ("['W']", (300, 300), "float32"),
        ("['b']", (10,), "float32"),
    ]
    assert comparison.dtype == "float32"
    assert comparison.device.startswith(jax.devices()[0].platform)
    assert comparison.matmul_precision == "highest"


def test_a_small_bias_cannot_hide_behind_a_large_matrix():
    comparison = comparison_with({**GRADS, "b": GRADS["b"].at[3].multiply(1.01)})
    assert not comparison.agree
    assert leaf(comparison, "['W']").agree
    bias = leaf(comparison, "['b']")
    assert not bias.agree
    # The fourth of ten numbers from -1e-3 to 1e-3 is -1/3 of the largest, and 1 % of that is off.
    assert bias.worst_index == (3,)
    assert bias.max_difference == pytest.approx(1e-2 * 1e-3 / 3, rel=1e-4)
    assert bias.scale == pytest.approx(1e-3)
    assert bias.scaled_difference == pytest.approx(1e-2 / 3, rel=1e-4)
    assert (bias.worst_reference, bias.worst_candidate) == (float(GRADS["b"][3]), float(GRADS["b"][3] * 1.01))
    assert bias.ulps_median == 0
    assert bias.ulps_max is not None
    assert 0.01 * 2**23 < bias.ulps_max < 0.01 * 2**24, "1 % of a float32, whose last digit is 2^-23 to 2^-24 of it"
    assert bias.angle
    assert bias.verdict.startswith("differs by 0.0033 of its scale, most at [3]")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-4), ("float16", 0.15), ("bfloat16", 0.25)]
)
def test_the_tolerance_follows_from_the_dtype(dtype, tolerance):
    with jax.enable_x64(True):
        params, value = jnp.ones(2, dtype), jnp.ones((), dtype)
        agree = [
            compare(returns(value, params), returns(value, params.at[0].add(d)), params, BATCH).agree
            for d in (0.9 * tolerance, 1.1 * tolerance)
        ]
    assert agree == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_rounding_parts_correct_gradients_by_four_ulps_of_what_was_added_up(dtype):
    """The measurement behind the tolerances: 12 networks of 1 to 5 layers, 30 draws of the parameters each."""
    worst, worst_left = [], []
    for seed in range(12):
        random = np.random.RandomState(seed)
        sizes = np.exp(random.uniform(0, np.log(64.99), random.randint(2, 7))).astype(int).tolist()
        network = mlp(sizes, ("sigmoid", "relu", "tanh", "identity")[seed % 4])
        examples = random.randint(1, 33)
        by_jax, by_backprop = (jax.jit(rule(network, squared_error)) for rule in (autodiff, backprop))
        values_and_grads = jax.jit(per_example(network, squared_error))
        with jax.enable_x64(dtype == "float64"):
            for _ in range(30):
                point = jax.tree.map(lambda x: jnp.asarray(x, dtype), random_point(network, random, examples))
                found = compare(by_jax, by_backprop, *point, scale=per_example_scale(values_and_grads, *point))
                worst += [leaf.scaled_difference for leaf in found.leaves]
                worst_left += [leaf.scaled_difference for leaf in compare(by_jax, by_backprop, *point).leaves]
    print(f"{dtype}: {max(worst):.2g} of the scale of the examples, {max(worst_left):.2g} of the largest |reference|")
    assert max(worst) <= 5 * float(jnp.finfo(dtype).eps)


def test_a_tolerance_can_be_given():
    slightly_off = {**GRADS, "b": GRADS["b"] * 1.001}
    assert comparison_with(slightly_off, tolerance=2e-3).agree
    assert not comparison_with(slightly_off, tolerance=5e-4).agree
    assert not comparison_with(slightly_off, tolerance=0).agree
    assert comparison_with(GRADS, tolerance=0).agree


def test_a_scale_can_be_given_for_all_leaves_or_for_each():
    off = {**GRADS, "b": GRADS["b"] + 1e-5}
    assert not comparison_with(off).agree
    assert comparison_with(off, scale=1.0).agree
    assert comparison_with(off, scale={"W": 0.5, "b": jnp.float32(1)}).agree
    assert comparison_with(off, scale={"W": jnp.bfloat16(1), "b": jnp.bfloat16(1)}).agree
    assert leaf(comparison_with(off, scale={"W": 0.5, "b": 2}), "['b']").scale == 2
    assert not comparison_with(off, scale={"W": 1, "b": 1e-3}).agree


@pytest.mark.parametrize(
    ("grads", "path", "verdict"),
    [
        ({**GRADS, "b": GRADS["b"].at[4].set(jnp.nan)}, "['b']", "holds nan at [4]"),
        ({**GRADS, "W": GRADS["W"].at[2, 7].set(-jnp.inf)}, "['W']", "holds -inf at [2, 7]"),
        ({"W": GRADS["W"]}, "['b']", "is missing"),
        ({**GRADS, "c": jnp.zeros(1)}, "['c']", "is extra: there is no such parameter"),
        ({**GRADS, "b": GRADS["b"][:, None]}, "['b']", "has shape (10, 1): expected (10,)"),
        ({**GRADS, "b": GRADS["b"].astype(jnp.bfloat16)}, "['b']", "is bfloat16: expected float32"),
        ({**GRADS, "b": np.asarray(GRADS["b"], np.float64)}, "['b']", "is float64: expected float32"),
        ({**GRADS, "b": None}, "['b']", "is missing"),
    ],
)
def test_what_is_no_gradient_fails_by_name(grads, path, verdict):
    comparison = comparison_with(grads)
    assert not comparison.agree
    assert [(found.path, found.verdict) for found in comparison.failures] == [(path, verdict)]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (jnp.float32(3), "differs by 0.5 of its scale"),
        (jnp.float32(jnp.nan), "holds nan"),
        (jnp.ones(3), "has shape (3,): expected ()"),
        (2, "is int64: expected float32"),
    ],
)
def test_the_value_is_compared_too(value, verdict):
    comparison = compare(REFERENCE, returns(value, GRADS), PARAMS, BATCH)
    assert not comparison.agree
    assert [found.path for found in comparison.failures] == ["value"]
    assert comparison.value.verdict.startswith(verdict)


def test_what_fails_nearest_to_the_output_is_named_first_and_what_is_extra_last():
    params = [jnp.ones(1), jnp.ones(1), jnp.ones(1)]
    comparison = compare(
        returns(1.0, params), returns(1.0, [2 * params[0], params[1], 2 * params[2], params[0]]), params, BATCH
    )
    assert [found.path for found in comparison.failures] == ["[2]", "[0]", "[3]"]


def test_a_leaf_of_zeros_agrees_with_zeros_and_with_nothing_else():
    params = {"dead": jnp.ones(3)}
    zeros, tiny = {"dead": jnp.zeros(3)}, {"dead": jnp.zeros(3).at[1].set(1e-30)}
    both = compare(returns(1.0, zeros), returns(1.0, {"dead": -jnp.zeros(3)}), params, BATCH).leaves[0]
    assert both.agree
    assert (both.verdict, both.scaled_difference, both.angle) == ("agrees: equal, as a scale of 0 asks", 0, None)
    one = compare(returns(1.0, zeros), returns(1.0, tiny), params, BATCH, tolerance=1.0).leaves[0]
    assert not one.agree
    assert one.verdict.startswith("is not 0, as the reference is, most at [1]")
    # A scale that is not 0 says how small a difference may be beside zeros; a scale of 0 asks for them.
    assert compare(returns(1.0, zeros), returns(1.0, tiny), params, BATCH, scale=1.0).agree
    assert not compare(returns(1.0, tiny), returns(1.0, zeros), params, BATCH, scale=0.0).agree


def test_a_leaf_without_numbers_agrees():
    params = {"none": jnp.ones((0, 3)), "some": jnp.ones(1)}
    assert compare(returns(1.0, params), returns(1.0, params), params, BATCH).agree


def test_params_may_be_one_array():
    comparison = compare(returns(1.0, jnp.ones(2)), returns(1.0, -jnp.ones(2)), jnp.ones(2), BATCH)
    assert [found.path for found in comparison.failures] == ["all"]
    assert comparison.leaves[0].angle == pytest.approx(np.pi)


def test_the_reference_may_be_more_precise_than_the_candidate():
    params = np.full(2, 1 / 3, np.float32)
    comparison = compare(returns(1 / 3, np.full(2, 1 / 3)), returns(np.float32(1 / 3), params), params, BATCH)
    assert comparison.agree
    found = comparison.leaves[0]
    assert found.dtype == "float32"
    assert found.max_difference == abs(1 / 3 - float(np.float32(1 / 3))) != 0
    assert found.ulps_max == 0, "the candidate is the nearest float32 to the truth"


def test_matrix_products_are_taken_at_the_highest_precision():
    seen = []

    def value_and_grad(params, batch):
        seen.append(str(jax.make_jaxpr(jnp.dot)(params, params)))
        return 1.0, params

    compare(value_and_grad, value_and_grad, jnp.ones((2, 2)), BATCH)
    assert len(seen) == 2
    assert all("HIGHEST" in program for program in seen)
    assert "HIGHEST" not in str(jax.make_jaxpr(jnp.dot)(PARAMS["W"], PARAMS["W"]))


@pytest.mark.parametrize(
    ("reference", "params", "batch", "options", "complaint"),
    [
        (REFERENCE, {"W": jnp.ones(2, int)}, BATCH, {}, r"parameter \['W'\] is int32: expected floats"),
        (REFERENCE, {"W": jnp.ones(2, complex)}, BATCH, {}, r"parameter \['W'\] is complex64: expected floats"),
        (REFERENCE, {}, BATCH, {}, "params hold no array"),
        (REFERENCE, PARAMS, jnp.ones((0, 3)), {}, r"the batch is empty: its array all has shape \(0, 3\)"),
        (REFERENCE, PARAMS, (jnp.ones(3), jnp.ones(0)), {}, r"the batch is empty: its array \[1\]"),
        (REFERENCE, PARAMS, BATCH, {"tolerance": -1e-3}, "tolerance is -0.001: expected a finite number"),
        (REFERENCE, PARAMS, BATCH, {"tolerance": float("nan")}, "tolerance is nan: expected a finite number"),
        (REFERENCE, PARAMS, BATCH, {"tolerance": float("inf")}, "tolerance is inf: expected a finite number"),
        (REFERENCE, PARAMS, BATCH, {"tolerance": [1.0]}, r"tolerance is \[1.0\]: expected a finite number"),
        (REFERENCE, PARAMS, BATCH, {"scale": -1.0}, r"the scale of \['W'\] is -1.0: expected a finite number"),
        (REFERENCE, PARAMS, BATCH, {"scale": {"W": 1.0}}, "expected a number, or a tree like the gradients"),
        (REFERENCE, PARAMS, BATCH, {"scale": GRADS}, "expected a number, or a tree like the gradients"),
        (returns(jnp.nan, GRADS), PARAMS, BATCH, {}, "the reference is not finite at value"),
        (returns(1.0, {**GRADS, "b": jnp.full(10, jnp.inf)}), PARAMS, BATCH, {}, r"not finite at \['b'\]"),
        (returns(1.0, {"W": GRADS["W"]}), PARAMS, BATCH, {}, "the reference's gradient has shapes"),
        (returns(1.0, {**GRADS, "b": jnp.ones(10, int)}), PARAMS, BATCH, {}, r"the reference is int32 at \['b'\]"),
        (returns(jnp.ones(3), GRADS), PARAMS, BATCH, {}, r"the reference's value has shape \(3,\)"),
        (lambda params, batch: GRADS, PARAMS, BATCH, {}, r"returned a dict: expected a pair \(value, grads\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, params, batch, options, complaint):
    with pytest.raises(BadInput, match=complaint):
        compare(reference, REFERENCE, params, batch, **options)


def test_a_type_of_unknown_rounding_needs_a_tolerance():
    params = jnp.ones(2, jnp.float8_e4m3fn)
    with pytest.raises(BadInput, match="no default tolerance is known for float8_e4m3fn: give one"):
        compare(returns(1.0, params), returns(1.0, params), params, BATCH)
    assert compare(returns(1.0, params), returns(1.0, params), params, BATCH, tolerance=0.5).agree


def test_the_scale_of_the_examples_is_the_mean_of_their_absolute_gradients():
    network = mlp((5, 4, 3), "relu")
    params, batch = random_point(network, np.random.RandomState(0), 6)
    values_and_grads = jax.jit(per_example(network, squared_error))
    scale = per_example_scale(values_and_grads, params, batch)
    _, grads = values_and_grads(params, batch)
    expected = jax.tree.map(lambda g: np.abs(np.asarray(g)).mean(axis=0).max(), expand(grads))
    # Sums of six terms in float32.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), scale, expected)


def test_examples_that_cancel_do_not_shorten_the_scale_of_the_examples():
    # One neuron, no weight: its output is 1/2 whatever the input. Of two examples one wants 0 and one wants 1, so
    # their gradients, 2 * 1/2 * 1/4 and minus that, cancel exactly.
    network = mlp((1, 1))
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0)))
    batch = (jnp.ones((2, 1)), jnp.array([[0.0], [1.0]]))
    by_backprop, by_jax = jax.jit(backprop(network, squared_error)), jax.jit(autodiff(network, squared_error))
    scale = per_example_scale(jax.jit(per_example(network, squared_error)), params, batch)
    assert by_backprop(params, batch)[1][0].b == 0
    assert (scale[0].b, scale[0].W) == (0.25, 0.25)
    assert compare(by_jax, by_backprop, params, batch, scale=scale).agree


# How far apart two arrays are: in floating-point numbers that lie between, and in angle


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_neighbours_are_one_ulp_apart(dtype):
    eps = jnp.finfo(dtype).eps
    b = np.array([1, 1, -1, 0, 1], dtype)
    a = np.array([1, 1 + eps, -1 - eps, -0.0, 2], dtype)
    np.testing.assert_array_equal(ulps_between(b, a), [0, 1, 1, 0, 2.0 ** jnp.finfo(dtype).nmant])


def test_ulps_are_counted_through_zero_and_up_to_the_largest_numbers():
    tiny, huge = 5e-324, np.finfo(np.float64).max
    assert ulps_between(np.array([-tiny]), np.array([tiny])) == 2
    assert ulps_between(np.array([-huge]), np.array([huge])) == 2 * 0x7FEFFFFFFFFFFFFF


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(-(2.0**127), 2.0**127, width=32), st.integers(0, 20))
def test_so_many_steps_up_are_so_many_ulps(x, steps):
    start = end = np.float32(x)
    for _ in range(steps):
        end = np.nextafter(end, np.float32(np.inf))
    assert ulps_between(np.array([start]), np.array([end])) == steps


def test_ulps_between_different_types_mean_nothing():
    with pytest.raises(TypeError, match="float32 and float64"):
        ulps_between(np.ones(1, np.float32), np.ones(1))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-3, 1.0, math.pi / 2, 3.0, math.pi])
def test_angles_are_seen_down_to_the_last_digits(angle):
    b, a = np.array([1.0, 0.0]), 7 * np.array([math.cos(angle), math.sin(angle)])
    # The arc sine is steep near pi, where half of the digits are lost.
    assert angle_between(b, a) == pytest.approx(angle, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_angle_does_not_depend_on_the_size_of_the_numbers(size):
    assert angle_between(np.array([1.0, 0.0]), size * np.array([1.0, 1.0])) == pytest.approx(math.pi / 4)


def test_zeros_have_no_direction():
    assert angle_between(np.zeros(3), np.ones(3)) is None
    assert angle_between(np.ones(3), np.zeros(3)) is None


class Difference(NamedTuple):
    """A structured gradient of one's own: one number less another, whose absolute value is not that of its parts."""

    plus: jax.Array
    minus: jax.Array

    def expand(self):
        return self.plus - self.minus

    def sum_over_examples(self):
        return jnp.sum(self.plus - self.minus, axis=0)

    def norm_squared(self):
        return jnp.sum((self.plus - self.minus) ** 2)


def test_the_scale_of_structured_gradients_is_that_of_what_they_stand_for():
    def values_and_grads(params, batch):
        return jnp.zeros(2), (Difference(jnp.array([[1.0, -2.0], [3.0, 4.0]]), jnp.array([[1.0, 2.0], [3.0, -4.0]])),)

    (scale,) = per_example_scale(values_and_grads, (jnp.zeros(2),), ())
    assert scale == 6, "the mean of |0|, |0| and that of |-4|, |8|"


# What may go wrong with somebody's functions: each is called on copies, and named


def raises(params, batch):
    raise ZeroDivisionError("the cat sat\non it")


def writes_into(part):
    def value_and_grad(params, batch):
        {"params": params["b"], "batch": batch}[part][0] = 7
        return 2.0, GRADS

    return value_and_grad


def takes_away(params, batch):
    del params["W"]
    return 2.0, GRADS


POINT_IN_NUMPY = {"W": np.ones((300, 300), np.float32), "b": np.ones(10, np.float32)}, np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (raises, "raised ZeroDivisionError, which says: the cat sat$"),
        (writes_into("params"), r"changed params\['b'\] in place: a gradient leaves its arguments as they are"),
        (writes_into("batch"), "changed batch in place"),
        (takes_away, "added to its arguments or took something away"),
        (lambda *_: None, r"returned None: expected a pair \(value, grads\); is a return missing"),
        (lambda *_: GRADS, r"returned a dict: expected a pair \(value, grads\); this looks like the gradient alone"),
        (lambda *_: jnp.float32(2), r"of a loss, jax.value_and_grad\(loss\) makes one"),
        (lambda *_: (GRADS, jnp.float32(2)), r"returned a pair \(grads, value\): .*; swap the two"),
        (lambda *_: ((jnp.float32(2), "aux"), GRADS), "returned the value with something beside it"),
    ],
)
@pytest.mark.parametrize("name", ["reference", "candidate"])
def test_a_function_that_is_no_gradient_is_named_with_what_it_did(name, function, complaint):
    functions = {"reference": REFERENCE, "candidate": REFERENCE, name: function}
    with pytest.raises(BadInput, match=f"the {name} {complaint}" if complaint[0] != "o" else complaint) as caught:
        compare(functions["reference"], functions["candidate"], *POINT_IN_NUMPY)
    assert isinstance(caught.value.__cause__, ZeroDivisionError) == (function is raises)
    assert (POINT_IN_NUMPY[0]["b"] == 1).all(), "what was given is as it was"
    assert (POINT_IN_NUMPY[1] == 1).all()


def test_a_gradient_alone_is_told_from_a_pair_where_params_are_two_things():
    params = (jnp.ones(2), jnp.ones(3))
    with pytest.raises(BadInput, match="this looks like the gradient alone"):
        compare(returns(1.0, params), lambda *_: params, params, BATCH)


def test_a_function_that_uses_up_its_arguments_is_named():
    donated = jnp.ones(5)

    def value_and_grad(params, batch):
        donated.delete()
        return jnp.float32(1), jnp.ones(5)

    with pytest.raises(BadInput, match="the candidate used up the memory of params: compile it without donate_argnums"):
        compare(returns(jnp.float32(1), jnp.ones(5)), value_and_grad, donated, BATCH)


def test_two_functions_that_write_into_one_buffer_are_still_told_apart():
    buffer = np.zeros(3, np.float32)

    def writes(slope):
        def value_and_grad(params, batch):
            buffer[:] = slope
            return np.float32(1), buffer

        return value_and_grad

    params = np.ones(3, np.float32)
    assert compare(writes(1), writes(1), params, BATCH)
    assert not compare(writes(1), writes(2), params, BATCH)


def test_a_candidate_that_overwrites_what_the_reference_returned_is_found():
    grads = np.ones(3, np.float32)

    def candidate(params, batch):
        grads[:] = 5
        return np.float32(1), grads

    found = compare(lambda *_: (np.float32(1), grads), candidate, np.ones(3, np.float32), BATCH)
    assert [leaf.path for leaf in found.failures] == ["all"]


class Named:
    """A key that prints like others of its kind, and is put in order after them."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return "name"

    def __hash__(self):
        return self.number

    def __eq__(self, other):
        return isinstance(other, Named) and self.number == other.number

    def __lt__(self, other):
        return self.number < other.number


@jax.tree_util.register_pytree_with_keys_class
class Twins:
    """A node whose two children have one name."""

    def __init__(self, *children):
        self.children = children

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey("w")
        return [(key, child) for child in self.children], None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)


@pytest.mark.parametrize(
    ("tree", "name"), [(lambda a, b: {Named(1): a, Named(2): b}, "[name]"), (Twins, ".w")], ids=["keys", "children"]
)
def test_leaves_whose_names_look_alike_are_compared_each_with_its_own(tree, name):
    params = tree(jnp.ones(2), jnp.ones(3))
    assert compare(returns(1.0, params), returns(1.0, params), params, BATCH)
    found = compare(returns(1.0, params), returns(1.0, tree(7 * jnp.ones(2), jnp.ones(3))), params, BATCH)
    assert [leaf.path for leaf in found.leaves] == [name, f"{name} (2)"]
    assert [leaf.path for leaf in found.failures] == [name]


def test_keys_of_random_numbers_may_be_in_the_batch():
    def dropout(params, batch):
        x, key = batch
        return jnp.sum(params * x * jax.random.bernoulli(key, 0.5, x.shape))

    batch = (jnp.arange(1.0, 5), jax.random.key(1))
    by_jax = jax.value_and_grad(dropout)
    assert compare(by_jax, by_jax, jnp.ones(4), batch)
    assert not compare(by_jax, jax.value_and_grad(lambda p, b: dropout(2 * p, b) / 2 + p[0]), jnp.ones(4), batch)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [([1.0, [2.0]], "is a list: expected float32"), ({"cost": 2.0}, "is a dict: expected float32"), ("2", "is <U1")],
)
def test_a_value_that_is_no_number_fails_by_its_kind(value, verdict):
    found = compare(REFERENCE, returns(value, GRADS), PARAMS, BATCH)
    assert [leaf.path for leaf in found.failures] == ["value"]
    assert found.value.verdict.startswith(verdict)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "complex64", "float16"])
def test_a_leaf_of_another_type_fails_by_it(dtype):
    found = comparison_with({**GRADS, "b": np.zeros(10, dtype)})
    assert [leaf.verdict for leaf in found.failures] == [f"is {dtype}: expected float32"]


def test_a_comparison_is_true_where_all_agree():
    assert comparison_with(GRADS)
    assert not comparison_with({**GRADS, "b": 2 * GRADS["b"]})


def test_two_numbers_are_shown_with_as_many_digits_as_tell_them_apart():
    params = np.full(2, 0.3188712345678)
    off = params.copy()
    off[1] *= 1 + 1e-9
    with jax.enable_x64(True):
        (leaf,) = compare(returns(1.0, params), returns(1.0, off), params, BATCH).leaves
    assert leaf.verdict.startswith("differs by 1e-09 of its scale, most at [1]: 0.3188712349 for 0.3188712346")
    assert "float32" not in leaf.verdict, "that is far less than float32 rounds"


def test_what_float32_loses_inside_a_check_in_float64_is_said():
    params = np.linspace(0.1, 1, 7)
    with jax.enable_x64(True):
        rounded = compare(returns(1.0, params), returns(1.0, params.astype("float32").astype(float)), params, BATCH)
        wrong = compare(returns(1.0, params), returns(1.0, 1.001 * params), params, BATCH)
    assert "the difference is of the size of float32's rounding" in rounded.leaves[0].verdict
    assert "float32" not in wrong.leaves[0].verdict


@pytest.mark.parametrize("name", ["reference", "candidate"])
def test_a_function_that_is_not_repeatable_is_named(name):
    random = np.random.RandomState(0)

    def dropout(params, batch):
        return 2.0, {**GRADS, "b": GRADS["b"] * random.uniform(0, 2, 10).astype(np.float32)}

    functions = {"reference": REFERENCE, "candidate": REFERENCE, name: dropout}
    functions = {key: lambda *point, f=f: (np.float32(f(*point)[0]), f(*point)[1]) for key, f in functions.items()}
    (note,) = compare(*functions.values(), PARAMS, BATCH).notes
    assert note.startswith(f"the {name} is not repeatable: called twice with the same numbers, ['b'] differs by")
    assert comparison_with({**GRADS, "b": 2 * GRADS["b"]}).notes == (), "wrong, and repeatable"
