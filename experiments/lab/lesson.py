"""The running example of the lesson: its network, its data, and the way from the first to the last step."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

import jaxprop as jp
from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import Batch
from jaxprop.datasets import Dataset, load_dataset
from jaxprop.layers import Params
from lab.common import Options

SIZES = (784, 16, 16, 10)
LEARNING_RATE = 2.0
BATCH_SIZE = 100


def load(options: Options) -> Dataset:
    """The data set of the options, on the device."""
    dataset = load_dataset(options.dataset, options.archives)
    return dataset._replace(train=jax.device_put(dataset.train), test=jax.device_put(dataset.test))


def whole(examples: jp.Examples) -> Batch:
    """All examples as one batch, in JAX's default float type. 60,000 of them take 376 MB in float64."""
    return jp.as_batch(examples.images, examples.labels, jnp.result_type(float))


def snapshots(
    network: jp.Network,
    params: Params,
    examples: jp.Examples,
    steps: Sequence[int],
    *,
    key: PRNGKeyArray,
    rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
    hand: Callable[[jp.Network, jp.Cost], ValueAndGrad] = jp.backprop,
) -> list[Params]:
    """Trains by plain SGD, and returns the parameters after each of the ascending `steps`. A step of 0 is the start.

    Whole epochs, one after another, in an order of the examples that follows from `key`; in the precision of `params`.
    """
    optimizer = optax.sgd(rate)
    epoch = jax.jit(jp.make_epoch(jp.make_step(hand(network, jp.squared_error), optimizer)))
    n = len(examples.labels)
    epochs = range(1, 2 + steps[-1] // (n // batch_size))
    order = np.concatenate([jp.epoch_order(jax.random.fold_in(key, i), n, batch_size) for i in epochs])
    state, found = jp.init_state(params, optimizer), []
    for begin, end in zip([0, *steps], steps, strict=False):
        if end > begin:
            state, _ = epoch(state, examples, order[begin:end])
        found.append(state.params)
    return found
