import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxprop as jp
from lesson.angles import cosine, cosine_matrix, outer_cosine

# Float64, vectors of a dozen numbers: a dozen roundings of 1e-16 in each sum.
ROUNDING = 1e-14


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("v", "expected"), [((3, 4), 1), ((-8, 6), 0), ((-6, -8), -1), ((4, 3), 0.96)])
def test_the_cosine_of_vectors_worked_out_by_hand(v, expected):
    assert float(cosine(jnp.array([6.0, 8.0]), jnp.array(v, float))) == pytest.approx(expected, abs=ROUNDING)


def test_a_vector_of_zeros_has_no_direction():
    assert np.isnan(cosine(jnp.zeros(3), jnp.ones(3)))


def test_the_cosine_of_outer_products_is_that_of_their_matrices():
    u, v = (jp.Outer(normal(seed, 5, 3), normal(seed + 1, 5, 4)) for seed in (0, 2))
    matrices = (jp.expand(outer).reshape(5, 12) for outer in (u, v))
    np.testing.assert_allclose(outer_cosine(u, v), cosine(*matrices), rtol=0, atol=ROUNDING)


def test_the_matrix_holds_the_cosine_of_each_pair():
    vectors = normal(0, 4, 6)
    expected = [[cosine(u, v) for v in vectors] for u in vectors]
    np.testing.assert_allclose(cosine_matrix(vectors), expected, rtol=0, atol=ROUNDING)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from([2, 3, 10]))
def test_the_mean_cosine_has_a_floor_which_unit_vectors_that_sum_to_zero_reach(seed, n):
    above, corners = normal(seed, n, n), jnp.eye(n) - 1 / n
    pairs = np.triu_indices(n, 1)
    assert np.asarray(cosine_matrix(above))[pairs].mean() >= -1 / (n - 1) - ROUNDING
    assert np.asarray(cosine_matrix(corners))[pairs].mean() == pytest.approx(-1 / (n - 1), abs=ROUNDING)
