"""A layer of neurons as the lesson draws it: a dense layer together with the activation after it.

The library knows the two as layers of their own, and `jaxprop.wishes` has an entry for each. Here the two entries are
one record, beside what each neuron by itself asks of the layer before.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

import jaxprop as jp
from jaxprop.layers import Params


class Neurons(NamedTuple):
    """One layer of neurons as one example finds it, and how the example would have it changed.

    A nudge is minus a derivative of the cost of that example, by what the nudge is of.
    """

    a_prev: Float[Array, " in"]  # activations of the layer before; for the first layer, the pixels
    z: Float[Array, " out"]  # pre-activations, W a_prev + b
    a: Float[Array, " out"]
    nudge_a: Float[Array, " out"]  # at the outputs 2 (y - a)
    nudge_z: Float[Array, " out"]
    nudge: jp.Dense  # of the weights, as an `Outer`, and of the biases
    requests: Float[Array, "out in"]  # row j: what neuron j by itself asks of the layer before
    nudge_a_prev: Float[Array, " in"]  # what all of them ask together: the rows added up


def wishes_of_neurons(network: jp.Network, cost: jp.Cost) -> Callable[[Params, Array, Array], tuple[Neurons, ...]]:
    """`wishes(params, x, y) -> (Neurons, ...)`: one for each layer of neurons of `jaxprop.mlp(...)`, from the first on.

    x: one example's inputs (in,); y: its targets (out,). `nudge_a_prev` of a layer is `nudge_a` of the one before.
    """
    of_layers = jp.wishes(network, cost)

    def of_one_example(params: Params, x: Array, y: Array) -> tuple[Neurons, ...]:
        layers = of_layers(params, x, y)
        found = []
        for i in range(0, len(layers), 2):
            dense = layers[i]
            activation = layers[i + 1]
            neurons = Neurons(
                a_prev=dense.x,
                z=dense.y,
                a=activation.y,
                nudge_a=activation.nudge_y,
                nudge_z=dense.nudge_y,
                nudge=dense.nudge,
                requests=jp.requests(network.layers[i])(params[i], dense.x, dense.nudge_y),
                nudge_a_prev=dense.nudge_x,
            )
            found.append(neurons)
        return tuple(found)

    return of_one_example
