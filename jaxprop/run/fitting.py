"""The fit: epoch after epoch, from the start or from the middle, one compiled call at a time."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxprop.data.batches import Examples, check_examples
from jaxprop.errors import BadInput
from jaxprop.training import Data, Epoch, Order, Outcome, State
from jaxprop.verify.finite import all_finite
from jaxprop.verify.ranges import check_ranges


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
    data: Data,
    *,
    key: PRNGKeyArray,
    batch_size: int,
    epochs: int,
    begin: int = 0,
    steps_per_call: int | None = None,
) -> Iterator[tuple[State, Metrics]]:
    """Trains for so many epochs and yields (state, metrics) after each call, so that progress and files stay outside.

    epoch: from `make_epoch`, compiled by the caller: `jax.jit(make_epoch(step))`. A compiled call is a whole epoch, or
        `steps_per_call` steps; what is left at the end of an epoch makes a shorter call. It must not donate the state,
        since `NonFinite` holds the one before.
    data: arrays with a leading axis of N examples: what the epoch's `to_batch` takes rows of.
    key: of the order of the examples; epoch i uses `jax.random.fold_in(key, i)`, whatever came before.
    begin: how many steps the state has behind it. Nothing else needs to be known to go on from there.

    Raises `BadInput` on data that are empty, of unequal lengths or not finite; where they are `(inputs, targets)`, on
    tokens and labels that the network does not have; and on an epoch that returns no `Outcome`; and `NonFinite`
    instead of yielding a state or costs that are not finite.
    """
    numbers = {"batch_size": batch_size, "epochs": epochs, "begin": begin, "steps_per_call": steps_per_call}
    for name, number in numbers.items():
        if not _is_whole(number) and not (name == "steps_per_call" and number is None):
            raise BadInput(f"{name} is {number!r}: expected a whole number")
    if epochs < 0:
        raise BadInput(f"epochs is {epochs}: expected a whole number of at least 0")
    n = count_examples(data)
    check_ranges(epoch, data)
    steps = steps_per_epoch(n, batch_size)
    per_call = steps if steps_per_call is None else steps_per_call
    if per_call < 1:
        raise BadInput(f"steps_per_call is {steps_per_call}: expected a whole number above 0")
    if not 0 <= begin <= epochs * steps:
        raise BadInput(f"begin is {begin}: expected 0 to {epochs * steps}, the steps of {epochs} epochs")
    return _calls(epoch, state, data, key, batch_size, n, epochs, begin, per_call)


def _calls(
    epoch: Epoch,
    state: State,
    data: Data,
    key: PRNGKeyArray,
    batch_size: int,
    n: int,
    epochs: int,
    begin: int,
    per_call: int,
) -> Iterator[tuple[State, Metrics]]:
    """The compiled calls of `fit`, which has looked at all of this."""
    steps = n // batch_size
    step, order = begin, None
    while step < epochs * steps:
        started = time.perf_counter()
        i, first = divmod(step, steps)
        if first == 0 or order is None:
            order = epoch_order(jax.random.fold_in(key, i + 1), n, batch_size)
        # Up to the next multiple: whoever goes on from the middle then runs the same compiled programs.
        rows = order[first : first + per_call - first % per_call]
        found = jax.block_until_ready(epoch(state, data, rows))
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Outcome):
            made = "expected (state, jaxprop.Outcome(costs, finite)), as an epoch of jaxprop.make_epoch returns"
            raise BadInput(f"epoch returned {_kind(found)}: {made}")
        after, outcome = found
        step += len(rows)
        metrics = Metrics(i + 1, step, rows, np.asarray(outcome.costs), time.perf_counter() - started)
        # The compiled call has looked itself: one truth value comes back, or one for each network of an ensemble.
        if not np.asarray(outcome.finite).all():
            raise NonFinite(state, metrics, after)
        state = after
        yield state, metrics


def count_examples(data: Any) -> int:
    """How many examples the data hold. Looks at values too, not only at shapes.

    Raises `BadInput` where an array is missing, empty, of another length than the first, or holds a NaN or an infinity,
    and where labels of images are none of the ten digits.
    """
    if isinstance(data, Examples):
        check_examples(data)
    arrays = jax.tree_util.tree_leaves_with_path(data, is_leaf=lambda x: x is None)
    if not isinstance(data, tuple | list) or not arrays:
        raise BadInput(f"data is a {type(data).__name__}: expected a tuple of arrays, such as (inputs, targets)")
    lengths = {}
    for path, x in arrays:
        name = f"data{jax.tree_util.keystr(path)}"
        if not isinstance(x, jax.Array | np.ndarray):
            raise BadInput(f"{name} is a {type(x).__name__}: expected an array")
        if x.ndim == 0 or x.size == 0:
            raise BadInput(f"{name} has shape {x.shape}: expected a leading axis of N > 0 examples")
        if not all_finite(x):
            raise BadInput(f"{name} holds a NaN or an infinity: every number must be finite")
        lengths[name] = len(x)
    if len(set(lengths.values())) > 1:
        raise BadInput(f"the data have {lengths} rows: expected as many in each array, one for each example")
    return next(iter(lengths.values()))


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many mini-batches n examples fill. Raises `BadInput` on a batch size that fills none, or is not whole."""
    if not _is_whole(batch_size) or not 1 <= batch_size <= n:
        raise BadInput(f"batch_size is {batch_size!r}: expected a whole number, 1 to {n} of the training examples")
    return n // batch_size


def epoch_order(key: PRNGKeyArray, n: int, batch_size: int) -> Order:
    """A random order of n examples cut into mini-batches: row indices of shape (n // batch_size, batch_size).

    The n % batch_size examples that fill no mini-batch are left out, others in each epoch. Drawn on the host, where a
    permutation of 60,000 takes a twentieth of the time of `jax.random.permutation`, which sorts several times.

    Raises `BadInput` on a batch size that fills none, or is not whole.
    """
    steps = steps_per_epoch(n, batch_size)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return rng.permutation(n)[: steps * batch_size].astype(np.int32).reshape(steps, batch_size)


def _kind(found: Any) -> str:
    """What something is, in words; of a pair, what its two parts are."""
    if isinstance(found, tuple) and len(found) == 2:
        return f"a pair of {type(found[0]).__name__} and {type(found[1]).__name__}"
    return f"a {type(found).__name__}"


def _is_whole(number: Any) -> bool:
    """Whether this is a whole number, which True and False are to Python and not to people."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)
