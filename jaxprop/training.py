"""Training: state in, state out. The step, the epoch, and the order in which an epoch takes the examples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import Batch, Examples, as_batch
from jaxprop.errors import BadInput
from jaxprop.layers import Params


class State(NamedTuple):
    """All that training carries from one step to the next."""

    params: Params
    opt_state: optax.OptState


Step = Callable[[State, Batch], tuple[State, Float[Array, ""]]]
Order = Int[np.ndarray, "steps B"]
Epoch = Callable[[State, Examples, Order], tuple[State, Float[Array, " steps"]]]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step."""
    return State(params, optimizer.init(params))


def make_step(value_and_grad: ValueAndGrad, optimizer: optax.GradientTransformation) -> Step:
    """`step(state, batch) -> (state, cost)`: one step down the gradient of one mini-batch, whose cost it reports."""

    def step(state: State, batch: Batch) -> tuple[State, Float[Array, ""]]:
        cost, grads = value_and_grad(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), cost

    return step


def make_epoch(step: Step) -> Epoch:
    """`epoch(state, examples, order) -> (state, costs)`: a step for each row of the order, in one `lax.scan`.

    The images stay uint8 on the device; each step gathers its mini-batch and makes floats of it. The order is an
    argument, so that one compilation serves every epoch.
    """

    def epoch(state: State, examples: Examples, order: Order) -> tuple[State, Float[Array, " steps"]]:
        dtype = jnp.result_type(*jax.tree.leaves(state.params))
        images, labels = jax.tree.map(jnp.asarray, examples)

        def body(state: State, rows: Int[Array, " B"]) -> tuple[State, Float[Array, ""]]:
            return step(state, as_batch(images[rows], labels[rows], dtype))

        # Two steps to a turn of the loop, whose own bookkeeping is 7 % of an epoch of the running example on a CPU.
        return jax.lax.scan(body, state, jnp.asarray(order), unroll=2)

    return epoch


def is_whole(number: Any) -> bool:
    """Whether this is a whole number, which True and False are to Python and not to people."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many mini-batches n examples fill. Raises `BadInput` on a batch size that fills none, or is not whole."""
    if not is_whole(batch_size) or not 1 <= batch_size <= n:
        raise BadInput(f"batch_size is {batch_size!r}: expected a whole number, 1 to {n} of the training examples")
    return n // batch_size


def epoch_order(key: PRNGKeyArray, n: int, batch_size: int) -> Order:
    """A random order of n examples cut into mini-batches: row indices of shape (n // batch_size, batch_size).

    The n % batch_size examples that fill no mini-batch are left out, others in each epoch. Drawn on the host, where a
    permutation of 60,000 takes a twentieth of the time of `jax.random.permutation`, which sorts several times.
    """
    steps = steps_per_epoch(n, batch_size)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return rng.permutation(n)[: steps * batch_size].astype(np.int32).reshape(steps, batch_size)
