"""The fit: epoch after epoch, from the start or from the middle, one compiled call at a time."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxprop.batches import Examples, check_examples
from jaxprop.errors import BadInput
from jaxprop.finite import all_finite
from jaxprop.training import Epoch, Order, State, epoch_order, is_whole, steps_per_epoch


class Metrics(NamedTuple):
    """What one compiled call reports."""

    epoch: int  # counted from 1
    step: int  # steps done since training began, this call's among them
    order: Order  # the examples of each mini-batch
    costs: Float[np.ndarray, " steps"]  # of each mini-batch, before its step
    seconds: float  # of the call, and of drawing the epoch's order before the first one


class NonFinite(ValueError):  # noqa: N818 - the name says what was met
    """Training met a NaN or an infinity, in a cost, a parameter or the optimizer's state.

    before: the state before the call, the last one that can be trusted. metrics: of the call. after: what it gave.
    """

    def __init__(self, before: State, metrics: Metrics, after: State):
        begin = metrics.step - len(metrics.order) + 1
        super().__init__(f"training met a NaN or an infinity in steps {begin} to {metrics.step}: lower learning_rate")
        self.before, self.metrics, self.after = before, metrics, after


def fit(
    epoch: Epoch,
    state: State,
    examples: Examples,
    *,
    key: PRNGKeyArray,
    batch_size: int,
    epochs: int,
    begin: int = 0,
    steps_per_call: int | None = None,
) -> Iterator[tuple[State, Metrics]]:
    """Trains for so many epochs and yields (state, metrics) after each call, so that progress and files stay outside.

    epoch: from `make_epoch`, compiled by the caller: `jax.jit(make_epoch(step))`. A compiled call is a whole epoch, or
        `steps_per_call` steps; what is left at the end of an epoch makes a shorter call.
    key: of the order of the examples; epoch i uses `jax.random.fold_in(key, i)`, whatever came before.
    begin: how many steps the state has behind it. Nothing else needs to be known to go on from there.

    Raises `NonFinite` instead of yielding a state or costs that are not finite.
    """
    check_examples(examples)
    numbers = {"batch_size": batch_size, "epochs": epochs, "begin": begin, "steps_per_call": steps_per_call}
    for name, number in numbers.items():
        if not is_whole(number) and not (name == "steps_per_call" and number is None):
            raise BadInput(f"{name} is {number!r}: expected a whole number")
    if epochs < 0:
        raise BadInput(f"epochs is {epochs}: expected a whole number of at least 0")
    examples = Examples(*examples)
    n = len(examples.labels)
    steps = steps_per_epoch(n, batch_size)
    per_call = steps if steps_per_call is None else steps_per_call
    if per_call < 1:
        raise BadInput(f"steps_per_call is {steps_per_call}: expected a whole number above 0")
    if not 0 <= begin <= epochs * steps:
        raise BadInput(f"begin is {begin}: expected 0 to {epochs * steps}, the steps of {epochs} epochs")
    step, order = begin, None
    while step < epochs * steps:
        started = time.perf_counter()
        i, first = divmod(step, steps)
        if first == 0 or order is None:
            order = epoch_order(jax.random.fold_in(key, i + 1), n, batch_size)
        # Up to the next multiple: whoever goes on from the middle then runs the same compiled programs.
        rows = order[first : first + per_call - first % per_call]
        after, costs = jax.block_until_ready(epoch(state, examples, rows))
        step += len(rows)
        metrics = Metrics(i + 1, step, rows, np.asarray(costs), time.perf_counter() - started)
        if not all_finite((after, metrics.costs)):
            raise NonFinite(state, metrics, after)
        state = after
        yield state, metrics
