"""The bottom of the valley that training comes down to: the last steps there, and how the cost bends around it."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import jaxprop as jp
from jaxprop.data.batches import Batch
from lesson.lanczos import Ritz
from jaxprop.layers.core import Params
from jaxprop.verify.oracles import hvp

PATIENCE = 2000  # steps with all examples, at most
Row = dict[str, Any]
Report = Callable[[str], None]


def settle(network: jp.Network, params: Params, whole: Batch, small: float, report: Report) -> tuple[Params, list[Row]]:
    """Descends with all examples until the gradient is no longer than `small`: the place, and the way there."""
    optimizer, by_hand = optax.sgd(1.0, momentum=0.9), jp.backprop(network, jp.squared_error)

    @jax.jit
    def step(state: jp.State, whole: Batch) -> tuple[jp.State, jax.Array, jax.Array]:
        cost, grads = by_hand(state.params, whole)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        return jp.State(optax.apply_updates(state.params, updates), opt_state), cost, optax.tree.norm(grads)

    state, way = jp.init_state(params, optimizer), []
    for i in range(PATIENCE):
        after, cost, gradient = step(state, whole)
        way.append({"looking_at": "all examples", "step": i, "cost": float(cost), "gradient": float(gradient)})
        if i % 10 == 0:
            report(f"all examples, step {i}: gradient {gradient:.5f}, to be {small:.5f}")
        if gradient <= small:
            break
        state = after
    return state.params, way


def second_derivatives(network: jp.Network, at: np.ndarray, report: Report) -> Callable[[Params, Batch, Any], Any]:
    """`product(params, whole, v)`: their matrix times a vector, for the parameters that are counted in `at`."""
    times, calls = hvp(jp.backprop(network, jp.squared_error)), itertools.count(1)

    @jax.jit
    def compiled(params: Params, whole: Batch, v: Any) -> jax.Array:
        flat, unravel = ravel_pytree(params)
        direction = unravel(jnp.zeros_like(flat).at[at].set(v))
        return ravel_pytree(times(params, whole, direction))[0][at]

    def product(params: Params, whole: Batch, v: Any) -> jax.Array:
        if (call := next(calls)) % 10 == 0:
            report(f"second derivatives: {call} products")
        return compiled(params, whole, v)

    return product


def cut(network: jp.Network, params: Params, whole: Batch, at: np.ndarray, ritz: Ritz) -> list[Row]:
    """The cost along the highest and the lowest curvature, beside the parabola that it predicts."""
    flat, unravel = ravel_pytree(params)
    cost_at = jax.jit(jp.loss(network, jp.squared_error))
    bottom, rows = float(cost_at(params, whole)), []
    for name, i in (("highest", -1), ("lowest", 0)):
        for s in np.linspace(-0.4, 0.4, 21):
            cost = cost_at(unravel(flat.at[at].add(s * ritz.vectors[i])), whole)
            parabola = bottom + ritz.values[i] * s**2 / 2
            rows.append({"curvature": name, "distance": s, "cost": float(cost), "parabola": parabola})
    return rows
