import jax
import numpy as np
import pytest

import jaxprop as jp

NETWORK = jp.mlp((784, 5, 10))
PARAMS = NETWORK.init(jax.random.key(3))


@pytest.mark.parametrize("n", [1, 999, 1000, 1001, 2500])
def test_every_example_is_scored_however_many_there_are(n):
    rng = np.random.default_rng(n)
    images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n)
    scores = jax.jit(jp.make_evaluate(NETWORK, jp.squared_error))(PARAMS, jp.Examples(images, labels))

    first, _, last, _ = PARAMS

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    hidden = sigmoid(images.reshape(n, 784) / 255 @ np.asarray(first.W, float).T + first.b)
    outputs = sigmoid(hidden @ np.asarray(last.W, float).T + last.b)
    # float32 sums of at most 784 terms of size 1: sqrt(784) roundings of 6e-8 each.
    np.testing.assert_allclose(scores.outputs, outputs, atol=2e-6)
    np.testing.assert_allclose(scores.cost, np.mean(np.sum((outputs - np.eye(10)[labels]) ** 2, axis=1)), rtol=1e-5)
    np.testing.assert_allclose(scores.accuracy, np.mean(outputs.argmax(axis=1) == labels), rtol=1e-6)


@pytest.mark.parametrize("make", [jp.make_evaluate, jp.average_nudges])
def test_complex_parameters_which_have_a_cost_but_no_order_are_refused(make):
    examples = jp.Examples(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int32))
    complex_params = jax.tree.map(lambda leaf: leaf + 0j, PARAMS)
    with pytest.raises(jp.BadInput, match=r"params are complex64 at \[0\]\.W: expected floats"):
        make(NETWORK, jp.squared_error)(complex_params, examples)
