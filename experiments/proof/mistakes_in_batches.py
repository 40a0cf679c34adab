"""Mistakes in what a batch begins and ends with, as people make them: the cost's gradient and the average."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from jaxprop.layers.core import Grads
from proof.mutants import Hand, Mistake, in_average, in_errors, in_mean, in_weights

COST = [
    Mistake("the 2 lost", "most texts differentiate half the sum", in_errors(lambda a, y: a - y)),
    Mistake("y − a", "what is wished for, taken for the gradient", in_errors(lambda a, y: 2 * (y - a))),
    Mistake("cross-entropy's gradient", "the cost was changed in the forward pass alone",
            in_errors(lambda a, y: (a - y) / (a * (1 - a)))),
    Mistake("absolute error's gradient", "the cost was changed in the forward pass alone",
            in_errors(lambda a, y: jnp.sign(a - y))),
    Mistake("mean over the outputs", "where the cost takes their sum",
            in_errors(lambda a, y: 2 * (a - y) / y.shape[1])),
    Mistake("last class forgotten", "targets made with one class too few",
            in_errors(lambda a, y: 2 * (a - y.at[:, -1].set(0)))),
    Mistake("classes counted from 1", "all targets are off by one",
            in_errors(lambda a, y: 2 * (a - jnp.roll(y, 1, axis=1)))),
    Mistake("(B,) against (B, 1)", "column by column, a − y broadcasts to a table of B x B, and is averaged",
            in_errors(lambda a, y: 2 * jnp.mean(a[:, None] - y[None], axis=1))),
    Mistake("errors clipped at ±1", "left over from a day when training blew up",
            in_errors(lambda a, y: jnp.clip(2 * (a - y), -1, 1))),
    Mistake("errors below 0.01 ignored", "near enough counts as right",
            in_errors(lambda a, y: jnp.where(jnp.abs(a - y) < 0.01, 0, 2 * (a - y)))),
]  # fmt: skip


def outer_of_means(grads: Grads) -> Grads:
    return jp.expand(jax.tree.map(lambda factor: jnp.mean(factor, axis=0), grads))


def of_other_examples(grads: Grads) -> Grads:
    return jp.mean_over_examples(
        tuple(jp.Dense(jp.Outer(g.W.dz, jnp.roll(g.W.a, 1, axis=0)), g.b) if g else g for g in grads)
    )


def kept_in_halves(grads: Grads) -> Grads:
    return jp.mean_over_examples(jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), grads))


def averaged_before_the_walk(hand: Hand) -> Hand:
    return hand._replace(
        errors=lambda a, y: hand.errors(a, y) / len(a),
        average=lambda grads: jax.tree.map(lambda g: jnp.sum(g, axis=0), jp.expand(grads)),
    )


AVERAGE = [
    Mistake("sum for mean", "the cost is averaged, its gradient is not", in_weights(np.ones)),
    Mistake("biases summed, weights averaged", "one of two lines was mended",
            in_mean(lambda g: g.sum(0) if g.ndim == 2 else g.mean(0))),
    Mistake("divided by B twice", "in the cost and once more in the step", in_weights(lambda n: np.ones(n) / n**2)),
    Mistake("divided by B − 1", "the estimate of a variance, copied",
            in_weights(lambda n: np.ones(n) / max(n - 1, 1))),
    Mistake("multiplied by 1 // B", "an integer division: 0, but for a batch of 1",
            in_weights(lambda n: np.ones(n) * (1 // n))),
    Mistake("divided by 7, whatever B is", "the batch size of the day it was written",
            in_weights(lambda n: np.ones(n) / 7)),
    Mistake("outer product of means", "the mean is taken of each factor", in_average(outer_of_means)),
    Mistake("last example skipped", "range(B − 1)", in_weights(lambda n: (np.arange(n) < n - 1) / n)),
    Mistake("first example counted twice", "a sum that starts from the first and then meets it again",
            in_weights(lambda n: (1 + (np.arange(n) == 0)) / n)),
    Mistake("odd example dropped", "micro-batches of two, B // 2 of them",
            in_weights(lambda n: (np.arange(n) < n // 2 * 2) / n)),
    Mistake("each dz with the next example's a", "one of the two was shuffled", in_average(of_other_examples)),
    Mistake("a batch of 1 squeezed", "squeeze() takes its axis away, and the mean takes the next",
            in_mean(lambda g: jnp.broadcast_to((g[0] if len(g) == 1 else g).mean(0), g.shape[1:]))),
    Mistake("summed in float32", "a float32 accumulator in a float64 pass",
            in_mean(lambda g: g.astype(jnp.float32).mean(0).astype(g.dtype))),
    Mistake("examples kept in bfloat16", "half the memory, and three digits", in_average(kept_in_halves)),
]  # fmt: skip

HARMLESS = [
    Mistake("divided by B before the walk", "the same, since the walk is linear", averaged_before_the_walk),
]
