"""What a network is worth: over every example, however many, with targets of any kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp

NETWORK = jp.mlp((784, 5, 10))
PARAMS = NETWORK.init(jax.random.key(3))


def some_examples(n: int) -> jp.Examples:
    rng = np.random.default_rng(n)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n))


@pytest.mark.parametrize("n", [1, 999, 1000, 1001, 2500])
def test_every_example_is_scored_however_many_there_are(n):
    images, labels = some_examples(n)
    evaluate = jp.make_evaluate(NETWORK, jp.squared_error, jp.as_batch)
    scores = jax.jit(evaluate)(PARAMS, jp.Examples(images, labels))

    first, _, last, _ = PARAMS

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    hidden = sigmoid(images.reshape(n, 784) / 255 @ np.asarray(first.W, float).T + first.b)
    outputs = sigmoid(hidden @ np.asarray(last.W, float).T + last.b)
    # float32 sums of at most 784 terms of size 1: sqrt(784) roundings of 6e-8 each.
    np.testing.assert_allclose(scores.outputs, outputs, atol=2e-6)
    np.testing.assert_allclose(scores.cost, np.mean(np.sum((outputs - np.eye(10)[labels]) ** 2, axis=1)), rtol=1e-5)
    np.testing.assert_allclose(scores.accuracy, np.mean(outputs.argmax(axis=1) == labels), rtol=1e-6)


# A network whose outputs are its inputs, so that the answers are written down here.
ECHO = jp.Network((jp.identity(),), (3,))
NOTHING = ((),)
OUTPUTS = np.array([[0.1, 0.7, 0.2], [0.9, 0.0, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]], np.float32)
BY_LABEL = jp.Cost(lambda a, label: -a[label], lambda a, label: -jax.nn.one_hot(label, 3), takes_labels=True)


def test_the_class_may_be_the_largest_of_the_target_or_a_whole_number():
    labels = np.array([1, 2, 2, 0])
    scores = jp.make_evaluate(ECHO, jp.squared_error)(NOTHING, (OUTPUTS, np.eye(3, dtype=np.float32)[labels]))
    by_label = jp.make_evaluate(ECHO, BY_LABEL)(NOTHING, (OUTPUTS, labels))
    assert scores.accuracy == by_label.accuracy == 0.75
    np.testing.assert_allclose(by_label.cost, -np.mean([0.7, 0.1, 0.5, 0.4]), rtol=1e-6)
    np.testing.assert_array_equal(scores.outputs, OUTPUTS)


def test_what_counts_as_correct_may_be_ones_own():
    def near(outputs, target):
        return jnp.abs(outputs - target).max() < 0.25

    scores = jp.make_evaluate(ECHO, jp.squared_error, correct=near)(NOTHING, (OUTPUTS, OUTPUTS[::-1]))
    assert scores.accuracy == 0
    off = OUTPUTS + np.array([[0.2], [0.3], [-0.2], [0.0]], np.float32)
    assert jp.make_evaluate(ECHO, jp.squared_error, correct=near)(NOTHING, (OUTPUTS, off)).accuracy == 0.75


def test_outputs_and_targets_may_be_of_any_shape():
    network = jp.Network((jp.identity(),), (2, 2))
    outputs = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    scores = jp.make_evaluate(network, jp.squared_error)(NOTHING, (outputs, outputs[:, ::-1]))
    assert scores.accuracy == 0
    assert scores.outputs.shape == (3, 2, 2)
    assert jp.make_evaluate(network, jp.squared_error)(NOTHING, (outputs, 2 * outputs)).accuracy == 1


def test_a_nan_is_counted_as_wrong_and_makes_the_cost_one():
    """It raises nothing: `fit`'s finite flag and the training run look at numbers, and say so."""
    outputs = OUTPUTS.copy()
    outputs[1, 2] = np.nan
    scores = jax.jit(jp.make_evaluate(ECHO, jp.squared_error))(NOTHING, (outputs, np.eye(4, 3, dtype=np.float32)))
    assert np.isnan(scores.cost)
    np.testing.assert_array_equal(scores.outputs, outputs)


@pytest.mark.parametrize("mode", [lambda function: function, jax.jit], ids=["plainly", "compiled"])
def test_what_says_no_class_is_refused(mode):
    sum_cost = jp.Cost(lambda a, y: jnp.sum(a) * jnp.sum(y), lambda a, y: jnp.ones_like(a))
    for targets in (np.ones((4, 1), np.float32), np.ones((4, 1), int), np.ones(4, np.float32)):
        with pytest.raises(jp.BadInput, match="says no class: expected one integer or a number for each output; give"):
            mode(jp.make_evaluate(ECHO, sum_cost))(NOTHING, (OUTPUTS, targets))


@pytest.mark.parametrize("mode", [lambda function: function, jax.jit], ids=["plainly", "compiled"])
@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        (jp.Examples(*(x[:0] for x in some_examples(3))), "images have shape .* N at least 1"),
        (jp.Examples(some_examples(3).images[:, :27], some_examples(3).labels), r"inputs have shape \(3, 756\)"),
        (jp.Examples(some_examples(3).images, some_examples(2).labels), "one integer for each of the 3 images"),
        (jp.Examples(some_examples(2).images, some_examples(3).labels), "one integer for each of the 2 images"),
    ],
)
def test_examples_that_do_not_fit_are_refused(mode, examples, complaint):
    with pytest.raises(jp.BadInput, match=complaint):
        mode(jp.make_evaluate(NETWORK, jp.squared_error, jp.as_batch))(PARAMS, examples)


@pytest.mark.parametrize("mode", [lambda function: function, jax.jit], ids=["plainly", "compiled"])
def test_no_examples_of_ones_own_are_refused_too(mode):
    with pytest.raises(jp.BadInput, match="B at least 1"):
        mode(jp.make_evaluate(ECHO, jp.squared_error))(NOTHING, (OUTPUTS[:0], OUTPUTS[:0]))


@pytest.mark.parametrize("make", [jp.make_evaluate, jp.average_nudges])
def test_complex_parameters_which_have_a_cost_but_no_order_are_refused(make):
    complex_params = jax.tree.map(lambda leaf: leaf + 0j, PARAMS)
    with pytest.raises(jp.BadInput, match=r"params are complex64 at \[0\]\.W: expected floats"):
        make(NETWORK, jp.squared_error, jp.as_batch)(complex_params, some_examples(1))
