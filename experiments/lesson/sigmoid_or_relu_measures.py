"""Ensembles of networks trained at a given rate, and what each of them is worth along training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxprop as jp
from jaxprop.data.datasets import Dataset
from jaxprop.run.ensembles import make_ensemble_epoch
from jaxprop.layers.core import Params
from jaxprop.networks import Activation, mlp_layers
from lab import running_example

WATCHED = 1000  # examples on which gradients and activations are measured
GRADIENTS = ("first layer", "second layer", "output layer")
Row = dict[str, Any]


def make_training(network: jp.Network) -> Callable[[float, jp.State, jp.Examples, np.ndarray], jp.State]:
    """`train(rate, states, examples, order) -> states`, for an ensemble: one compilation for all rates."""

    @jax.jit
    def train(rate: float, states: jp.State, examples: jp.Examples, order: np.ndarray) -> jp.State:
        step = jp.make_step(jp.backprop(network, jp.squared_error), optax.sgd(rate))
        return make_ensemble_epoch(step)(states, examples, order)[0]

    return train


def make_look(network: jp.Network, activation: Activation, data: Dataset) -> Callable[[Params], Row]:
    """`look(params)`: what an ensemble is worth, how long its gradients are, and how many hidden neurons are idle."""
    inputs, targets = running_example.whole(jp.Examples(*(x[:WATCHED] for x in data.train)))
    evaluate, layers = jp.make_evaluate(network, jp.squared_error), mlp_layers(running_example.SIZES, activation)

    def idle(params: Params) -> jax.Array:
        """Share of the hidden neurons that no wish gets through: ReLUs dead to all pictures, sigmoids for a picture."""
        a, shares = jnp.asarray(inputs), []
        for layer, layer_params in zip(layers[:4], params[:4], strict=True):
            a, _ = jax.vmap(layer.forward, (None, 0))(layer_params, a)
            shares.append(jnp.mean(jnp.all(a == 0, axis=0) if activation == "relu" else a * (1 - a) < 0.01))
        return (shares[1] + shares[3]) / 2

    @jax.jit
    @jax.vmap
    def of_each(params: Params) -> dict[str, jax.Array]:
        cost, grads = jp.backprop(network, jp.squared_error)(params, (inputs, targets))
        lengths = {name: jnp.linalg.norm(layer.W) for name, layer in zip(GRADIENTS, grads[::2], strict=True)}
        return {"cost": cost, "accuracy": evaluate(params, data.test).accuracy, "idle": idle(params), **lengths}

    return lambda params: {name: float(jnp.mean(values)) for name, values in of_each(params).items()}
