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
from jaxprop.run.diagnosis import HISTORY, Diagnosis, _advise, diagnose, follow
from jaxprop.networks import Activation, mlp_layers

SIZES, N, BATCH_SIZE = (784, 6, 5, 10), 40, 10
STEPS = N // BATCH_SIZE  # in an epoch
KEY = jax.random.key(1)
rng = np.random.default_rng(0)
EXAMPLES = jp.Examples(rng.integers(0, 256, (N, 28, 28), np.uint8), rng.integers(0, 10, N).astype(np.int32))


def some_training(optimizer, activation: Activation = "sigmoid") -> tuple[jp.State, Any]:
    """The state before the first step, and the arguments of `diagnose` from the third on."""
    network = jp.mlp(SIZES, activation)
    value_and_grad = jp.backprop(network, jp.squared_error)
    epoch = jax.jit(jp.make_epoch(jp.make_step(value_and_grad, optimizer)))
    fitting = partial(jp.fit, epoch, examples=EXAMPLES, key=KEY, batch_size=BATCH_SIZE, epochs=50)
    start = jp.init_state(network.init(jax.random.key(0)), optimizer)
    return start, (fitting, value_and_grad, mlp_layers(SIZES, activation), jp.squared_error, EXAMPLES)


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
    assert (found.quantity, found.layer) == ("parameter", 2)
    assert steps_done(kept) == step - 1
    if step - 1 in states:
        jax.tree.map(np.testing.assert_array_equal, kept, states[step - 1])


def test_parameters_that_grow_too_large_in_one_step_spoil_the_next_one():
    """Finite still, 1e38 times a few grey pixels is not."""
    kept, found, _ = train(poison(6, params=lambda path: 1e38 if path == "[0].W" else 0.0), "relu")
    assert (found.step, found.quantity, found.layer) == (7, "activation", 0)
    assert np.isfinite(kept.params[0].W).all()
    assert found.gradient_norms[-1] is None


def test_the_advice_fits_what_was_found():
    (advice,) = _advise("input", np.inf, [0.5, None])
    assert advice == "an input is a NaN or an infinity: mend the examples"
    first, second = _advise("activation", 255.0, [0.5, 2.0, None])
    assert first == "inputs reach 255: scale them to about 1"
    assert second == "the learning rate is most likely too large, so try a tenth of it"
    (advice,) = _advise("parameter", 1.0, [0.5, 2.0, 20.0, None])
    assert advice.endswith("so try a tenth of it: the norm of the gradient grew from 0.5 to 20")
    assert _advise("cost", 1.0, [None])


# The norms of the gradient


def norms_by_hand(optimizer, steps: int) -> list[float]:
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
        np.array(found.gradient_norms, float), norms_by_hand(optimizer, step)[-HISTORY:], rtol=1e-4
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
    assert (found.step, found.layer) == (STEPS, None)
    assert found.advice[0].startswith("the same steps went well when they were done again")


def test_json_can_hold_it():
    _, found, _ = train(optax.sgd(1e30), "relu")
    written = json.loads(json.dumps(found._asdict(), allow_nan=False))
    assert written.keys() == set(found._fields)
    assert written["gradient_norms"][-1] is None
    assert written["examples"] == found.examples
