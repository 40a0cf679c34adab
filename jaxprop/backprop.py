"""The other hand: the gradient that a person derives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import Batch
from jaxprop.costs import Cost
from jaxprop.layers import Grads, Params
from jaxprop.networks import Network
from jaxprop.outer import sum_over_examples
from jaxprop.overflow import check_result


def per_example(network: Network, cost: Cost):
    """`value_and_grad(params, batch)` with nothing averaged: B costs, and gradients with a leading axis of B examples.

    The gradient of each weight matrix comes as an `Outer`, so B of them take no more memory than the activations do.
    """

    def one_example(params: Params, x: Array, y: Array) -> tuple[Float[Array, ""], Grads]:
        a, residuals = network.layer.forward(params, x)
        grads, _ = network.layer.backward(params, residuals, cost.gradient(a, y))
        return cost.value(a, y), grads

    def values_and_grads(params: Params, batch: Batch) -> tuple[Float[Array, " B"], Grads]:
        network.check(params, batch)
        result = jax.vmap(one_example, (None, 0, 0))(params, *map(jnp.asarray, batch))
        check_result(result, params, batch)
        return result

    return values_and_grads


def backprop(network: Network, cost: Cost) -> ValueAndGrad:
    """`value_and_grad(params, batch) -> (cost, grads)`, the gradient by the backward functions of the layers.

    What every example wishes for, averaged: nothing here or below calls JAX's differentiation.
    """

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        # A B-th part of the cost is each example's. The backward pass is linear, so that the part is taken once, at the
        # outputs: then each dz is needed in one size only, and the temporary memory is a quarter less.
        share = cost._replace(gradient=lambda a, y: cost.gradient(a, y) / len(batch[0]))
        values, grads = per_example(network, share)(params, batch)
        result = jnp.mean(values), sum_over_examples(grads)
        check_result(result, params, batch)
        return result

    return value_and_grad
