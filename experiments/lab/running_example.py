"""The running example of the lesson: its network, its data, its mini-batches, and the way from step to step."""

import re
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
NAMES = "W1, b1: weights and biases of hidden layer 1; W2, b2: of hidden layer 2; W3, b3: of the outputs"


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


def parameter_name(path: str) -> str:
    """What a parameter, or an array of them, is called in figures: "[2].b[7]" is b2[7], and "[0].W" is W1.

    path: as `jax.tree_util.keystr` gives it for the parameters of the network, in which dense layers and activations
    take turns. The lesson counts the layers of neurons from 1, see `NAMES`. W1[3, 406] leads to neuron 3 from pixel
    406, both counted from 0.
    """
    match = re.fullmatch(r"\[(\d+)\]\.([Wb])(.*)", path)
    if match is None:
        raise ValueError(f"{path!r} is no path of the parameters of a network of dense layers and activations")
    layer, kind, index = match.groups()
    return f"{kind}{int(layer) // 2 + 1}{index}"


def best_rate(rate: float, rates: Sequence[float]) -> str:
    """In words, a learning rate that was the best of some in ascending order; also if a better one may lie beyond."""
    words = f"rate {rate:g}, the best of {rates[0]:g} to {rates[-1]:g}"
    return f"{words}, at their edge: a better one may lie beyond" if rate in (rates[0], rates[-1]) else words


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
