"""What a network is worth: its cost, its accuracy and its answers on labelled examples."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.batches import Examples, as_batch, check_examples
from jaxprop.costs import Cost
from jaxprop.layers import Params
from jaxprop.networks import Network
from jaxprop.overflow import check_result

# Scored so many at a time: enough to fill a matrix product, few enough to keep the float copies small.
_CHUNK = 1000


class Scores(NamedTuple):
    """What a network is worth on N examples."""

    cost: Float[Array, ""]  # the average over the examples
    accuracy: Float[Array, ""]  # the share of examples whose brightest output is the right one
    outputs: Float[Array, "N 10"]


def make_evaluate(network: Network, cost: Cost) -> Callable[[Params, Examples], Scores]:
    """`evaluate(params, examples) -> Scores`, over every example, however many there are. The caller compiles it.

    Raises `BadInput` on parameters or examples that do not fit the network.
    """

    def evaluate(params: Params, examples: Examples) -> Scores:
        network.check_params(params, jnp.floating)
        check_examples(examples, network.in_shape)
        examples = Examples(*map(jnp.asarray, examples))
        dtype = jnp.result_type(*jax.tree.leaves(params))

        def one_example(example: Examples) -> tuple[Float[Array, ""], Float[Array, " 10"]]:
            inputs, targets = as_batch(example.images[None], example.labels[None], dtype)
            outputs = network.apply(params, inputs[0])
            return cost.value(outputs, targets[0]), outputs

        costs, outputs = jax.lax.map(one_example, examples, batch_size=_CHUNK)
        accuracy = jnp.mean(jnp.argmax(outputs, axis=1) == examples.labels)
        scores = Scores(jnp.mean(costs), accuracy, outputs)
        check_result(scores, params, examples)
        return scores

    return evaluate
