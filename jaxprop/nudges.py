"""Nudges: minus the derivatives of one example's cost, layer by layer, and their mean over many examples.

A nudge is the change of a number that would lower the example's cost, in proportion to how much it would: what the
example "wishes" or "asks" for. A backward pass is linear in what it is given, so that where minus a derivative goes in,
nudges come out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.contracts import with_shapes_checked
from jaxprop.costs import Cost
from jaxprop.gradients import Batch, per_example
from jaxprop.layers import Grads, Layer, Params
from jaxprop.networks import Network
from jaxprop.structured import sum_over_examples
from jaxprop.training import Data, ToBatch, as_they_are

_CHUNK = 1000  # examples at a time: enough to fill a matrix product, few enough to keep the float copies small


class Wishes(NamedTuple):
    """One layer for one example: its input and output, and minus the derivative of the cost by everything in it.

    x and nudge_x have the shape of its inputs, y and nudge_y that of its outputs, nudge those of its parameters.
    """

    x: Array  # what the layer is given; for the first one, the inputs
    y: Array  # what it gives
    nudge_y: Array  # minus the derivative of the cost by y; at the outputs minus the cost's gradient
    nudge: Grads  # of the layer's parameters; of a weight matrix, as an `Outer`
    nudge_x: Array  # minus the derivative by x: what all outputs of the layer together ask of the layer before


def wishes(network: Network, cost: Cost) -> Callable[[Params, Array, Any], tuple[Wishes, ...]]:
    """`wishes(params, x, y) -> (Wishes, ...)`: one for each layer of the network, from the first to the last.

    x: one example's inputs, y: its target. `nudge_x` of a layer is `nudge_y` of the one before, and that of the first
    layer is how the inputs should change.

    Raises `BadInput` on parameters or an example that do not fit the network.
    """
    cost = with_shapes_checked(cost)

    def of_one_example(params: Params, x: Array, y: Any) -> tuple[Wishes, ...]:
        network.check_params(params)
        params, x, y = jax.tree.map(jnp.asarray, (params, x, y))
        network.check_batch((x[None], y[None]))
        signals, residuals = [x], []
        for layer, layer_params in zip(network.layers, params, strict=True):
            signal, kept = layer.forward(layer_params, signals[-1])
            signals.append(signal)
            residuals.append(kept)

        found, nudge_y = [], -cost.gradient(signals[-1], y)
        for i in reversed(range(len(network.layers))):
            nudge, nudge_x = network.layers[i].backward(params[i], residuals[i], nudge_y)
            found.append(Wishes(signals[i], signals[i + 1], nudge_y, nudge, nudge_x))
            nudge_y = nudge_x
        return tuple(reversed(found))

    return of_one_example


def requests(layer: Layer) -> Callable[[Params, Array, Array], Array]:
    """`requests(params, x, nudge_y) -> (*out, *in)`: each output's own part in the `nudge_x` of a layer.

    params, x, nudge_y: of that layer, as in its `Wishes`. Added up over the outputs, the parts are its `nudge_x`. Of a
    dense layer, row j is in proportion to the weights that lead to neuron j, and to how much that neuron should change.
    """

    def of_one_example(params: Params, x: Array, nudge_y: Array) -> Array:
        params, x = jax.tree.map(jnp.asarray, (params, x))
        y, residuals = layer.forward(params, x)
        alone = jnp.diag(jnp.ravel(nudge_y)).reshape(y.size, *y.shape)  # one output each, the others 0
        asked = jax.vmap(lambda nudge: layer.backward(params, residuals, nudge)[1])(alone)
        return asked.reshape(*y.shape, *jnp.shape(x))

    return of_one_example


def per_example_nudges(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[Float[Array, " B"], Grads]]:
    """`nudges(params, batch) -> (costs, nudges)`: what each of B examples costs, and asks of the parameters.

    As `jaxprop.per_example` gives them: a leading axis of B examples, and an `Outer` for each dense layer's weights.
    Raises `BadInput` on parameters or a batch that do not fit the network.
    """
    return per_example(network, cost._replace(gradient=lambda a, y: -cost.gradient(a, y)))


def average_nudges(
    network: Network, cost: Cost, to_batch: ToBatch = as_they_are
) -> Callable[[Params, Data], tuple[Float[Array, ""], Params]]:
    """`average_nudges(params, data) -> (cost, nudges)`: the mean over N examples of what each costs and asks for.

    to_batch: from rows of the data to a batch, as in `jaxprop.make_epoch`. It is called for a thousand examples at a
        time, so that N may be any number.

    The nudges have the shapes of the parameters: weight by weight they are minus the gradient of the network's cost.
    Raises `BadInput` on parameters or examples that do not fit the network.
    """
    of_batch = per_example_nudges(network, cost)

    def total(params: Params, data: Data) -> tuple[Float[Array, ""], Params]:
        costs, asked = of_batch(params, to_batch(*data))
        return jnp.sum(costs), sum_over_examples(asked)

    @jax.jit
    def average(params: Params, data: Data) -> tuple[Float[Array, ""], Params]:
        data = tuple(data)
        network.check_batch(jax.eval_shape(to_batch, *data))  # all N at once, since none of the chunks may hold any
        n = len(jax.tree.leaves(data)[0])
        rest = n % _CHUNK
        chunks = jax.tree.map(lambda x: x[: n - rest].reshape(-1, _CHUNK, *x.shape[1:]), data)
        summed = jax.tree.map(partial(jnp.sum, axis=0), jax.lax.map(partial(total, params), chunks))
        if rest:
            last = total(params, jax.tree.map(lambda x: x[n - rest :], data))
            summed = jax.tree.map(jnp.add, summed, last)
        return jax.tree.map(lambda x: x / n, summed)

    return average
