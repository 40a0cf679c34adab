"""LeNet-5, ten epochs: jaxprop with either gradient beside PyTorch, and SimpleChains.jl as published.

The network is that of SimpleChains' example: two convolutions of 5 x 5 without padding, of 6 and 16 channels, each with
ReLU and the largest number of 2 x 2, then 120, 84 and 10 neurons; 44,426 parameters. All start from the same numbers
and take the same mini-batches of 100 by Adam at a rate of 3e-4. They take turns, an epoch each.
"""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from rich.table import Table

import jaxprop as jp
from benchmarking.peers import AUTODIFF, MANUAL, PEERS, TORCH
from benchmarking.rounds import REST, median_ratio
from jaxprop.data.datasets import Dataset
from jaxprop.layers import Params
from jaxprop.run.devices import DeviceName, select_device
from lab.common import progress

EPOCHS = 10
BATCH_SIZE = 100
RATE = 3e-4
STEPS = 10
# Adam divides by the size of the gradient, so that where it is nearly 0 its rounding decides on a whole step. Ten steps
# of 3e-4 then part the outputs of two peers by some 1e-5 of the largest; a rate off by a hundredth, by 2e-2.
TOLERANCE = 2e-4
# "Doing small network scientific machine learning in Julia 5x faster than PyTorch" (2022), the second call, compiled.
PUBLISHED = {
    "peer": "SimpleChains.jl",
    "seconds": 5.320512,
    "relative_time": None,
    "test_accuracy": 0.9689,
    "difference_after_10_steps": None,
    "remark": "as published: four cores of an i7-1165G7, batches of its own choice",
}
Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


class Learner(NamedTuple):
    """A peer that has everything in its place.

    start: `() -> state`, from the parameters that all start from. train: `(state, order) -> state`, a step for each row
    of the order; when it returns, all is done. outputs: `(state, images) -> (N, 10)`.
    """

    start: Callable[[], Any]
    train: Callable[[Any, np.ndarray], Any]
    outputs: Callable[[Any, Any], np.ndarray]


def network() -> jp.Network:
    he = 2**0.5
    return jp.Network(
        (
            *(jp.conv2d(6, 5, padding="VALID", gain=he), jp.relu(), jp.max_pool(2)),
            *(jp.conv2d(16, 5, padding="VALID", gain=he), jp.relu(), jp.max_pool(2)),
            jp.flatten(),
            *(jp.dense(120, gain=he), jp.relu()),
            *(jp.dense(84, gain=he), jp.relu()),
            jp.dense(10),
        ),
        (28, 28, 1),
    )


def measure(dataset: Dataset, seed: int, device: DeviceName, smoke: bool) -> list[Row]:
    """A row for each peer, the absent one too, and one for what was published."""
    train, test = (jp.Examples(*map(np.asarray, part)) for part in (dataset.train, dataset.test))
    params = network().init(jax.random.key(seed))
    learners = {
        MANUAL: in_jax(jp.backprop, train, params, device),
        AUTODIFF: in_jax(jp.autodiff, train, params, device),
    }
    absent = "left out of a smoke run" if smoke else PEERS[TORCH].missing(device)
    if not absent:
        module = importlib.import_module("benchmarking.lenet_in_torch")
        learners[TORCH] = module.in_torch(train, params, RATE, PEERS[TORCH].where(device))
    orders = [jp.epoch_order(jax.random.key(i), len(train.labels), BATCH_SIZE) for i in range(1 if smoke else EPOCHS)]
    apart = differences(learners, orders[0][:STEPS], test.images[:BATCH_SIZE])
    states = {name: learner.start() for name, learner in learners.items()}
    seconds = {name: np.empty(len(orders)) for name in learners}
    with progress(len(orders)) as report:
        for i, order in enumerate(orders):
            for name, learner in learners.items():
                time.sleep(REST)
                started = time.perf_counter()
                states[name] = learner.train(states[name], order)
                seconds[name][i] = time.perf_counter() - started
            report(f"LeNet-5, epoch {i + 1}: " + ", ".join(f"{name} {seconds[name][i]:.2f} s" for name in learners))
    rows = [
        {
            "peer": name,
            "seconds": float(np.sum(seconds[name])),
            "relative_time": median_ratio(seconds[name], seconds[MANUAL]),
            "test_accuracy": accuracy(learner, states[name], test),
            "difference_after_10_steps": apart[name],
            "remark": "",
        }
        for name, learner in learners.items()
    ]
    if absent:
        rows.append({**dict.fromkeys(PUBLISHED), "peer": TORCH, "remark": absent})
    return [*rows, PUBLISHED]


def in_jax(make_gradient: Callable, train: jp.Examples, params: Params, device: DeviceName) -> Learner:
    """As `train.py` does it: a step a call, since XLA's CPU compiler has only slow convolutions inside of a loop."""
    optimizer = optax.adam(RATE)
    step = jp.make_step(make_gradient(network(), jp.softmax_cross_entropy), optimizer)

    def to_batch(images: Any, labels: Any) -> Any:
        return jp.as_batch(images, labels, in_shape=(28, 28, 1), one_hot=False)

    state, data = jax.device_put((jp.init_state(params, optimizer), train), select_device(device))
    rows = np.zeros((1, BATCH_SIZE), np.int32)
    epoch = jax.jit(jp.make_epoch(step, to_batch)).lower(state, data, rows).compile()
    apply = jax.jit(
        lambda params, images: jax.vmap(network().apply, (None, 0))(params, to_batch(images, images[:, 0, 0])[0])
    )

    def go(state: jp.State, order: np.ndarray) -> jp.State:
        for i in range(len(order)):
            state, _ = epoch(state, data, order[i : i + 1])
        return jax.block_until_ready(state)

    return Learner(lambda: state, go, lambda state, images: np.asarray(apply(state.params, images)))


def differences(learners: Mapping[str, Learner], order: np.ndarray, images: Any) -> dict[str, float]:
    """How far the outputs of each are from the first one's after these steps, of the largest output."""
    found = {name: learner.outputs(learner.train(learner.start(), order), images) for name, learner in learners.items()}
    baseline = found[MANUAL]
    return {name: float(np.max(np.abs(x - baseline)) / np.max(np.abs(baseline))) for name, x in found.items()}


def who_differs(rows: Rows) -> list[str]:
    """The peers that do other work than they say. A NaN counts as a difference."""
    apart = {row["peer"]: row["difference_after_10_steps"] for row in rows}
    return [name for name, difference in apart.items() if difference is not None and not difference <= TOLERANCE]


def accuracy(learner: Learner, state: Any, test: jp.Examples, chunk: int = 1000) -> float:
    right = 0
    for i in range(0, len(test.labels), chunk):
        outputs = learner.outputs(state, test.images[i : i + chunk])
        right += int(np.sum(np.argmax(outputs, axis=1) == test.labels[i : i + chunk]))
    return right / len(test.labels)


def table(rows: Rows) -> Table:
    found = Table("peer", "seconds", "relative time", "test accuracy", "after 10 steps", "remark")

    def cell(row: Mapping[str, Any], name: str, form: str) -> str:
        return "" if row[name] is None else form.format(row[name])

    for row in rows:
        found.add_row(
            row["peer"],
            cell(row, "seconds", "{:.1f} s"),
            cell(row, "relative_time", "{:.2f} ×"),
            cell(row, "test_accuracy", "{:.2%}"),
            cell(row, "difference_after_10_steps", "{:.0e}"),
            row["remark"],
        )
    return found
