"""The gradient of a weight matrix for one example is a rank-one matrix: kept as its two factors until it is needed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Outer(NamedTuple):
    """`outer(dz, a)`, not multiplied out. With a leading axis of examples, one such product for each of them."""

    dz: Float[Array, "*B out"]
    a: Float[Array, "*B in"]


def _is_outer(x: Any) -> bool:
    return isinstance(x, Outer)


def expand(grads: Any) -> Any:
    """The same gradients with every `Outer` multiplied out: `dW[..., j, k] = dz[..., j] a[..., k]`."""

    def leaf(g):
        return g.dz[..., :, None] * g.a[..., None, :] if _is_outer(g) else g

    return jax.tree.map(leaf, grads, is_leaf=_is_outer)


def sum_over_examples(grads: Any) -> Any:
    """The sum of per-example gradients, whose leaves have a leading axis of B examples.

    For an `Outer` that is one matrix product, `dW = dz^T a`, and no (B, out, in) array ever exists.
    """

    def leaf(g):
        return g.dz.T @ g.a if _is_outer(g) else jnp.sum(g, axis=0)

    return jax.tree.map(leaf, grads, is_leaf=_is_outer)


def mean_over_examples(grads: Any) -> Any:
    """The average of per-example gradients, whose leaves have a leading axis of B examples.

    The mean of the products is not the product of the means: a plain `tree.map` of the mean over the factors of an
    `Outer` would be silently wrong.
    """

    def leaf(g):
        return sum_over_examples(g) / len(g.dz if _is_outer(g) else g)

    return jax.tree.map(leaf, grads, is_leaf=_is_outer)


def norm_squared(grads: Any) -> Float[Array, ""]:
    """The squared 2-norm of one example's gradient: that of an outer product is the product of its factors' two."""

    def leaf(g):
        return jnp.sum(g.dz**2) * jnp.sum(g.a**2) if _is_outer(g) else jnp.sum(g**2)

    return sum(jax.tree.leaves(jax.tree.map(leaf, grads, is_leaf=_is_outer)), start=jnp.zeros(()))
