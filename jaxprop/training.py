"""Training: state in, state out. The step, and the epoch of many steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxprop.contracts import like, shapes_of
from jaxprop.errors import BadInput
from jaxprop.gradients import Batch, ValueAndGrad, made_alike
from jaxprop.layers import Params


class State(NamedTuple):
    """All that training carries from one step to the next."""

    params: Params
    opt_state: optax.OptState


class Outcome(NamedTuple):
    """What an epoch reports beside the state."""

    costs: Float[Array, " steps"]  # of each mini-batch, before its step
    finite: Bool[Array, ""]  # whether every number of the costs and of the state after is neither NaN nor infinite


Data = tuple[Any, ...]  # arrays with a leading axis of N examples, in any shapes and types
ToBatch = Callable[..., Batch]  # the same arrays with a leading axis of B, as arguments, to (inputs, targets)
Order = Int[Any, "steps B"]  # for each step the examples of its mini-batch, as rows of the data
Step = Callable[[State, Batch], tuple[State, Float[Array, ""]]]
Epoch = Callable[[State, Data, Order], tuple[State, Outcome]]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step. Raises `BadInput` where the optimizer is none, or the two are swapped."""
    _check_optimizer(optimizer, "init_state(params, optimizer)")
    return State(params, optimizer.init(params))


def make_step(value_and_grad: ValueAndGrad, optimizer: optax.GradientTransformation) -> Step:
    """`step(state, batch) -> (state, cost)`: one step down the gradient of one mini-batch, whose cost it reports.

    value_and_grad: as `autodiff` and `backprop` make them, or your own.

    Raises `BadInput` where the optimizer is none, or the two are swapped; the step does where `value_and_grad` returns
    no pair, or gradients of another tree or other shapes than the parameters.
    """
    _check_optimizer(optimizer, "make_step(value_and_grad, optimizer)")
    if not callable(value_and_grad):
        given = f"value_and_grad is a {type(value_and_grad).__name__}"
        raise BadInput(f"{given}: expected a function (params, batch) -> (cost, grads), such as jaxprop.backprop makes")

    def step(state: State, batch: Batch) -> tuple[State, Float[Array, ""]]:
        found = value_and_grad(state.params, batch)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise BadInput(f"value_and_grad returned a {type(found).__name__}: expected a pair (cost, grads)")
        cost, grads = found
        if not like(grads, state.params):
            given = f"value_and_grad returned gradients of shapes {shapes_of(grads)}"
            raise BadInput(f"{given}: expected those of the parameters, {shapes_of(state.params)}")
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), cost

    return made_alike(step, value_and_grad)


def as_they_are(inputs: Array, targets: Array) -> Batch:
    """For data that are `(inputs, targets)` already."""
    return inputs, targets


def make_epoch(step: Step, to_batch: ToBatch = as_they_are) -> Epoch:
    """`epoch(state, data, order) -> (state, Outcome)`: a step for each row of the order, in one `lax.scan`.

    to_batch: from rows of the data to a batch, `to_batch(*rows) -> (inputs, targets)`. For uint8 images and labels that
        is `jaxprop.as_batch`: the images stay uint8 on the device, and each step makes floats of its mini-batch alone.

    The order is an argument, so that one compilation serves every epoch.
    """

    def epoch(state: State, data: Data, order: Order) -> tuple[State, Outcome]:
        data = jax.tree.map(jnp.asarray, tuple(data))

        def body(state: State, rows: Int[Array, " B"]) -> tuple[State, Float[Array, ""]]:
            return step(state, to_batch(*jax.tree.map(lambda x: x[rows], data)))

        # Two steps to a turn of the loop, whose own bookkeeping is 7 % of an epoch of the running example on a CPU.
        state, costs = jax.lax.scan(body, state, jnp.asarray(order), unroll=2)
        return state, Outcome(costs, _all_finite((state, costs)))

    # What the rows of other data hold, only `to_batch` knows.
    return made_alike(epoch, step) if to_batch is as_they_are else epoch


def _check_optimizer(optimizer: Any, call: str) -> None:
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        given = f"optimizer is a {type(optimizer).__name__}"
        raise BadInput(f"{given}: expected {call} with an optimizer of optax, such as optax.sgd(0.5)")


def _all_finite(tree: Any) -> Bool[Array, ""]:
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in numbers]))
