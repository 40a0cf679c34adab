"""Is every number finite? And if not: which one was the first that was not?"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxprop.batches import Batch
from jaxprop.costs import Cost
from jaxprop.layers import Layer, Params
from jaxprop.outer import mean_over_examples
from jaxprop.overflow import all_finite
from jaxprop.training import State


def locate(
    layers: Sequence[Layer], cost: Cost, batch: Batch, before: State, grads: Params, after: State
) -> tuple[str, int | None]:
    """What was the first not to be finite in a step from `before` to `after`, and in which layer that is.

    grads: what the step went by, from either hand. The rest is computed here, in the order in which a step does it.
    """
    if bad := _first_layer(before.params):
        return "parameter", bad[0]
    if found := _walk(layers, cost, before.params, batch):
        return found
    if bad := _first_layer(grads):
        return "gradient", bad[-1]  # backpropagation begins at the last layer
    if not all_finite(after.opt_state):
        return "optimizer state", None
    if bad := _first_layer(after.params):
        return "parameter", bad[0]
    return _walk(layers, cost, after.params, batch) or ("cost", None)


def _first_layer(tree: Params) -> list[int]:
    return [i for i, layer in enumerate(tree) if not all_finite(layer)]


def _walk(layers: Sequence[Layer], cost: Cost, params: Params, batch: Batch) -> tuple[str, int | None] | None:
    """Forward from layer to layer, then back, until something is not finite."""
    a, targets = map(jnp.asarray, batch)
    if not all_finite(batch):
        return "input", None
    residuals = []
    for i, layer in enumerate(layers):
        a, kept = jax.vmap(layer.forward, (None, 0))(params[i], a)
        if not all_finite(a):
            return "activation", i
        residuals.append(kept)
    if not all_finite(jax.vmap(cost.value)(a, targets)):
        return "cost", None
    da = jax.vmap(cost.gradient)(a, targets)
    for i in reversed(range(len(layers))):
        dparams, da = jax.vmap(layers[i].backward, (None, 0, 0))(params[i], residuals[i], da)
        # Nobody uses what the first layer passes back.
        if not all_finite((mean_over_examples(dparams), da if i else ())):
            return "gradient", i
    return None
