"""Mistakes in the walk from the last layer to the first, as people make them.

Each is a `backward(layers, params, residuals, dy) -> (grads, dx)` of a chain, in which dense layers stand at even
places and activations at odd ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jaxprop as jp
from proof.mutants import Mistake, in_walk


def alike(x: Any, y: Any) -> bool:
    """The same tree, shapes and dtypes."""
    return jax.tree.map(jax.typeof, x) == jax.tree.map(jax.typeof, y)


def stale(start: int) -> Callable:
    """From `start`, every other layer gets what the next but one has kept, where the two are alike."""

    def backward(layers, params, residuals, dy):
        kept = list(residuals)
        for i in range(start, len(kept) - 2, 2):
            if alike(residuals[i], residuals[i + 2]):
                kept[i] = residuals[i + 2]
        return jp.chain(*layers).backward(params, tuple(kept), dy)

    return backward


def one_buffer(layers, params, residuals, dy):
    last = {jnp.shape(a): a for a in residuals[::2]}
    kept = [last[jnp.shape(r)] if i % 2 == 0 else r for i, r in enumerate(residuals)]
    return jp.chain(*layers).backward(params, tuple(kept), dy)


def first_layer_missed(layers, params, residuals, dy):
    (first, *others), dx = jp.chain(*layers).backward(params, residuals, dy)
    return (jax.tree.map(jnp.zeros_like, first), *others), dx


def detached(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers).backward(params, residuals, dy)
    return (*jax.tree.map(jnp.zeros_like, grads[:-2]), *grads[-2:]), dx


def not_reversed(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers).backward(params, residuals, dy)
    dense = grads[::2]
    fitting = [other if alike(g, other) else g for g, other in zip(dense, reversed(dense), strict=True)]
    return tuple(x for g in fitting for x in (g, ())), dx


def one_entry_a_shape(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers).backward(params, residuals, dy)
    entries = {p.W.shape: g for p, g in zip(reversed(params[::2]), reversed(grads[::2]), strict=True)}
    return tuple(x for p in params[::2] for x in (entries[p.W.shape], ())), dx


def walk_with(step: Callable[..., Array]) -> Callable:
    """The walk, in which `dx = step(i, dy, dx)` passes back something else than layer i's dx."""

    def backward(layers, params, residuals, dy):
        grads = []
        for i in reversed(range(len(layers))):
            dparams, dx = layers[i].backward(params[i], residuals[i], dy)
            grads.append(dparams)
            dy = step(i, dy, dx)
        return tuple(reversed(grads)), dy

    return backward


def last_slope_skipped(layers, params, residuals, dy):
    grads, dx = jp.chain(*layers[:-1]).backward(params[:-1], residuals[:-1], dy)
    return (*grads, ()), dx


WALK = [
    Mistake("activations stale by one layer", "an index that points to what the next layer was given",
            in_walk(stale(0))),
    Mistake("ReLU mask of the next layer", "an index off by one, where the masks have one shape",
            in_walk(stale(1)), "relu"),
    Mistake("one buffer for equal activations", "memory is saved, and later layers overwrite earlier ones",
            in_walk(one_buffer)),
    Mistake("first layer never reached", "range(n − 1, 0, −1)", in_walk(first_layer_missed)),
    Mistake("cut before the last layer", "a stop_gradient left over from fine-tuning", in_walk(detached)),
    Mistake("list of gradients not reversed", "where shapes fit nothing complains", in_walk(not_reversed)),
    Mistake("one entry for equal matrices", "gradients in a dictionary, whose keys are shapes",
            in_walk(one_entry_a_shape)),
    Mistake("dx added, not passed on", "+= where = was meant, as far as shapes fit",
            in_walk(walk_with(lambda i, dy, dx: dy + dx if dy.shape == dx.shape else dx))),
    Mistake("σ′ of the outputs skipped", "it cancels with cross-entropy, and only there", in_walk(last_slope_skipped)),
    Mistake("slope of the first layer skipped", "one dz not assigned",
            in_walk(walk_with(lambda i, dy, dx: dy if i == 1 else dx))),
]  # fmt: skip
