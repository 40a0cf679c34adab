import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprop.errors import BadInput
from lesson.lanczos import lanczos, overlooked

ROUNDING = 1e-12  # of matrices with eigenvalues around 1: some thousand float64 roundings


def symmetric(eigenvalues, seed=0):
    """A matrix with these eigenvalues, seen from a random side."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return turn * eigenvalues @ turn.T


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_with_as_many_steps_as_dimensions_all_eigenvalues_are_found(n, seed):
    rng = np.random.default_rng(seed)
    A = symmetric(np.sort(rng.normal(size=n)), seed)
    ritz = lanczos(A.dot, rng.normal(size=n), n)
    np.testing.assert_allclose(ritz.values, np.linalg.eigvalsh(A), atol=1e-8)
    np.testing.assert_allclose(ritz.vectors @ ritz.vectors.T, np.eye(n), atol=ROUNDING)


def test_the_bound_is_the_residual_and_an_eigenvalue_lies_within_it():
    rng = np.random.default_rng(1)
    A = symmetric(rng.normal(size=60))
    ritz = lanczos(A.dot, rng.normal(size=60), 12)
    residuals = np.linalg.norm(A @ ritz.vectors.T - ritz.vectors.T * ritz.values, axis=0)
    np.testing.assert_allclose(ritz.bounds, residuals, atol=ROUNDING)
    nearest = np.abs(ritz.values[:, None] - np.linalg.eigvalsh(A)).min(axis=1)
    assert (nearest <= ritz.bounds + ROUNDING).all()
    assert ritz.bounds.max() > 0.01  # or there would be nothing to bound


def test_no_eigenvalue_comes_back_as_a_copy():
    """One eigenvalue far outside converges at once, which is when directions lose their right angles by rounding."""
    A = symmetric(np.concatenate([np.linspace(0, 1, 199), [1000]]))
    ritz = lanczos(A.dot, np.random.default_rng(2).normal(size=200), 100)
    assert np.sum(ritz.values > 500) == 1
    np.testing.assert_allclose(ritz.vectors @ ritz.vectors.T, np.eye(100), atol=ROUNDING)


def test_it_ends_where_nothing_new_can_be_reached():
    A = np.diag([1.0, 2, 3, 4, 5, 6])
    ritz = lanczos(A.dot, np.array([1.0, 1, 1, 0, 0, 0]), 6)
    np.testing.assert_allclose(ritz.values, [1, 2, 3], atol=ROUNDING)
    np.testing.assert_allclose(ritz.bounds, 0, atol=ROUNDING)


def test_what_is_overlooked_is_rarely_more_than_allowed():
    """Evenly spread eigenvalues, which are hard: the ends of the spectrum do not stand out."""
    n, steps, chance, draws = 300, 10, 0.1, 400
    eigenvalues = np.linspace(-1, 1, n)
    rng = np.random.default_rng(3)
    missed = [1 - lanczos(lambda v: eigenvalues * v, rng.normal(size=n), steps).values[-1] for _ in range(draws)]
    allowed = 2 * overlooked(n, steps, chance)  # the width is 2
    assert np.mean(np.array(missed) > allowed) <= chance
    assert np.max(missed) > allowed / 50  # nor is the bound empty


@pytest.mark.parametrize(
    ("start", "steps", "complaint"),
    [
        (np.ones(3), 0, "steps is 0: expected 1 to 3"),
        (np.ones(3), 4, "steps is 4: expected 1 to 3"),
        (np.zeros(3), 2, "the start has length 0.0"),
        (np.array([1, np.nan, 1]), 2, "the start has length nan"),
    ],
)
def test_what_cannot_be_used_is_refused(start, steps, complaint):
    with pytest.raises(BadInput, match=complaint):
        lanczos(lambda v: v, start, steps)


def test_a_product_that_is_not_finite_is_refused():
    with pytest.raises(BadInput, match="product 1 holds a NaN"):
        lanczos(lambda v: v * np.nan, np.ones(3), 2)
