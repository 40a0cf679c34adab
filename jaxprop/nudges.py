"""Nudges: what one example wishes for, layer by layer, and what many wish for on average.

A nudge is minus a derivative of the cost: the change that would please the example, the larger the more it matters.
A backward pass is linear in what it is given, so that where minus a derivative goes in, nudges come out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.backprop import per_example
from jaxprop.batches import Batch, Examples, as_batch, check_examples
from jaxprop.costs import Cost
from jaxprop.layers import Dense, Grads, Params
from jaxprop.networks import Activation, Network, mlp, mlp_layers
from jaxprop.outer import sum_over_examples
from jaxprop.overflow import check_result

_CHUNK = 1000  # examples at a time: enough to fill a matrix product, few enough to keep the float copies small


class Wishes(NamedTuple):
    """One layer of neurons as one example finds it, and how the example would have it changed."""

    a_prev: Float[Array, " in"]  # activations of the layer before; for the first layer, the pixels
    z: Float[Array, " out"]
    a: Float[Array, " out"]
    nudge_a: Float[Array, " out"]  # minus the derivative of the cost by a; at the outputs 2 (y - a)
    nudge_z: Float[Array, " out"]
    nudge: Dense  # of the weights, as an `Outer` that is in proportion to a_prev, and of the biases
    requests: Float[Array, "out in"]  # row j: what neuron j asks of the layer before, in proportion to its weights
    nudge_a_prev: Float[Array, " in"]  # what all of them ask together: the rows added up


def wishes(
    sizes: Sequence[int], cost: Cost, activation: Activation = "sigmoid"
) -> Callable[[Params, Float[Array, " in"], Float[Array, " out"]], tuple[Wishes, ...]]:
    """`wishes(params, x, y) -> (Wishes, ...)`: one for each layer of neurons of `mlp(sizes, activation)`, in order.

    x: one example's inputs (in,); y: its targets (out,); params as from the network's `init`. `nudge_a_prev` of a layer
    is `nudge_a` of the one before, and that of the first is how the pixels should change.

    Raises `BadInput` on sizes that make no network, and on parameters or an example that do not fit it.
    """
    network, stack = mlp(sizes, activation), mlp_layers(sizes, activation)

    def of_one_example(params: Params, x: Float[Array, " in"], y: Float[Array, " out"]) -> tuple[Wishes, ...]:
        network.check(params, (jnp.asarray(x)[None], jnp.asarray(y)[None]))
        signals, residuals = [jnp.asarray(x)], []
        for layer, layer_params in zip(stack, params, strict=True):
            signal, kept = layer.forward(layer_params, signals[-1])
            signals.append(signal)
            residuals.append(kept)

        found, nudge_a = [], -cost.gradient(signals[-1], jnp.asarray(y))
        for i in reversed(range(0, len(stack), 2)):  # a dense layer and the activation after it
            _, nudge_z = stack[i + 1].backward(params[i + 1], residuals[i + 1], nudge_a)
            ask = partial(stack[i].backward, params[i], residuals[i])
            nudge, nudge_a_prev = ask(nudge_z)
            # Each neuron by itself: the layer's own backward pass, as if all the others were content.
            _, requests = jax.vmap(ask)(jnp.diag(nudge_z))
            a_prev, z, a = signals[i : i + 3]
            found.append(Wishes(a_prev, z, a, nudge_a, nudge_z, nudge, requests, nudge_a_prev))
            nudge_a = nudge_a_prev
        return tuple(reversed(found))

    return of_one_example


def nudges(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[Float[Array, " B"], Grads]]:
    """`nudges(params, batch) -> (costs, nudges)`: what each of B examples costs, and wishes for the parameters.

    As `jaxprop.per_example` gives them: a leading axis of B examples, and an `Outer` for each weight matrix.
    Raises `BadInput` on parameters or a batch that do not fit the network.
    """
    return per_example(network, cost._replace(gradient=lambda a, y: -cost.gradient(a, y)))


def average_nudges(network: Network, cost: Cost) -> Callable[[Params, Examples], tuple[Float[Array, ""], Params]]:
    """`average_nudges(params, examples) -> (cost, nudges)`: the average over N examples of what each costs and wishes.

    The nudges have the shapes of the parameters: weight by weight they are minus the gradient of the network's cost.
    Images are made floats a thousand at a time, so that N may be any number.
    Raises `BadInput` on parameters or examples that do not fit the network.
    """
    of_batch = nudges(network, cost)

    def total(params: Params, chunk: Examples) -> tuple[Float[Array, ""], Params]:
        costs, wished = of_batch(params, as_batch(*chunk, jnp.result_type(*jax.tree.leaves(params))))
        return jnp.sum(costs), sum_over_examples(wished)

    @jax.jit
    def average(params: Params, examples: Examples) -> tuple[Float[Array, ""], Params]:
        n = len(examples.labels)
        rest = n % _CHUNK
        chunks = Examples(*(x[: n - rest].reshape(-1, _CHUNK, *x.shape[1:]) for x in examples))
        totals = jax.lax.map(partial(total, params), chunks)
        summed = jax.tree.map(partial(jnp.sum, axis=0), totals)
        if rest:
            summed = jax.tree.map(jnp.add, summed, total(params, Examples(*(x[n - rest :] for x in examples))))
        return jax.tree.map(lambda x: x / n, summed)

    def checked(params: Params, examples: Examples) -> tuple[Float[Array, ""], Params]:
        network.check_params(params, jnp.floating)
        check_examples(examples, network.in_shape)
        result = average(params, Examples(*map(jnp.asarray, examples)))
        check_result(result, params, examples)
        return result

    return checked
