"""Where did the first NaN come from? A training that met one is walked once more, step by step."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import Batch, Examples, as_batch
from jaxprop.costs import Cost
from jaxprop.finite import all_finite, locate
from jaxprop.fitting import Metrics, NonFinite
from jaxprop.layers import Layer
from jaxprop.training import State

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
    layer: int | None  # that it belongs to, counted as in params.npz: 0 for "[0].W". Activation functions count too
    gradient_norms: list[float | None]  # of the last steps, this one's at the end; None where it is not finite
    advice: list[str]


def diagnose(
    failure: NonFinite,
    trail: Trail,
    fitting: Fitting,
    value_and_grad: ValueAndGrad,
    layers: Sequence[Layer],
    cost: Cost,
    examples: Examples,
) -> tuple[State, Diagnosis]:
    """The last state that can be trusted, which `diagnosis.step - 1` steps led to, and what went wrong after it.

    failure: what `fit` raised; or raised by the caller, where the state is finite but what it answers is not.
    trail: from `follow`. The steps since are done again, one at a time, and give the gradient norms.
    fitting: `fit` with everything but `state`, `begin` and `steps_per_call`.
    layers: those that the network chains, such as `mlp_layers(...)`.
    """
    gradient = jax.jit(value_and_grad)

    def batch_of(metrics: Metrics) -> Batch:
        (rows,), dtype = metrics.order, jax.tree.leaves(failure.before.params)[0].dtype
        return as_batch(examples.images[rows], examples.labels[rows], dtype)

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
        quantity, layer = locate(layers, cost, batch, before, gradient(before.params, batch)[1], after)
    history = [norm if np.isfinite(norm) else None for norm in norms]
    advice = _advise(quantity, float(np.abs(batch[0]).max()), history)
    rows = [int(row) for row in metrics.order[0]]
    return before, Diagnosis(metrics.step, metrics.epoch, rows, quantity, layer, history, advice)


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
