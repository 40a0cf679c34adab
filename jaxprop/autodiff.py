"""One of the two hands: the gradient that JAX derives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.batches import Batch
from jaxprop.costs import Cost
from jaxprop.errors import BadInput
from jaxprop.layers import Grads, Params
from jaxprop.networks import Network
from jaxprop.overflow import check_result

Loss = Callable[[Params, Batch], Float[Array, ""]]
ValueAndGrad = Callable[[Params, Batch], tuple[Float[Array, ""], Grads]]


def loss(network: Network, cost: Cost) -> Loss:
    """The cost of the network, a pure `loss(params, batch)`: the average over the batch of each example's cost."""

    def mean_cost(params: Params, batch: Batch) -> Float[Array, ""]:
        network.check(params, batch)
        inputs, targets = map(jnp.asarray, batch)
        activations = jax.vmap(network.apply, (None, 0))(params, inputs)
        value = jnp.mean(jax.vmap(cost.value)(activations, targets))
        check_result(value, params, batch)
        return value

    return mean_cost


def autodiff(network: Network, cost: Cost) -> ValueAndGrad:
    """`value_and_grad(params, batch) -> (cost, grads)`, the gradient by `jax.grad` of `loss(network, cost)`."""
    by_jax = jax.value_and_grad(loss(network, cost))

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        network.check(params, batch)  # before JAX looks at them, whose words would be others
        if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(params)):
            raise BadInput("params are complex: expected floats, by which a cost has a gradient")
        result = by_jax(params, batch)
        check_result(result, params, batch)
        return result

    return value_and_grad
