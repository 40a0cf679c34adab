"""Structured gradients: multiplied out, averaged, measured; and one of one's own, from a layer of one's own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import squared_error
from jaxprop.gradients import autodiff, backprop, per_example
from jaxprop.layers import Layer, dense, tanh
from jaxprop.networks import Network
from jaxprop.structured import (
    Correlation,
    Outer,
    OuterSum,
    Rows,
    Structured,
    expand,
    is_structured,
    mean_over_examples,
    norm_squared,
    sum_of_squares,
    sum_over_examples,
    sum_over_positions,
)

# Two examples whose products cancel: (1, 2) outer (1, 1) and (-1, 2) outer (1, -1).
TWO = Outer(dz=jnp.array([[1.0, 2.0], [-1.0, 2.0]]), a=jnp.array([[1.0, 1.0], [1.0, -1.0]]))


def test_expand_multiplies_out():
    one = expand(Outer(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0, 5.0])))
    np.testing.assert_array_equal(one, [[3, 4, 5], [6, 8, 10]])
    np.testing.assert_array_equal(expand(TWO), [[[1, 1], [2, 2]], [[-1, 1], [2, -2]]])


def test_expand_leaves_everything_else_alone():
    plain, nothing, product = expand(({"b": jnp.arange(3.0)}, (), TWO))
    np.testing.assert_array_equal(plain["b"], [0, 1, 2])
    assert nothing == ()
    assert product.shape == (2, 2, 2)


def test_the_sum_is_that_of_the_products():
    np.testing.assert_array_equal(sum_over_examples(TWO), [[0, 2], [4, 0]])
    np.testing.assert_array_equal(sum_over_examples({"b": jnp.array([[1.0, 2.0], [3.0, 6.0]])})["b"], [4, 8])


def test_the_mean_of_products_is_not_the_product_of_means():
    averaged = mean_over_examples(TWO)
    np.testing.assert_array_equal(averaged, [[0, 1], [2, 0]])
    product_of_means = expand(jax.tree.map(lambda factor: factor.mean(axis=0), TWO))
    np.testing.assert_array_equal(product_of_means, [[0, 0], [2, 0]])


def test_plain_leaves_are_averaged_over_the_examples():
    np.testing.assert_array_equal(mean_over_examples({"b": jnp.array([[1.0, 2.0], [3.0, 6.0]])})["b"], [2, 4])


def test_averaging_never_multiplies_out_each_example():
    many = Outer(dz=jnp.ones((7, 3)), a=jnp.ones((7, 5)))
    for reduce in (sum_over_examples, mean_over_examples):
        program = jax.make_jaxpr(reduce)(many)
        largest = max(out.aval.size for equation in program.eqns for out in equation.outvars)  # type: ignore[union-attr]
        assert largest <= max(7 * 3, 7 * 5), "an array of 7 x 3 x 5 numbers was made"


def test_many_examples_are_squared_in_blocks():
    """A narrow layer, whose 1,000 squared inputs would be 500 times as large as what they are for."""
    many = Outer(dz=jnp.ones((1000, 2)), a=jnp.broadcast_to(jnp.arange(500.0), (1000, 500)))
    program = jax.make_jaxpr(sum_of_squares)(many)
    assert "f32[1000,500] = " not in str(program), "all inputs were squared at once"
    # Whole numbers up to 2^28, rounded to float32 in each of 1,000 sums.
    np.testing.assert_allclose(sum_of_squares(many), np.full((2, 1), 1000.0) * np.arange(500.0) ** 2, rtol=1e-4)


def test_the_norm_is_that_of_the_product():
    grads = (Outer(jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0, 2.0])), jnp.array([1.0, 2.0]))
    # |dz| |a| = 5 * 3, squared 225; and 1 + 4 from the bias.
    assert norm_squared(grads) == 230
    assert norm_squared(grads) == sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(expand(grads)))
    assert norm_squared(((), ())) == 0


def test_what_is_in_factors_is_told_from_what_is_not():
    assert is_structured(TWO)
    assert isinstance(TWO, Structured)
    for other in (TWO.dz, np.ones(3), (TWO, TWO), 1.0, None):
        assert not is_structured(other)


@pytest.mark.parametrize("positions", [2, 30], ids=["by Gram matrices", "multiplied out"])
def test_a_sum_over_positions_has_the_norm_of_the_sum(positions):
    # 2 (6 + 5) < 6 * 5 < 30 (6 + 5): each way is taken once.
    factors = OuterSum(*(jax.random.normal(jax.random.key(i), (positions, n)) for i, n in ((0, 6), (1, 5))))
    sums = sum(np.outer(dz, a) for dz, a in zip(*factors, strict=True))
    expanded, square = jax.jit(lambda factors: (expand(factors), norm_squared(factors)))(factors)
    np.testing.assert_allclose(expanded, sums, rtol=1e-4, atol=1e-5)  # sums of at most 30 terms in float32
    assert float(square) == pytest.approx(np.sum(sums**2), rel=1e-4)
    sizes = [out.aval.size for e in jax.make_jaxpr(norm_squared)(factors).eqns for out in e.outvars]
    assert (max(sizes) < 6 * 5) == (positions == 2)


@pytest.mark.parametrize("channels", [1, 40], ids=["multiplied out", "by Gram matrices"])
def test_a_correlation_has_the_norm_of_the_kernel(channels):
    # 4 windows, a fan-in of 4 channels: 4 (4 c + c) < 4 c * c from c = 6 on.
    x = jax.random.normal(jax.random.key(0), (3, 3, channels))
    dy = jax.random.normal(jax.random.key(1), (2, 2, channels))
    factors = Correlation(x, dy, kernel=(2, 2), stride=(1, 1), padding=((0, 0), (0, 0)))
    kernel = sum(
        np.einsum("ijc,o->ijco", x[i : i + 2, j : j + 2], dy[i, j]) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
    )
    expanded, square = jax.jit(lambda factors: (expand(factors), norm_squared(factors)))(factors)
    np.testing.assert_allclose(expanded, kernel, rtol=1e-4, atol=1e-5)
    assert float(square) == pytest.approx(np.sum(kernel**2), rel=1e-4)


def test_gradients_of_positions_add_up_in_factors():
    at_each = {"W": Outer(jnp.ones((3, 2)), jnp.ones((3, 4))), "b": jnp.arange(3.0)[:, None], "E": rows((3, 2), 5)}
    together = sum_over_positions(at_each)
    assert isinstance(together["W"], OuterSum)
    np.testing.assert_array_equal(expand(together)["W"], np.full((2, 4), 3))
    np.testing.assert_array_equal(together["b"], [3])
    assert together["E"].ids.shape == (6,)
    twice = sum_over_positions(OuterSum(jnp.ones((3, 5, 2)), jnp.ones((3, 5, 4))))
    assert twice.dz.shape == (15, 2)
    diagonal = sum_over_positions(Diagonal(jnp.ones((3, 2))))
    np.testing.assert_array_equal(diagonal, 3 * np.eye(2))


def rows(shape, count) -> Rows:
    return Rows(jnp.zeros(shape, jnp.int32), jnp.ones((*shape, 2)), count)


# One of one's own


class Diagonal(NamedTuple):
    """The gradient of a square matrix of which only the diagonal takes part: its diagonal."""

    d: jax.Array

    def expand(self):
        return self.d[..., None] * jnp.eye(self.d.shape[-1])

    def sum_over_examples(self):
        return jnp.diag(self.d.sum(axis=0))

    def norm_squared(self):
        return jnp.sum(self.d**2)


class Scales(NamedTuple):
    D: Any  # an array, or its gradient


def scaling() -> Layer:
    """`y = diag(D) x`: a layer of one's own, whose weight gradient is of a structure of one's own."""

    def init(key, in_shape):
        return Scales(jnp.diag(jax.random.normal(key, in_shape))), in_shape

    def forward(params, x):
        return jnp.diagonal(params.D) * x, x

    def backward(params, x, dy):
        return Scales(Diagonal(dy * x)), jnp.diagonal(params.D) * dy

    return Layer("scaling", init, forward, backward)


NETWORK = Network((dense(3), tanh(), scaling()), (2,))


@pytest.fixture(scope="module")
def own():
    """Per-example gradients of a network with such a layer, and those of `jax.grad`, example by example."""
    params = NETWORK.init(jax.random.key(0))
    batch = (jax.random.normal(jax.random.key(1), (4, 2)), jax.random.normal(jax.random.key(2), (4, 3)))
    _, grads = jax.jit(per_example(NETWORK, squared_error))(params, batch)
    by_jax = jax.jit(jax.vmap(jax.grad(lambda p, x, y: squared_error.value(NETWORK.apply(p, x), y)), (None, 0, 0)))
    return params, batch, grads, by_jax(params, *batch)


def close(actual, desired):
    """In float32: sums of at most twelve terms of size 1."""
    jax.tree.map(lambda a, d: np.testing.assert_allclose(a, d, rtol=1e-5, atol=1e-6), actual, desired)


def test_a_structure_of_ones_own_is_expanded(own):
    *_, grads, by_jax = own
    assert isinstance(grads[2].D, Diagonal)
    assert is_structured(grads[2].D)
    close(expand(grads), by_jax)


def test_a_structure_of_ones_own_is_summed_and_averaged_by_its_own_method(own):
    params, batch, grads, by_jax = own
    close(sum_over_examples(grads), jax.tree.map(lambda g: g.sum(axis=0), by_jax))
    close(mean_over_examples(grads), jax.tree.map(lambda g: g.mean(axis=0), by_jax))
    close(*(jax.jit(rule(NETWORK, squared_error))(params, batch) for rule in (backprop, autodiff)))


def test_the_norm_of_a_structure_of_ones_own_is_used(own):
    *_, grads, by_jax = own
    norms = jax.vmap(norm_squared)(grads)
    close(norms, sum(jnp.sum(g**2, axis=range(1, g.ndim)) for g in jax.tree.leaves(by_jax)))
