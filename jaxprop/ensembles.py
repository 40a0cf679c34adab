"""Ensembles: networks that differ in their start alone, trained together on the same mini-batches."""

import jax
import optax
from jaxtyping import PRNGKeyArray

from jaxprop.networks import Network
from jaxprop.training import Epoch, State, Step, init_state, make_epoch


def init_ensemble(network: Network, optimizer: optax.GradientTransformation, keys: PRNGKeyArray) -> State:
    """The states of K networks before the first step: every array with a leading axis of K, one entry a key."""
    return jax.vmap(lambda key: init_state(network.init(key), optimizer))(keys)


def make_ensemble_epoch(step: Step) -> Epoch:
    """`epoch(states, examples, order) -> (states, costs)`: what `make_epoch` does, for K networks at once.

    states: from `init_ensemble`, with a leading axis of K. costs: (K, steps).
    examples, order: shared. Each mini-batch is gathered once, whatever K is.
    """
    return jax.vmap(make_epoch(step), (0, None, None))
