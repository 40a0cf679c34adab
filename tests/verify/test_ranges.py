"""Tokens and labels that a network does not have are named wherever data come in, and nobody else's are looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.gradients import made_for

COST = jp.softmax_cross_entropy
# 18 tokens, three to a row, and a class out of five for each row. The same again, with the table inside.
READER = jp.Network((jp.embedding(18, 2), jp.flatten(), jp.dense(5)), (3,))
NESTED = jp.Network((jp.chain(jp.positionwise(jp.embedding(18, 2)), jp.flatten()), jp.dense(5)), (1, 3))
PARAMS = READER.init(jax.random.key(0))
TOKENS, LABELS = np.arange(18).reshape(6, 3), np.array([0, 4, 3, 2, 1, 0])
GRADIENT = jax.jit(jp.backprop(READER, COST))


def bad(array, at, number):
    changed = array.copy()
    changed[at] = number
    return changed


BAD = {
    "tokens go from 0 to 17: the inputs have 18 in row 5, counted from 0": (bad(TOKENS, (5, 2), 18), LABELS),
    "tokens go from 0 to 17: the inputs have -1 in row 0": (bad(TOKENS, (0, 1), -1), LABELS),
    "labels go from 0 to 4: the targets have 5 in row 2": (TOKENS, bad(LABELS, 2, 5)),
    "labels go from 0 to 4: the targets have -1 in row 3": (TOKENS, bad(LABELS, 3, -1)),
}


def fitted(data, to_batch=None):
    optimizer = optax.sgd(0.1)
    step = jp.make_step(jp.autodiff(READER, COST), optimizer)
    epoch = jax.jit(jp.make_epoch(step) if to_batch is None else jp.make_epoch(step, to_batch))
    state = jp.init_state(PARAMS, optimizer)
    return jp.fit(epoch, state, data, key=jax.random.key(0), batch_size=2, epochs=1)


DOORS = {
    "fit": fitted,
    "compare": lambda batch: jp.compare(lambda *point: GRADIENT(*point), GRADIENT, PARAMS, batch),
    "check": lambda batch: jp.check(GRADIENT, GRADIENT, [jp.Probe("mine", PARAMS, batch)]),
    "checked": lambda batch: jp.checked(GRADIENT)(PARAMS, batch),
}


@pytest.mark.parametrize("complaint", BAD)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_out_of_range_is_named_at_the_door(door, complaint):
    with pytest.raises(jp.BadInput, match=complaint):
        DOORS[door](BAD[complaint])


def test_what_is_in_range_is_let_through():
    good = (TOKENS, LABELS)
    assert jp.compare(jax.jit(jp.autodiff(READER, COST)), GRADIENT, PARAMS, good)
    jp.checked(GRADIENT)(PARAMS, good)
    fitted(good)


@pytest.mark.parametrize("rule", [jp.loss, jp.autodiff, jp.backprop, jp.per_example])
def test_a_gradient_says_what_it_was_made_for_compiled_or_not(rule):
    function = rule(NESTED, COST)
    assert made_for(function) == made_for(jax.jit(function)) == (NESTED, COST)
    assert NESTED.layers[0].tokens == 18


def test_soft_targets_and_data_of_ones_own_kind_are_not_looked_at():
    soft = (TOKENS, np.eye(5, dtype=np.float32)[LABELS])
    jp.checked(GRADIENT)(PARAMS, soft)
    # One more than the tokens that there are, which `to_batch` takes off again.
    fitted((TOKENS + 1, LABELS), lambda tokens, labels: (tokens - 1, labels))
    # Numbers of a layer that does not say which it takes, and a gradient of which nothing is known.
    rounds = READER.layers[0]._replace(tokens=None)
    of_any = jax.jit(jp.backprop(jp.Network((rounds, *READER.layers[1:]), (3,)), COST))
    jp.checked(of_any)(PARAMS, (jnp.asarray(TOKENS) + 100, LABELS))
    jp.checked(lambda *point: GRADIENT(*point))(PARAMS, (TOKENS + 100, LABELS))
