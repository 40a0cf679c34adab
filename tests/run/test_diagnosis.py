"""Where a NaN came from: the step, the examples, the layer and the quantity are those in which it was planted."""

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.run.diagnosis import HISTORY, Diagnosis, _advise, diagnose, follow, locate

SIZES, N, BATCH_SIZE = (784, 6, 5, 10), 40, 10
STEPS = N // BATCH_SIZE  # in an epoch
KEY = jax.random.key(1)
rng = np.random.default_rng(0)
EXAMPLES = jp.Examples(rng.integers(0, 256, (N, 28, 28), np.uint8), rng.integers(0, 10, N).astype(np.int32))


def some_training(optimizer, activation: Activation = "sigmoid") -> tuple[jp.State, Any]:
    """The state before the first step, and the arguments of `diagnose` from the third on."""
    network = jp.mlp(SIZES, activation)
    value_and_grad = jp.backprop(network, jp.squared_error)
    epoch = jax.jit(jp.make_epoch(jp.make_step(value_and_grad, optimizer), jp.as_batch))
    fitting = partial(jp.fit, epoch, data=EXAMPLES, key=KEY, batch_size=BATCH_SIZE, epochs=50)
    start = jp.init_state(network.init(jax.random.key(0)), optimizer)
    return start, (fitting, value_and_grad, network, jp.squared_error, EXAMPLES, jp.as_batch)


def train(optimizer, activation: Activation = "sigmoid", steps_per_call=None) -> tuple[jp.State, Diagnosis, dict]:
    """Trains until a NaN, and returns the state that is kept, the diagnosis, and the states up to there by step."""
    state, (fitting, *rest) = some_training(optimizer, activation)
    trail, states = follow(None, 0, state), {0: state}
    try:
        for after, metrics in fitting(state, steps_per_call=steps_per_call):
            trail, states[metrics.step] = follow(trail, metrics.step, after), after
    except jp.NonFinite as failure:
        return *diagnose(failure, trail, fitting, *rest), states
    pytest.fail("training met no NaN")


def order_of(step: int) -> list[int]:
    """The examples of a step, counted from 1."""
    epoch, i = divmod(step - 1, STEPS)
    return jp.epoch_order(jax.random.fold_in(KEY, epoch + 1), N, BATCH_SIZE)[i].tolist()


def poison(step: int, params=lambda path: 0.0, velocity=0.0) -> optax.GradientTransformation:
    """SGD that goes well but for this step, where `params(path)` is added to each parameter."""

    def init(params):
        return jnp.zeros((), jnp.int32), jnp.zeros(())

    def update(grads, state, _):
        count, total = state

        def leaf(path, g):
            return -0.1 * g + jnp.where(count == step - 1, params(jax.tree_util.keystr(path)), 0.0)

        updates = jax.tree_util.tree_map_with_path(leaf, grads)
        return updates, (count + 1, total + jnp.where(count == step - 1, velocity, 0.0))

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def steps_done(state: jp.State) -> int:
    """As `poison` counts them."""
    return int(jnp.asarray(jax.tree.leaves(state.opt_state)[0]))


