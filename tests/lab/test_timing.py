"""Times: of the call that was made, taken by turns, without compilation."""

import time

import jax.numpy as jnp
import numpy as np

from lab.timing import compile_apart, interleave


def test_a_compiled_function_computes_the_same():
    double, seconds = compile_apart(lambda x: 2 * x, jnp.arange(3))
    np.testing.assert_array_equal(double(jnp.arange(3)), [0, 2, 4])
    assert seconds > 0


def test_calls_take_turns_and_the_first_round_is_not_counted():
    calls = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=3)
    assert calls == list("ab") * 4
    assert all(times.shape == (3,) for times in seconds.values())


def test_the_time_is_that_of_the_call():
    seconds = interleave({"sleep": lambda: time.sleep(0.02)}, repeats=2)
    assert (seconds["sleep"] >= 0.02).all()  # a sleep is never shorter than asked for
