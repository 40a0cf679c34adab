"""The two gradients of a network's cost: the one that JAX derives, and the one that a person derives.

All four functions make a function of `(params, batch)`. It is pure: it looks at shapes and types, never at numbers, so
that it does the same under `jax.jit`. A NaN that goes in comes out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.contracts import with_shapes_checked
from jaxprop.costs import Cost
from jaxprop.layers import Grads, Params
from jaxprop.networks import Network
from jaxprop.structured import sum_over_examples

Batch = tuple[Float[Any, "B *in"], Any]  # inputs, and a target for each: what that is, the cost says
Loss = Callable[[Params, Batch], Float[Array, ""]]
ValueAndGrad = Callable[[Params, Batch], tuple[Float[Array, ""], Grads]]


def loss(network: Network, cost: Cost) -> Loss:
    """The cost of the network, a pure `loss(params, batch)`: the average over the batch of each example's cost.

    Raises `BadInput` on parameters or a batch that do not fit the network, by their shapes and types.
    """
    checked = with_shapes_checked(cost)

    def mean_cost(params: Params, batch: Batch) -> Float[Array, ""]:
        network.check_params(params, jnp.inexact)
        network.check_batch(batch)
        inputs, targets = map(jnp.asarray, batch)
        outputs = jax.vmap(network.apply, (None, 0))(params, inputs)
        return jnp.mean(jax.vmap(checked.value)(outputs, targets))

    return _made_for(mean_cost, network, cost)


def autodiff(network: Network, cost: Cost) -> ValueAndGrad:
    """`value_and_grad(params, batch) -> (cost, grads)`, the gradient by `jax.grad` of `loss(network, cost)`.

    Raises `BadInput` as `loss` does, and on complex parameters.
    """
    by_jax = jax.value_and_grad(loss(network, cost))

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        network.check_params(params)  # before JAX looks at them, whose words would be others
        return by_jax(params, batch)

    return _made_for(value_and_grad, network, cost)


def per_example(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[Float[Array, " B"], Grads]]:
    """`value_and_grad(params, batch)` with nothing averaged: B costs, and gradients with a leading axis of B examples.

    The gradient of a dense layer's weights comes as an `Outer`, so B of them take no more memory than the activations.
    Raises `BadInput` on parameters or a batch that do not fit the network, by their shapes and types.
    """
    checked = with_shapes_checked(cost)

    def one_example(params: Params, x: Array, y: Array) -> tuple[Float[Array, ""], Grads]:
        a, residuals = network.layer.forward(params, x)
        grads, _ = network.layer.backward(params, residuals, checked.gradient(a, y))
        return checked.value(a, y), grads

    def values_and_grads(params: Params, batch: Batch) -> tuple[Float[Array, " B"], Grads]:
        network.check_params(params)
        network.check_batch(batch)
        params, (inputs, targets) = jax.tree.map(jnp.asarray, (params, tuple(batch)))
        return jax.vmap(one_example, (None, 0, 0))(params, inputs, targets)

    return _made_for(values_and_grads, network, cost)


def backprop(network: Network, cost: Cost) -> ValueAndGrad:
    """`value_and_grad(params, batch) -> (cost, grads)`, the gradient by the backward functions of the layers.

    The gradients of all examples, averaged: nothing here or below calls JAX's differentiation.
    Raises `BadInput` on parameters or a batch that do not fit the network, by their shapes and types.
    """

    def value_and_grad(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        # Each example counts for a B-th part of the cost. The backward pass is linear, so that the part can be taken at
        # the outputs: then each dz is needed in one size only, and the temporary memory is a quarter less.
        averaged = cost._replace(gradient=lambda a, y: cost.gradient(a, y) / len(batch[0]))
        values, grads = per_example(network, averaged)(params, batch)
        total = sum_over_examples(grads)
        # Of the parameters' types, as autodiff's are: a batch or a cost of a wider type widens what it meets.
        return jnp.mean(values), jax.tree.map(lambda g, p: g.astype(jnp.result_type(p)), total, params)

    return _made_for(value_and_grad, network, cost)


def made_for(function: Any) -> tuple[Network, Cost] | None:
    """The network and the cost that a function of this file was made for, compiled or not; None of any other function.

    It is for those who look at numbers: which tokens and which labels there are.
    """
    return getattr(function, "_made_for", None)


def made_alike(function: Callable, of: Any) -> Callable:
    """A function that was made from another one, such as a step from a gradient: made for the same, if for anything."""
    known = made_for(of)
    return function if known is None else _made_for(function, *known)


def _made_for(function: Callable, network: Network, cost: Cost) -> Callable:
    """The same function, which says what it was made for. `jax.jit` keeps that, as `functools.wraps` does."""
    function._made_for = (network, cost)  # pyright: ignore[reportFunctionMemberAccess]
    return function
