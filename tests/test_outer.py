"""Weight gradients in factors: multiplied out, averaged, measured."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.outer import Outer, expand, mean_over_examples, norm_squared, sum_over_examples

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


def test_the_norm_is_that_of_the_product():
    grads = (Outer(jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0, 2.0])), jnp.array([1.0, 2.0]))
    # |dz| |a| = 5 * 3, squared 225; and 1 + 4 from the bias.
    assert norm_squared(grads) == 230
    assert norm_squared(grads) == sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(expand(grads)))
