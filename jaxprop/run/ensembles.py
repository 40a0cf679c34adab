"""Ensembles: networks that differ in their start or their learning rate, trained together on the same mini-batches."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.networks import Network
from jaxprop.training import Epoch, State, Step, ToBatch, as_they_are, init_state, make_epoch


def init_ensemble(
    network: Network,
    optimizer: optax.GradientTransformation,
    keys: PRNGKeyArray,
    learning_rates: Float[Any, " K"] | None = None,
) -> State:
    """The states of K networks before the first step: every array with a leading axis of K, one entry a key.

    learning_rates: one a network. They are part of the state then, so the optimizer must keep its own there:
        `optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)`.

    Raises `BadInput` on a single key, on another number of rates than of keys, and on an optimizer whose state has no
    learning rate.
    """
    if keys.ndim != 1:
        raise BadInput(f"keys have shape {keys.shape}: expected one for each network, as jax.random.split gives them")
    states = jax.vmap(lambda key: init_state(network.init(key), optimizer))(keys)
    if learning_rates is None:
        return states
    learning_rates = jnp.asarray(learning_rates)
    if learning_rates.shape != keys.shape:
        raise BadInput(f"learning_rates have shape {learning_rates.shape}: expected one for each of {len(keys)} keys")
    try:
        return states._replace(opt_state=optax.tree.set(states.opt_state, learning_rate=learning_rates))
    except KeyError as error:
        needed = "expected one made by optax.inject_hyperparams"
        raise BadInput(
            f"optimizer keeps no learning rate in its state, so learning_rates go nowhere: {needed}"
        ) from error


def make_ensemble_epoch(step: Step, to_batch: ToBatch = as_they_are) -> Epoch:
    """`epoch(states, data, order) -> (states, outcome)`: what `make_epoch` does, for K networks at once.

    states: from `init_ensemble`, with a leading axis of K. outcome: costs (K, steps), finite (K,).
    data, order: shared. Each mini-batch is gathered once, whatever K is.
    """
    return jax.vmap(make_epoch(step, to_batch), (0, None, None))
