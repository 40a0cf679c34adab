"""One of the two hands: the gradient that JAX derives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.batches import Batch
from jaxprop.costs import Cost
from jaxprop.layers import Grads, Params
from jaxprop.networks import Network

Loss = Callable[[Params, Batch], Float[Array, ""]]
ValueAndGrad = Callable[[Params, Batch], tuple[Float[Array, ""], Grads]]


def loss(network: Network, cost: Cost) -> Loss:
    """The cost of the network, a pure `loss(params, batch)`: the average over the batch of each example's cost."""

    def mean_cost(params: Params, batch: Batch) -> Float[Array, ""]:
        network.check(params, batch)
        inputs, targets = map(jnp.asarray, batch)
        activations = jax.vmap(network.apply, (None, 0))(params, inputs)
        return jnp.mean(jax.vmap(cost.value)(activations, targets))

    return mean_cost


def autodiff(network: Network, cost: Cost) -> ValueAndGrad:
    """`value_and_grad(params, batch) -> (cost, grads)`, the gradient by `jax.grad` of `loss(network, cost)`."""
    return jax.value_and_grad(loss(network, cost))
