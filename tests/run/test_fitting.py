"""One network, trained in calls of any size and from any step, is one network; and none is ever half a NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.verify.finite import all_finite
from jaxprop.networks import Activation

N, BATCH_SIZE, EPOCHS = 85, 4, 3
STEPS = 21  # in an epoch, and one example is left over
KEY = jax.random.key(1)
ADAM = optax.adam(0.01)
FIT = {"key": KEY, "batch_size": BATCH_SIZE, "epochs": EPOCHS}


def some_examples(n: int = N) -> jp.Examples:
    rng = np.random.default_rng(0)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


def trained(hand=jp.backprop, optimizer=ADAM, activation: Activation = "sigmoid"):
    """A compiled epoch, and the state before the first step."""
    network = jp.mlp((784, 6, 5, 10), activation)
    epoch = jax.jit(jp.make_epoch(jp.make_step(hand(network, jp.squared_error), optimizer)))
    return epoch, jp.init_state(network.init(jax.random.key(0)), optimizer)


@pytest.fixture(scope="module")
def adam():
    return trained()


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(
    ("setting", "sizes"),
    [
        ({}, [1, 8, 20, 1000]),
        ({"hand": jp.autodiff, "optimizer": optax.sgd(1.0)}, [1, 8]),
        ({"optimizer": optax.sgd(optax.cosine_decay_schedule(0.1, 63), 0.9), "activation": "relu"}, [1, 8]),
    ],
)
def test_calls_of_any_size_give_the_same_bits(setting, sizes):
    """Compilers promise that to one program alone, and calls of other sizes are others. Here they keep it as well."""
    epoch, start = trained(**setting)
    *_, (whole, _) = jp.fit(epoch, start, some_examples(), **FIT)
    for size in sizes:
        states, metrics = zip(*jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=size), strict=True)
        assert bits(states[-1]) == bits(whole), size
        assert len(np.concatenate([m.costs for m in metrics])) == EPOCHS * STEPS


def test_a_fit_goes_on_from_any_step_as_if_it_had_never_stopped(adam):
    epoch, start = adam
    states = [start, *(state for state, _ in jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=1))]
    assert len(states) == EPOCHS * STEPS + 1
    for begin in (0, 1, 21, 41, 62):
        *_, (end, metrics) = jp.fit(epoch, states[begin], some_examples(), **FIT, begin=begin)
        assert bits(end) == bits(states[-1]), begin
        assert (metrics.epoch, metrics.step) == (EPOCHS, EPOCHS * STEPS)


def test_a_fit_that_is_done_has_nothing_to_do(adam):
    epoch, start = adam
    assert not list(jp.fit(epoch, start, some_examples(), **FIT, begin=EPOCHS * STEPS))


def test_a_call_says_where_it_was_and_never_crosses_the_end_of_an_epoch(adam):
    epoch, start = adam
    metrics = [m for _, m in jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=8)]
    assert [m.step for m in metrics] == [8, 16, 21, 29, 37, 42, 50, 58, 63]
    assert [m.epoch for m in metrics] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [len(m.costs) for m in metrics] == 3 * [8, 8, 5]
    assert all(m.seconds > 0 for m in metrics)
    for i in range(EPOCHS):
        order = np.concatenate([m.order for m in metrics if m.epoch == i + 1])
        np.testing.assert_array_equal(order, jp.epoch_order(jax.random.fold_in(KEY, i + 1), N, BATCH_SIZE))


def test_whoever_goes_on_from_the_middle_falls_into_step(adam):
    """So that the calls after the first one are the same compiled programs as without a stop."""
    epoch, start = adam
    metrics = [m for _, m in jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=8, begin=26)]
    assert [m.step for m in metrics] == [29, 37, 42, 50, 58, 63]


def test_one_compilation_serves_every_epoch():
    traces = []

    def step(state, batch):
        traces.append(batch[0].shape)
        return state, jnp.zeros(())

    epoch = jax.jit(jp.make_epoch(step))
    state = jp.State(jnp.zeros(1), ())
    for _ in jp.fit(epoch, state, some_examples(10), key=jax.random.key(0), batch_size=3, epochs=4):
        pass
    assert traces == [(3, 784)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps_per_call": 0}, "steps_per_call is 0: expected a whole number above 0"),
        ({"steps_per_call": -1}, "steps_per_call is -1"),
        ({"begin": -1}, "begin is -1: expected 0 to 63, the steps of 3 epochs"),
        ({"begin": 64}, "begin is 64"),
        ({"batch_size": 0}, "batch_size is 0: expected a whole number, 1 to 85"),
        ({"batch_size": 86}, "batch_size is 86"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(adam, change, complaint):
    epoch, start = adam
    with pytest.raises(jp.BadInput, match=complaint):
        next(jp.fit(epoch, start, some_examples(), **{**FIT, **change}))


@pytest.mark.parametrize(
    ("what", "number", "steps_per_call"),
    [
        ("cost", np.nan, 1),
        ("cost", -np.inf, None),
        ("parameter", np.inf, 8),
        ("parameter", np.nan, None),
        ("optimizer state", np.nan, 1),
        ("optimizer state", np.inf, 8),
    ],
)
def test_a_number_that_is_not_finite_never_survives_a_call(what, number, steps_per_call):
    """Planted in step 31, the tenth of the second epoch."""

    def step(state, batch):
        count, total = state.opt_state
        bad = {what: jnp.where(count == 30, number, 0.0)}
        opt_state = (count + 1, total + bad.get("optimizer state", 0))
        return jp.State(state.params + 1 + bad.get("parameter", 0), opt_state), bad.get("cost", jnp.zeros(()))

    epoch = jax.jit(jp.make_epoch(step))
    start = jp.State(jnp.zeros(2), (jnp.zeros((), jnp.int32), jnp.zeros(())))
    with pytest.raises(
        jp.NonFinite, match=r"training met a NaN or an infinity in steps .*: lower learning_rate"
    ) as bad:
        list(jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=steps_per_call))
    begin, end = {1: (30, 31), 8: (29, 37), None: (21, 42)}[steps_per_call]
    assert (bad.value.before.params[0], bad.value.metrics.step) == (begin, end)
    assert all_finite(bad.value.before)
    assert not all_finite((bad.value.after, bad.value.metrics.costs))
