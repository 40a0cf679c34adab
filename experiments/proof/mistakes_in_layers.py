"""Mistakes in the backward pass of a single layer, as people make them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jaxprop as jp
from proof.mutants import Avenue, Mistake, in_activation, in_dense

sigmoid = jax.nn.sigmoid


def where_square(wrong: Avenue, right: Avenue) -> Avenue:
    """`wrong` where the matrix is square, so that it fits; elsewhere its author would have noticed."""
    return lambda p, a, dz: (wrong if p.W.shape[0] == p.W.shape[1] else right)(p, a, dz)


def right_dW(p: jp.Dense, a: Array, dz: Array) -> jp.Outer:  # noqa: N802 - the name of the derivative by W
    return jp.Outer(dz, a)


def tanh_slope(x: Array) -> Array:
    return 1 - jnp.tanh(x) ** 2


def bias_in_front(p: jp.Dense, a: Array, dz: Array) -> Array:
    return (jnp.column_stack([p.b, p.W]).T @ dz)[:-1]


SIGMOID = [
    Mistake("σ′ missing", "the cost's gradient goes straight through", in_activation("sigmoid", lambda z, da: da)),
    Mistake("σ′ of a, not of z", "the function that takes z is given what was kept",
            in_activation("sigmoid", lambda z, da: sigmoid(sigmoid(z)) * (1 - sigmoid(sigmoid(z))) * da)),
    Mistake("σ′ = a (a − 1)", "a sign, at every sigmoid",
            in_activation("sigmoid", lambda z, da: sigmoid(z) * (sigmoid(z) - 1) * da)),
    Mistake("σ′ = 1 − a²", "the slope of tanh, since the two look alike",
            in_activation("sigmoid", lambda z, da: (1 - sigmoid(z) ** 2) * da)),
    Mistake("σ′ = 1/4", "the slope in the middle, taken for all",
            in_activation("sigmoid", lambda z, da: da / 4)),
    Mistake("σ′ kept off 0 by 1e-7", "an epsilon against sleeping neurons",
            in_activation("sigmoid", lambda z, da: jnp.maximum(sigmoid(z) * (1 - sigmoid(z)), 1e-7) * da)),
    Mistake("σ′ = e⁻ᶻ / (1 + e⁻ᶻ)²", "the textbook's formula, which overflows far below 0",
            in_activation("sigmoid", lambda z, da: jnp.exp(-z) / (1 + jnp.exp(-z)) ** 2 * da)),
]  # fmt: skip

TANH = [
    Mistake("tanh′ = 1 + a²", "a sign", in_activation("tanh", lambda z, da: (1 + jnp.tanh(z) ** 2) * da), "tanh"),
    Mistake("tanh′ = 1 − a", "a square lost", in_activation("tanh", lambda z, da: (1 - jnp.tanh(z)) * da), "tanh"),
    Mistake("tanh′ = a (1 − a)", "the sigmoid's slope, copied",
            in_activation("tanh", lambda z, da: jnp.tanh(z) * (1 - jnp.tanh(z)) * da), "tanh"),
    Mistake("tanh′ of a, not of z", "the function that takes z is given what was kept",
            in_activation("tanh", lambda z, da: tanh_slope(jnp.tanh(z)) * da), "tanh"),
]  # fmt: skip

RELU = [
    Mistake("ReLU mask missing", "positive numbers go through unchanged, so all do",
            in_activation("relu", lambda z, da: da), "relu"),
    Mistake("ReLU mask z ≥ 0", "one sign too many; only an exact 0 shows it",
            in_activation("relu", lambda z, da: jnp.where(z >= 0, da, 0)), "relu"),
    Mistake("ReLU slope 1/2 at 0", "what jnp.maximum does with a tie",
            in_activation("relu", lambda z, da: jnp.where(z > 0, da, jnp.where(z == 0, da / 2, 0))), "relu"),
    Mistake("ReLU mask by da", "max(da, 0): the rectifier is applied to the gradient",
            in_activation("relu", lambda z, da: jnp.maximum(da, 0)), "relu"),
    Mistake("ReLU masked twice", "guided backpropagation, made for pictures, left switched on",
            in_activation("relu", lambda z, da: jnp.where(z > 0, jnp.maximum(da, 0), 0)), "relu"),
    Mistake("ReLU leaks 1 % backwards", "a leaky slope that the forward pass has not",
            in_activation("relu", lambda z, da: jnp.where(z > 0, da, 0.01 * da)), "relu"),
    Mistake("ReLU slope a", "multiplied by the activation, not by the mask",
            in_activation("relu", lambda z, da: jnp.maximum(z, 0) * da), "relu"),
]  # fmt: skip

DENSE = [
    Mistake("W not transposed where square", "it fits, so nothing complains",
            in_dense(da=where_square(lambda p, a, dz: p.W @ dz, lambda p, a, dz: p.W.T @ dz))),
    Mistake("outer product flipped where square", "it fits, so nothing complains",
            in_dense(dW=where_square(lambda p, a, dz: jp.Outer(a, dz), right_dW))),
    Mistake("outer product flipped and reshaped", "an error about shapes, silenced by reshape",
            in_dense(dW=lambda p, a, dz: jnp.outer(a, dz).reshape(p.W.shape))),
    Mistake("dW from the outputs where square", "stale by one: what the layer gave, not what it was given",
            in_dense(dW=where_square(lambda p, a, dz: jp.Outer(dz, p.W @ a + p.b), right_dW))),
    Mistake("bias gradient dropped", "initialised with zeros and never set",
            in_dense(db=lambda p, a, dz: jnp.zeros_like(dz))),
    Mistake("bias gradient doubled", "added once in the loop and once after it",
            in_dense(db=lambda p, a, dz: 2 * dz)),
    Mistake("bias gradient averaged over neurons", "a mean without its axis, which broadcasts",
            in_dense(db=lambda p, a, dz: jnp.full_like(dz, jnp.mean(dz)))),
    Mistake("1 % on a single bias", "one number of thousands",
            in_dense(db=lambda p, a, dz: dz.at[-1].multiply(1.01), at=slice(1))),
    Mistake("sign of one layer's dW", "a minus for the update, set in the wrong line",
            in_dense(dW=lambda p, a, dz: jp.Outer(-dz, a), at=slice(1, 2))),
    Mistake("sign of the last layer's da", "a minus that should have met another",
            in_dense(da=lambda p, a, dz: -p.W.T @ dz, at=slice(-1, None))),
    Mistake("weights updated before da", "a step of 0.01 in place: da = (W − 0.01 dW)ᵀ dz",
            in_dense(da=lambda p, a, dz: p.W.T @ dz - 0.01 * (dz @ dz) * a)),
    Mistake("da cut at the wrong end", "the bias is column 0 of W, and the last column is cut off",
            in_dense(da=bias_in_front)),
    Mistake("W in half precision on the way back", "a cast to bfloat16 for speed",
            in_dense(da=lambda p, a, dz: p.W.astype(jnp.bfloat16).astype(p.W.dtype).T @ dz)),
    Mistake("exact zeros nudged to 1e-6", "an epsilon against a division that is no longer there",
            in_dense(dW=lambda p, a, dz: jp.Outer(dz, jnp.where(a == 0, 1e-6, a)))),
    Mistake("weight decay slipped in", "1e-4 W, which the cost knows nothing of",
            in_dense(dW=lambda p, a, dz: jnp.outer(dz, a) + 1e-4 * p.W)),
    Mistake("small dz dropped", "below 1e-4 it is taken for noise",
            in_dense(dW=lambda p, a, dz: jp.Outer(jnp.where(jnp.abs(dz) < 1e-4, 0, dz), a))),
    Mistake("weights counted from 1", "the first weight of every neuron is skipped",
            in_dense(dW=lambda p, a, dz: jp.Outer(dz, a.at[0].set(0)))),
]  # fmt: skip

HARMLESS = [
    Mistake("ReLU mask from a", "a > 0 wherever z > 0",
            in_activation("relu", lambda z, da: jnp.where(jnp.maximum(z, 0) > 0, da, 0)), "relu"),
    Mistake("σ′ = σ(z) σ(−z)", "another way to write it",
            in_activation("sigmoid", lambda z, da: sigmoid(z) * sigmoid(-z) * da)),
    Mistake("tanh′ = 1 / cosh²", "another way to write it",
            in_activation("tanh", lambda z, da: da / jnp.cosh(z) ** 2), "tanh"),
]  # fmt: skip
