import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxprop as jp
from lesson.noise import sampling_error, total_variance

N = 6


@pytest.fixture(scope="module")
def grads():
    """The gradients of six examples on a small network, in float64."""
    with jax.enable_x64(True):
        network = jp.mlp((4, 3, 2))
        inputs, targets = jax.random.uniform(jax.random.key(1), (N, 4)), jnp.eye(2)[jnp.arange(N) % 2]
        _, grads = jp.per_example(network, jp.squared_error)(network.init(jax.random.key(0)), (inputs, targets))
        yield grads


def test_the_total_variance_is_the_trace_of_the_covariance(grads):
    flat = np.stack([ravel_pytree(jax.tree.map(lambda g: g[i], jp.expand(grads)))[0] for i in range(N)])  # noqa: B023
    # A few dozen roundings of float64.
    assert float(total_variance(grads)) == pytest.approx(np.trace(np.cov(flat.T, bias=True)), rel=1e-13)


@pytest.mark.parametrize("batch_size", range(1, N + 1))
def test_the_sampling_error_is_that_of_every_possible_mini_batch(grads, batch_size):
    flat = np.stack([ravel_pytree(jax.tree.map(lambda g: g[i], jp.expand(grads)))[0] for i in range(N)])  # noqa: B023
    misses = [
        np.sum((flat[list(rows)].mean(axis=0) - flat.mean(axis=0)) ** 2)
        for rows in itertools.combinations(range(N), batch_size)
    ]
    error = sampling_error(float(total_variance(grads)), N, batch_size)
    # Roundings of float64; the mini-batch of all has an error of 0.
    assert error == pytest.approx(np.mean(misses) ** 0.5, rel=1e-12, abs=1e-15)
