"""Probes for anybody's function: legal points around a given one, for any tree of parameters and batch."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop
from jaxprop.layers import attention, dense, flatten
from jaxprop.networks import Network
from jaxprop.verify.checking import check
from jaxprop.verify.points import SIZES, probes
from jaxprop.verify.suite import random_point

RANDOM = np.random.default_rng(0)
PARAMS = {"W": RANDOM.normal(size=(4, 3)).astype(np.float32), "deep": {"b": jnp.zeros(3), "none": None}, "scale": 1.5}
LABELS = np.array([0, 1, 2, 1, 0])
BATCH = {
    "x": RANDOM.uniform(size=(5, 4)),
    "one_hot": np.eye(3)[LABELS],
    "shares": RANDOM.dirichlet(np.ones(3), 5),
    "labels": LABELS,
    "half": RANDOM.normal(size=(5, 2)).astype(ml_dtypes.bfloat16),
    "key": jax.random.key(0),
    "keys": jax.random.split(jax.random.key(1), 5),
    "weights": np.array([1.0, 2.0, 3.0]),
    "steps": 3,
    "none": None,
}
LIMITS = {
    "batch['x']": (0, 1),
    "batch['one_hot']": "rows",
    "batch['shares']": "sums",
    "batch['weights']": "fixed",
    "params['scale']": (1, 2),
}
PROBES = probes(PARAMS, BATCH, LIMITS)
BY_NAME = {probe.name: probe for probe in PROBES}


def arrays(name):
    """Of all batches."""
    return [probe.batch[name] for probe in PROBES]


def test_the_trees_and_dtypes_stay_as_they_are():
    for probe in PROBES:
        assert jax.tree.structure((probe.params, probe.batch)) == jax.tree.structure((PARAMS, BATCH))
        given = jax.tree.leaves((PARAMS, BATCH))
        for made, leaf in zip(jax.tree.leaves((probe.params, probe.batch)), given, strict=True):
            assert made.dtype == (leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype)
            assert np.shape(made)[1:] == np.shape(leaf)[1:]


def test_batches_are_of_every_size_in_all_arrays_of_examples():
    for n in SIZES:
        batch = BY_NAME[f"batch of {n}"].batch
        assert {len(batch[name]) for name in ("x", "one_hot", "shares", "labels", "half", "keys")} == {n}
    sizes = [len(x) for x in arrays("x")]
    assert sizes.count(5) == len(PROBES) - len(SIZES)


def test_what_is_fixed_or_holds_no_examples_stays():
    assert all((w == BATCH["weights"]).all() for w in arrays("weights"))
    assert all(steps == 3 for steps in arrays("steps"))
    assert all(key is BATCH["key"] for key in arrays("key"))


def test_floats_keep_their_limits():
    assert {x.min() >= 0 and x.max() <= 1 for x in arrays("x")} == {True}
    assert {1 <= probe.params["scale"] <= 2 for probe in PROBES} == {True}
    assert any((x.max() > 1).any() for x in arrays("half"))


def test_targets_stay_one_hot_and_shares_add_up_to_1():
    rows = np.concatenate(arrays("one_hot"))
    assert set(map(tuple, rows)) == set(map(tuple, np.eye(3)))
    shares = np.concatenate(arrays("shares"))
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-15)  # a few ulps of 1
    assert len(np.unique(shares, axis=0)) > 50


def test_rows_of_different_arrays_stay_together():
    for name in ("batch of 7", "batch of 131", "others near it", "one example repeated"):
        batch = BY_NAME[name].batch
        np.testing.assert_array_equal(batch["one_hot"].argmax(axis=1), batch["labels"])


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("parameters all zero", lambda p, b: not p["W"].any()),
        ("parameters zero in the first row", lambda p, b: not p["W"][0].any() and p["W"][1:].all()),
        ("parameters small", lambda p, b: 0 < np.abs(p["W"]).max() < 0.01),
        ("parameters large in the first row", lambda p, b: np.abs(p["W"][0]).max() > 3 * np.abs(PARAMS["W"][0]).max()),
        ("parameters alike in all rows", lambda p, b: (p["W"] == p["W"][0]).all()),
        ("batch['half'] all blank", lambda p, b: not b["half"].any() and b["x"].any()),
        ("batch['half'] blank in the first example", lambda p, b: not b["half"][0].any() and b["half"][1:].all()),
        ("batch['half'] tiny", lambda p, b: 0 < np.abs(b["half"].astype(float)).max() < 1e-4),
        ("batch['half'] large", lambda p, b: np.abs(b["half"].astype(float)).max() > 10),
        ("batch['half'] large in the first example", lambda p, b: np.abs(b["half"].astype(float))[0].max() > 100),
        ("batch['half'] negative", lambda p, b: (b["half"] < 0).all()),
        ("batch['half'] constant", lambda p, b: (b["half"] == b["half"][0, 0]).all()),
        ("batch['labels'] all alike", lambda p, b: set(b["labels"]) == {0} and len(np.unique(b["x"])) > 4),
        ("one example repeated", lambda p, b: (b["x"] == b["x"][0]).all() and set(b["labels"]) == {0}),
    ],
)
def test_each_point_is_what_it_is_called(name, holds):
    assert holds(BY_NAME[name].params, BY_NAME[name].batch)


def test_the_first_point_is_the_given_one_and_comes_again_at_the_end():
    first, *_, last = PROBES
    assert (first.name, last.name) == ("as given", "as given, again")
    np.testing.assert_array_equal(first.batch["x"], BATCH["x"])
    np.testing.assert_array_equal(first.params["W"], PARAMS["W"])
    assert last.batch is not None
    np.testing.assert_array_equal(last.batch["x"], BATCH["x"])


def test_the_same_points_are_made_each_time():
    again = probes(PARAMS, BATCH, LIMITS)
    for one, other in zip(PROBES, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
        np.testing.assert_array_equal(one.batch["x"], other.batch["x"])


def test_batches_of_one_size_alone_where_no_others_are_wanted():
    for probe in probes(PARAMS, BATCH, LIMITS, sizes=()):
        assert len(probe.batch["x"]) == 5


def test_a_function_without_examples_gets_points_too():
    made = probes(np.array([1.0, -2.0]), {"rate": 0.5})
    assert {float(probe.batch["rate"]) for probe in made} != {0.5}
    assert probes(np.array([1.0]), ())[0].batch == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"n": np.arange(3)}, BATCH, LIMITS), "params hold no floats"),
        ((PARAMS, (np.ones((5, 2)), np.ones(5), np.ones(3))), r"batch\[2\] has 3 rows, others have 5"),
        ((PARAMS, (np.ones(5), "text")), r"batch\[1\] is a str: expected arrays of numbers"),
        ((PARAMS, BATCH, {"x": (0, 1)}), "limits name 'x': expected names of params"),
        (
            (PARAMS, BATCH, {"batch['x']": (1, 0)}),
            r"the limit of batch\['x'\] is \(1, 0\): expected \(lowest, highest\)",
        ),
        ((PARAMS, BATCH, {"batch['x']": "one-hot"}), "is 'one-hot': expected"),
        ((PARAMS, BATCH, {"params['W']": "rows"}), "which is for examples"),
        ((PARAMS, BATCH, LIMITS, (0, 1)), r"sizes are \(0, 1\): expected whole numbers above 0"),
        ((PARAMS, BATCH, LIMITS, 7), "sizes are 7: expected whole numbers above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(arguments, words):
    with pytest.raises(BadInput, match=words):
        probes(*arguments)


# A gradient that somebody derived: softmax regression, with weights for the examples.


def loss(params, batch):
    x, y = batch
    return jnp.mean(
        jax.nn.logsumexp(x @ params["W"].T + params["b"], axis=1) - jnp.sum((x @ params["W"].T + params["b"]) * y, 1)
    )


def by_hand(change):
    """change: `(x, p, y) -> (x, p - y)`, of what the two factors of the gradient are."""

    def value_and_grad(params, batch):
        x, y = batch
        p = jax.nn.softmax(x @ params["W"].T + params["b"], axis=1)
        x, dz = change(x, p, y)
        return loss(params, batch), {"W": dz.T @ x / len(p), "b": dz.mean(axis=0) * len(dz) / len(p)}

    return jax.jit(value_and_grad)


BY_JAX = jax.jit(jax.value_and_grad(loss))
POINTS = probes(
    {"W": RANDOM.normal(size=(3, 4)), "b": RANDOM.normal(size=3)},
    (RANDOM.uniform(size=(5, 4)), np.eye(3)[LABELS]),
    {"batch[0]": (0, 1), "batch[1]": "rows"},
    sizes=(1, 33),
)
MISTAKES = {
    "none": lambda x, p, y: (x, p - y),
    "the 33rd example and those after it": lambda x, p, y: (x[:32], (p - y)[:32]),
    "what is left of blocks of 2": lambda x, p, y: (x[: len(x) // 2 * 2], (p - y)[: len(x) // 2 * 2]),
    "blank examples": lambda x, p, y: (x, (p - y) * (x.any(axis=1, keepdims=True) | (len(x) != 5))),
    "inputs below 1e-8": lambda x, p, y: (jnp.where(x < 1e-8, 0, x), p - y),
    "inputs below 0.001": lambda x, p, y: (jnp.where(x < 1e-3, 0, x), p - y),
    "one class alone": lambda x, p, y: (x, jnp.where((y == y[0]).all() & (len(y) > 1), 0, p - y)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_gradient_of_anybody_is_right_or_its_mistake_is_found(name):
    assert check(BY_JAX, by_hand(MISTAKES[name]), POINTS).agree == (name == "none")


# Whatever a gradient is known again by, without the rest: then it is that of the first call.
KNOWN_BY = {
    "nothing": lambda p, x, y: (),
    "the batch": lambda p, x, y: (x, y),
    "the parameters": lambda p, x, y: (p["W"], p["b"]),
    "all but b": lambda p, x, y: (p["W"], x, y),
    "all but W": lambda p, x, y: (p["b"], x, y),
    "all but y": lambda p, x, y: (p["W"], p["b"], x),
    "the first example": lambda p, x, y: (p["W"], p["b"], x[:1], y),
}


@pytest.mark.parametrize("name", KNOWN_BY)
def test_what_is_kept_from_an_earlier_call_is_found(name):
    kept = {}

    def value_and_grad(params, batch):
        value, grads = BY_JAX(params, batch)
        key = (grads["b"].dtype, *(np.asarray(x).tobytes() for x in KNOWN_BY[name](params, *batch)))
        return value, kept.setdefault(key, grads)

    of_the_given_size = [probe._replace(dtype="float64") for probe in POINTS if len(probe.batch[0]) == 5]
    assert not check(BY_JAX, value_and_grad, of_the_given_size)


def test_a_classifier_is_not_called_wrong_where_what_comes_back_through_its_softmax_cancels():
    def forward(params, x):
        h = jnp.tanh(x @ params["W1"].T + params["b1"])
        return h, h @ params["W2"].T + params["b2"]

    def loss(params, batch):
        return -jnp.mean(jnp.sum(batch[1] * jax.nn.log_softmax(forward(params, batch[0])[1]), axis=1))

    def by_hand(params, batch):
        h, z = forward(params, batch[0])
        dz = (jax.nn.softmax(z) - batch[1]) / len(z)
        dh = dz @ params["W2"] * (1 - h**2)
        grads = {"W1": dh.T @ batch[0], "b1": dh.sum(axis=0), "W2": dz.T @ h, "b2": dz.sum(axis=0)}
        return loss(params, batch), grads

    random = np.random.RandomState(0)
    params = {"W1": random.normal(size=(4, 3)), "b1": random.normal(size=4), "W2": random.normal(size=(3, 4))}
    params["b2"] = random.normal(size=3)
    batch = random.normal(size=(6, 3)), np.eye(3)[[0, 1, 2, 0, 1, 2]]  # every class equally often
    points = probes(params, batch, limits={"batch[1]": "rows"}, sizes=())
    assert check(jax.jit(jax.value_and_grad(loss)), jax.jit(by_hand), points)


def test_attention_is_not_called_wrong_where_rounding_decides_what_it_looks_at():
    network = Network((attention(1), flatten(), dense(2)), (3, 4))
    params, batch = random_point(network, np.random.RandomState(1), 4)
    by_jax, by_hand = (jax.jit(rule(network, squared_error)) for rule in (autodiff, backprop))
    found = check(by_jax, by_hand, probes(params, batch, sizes=()))
    assert found
    # Where one position is all that is looked at, what comes back to the scores is the rounding of a difference.
    large = [c for name, c in found.results if name == "batch[0] large in the first example" and c.dtype == "float32"]
    assert {leaf.path for c in large for leaf in c.leaves if leaf.verdict.startswith("not judged")} <= {
        "[0].Wq",
        "[0].Wk",
    }

    def scores_wrong(params, batch):
        value, (of_attention, *others) = by_jax(params, batch)
        return value, (of_attention._replace(Wq=of_attention.Wq * 1.01), *others)

    assert check(by_jax, scores_wrong, probes(params, batch, sizes=())).failing_leaves == ("[0].Wq",)
