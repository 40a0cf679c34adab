"""What a network is worth: its cost, its accuracy and its answers on examples with known targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprop.contracts import with_shapes_checked
from jaxprop.costs import Cost
from jaxprop.errors import BadInput
from jaxprop.layers import Params
from jaxprop.networks import Network
from jaxprop.training import Data, ToBatch, as_they_are

# Scored so many at a time: enough to fill a matrix product, few enough to keep the float copies small.
_CHUNK = 1000


class Scores(NamedTuple):
    """What a network is worth on N examples."""

    cost: Float[Array, ""]  # the mean over the examples
    accuracy: Float[Array, ""]  # the fraction that is classified correctly
    outputs: Float[Array, "N *out"]


def brightest_is_right(outputs: Array, target: Array) -> Bool[Array, ""]:
    """Whether the largest output is that of the target: of its class, or of its own largest number.

    Raises `BadInput` where the target is neither a class nor of the outputs' shape.
    """
    answer = jnp.argmax(outputs)
    if jnp.issubdtype(target.dtype, jnp.integer) and target.shape == ():
        return answer == target
    if target.shape == outputs.shape:
        return answer == jnp.argmax(target)
    raise BadInput(
        f"a target of shape {target.shape} beside outputs of shape {outputs.shape} says no class: expected one integer "
        "or a number for each output; give make_evaluate a correct(outputs, target) of your own"
    )


def make_evaluate(
    network: Network,
    cost: Cost,
    to_batch: ToBatch = as_they_are,
    correct: Callable[[Array, Any], Any] = brightest_is_right,
) -> Callable[[Params, Data], Scores]:
    """`evaluate(params, data) -> Scores`, over every example, however many there are. The caller compiles it.

    to_batch: from rows of the data to a batch, as in `jaxprop.make_epoch`.
    correct: `(outputs, target) -> bool`, whether an example counts as classified correctly. By default a target is a
        class, as one integer or as the largest of its numbers: for anything else accuracy means nothing, or what a
        `correct` of your own says.

    Raises `BadInput` on parameters or examples that do not fit the network.
    """
    cost = with_shapes_checked(cost)

    def evaluate(params: Params, data: Data) -> Scores:
        data = jax.tree.map(jnp.asarray, tuple(data))
        network.check_params(params)
        network.check_batch(jax.eval_shape(to_batch, *data))  # of all N, which one example at a time does not show

        def one_example(rows: Data) -> tuple[Float[Array, ""], Any, Float[Array, "*out"]]:
            inputs, targets = to_batch(*jax.tree.map(lambda x: x[None], rows))
            outputs = network.apply(params, inputs[0])
            return cost.value(outputs, targets[0]), correct(outputs, targets[0]), outputs

        costs, right, outputs = jax.lax.map(one_example, data, batch_size=_CHUNK)
        return Scores(jnp.mean(costs), jnp.mean(right), outputs)

    return evaluate