@pytest.mark.parametrize(("step", "steps_per_call"), [(1, None), (4, 3), (5, None), (200, 1)])
def test_the_step_and_its_examples_are_found_and_the_state_that_is_kept_precedes_it(step, steps_per_call):
    optimizer = poison(step, params=lambda path: jnp.inf if path == "[2].W" else 0.0)
    kept, found, states = train(optimizer, steps_per_call=steps_per_call)
    assert (found.step, found.epoch) == (step, (step - 1) // STEPS + 1)
    assert found.examples == order_of(step)
    assert (found.quantity, found.layer, found.layer_name) == ("parameter", 2, "dense(5)")
    assert steps_done(kept) == step - 1
    if step - 1 in states:
        jax.tree.map(np.testing.assert_array_equal, kept, states[step - 1])


def test_parameters_that_grow_too_large_in_one_step_spoil_the_next_one():
    """Finite still, 1e38 times a few grey pixels is not."""
    kept, found, _ = train(poison(6, params=lambda path: 1e38 if path == "[0].W" else 0.0), "relu")
    assert (found.step, found.quantity, found.layer, found.layer_name) == (7, "activation", 0, "dense(6, gain=1.414)")
    assert np.isfinite(kept.params[0].W).all()
    assert found.gradient_norms[-1] is None


def test_the_advice_fits_what_was_found():
    (advice,) = _advise("input", np.inf, [0.5, None])
    assert advice == "an input is a NaN or an infinity: mend the examples"
    first, second = _advise("activation", 255.0, [0.5, 2.0, None])
    assert first == "inputs reach 255: scale them to about 1"
    assert second == "the learning rate is most likely too large, so try a tenth of it"
    (advice,) = _advise("parameter", 100.0, [0.5, 2.0, 20.0, None])
    assert advice.endswith("so try a tenth of it: the norm of the gradient grew from 0.5 to 20")
    assert _advise("cost", 1.0, [None])


# The norms of the gradient


def norms_one_by_one(optimizer, steps: int) -> list[float]:
    """Of each step from the first on, one after another, with nothing of the library's training."""
    network = jp.mlp(SIZES)
    params, found = network.init(jax.random.key(0)), []
    state = optimizer.init(params)
    value_and_grad = jax.jit(jp.backprop(network, jp.squared_error))
    for step in range(1, steps + 1):
        rows = order_of(step)
        _, grads = value_and_grad(params, jp.as_batch(EXAMPLES.images[rows], EXAMPLES.labels[rows]))
        found.append(float(np.linalg.norm(np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)]))))
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return found


@pytest.mark.parametrize(("step", "steps_per_call"), [(3, None), (101, 3), (199, 1)])
def test_the_norms_are_those_of_the_last_hundred_steps(step, steps_per_call):
    """Within 1e-4: float32 rounding of 1e-7, in two programs that sum in another order, over 200 steps."""
    optimizer = poison(step, velocity=jnp.nan)
    _, found, _ = train(optimizer, steps_per_call=steps_per_call)
    assert len(found.gradient_norms) == min(step, HISTORY)
    np.testing.assert_allclose(
        np.array(found.gradient_norms, float), norms_one_by_one(optimizer, step)[-HISTORY:], rtol=1e-4
    )


def test_a_trail_keeps_no_more_than_two_states_and_the_older_is_old_enough():
    start = jp.State((), ())
    trail = follow(None, 7, start)
    assert trail.older == trail.newer == (7, start)
    for step in range(8, 1000, 9):
        trail = follow(trail, step, start)
        assert trail.older[0] == 7 or step - trail.older[0] >= HISTORY
        assert step - trail.older[0] < 2 * (HISTORY + 9)


# What else can happen


def test_answers_that_are_not_finite_after_good_steps_are_found_too():
    """The caller says so, as `fit` does not look at them."""
    start, (fitting, *rest) = some_training(poison(8, params=lambda path: 3e38 if path == "[0].W" else 0.0), "relu")
    fit = fitting(start)
    (first, _), (second, metrics) = next(fit), next(fit)
    kept, found = diagnose(jp.NonFinite(first, metrics, second), follow(None, 0, start), fitting, *rest)
    assert (found.step, found.epoch, found.quantity, found.layer) == (8, 2, "activation", 0)
    assert steps_done(kept) == 7


def test_a_nan_that_does_not_come_again_is_not_explained_away():
    start, (fitting, *rest) = some_training(optax.sgd(0.1))
    state, metrics = next(fitting(start))
    failure = jp.NonFinite(start, metrics._replace(costs=metrics.costs * np.nan), state)
    _, found = diagnose(failure, follow(None, 0, start), fitting, *rest)
    assert found.quantity == "none: step by step, every number stayed finite"
    assert (found.step, found.layer, found.layer_name) == (STEPS, None, None)
    assert found.advice[0].startswith("the same steps went well when they were done again")


