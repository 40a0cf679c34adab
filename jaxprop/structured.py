"""Structured gradients: what one example gives for a weight matrix, kept in its factors until it is needed.

In one dense layer the gradient of the weights is `outer(dz, a)`, a matrix of rank one. Its two factors take as little
memory as the activations, their sum over a batch is one matrix product, and their norms give that of the matrix.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@runtime_checkable
class Structured(Protocol):
    """A gradient in factors: a pytree that a layer's `backward` may return in place of an array.

    The functions of this file call these methods. Under `jax.vmap` each factor has a leading axis of examples.
    """

    def expand(self) -> Array:
        """The gradient multiplied out, of the parameter's shape; a leading axis of examples stays."""
        ...

    def sum_over_examples(self) -> Array:
        """The sum over the leading axis, of the parameter's shape, without multiplying out each example."""
        ...

    def norm_squared(self) -> Float[Array, ""]:
        """The squared 2-norm, for one example."""
        ...


class Outer(NamedTuple):
    """`outer(dz, a)`: the gradient of a dense layer's weights, `dW[..., j, k] = dz[..., j] a[..., k]`."""

    dz: Float[Array, "*B out"]
    a: Float[Array, "*B in"]

    def expand(self) -> Float[Array, "*B out in"]:
        """All matrices, one for each example."""
        return self.dz[..., :, None] * self.a[..., None, :]

    def sum_over_examples(self) -> Float[Array, "out in"]:
        """One matrix product, `dz^T a`: no (B, out, in) array ever exists."""
        return self.dz.T @ self.a

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm of an outer product is the product of its factors' two."""
        return jnp.sum(self.dz**2) * jnp.sum(self.a**2)


def is_structured(x: Any) -> bool:
    """Whether x is a gradient in factors: for `is_leaf` of `jax.tree.map`."""
    return isinstance(x, Structured)


def expand(grads: Any) -> Any:
    """The same gradients with everything that is in factors multiplied out."""
    return jax.tree.map(lambda g: g.expand() if is_structured(g) else g, grads, is_leaf=is_structured)


def sum_over_examples(grads: Any) -> Any:
    """The sum of per-example gradients, whose leaves have a leading axis of B examples."""

    def leaf(g: Any) -> Array:
        return g.sum_over_examples() if is_structured(g) else jnp.sum(g, axis=0)

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def mean_over_examples(grads: Any) -> Any:
    """The mean of per-example gradients, whose leaves have a leading axis of B examples.

    The mean of the products is not the product of the means: a plain `tree.map` of the mean over the factors would be
    silently wrong.
    """

    def leaf(g: Any) -> Array:
        return sum_over_examples(g) / len(jax.tree.leaves(g)[0])

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def norm_squared(grads: Any) -> Float[Array, ""]:
    """The squared 2-norm of one example's gradient, over all leaves."""

    def leaf(g: Any) -> Array:
        return g.norm_squared() if is_structured(g) else jnp.sum(g**2)

    return sum(jax.tree.leaves(jax.tree.map(leaf, grads, is_leaf=is_structured)), start=jnp.zeros(()))
