"""A number that is not finite is seen, whatever its type, and named where it was planted."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.verify.finite import all_finite, locate
from jaxprop.networks import mlp_layers

SIZES = (784, 6, 5, 10)
rng = np.random.default_rng(0)
BATCH = jp.as_batch(rng.integers(0, 256, (3, 28, 28), np.uint8), np.array([1, 2, 3]))
GOOD = jp.init_state(jp.mlp(SIZES).init(jax.random.key(0)), optax.adam(0.1))


def test_every_kind_of_number_is_looked_at():
    good = {"f": np.array([-0.0, 3e38], np.float32), "i": jnp.arange(3), "b": True, "none": (), "empty": jnp.zeros(0)}
    assert all_finite(good)
    dtypes = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
    for dtype, number in itertools.product(dtypes, (np.nan, np.inf, -np.inf)):
        assert not all_finite({**good, "x": np.array([[0, number]], dtype)})
        with jax.enable_x64(True):
            assert not all_finite({**good, "x": jnp.array([[0, number]], dtype)})


def broken(layer: jp.Layer, part: str) -> jp.Layer:
    """The layer with a NaN in what its forward or backward pass gives, or in the gradient of its parameters."""

    def forward(params, x):
        y, residuals = layer.forward(params, x)
        return y.at[0].set(jnp.nan), residuals

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        if part == "parameters":
            return dparams._replace(b=dparams.b.at[0].set(jnp.inf)), dx
        return dparams, dx.at[0].set(jnp.nan)

    return layer._replace(forward=forward) if part == "forward" else layer._replace(backward=backward)


def locate_in(layers=None, cost=jp.squared_error, batch=BATCH, before=GOOD, grads=GOOD.params, after=GOOD):
    """What is found in a step that is good but for this. Any finite numbers will do for its gradients."""
    return locate(mlp_layers(SIZES) if layers is None else layers, cost, batch, before, grads, after)


def spoiled(state: jp.State, i: int) -> jp.State:
    """The state with a NaN in the parameters of a layer."""
    params = list(state.params)
    params[i] = params[i]._replace(b=params[i].b.at[0].set(jnp.nan))
    return state._replace(params=tuple(params))


@pytest.mark.parametrize(
    ("part", "quantity", "i"),
    [
        *(("forward", "activation", i) for i in range(6)),
        *(("backward", "gradient", i) for i in range(1, 6)),  # the first layer passes back to nobody
        *(("parameters", "gradient", i) for i in (0, 2, 4)),
    ],
)
def test_the_layer_is_named_in_which_the_nan_was_planted(part, quantity, i):
    layers = mlp_layers(SIZES)
    layers[i] = broken(layers[i], part)
    assert locate_in(layers) == (quantity, i)


def test_what_the_first_layer_passes_back_to_nobody_is_not_blamed():
    layers = mlp_layers(SIZES)
    layers[0] = broken(layers[0], "backward")
    assert locate_in(layers, after=spoiled(GOOD, 2)) == ("parameter", 2)


def test_of_two_bad_layers_the_first_in_the_order_of_the_pass_is_named():
    for part, first in (("forward", 1), ("backward", 4)):
        layers = mlp_layers(SIZES)
        for i in (1, 4):
            layers[i] = broken(layers[i], part)
        assert locate_in(layers)[1] == first


def test_a_cost_and_its_gradient_are_named():
    good = jp.squared_error
    assert locate_in(cost=jp.Cost(lambda a, y: good.value(a, y) / 0, good.gradient)) == ("cost", None)
    assert locate_in(cost=jp.Cost(good.value, lambda a, y: good.gradient(a, y) * jnp.nan)) == ("gradient", 5)


def test_what_is_not_of_the_layers_is_named_too():
    """In the order in which a step computes it, so each of these hides those that follow."""
    bad = spoiled(GOOD, 2)
    without_opt_state = GOOD._replace(opt_state=jax.tree.map(lambda leaf: leaf / 0, GOOD.opt_state))
    rest: dict[str, Any] = {"after": bad}
    assert locate_in(**rest) == ("parameter", 2)
    rest["after"] = bad._replace(opt_state=without_opt_state.opt_state)
    assert locate_in(**rest) == ("optimizer state", None)
    rest["grads"] = spoiled(spoiled(GOOD, 0), 2).params  # from the hand that trains, while the layers' own is good
    assert locate_in(**rest) == ("gradient", 2)
    rest["batch"] = (BATCH[0] * np.nan, BATCH[1])
    assert locate_in(**rest) == ("input", None)
    rest["before"] = bad
    assert locate_in(**rest) == ("parameter", 2)
