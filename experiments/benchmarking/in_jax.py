"""Three peers in JAX: jaxprop with either gradient, and plain JAX with a Python loop over the steps."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

import jaxprop as jp
from benchmarking.work import Order, Params, Trainer, Work, shuffler
from jaxprop.run.devices import DeviceName, select_device


def manual_backprop(work: Work, device: DeviceName) -> Trainer:
    return _jaxprop(jp.backprop, work, device)


def autodiff(work: Work, device: DeviceName) -> Trainer:
    return _jaxprop(jp.autodiff, work, device)


def _jaxprop(make_gradient: Callable, work: Work, device: DeviceName) -> Trainer:
    """As `train.py` does it: an epoch is one compiled call."""
    network = jp.mlp(work.sizes)
    optimizer = optax.sgd(work.rate)
    step = jp.make_step(make_gradient(network, jp.squared_error), optimizer)
    epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
    tree = jax.tree.structure(network.params_like)
    examples = jax.device_put(jp.Examples(work.images, work.labels), select_device(device))
    key = jax.random.key(0)
    epochs = itertools.count(1)

    def train(params: Params, order: Order) -> Params:
        state, _ = epoch(jp.init_state(jax.tree.unflatten(tree, params), optimizer), examples, order)
        return jax.tree.leaves(state.params)

    def shuffle() -> Order:
        return jp.epoch_order(jax.random.fold_in(key, next(epochs)), len(work.labels), work.batch_size)

    return Trainer(train, shuffle)


def step_by_step(work: Work, device: DeviceName) -> Trainer:
    """As in JAX's own examples: `jax.grad`, and one compiled step that a Python loop calls."""

    def cost(params: Params, a: jax.Array, y: jax.Array) -> jax.Array:
        for W, b in zip(params[::2], params[1::2], strict=True):
            a = jax.nn.sigmoid(a @ W.T + b)
        return jnp.mean(jnp.sum((a - y) ** 2, axis=1))

    @jax.jit
    def step(params: Params, images: jax.Array, labels: jax.Array, rows: jax.Array) -> Params:
        inputs = images[rows].reshape(len(rows), -1).astype(jnp.float32) / 255
        grads = jax.grad(cost)(params, inputs, jax.nn.one_hot(labels[rows], 10))
        return jax.tree.map(lambda p, dp: p - work.rate * dp, params, grads)

    images, labels = jax.device_put((work.images, work.labels), select_device(device))

    def train(params: Params, order: Order) -> Params:
        for rows in order:
            params = step(params, images, labels, rows)
        return params

    return Trainer(train, shuffler(work))
