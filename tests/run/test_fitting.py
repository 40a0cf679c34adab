"""One network, trained in calls of any size and from any step, is one network; and none is ever half a NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify.finite import all_finite

N, BATCH_SIZE, EPOCHS = 85, 4, 3
STEPS = 21  # in an epoch, and one example is left over
KEY = jax.random.key(1)
ADAM = optax.adam(0.01)
FIT = {"key": KEY, "batch_size": BATCH_SIZE, "epochs": EPOCHS}


def some_examples(n: int = N) -> jp.Examples:
    rng = np.random.default_rng(0)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


def trained(rule=jp.backprop, optimizer=ADAM, activation: Activation = "sigmoid"):
    """A compiled epoch, and the state before the first step."""
    network = jp.mlp((784, 6, 5, 10), activation)
    epoch = jax.jit(jp.make_epoch(jp.make_step(rule(network, jp.squared_error), optimizer), jp.as_batch))
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
        ({"rule": jp.autodiff, "optimizer": optax.sgd(1.0)}, [1, 8]),
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

    epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
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
        ({"batch_size": 4.0}, "batch_size is 4.0: expected a whole number"),
        ({"epochs": -1}, "epochs is -1: expected a whole number of at least 0"),
        ({"epochs": True}, "epochs is True: expected a whole number"),
        ({"begin": None}, "begin is None: expected a whole number"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(adam, change, complaint):
    epoch, start = adam
    with pytest.raises(jp.BadInput, match=complaint):
        next(jp.fit(epoch, start, some_examples(), **{**FIT, **change}))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (some_examples(10)._replace(labels=np.arange(3, 13)), "labels lie in 3..12: expected 0..9"),
        (some_examples(10)._replace(images=np.zeros((10, 28, 28))), "images are float64: expected uint8"),
        ((np.ones((10, 2)), np.ones((9, 2))), r"the data have .*data\[0\].*10.*9.* rows: expected as many in each"),
        ((np.ones((10, 2)), np.array([1.0] * 9 + [np.nan])), r"data\[1\] holds a NaN or an infinity"),
        ((np.ones((10, 2)), jnp.full(10, jnp.inf, jnp.bfloat16)), r"data\[1\] holds a NaN or an infinity"),
        ((np.ones((0, 2)), np.ones((0, 1))), r"data\[0\] has shape \(0, 2\): expected a leading axis of N > 0"),
        ((np.ones((10, 2)), np.float32(1)), r"data\[1\] is a float32: expected an array"),
        ((np.ones((10, 2)), np.array(1.0)), r"data\[1\] has shape \(\)"),
        ((np.ones((10, 2)), [1.0] * 10), r"data\[1\]\[0\] is a float: expected an array"),
        ((), "data is a tuple: expected a tuple of arrays"),
        (None, "data is a NoneType: expected a tuple of arrays"),
        (np.ones((10, 2)), "data is a ndarray: expected a tuple of arrays"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_before_the_first_step(data, complaint):
    def epoch(*args):
        pytest.fail("a step was taken")

    with pytest.raises(jp.BadInput, match=complaint):
        next(jp.fit(epoch, jp.State((), ()), data, key=KEY, batch_size=2, epochs=1))


@pytest.mark.parametrize(
    ("epoch", "given"),
    [
        (lambda state, data, rows: state, "a pair of tuple and tuple"),  # a State, which is a pair
        (lambda state, data, rows: (state, jnp.zeros(3)), "a pair of State and ArrayImpl"),
        (lambda state, data, rows: None, "a NoneType"),
        (lambda state, data, rows: (state, jnp.zeros(3), jnp.array(True)), "a tuple"),
    ],
)
def test_an_epoch_that_returns_no_outcome_is_told_what_to_return(epoch, given):
    fitting = jp.fit(epoch, jp.State((), ()), (np.ones((6, 2)), np.ones(6)), key=KEY, batch_size=2, epochs=1)
    with pytest.raises(
        jp.BadInput, match=rf"epoch returned {given}: expected \(state, jaxprop\.Outcome\(costs, finite\)"
    ):
        next(fitting)


def test_data_of_ones_own_are_as_many_arrays_as_the_batch_is_made_of():
    """Three of them, of other shapes and types; labels of one's own are not held against ten digits."""
    seen = []

    def epoch(state, data, rows):
        seen.append([x[rows[0, 0]] for x in data])
        return state, jp.Outcome(jnp.zeros(len(rows)), jnp.array(True))

    data = (np.arange(6.0), np.arange(12).reshape(6, 2), np.arange(95, 101))
    ((_, metrics),) = jp.fit(epoch, jp.State((), ()), data, key=KEY, batch_size=6, epochs=1)
    first = metrics.order[0, 0]
    np.testing.assert_array_equal(seen[0][0], data[0][first])
    np.testing.assert_array_equal(seen[0][1], data[1][first])
    assert seen[0][2] == 95 + first


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

    epoch = jax.jit(jp.make_epoch(step, jp.as_batch))
    start = jp.State(jnp.zeros(2), (jnp.zeros((), jnp.int32), jnp.zeros(())))
    with pytest.raises(
        jp.NonFinite, match=r"training met a NaN or an infinity in steps .*: lower learning_rate"
    ) as bad:
        list(jp.fit(epoch, start, some_examples(), **FIT, steps_per_call=steps_per_call))
    begin, end = {1: (30, 31), 8: (29, 37), None: (21, 42)}[steps_per_call]
    assert (bad.value.before.params[0], bad.value.metrics.step) == (begin, end)
    assert all_finite(bad.value.before)
    assert not all_finite((bad.value.after, bad.value.metrics.costs))


# The order of the examples


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), data=st.data())
def test_an_order_visits_every_example_at_most_once_and_leaves_out_less_than_a_batch(n, data):
    batch_size = data.draw(st.integers(1, n))
    order = jp.epoch_order(jax.random.key(n), n, batch_size)
    assert order.shape == (jp.steps_per_epoch(n, batch_size), batch_size) == (n // batch_size, batch_size)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < n


def test_the_remainder_that_is_left_out_is_another_one_each_epoch():
    left_out = [set(range(10)) - set(jp.epoch_order(jax.random.key(i), 10, 4).flat) for i in range(20)]
    assert all(len(rest) == 2 for rest in left_out)
    assert set().union(*left_out) == set(range(10))


@pytest.mark.parametrize("batch_size", [0, -1, 11, 2.5, True])
def test_a_batch_that_is_empty_or_not_whole_or_larger_than_the_training_set_is_refused(batch_size):
    with pytest.raises(jp.BadInput, match=f"batch_size is {batch_size}: expected a whole number, 1 to 10"):
        jp.epoch_order(jax.random.key(0), 10, batch_size)