def test_json_can_hold_it():
    _, found, _ = train(optax.sgd(1e30), "relu")
    written = json.loads(json.dumps(found._asdict(), allow_nan=False))
    assert written.keys() == set(found._fields)
    assert written["gradient_norms"][-1] is None
    assert written["examples"] == found.examples


# In which layer of a step

LAYERS = jp.mlp(SIZES).layers
BATCH = jp.as_batch(EXAMPLES.images[:3], EXAMPLES.labels[:3])
GOOD = jp.init_state(jp.mlp(SIZES).init(jax.random.key(0)), optax.adam(0.1))


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


def locate_in(layers=LAYERS, cost=jp.squared_error, batch=BATCH, before=GOOD, grads=GOOD.params, after=GOOD):
    """What is found in a step that is good but for this. Any finite numbers will do for its gradients."""
    return locate(jp.Network(tuple(layers), SIZES[:1]), cost, batch, before, grads, after)


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
    layers = list(LAYERS)
    layers[i] = broken(layers[i], part)
    assert locate_in(layers) == (quantity, i)


def test_what_the_first_layer_passes_back_to_nobody_is_not_blamed():
    layers = list(LAYERS)
    layers[0] = broken(layers[0], "backward")
    assert locate_in(layers, after=spoiled(GOOD, 2)) == ("parameter", 2)


def test_of_two_bad_layers_the_first_in_the_order_of_the_pass_is_named():
    for part, first in (("forward", 1), ("backward", 4)):
        layers = list(LAYERS)
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
    rest["grads"] = spoiled(spoiled(spoiled(GOOD, 0), 2), 4).params  # from the rule that trains; the layers' is good
    assert locate_in(**rest) == ("gradient", 4)
    rest["batch"] = (BATCH[0] * np.nan, BATCH[1])
    assert locate_in(**rest) == ("input", None)
    rest["before"] = bad
    assert locate_in(**rest) == ("parameter", 2)


def test_a_layer_of_ones_own_is_named_in_any_network():
    """Inputs that are pictures, integer targets, and a layer whose slope is infinite at 0."""

    def root() -> jp.Layer:
        return jp.elementwise("root", jnp.sqrt, lambda z, a: 0.5 / a)

    network = jp.Network((jp.flatten(), jp.identity(), root(), jp.identity()), (2, 2))
    cost = jp.Cost(lambda a, label: -a[label], lambda a, label: -jax.nn.one_hot(label, 4), takes_labels=True)
    nothing = jp.State(((),) * 4, ())
    for numbers, found in (([0, 1, 1, 1], ("gradient", 2)), ([-1, 1, 1, 1], ("activation", 2))):
        batch = (jnp.array(numbers, jnp.float32).reshape(1, 2, 2), jnp.array([0]))
        assert locate(network, cost, batch, nothing, nothing.params, nothing) == found


def test_a_layer_may_keep_for_its_backward_pass_what_is_no_array():
    flat = jp.Layer(
        "flat",
        lambda key, shape: ((), (6,)),
        lambda params, x: (x.reshape(-1), x.shape),
        lambda params, shape, dy: ((), dy.reshape(shape)),
    )
    network = jp.Network((flat, jp.dense(2)), (2, 3))
    data = np.ones((4, 2, 3), np.float32), np.ones((4, 2), np.float32)
    gradient, optimizer = jp.backprop(network, jp.squared_error), optax.sgd(1e30)
    epoch = jax.jit(jp.make_epoch(jp.make_step(gradient, optimizer)))
    fitting = partial(jp.fit, epoch, data=data, key=KEY, batch_size=4, epochs=9)
    start = jp.init_state(network.init(jax.random.key(0)), optimizer)
    with pytest.raises(jp.NonFinite) as failure:
        list(fitting(start))
    _, found = diagnose(failure.value, follow(None, 0, start), fitting, gradient, network, jp.squared_error, data)
    assert (found.step, found.layer, found.layer_name) == (2, None, None)
    assert found.quantity == "cost", "the outputs are finite, and their squares are not"
