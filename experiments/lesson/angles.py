"""Angles between changes of a network: how far one goes the way of another."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.structured import Outer


def cosine(u: Float[Array, "*n d"], v: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """1 where two vectors point the same way, 0 at a right angle, -1 in opposite ways; NaN where one of them is 0."""
    return jnp.sum(u * v, axis=-1) / (jnp.linalg.norm(u, axis=-1) * jnp.linalg.norm(v, axis=-1))


def outer_cosine(u: Outer, v: Outer) -> Float[Array, "*n"]:
    """The cosine of two matrices of rank one, taken as vectors: the product of the cosines of their factors."""
    return cosine(u.dz, v.dz) * cosine(u.a, v.a)


def cosine_matrix(vectors: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """The cosines of each with each; their mean over distinct pairs is at least -1 / (n - 1).

    For the sum of n unit vectors has the squared length n + n (n - 1) mean, which is not negative.
    """
    units = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return units @ units.T
