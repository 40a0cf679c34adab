"""Gradients of many mini-batches beside the true one: how far off they are, and how far off theory has them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxprop as jp
from jaxprop.data.batches import Batch
from jaxprop.layers.core import Params
from lesson.noise import sampling_error, total_variance

Row = dict[str, Any]


def gradient_errors(
    network: jp.Network, stages: dict[int, Params], batch: Batch, sizes: list[int], rng: np.random.Generator, most: int
) -> Iterator[Row]:
    """How far the gradients of up to `most` mini-batches of each size are off, as a share of the true one's length."""
    n = len(batch[0])
    by_hand, per_example = jp.backprop(network, jp.squared_error), jp.per_example(network, jp.squared_error)

    @jax.jit
    def true_gradient(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        _, grads = jp.autodiff(network, jp.squared_error)(params, batch)
        return ravel_pytree(grads)[0], total_variance(per_example(params, batch)[1])

    @jax.jit
    def compare(params: Params, true: jax.Array, batch: Batch, draws: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
            g, _ = ravel_pytree(by_hand(params, (batch[0][rows], batch[1][rows]))[1])
            return jnp.sum((g - true) ** 2), g @ true / (jnp.linalg.norm(g) * jnp.linalg.norm(true))

        return jax.lax.map(one, draws, batch_size=max(1, 100 // draws.shape[1]))

    for steps, params in stages.items():
        true, variance = true_gradient(params, batch)
        length = float(jnp.linalg.norm(true))
        for size in sizes:
            draws = int(np.clip(100 * most // size, 40, most))
            rows = np.stack([rng.choice(n, size, replace=False, shuffle=False) for _ in range(draws)])
            squares, cosines = map(np.asarray, compare(params, true, batch, rows))
            error = float(np.sqrt(squares.mean())) / length
            yield {
                "steps": steps,
                "batch_size": size,
                "draws": draws,
                "error": error,
                # A root has half the relative standard error of what it is the root of.
                "standard_error": error * float(squares.std() / squares.mean()) / (2 * draws**0.5),
                "predicted": sampling_error(float(variance), n, size) / length,
                "cosine": float(cosines.mean()),
            }
