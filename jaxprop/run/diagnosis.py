"""Where did the first NaN come from? A training that met one is walked once more, step by step, layer by layer."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxprop.costs import Cost
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Params
from jaxprop.networks import Network
from jaxprop.nudges import wishes
from jaxprop.run.fitting import Metrics, NonFinite
from jaxprop.structured import mean_over_examples
from jaxprop.training import Data, State, ToBatch, as_they_are
from jaxprop.verify.finite import all_finite

Fitting = Callable[..., Iterator[tuple[State, Metrics]]]  # `fit` with everything but where to begin
HISTORY = 100  # steps whose gradient norms a diagnosis shows
_LARGE_INPUT = 100.0
_NOT_AGAIN = "none: step by step, every number stayed finite"


class Trail(NamedTuple):
    """Two earlier states with the steps behind them; the older lies at least `HISTORY` steps back, or at the start."""

    older: tuple[int, State]
    newer: tuple[int, State]


def follow(trail: Trail | None, step: int, state: State) -> Trail:
    """The trail after a call that ended at this step. It begins with None."""
    here = (step, state)
    if trail is None:
        return Trail(here, here)
    return Trail(trail.newer, here) if step - trail.newer[0] >= HISTORY else trail


class Diagnosis(NamedTuple):
    """The first step that went wrong, and what is known of it. `_asdict()` is what JSON can hold."""

    step: int  # counted from 1, over all epochs
    epoch: int  # counted from 1
    examples: list[int]  # of the step's mini-batch, as rows of the training examples
    quantity: str  # the first that is not finite: input, activation (what a layer puts out), cost, gradient, ...
    layer: int | None  # that it belongs to, as in `network.layers` and in params.npz: 0 for "[0].W"
    layer_name: str | None  # such as "dense(16)" or "relu"
    gradient_norms: list[float | None]  # of the last steps, this one's at the end; None where it is not finite
    advice: list[str]


def diagnose(
    failure: NonFinite,
    trail: Trail,
    fitting: Fitting,
    value_and_grad: ValueAndGrad,
    network: Network,
    cost: Cost,
    data: Data,
    to_batch: ToBatch = as_they_are,
) -> tuple[State, Diagnosis]:
    """The last state that can be trusted, which `diagnosis.step - 1` steps led to, and what went wrong after it.

    failure: what `fit` raised; or raised by the caller, where the state is finite but what it answers is not.
    trail: from `follow`. The steps since are done again, one at a time, and give the gradient norms.
    fitting: `fit` with everything but `state`, `begin` and `steps_per_call`.
    data, to_batch: what the steps are taken on, as in `jaxprop.make_epoch`.

    Raises `BadInput` on data that do not fit the network.
    """
    gradient = jax.jit(value_and_grad)

    def batch_of(metrics: Metrics) -> Batch:
        (rows,) = metrics.order
        return to_batch(*jax.tree.map(lambda x: x[rows], tuple(data)))

    norms: deque[float] = deque(maxlen=HISTORY)
    last = failure.before, failure.metrics, failure.after
    for last in _one_by_one(failure, trail, fitting):
        before, metrics, _ = last
        norms.append(_norm(gradient(before.params, batch_of(metrics))[1]))

    before, metrics, after = last
    batch = batch_of(metrics)
    if all_finite((after, metrics.costs)) and not all_finite((failure.after, failure.metrics.costs)):
        quantity, layer = _NOT_AGAIN, None
    else:
        quantity, layer = locate(network, cost, batch, before, gradient(before.params, batch)[1], after)
    history = [norm if np.isfinite(norm) else None for norm in norms]
    name = None if layer is None else network.layers[layer].name
    advice = _advise(quantity, float(np.abs(np.asarray(batch[0])).max()), history)
    rows = [int(row) for row in metrics.order[0]]
    return before, Diagnosis(metrics.step, metrics.epoch, rows, quantity, layer, name, history, advice)


def _one_by_one(failure: NonFinite, trail: Trail, fitting: Fitting) -> Iterator[tuple[State, Metrics, State]]:
    """The steps since the older end of the trail, each with the states before and after, up to the first bad one."""
    begin, before = trail.older
    try:
        for after, metrics in fitting(before, begin=begin, steps_per_call=1):
            yield before, metrics, after
            if metrics.step == failure.metrics.step:
                return
            before = after
    except NonFinite as bad:
        yield bad.before, bad.metrics, bad.after


def _norm(grads: PyTree) -> float:
    """The 2-norm, in float64: the squares of large float32 numbers overflow before the numbers do."""
    with np.errstate(over="ignore"):
        return float(np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in jax.tree.leaves(grads))))


def _advise(quantity: str, largest_input: float, norms: list[float | None]) -> list[str]:
    if quantity == "input":
        return ["an input is a NaN or an infinity: mend the examples"]
    if quantity == _NOT_AGAIN:
        return ["the same steps went well when they were done again: the device may not be deterministic, or be faulty"]
    advice = []
    if largest_input > _LARGE_INPUT:
        advice.append(f"inputs reach {largest_input:.3g}: scale them to about 1")
    finite = [norm for norm in norms if norm is not None]
    grown = ""
    if finite and max(finite) > 10 * finite[0]:
        grown = f": the norm of the gradient grew from {finite[0]:.3g} to {max(finite):.3g}"
    return [*advice, f"the learning rate is most likely too large, so try a tenth of it{grown}"]


def locate(
    network: Network, cost: Cost, batch: Batch, before: State, grads: Params, after: State
) -> tuple[str, int | None]:
    """What was the first not to be finite in a step from `before` to `after`, and in which layer of the network it is.

    grads: what the step went by. The rest is computed here, in the order in which a step does it.
    """
    if bad := _first_layer(before.params):
        return "parameter", bad[0]
    if found := _walk(network, cost, before.params, batch):
        return found
    if bad := _first_layer(grads):
        return "gradient", bad[-1]  # backpropagation begins at the last layer
    if not all_finite(after.opt_state):
        return "optimizer state", None
    if bad := _first_layer(after.params):
        return "parameter", bad[0]
    return _walk(network, cost, after.params, batch) or ("cost", None)


def _first_layer(tree: Params) -> list[int]:
    return [i for i, layer in enumerate(tree) if not all_finite(layer)]


def _walk(network: Network, cost: Cost, params: Params, batch: Batch) -> tuple[str, int | None] | None:
    """Forward from layer to layer, then back, until something is not finite."""
    inputs, targets = map(jnp.asarray, batch)
    if not all_finite(batch):
        return "input", None
    of_layers = jax.vmap(wishes(network, cost), (None, 0, 0))(params, inputs, targets)
    for i, layer in enumerate(of_layers):
        if not all_finite(layer.y):
            return "activation", i
    if not all_finite(jax.vmap(cost.value)(of_layers[-1].y, targets)):
        return "cost", None
    for i, layer in reversed(list(enumerate(of_layers))):
        # Nobody uses what the first layer passes back.
        if not all_finite((mean_over_examples(layer.nudge), layer.nudge_x if i else ())):
            return "gradient", i
    return None
