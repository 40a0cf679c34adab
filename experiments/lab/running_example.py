"""The running example of the lesson: its network, its data, its mini-batches, and the way from step to step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Int, PRNGKeyArray

import jaxprop as jp
from jaxprop.data.datasets import Dataset, load_dataset
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Params
from lab.common import Options

SIZES = (784, 16, 16, 10)
LEARNING_RATE = 2.0
BATCH_SIZE = 100


def load(options: Options) -> Dataset:
    """The data set of the options, on the device."""
    dataset = load_dataset(options.dataset, options.archives)
    return dataset._replace(train=jax.device_put(dataset.train), test=jax.device_put(dataset.test))


def select(examples: jp.Examples, rows: Any) -> jp.Examples:
    """Some of the examples: `rows` is a slice, or an array of numbers or truth values, as NumPy takes them."""
    return jp.Examples(examples.images[rows], examples.labels[rows])


def whole(examples: jp.Examples) -> Batch:
    """All examples as one batch, in JAX's default float type. 60,000 of them take 376 MB in float64."""
    return jp.as_batch(examples.images, examples.labels)


def mini_batches(key: PRNGKeyArray, n: int, steps: int, batch_size: int = BATCH_SIZE) -> Int[np.ndarray, "steps B"]:
    """The mini-batches of so many steps, as row numbers: one epoch after another, each in a random order of its own.

    Epoch i, counted from 1, has the order that `jaxprop.fit` gives it.
    """
    epochs = steps // (n // batch_size) + 1
    orders = [jp.epoch_order(jax.random.fold_in(key, i), n, batch_size) for i in range(1, epochs + 1)]
    return np.concatenate(orders)[:steps]


def snapshots(
    network: jp.Network,
    params: Params,
    examples: jp.Examples,
    steps: Sequence[int],
    *,
    key: PRNGKeyArray,
    rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
    rule: Callable[[jp.Network, jp.Cost], ValueAndGrad] = jp.backprop,
) -> list[Params]:
    """Trains by plain SGD, and returns the parameters after each of the ascending `steps`. A step of 0 is the start.

    key: of the order of the examples, see `mini_batches`. rule: what makes the gradient, `jaxprop.autodiff` or another.
    The mini-batches have the float type of `params`.
    """
    optimizer = optax.sgd(rate)
    to_batch = partial(jp.as_batch, dtype=jax.tree.leaves(params)[0].dtype)
    epoch = jax.jit(jp.make_epoch(jp.make_step(rule(network, jp.squared_error), optimizer), to_batch))
    order = mini_batches(key, len(examples.labels), steps[-1], batch_size)
    state = jp.init_state(params, optimizer)
    found = []
    done = 0
    for step in steps:
        if step > done:
            state, _ = epoch(state, examples, order[done:step])
            done = step
        found.append(state.params)
    return found
