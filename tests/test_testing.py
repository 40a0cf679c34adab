"""The assertion for other people's tests: when it fails, what it says, and that it brings nothing along."""

import subprocess
import sys
import unittest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.testing import assert_gradients_agree

PARAMS = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.array(0.1)}
BATCH = jax.random.normal(jax.random.key(0), (5, 3)), jnp.ones(5)


def loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def by_hand(params, batch, factor=2):
    x, y = batch
    error = x @ params["w"] + params["b"] - y
    return jnp.mean(error**2), {"w": factor * x.T @ error / len(x), "b": 2 * jnp.mean(error)}


def forgets_the_2(params, batch):
    return by_hand(params, batch, factor=1)


def custom_vjp(slope):
    """The sum of x^3, whose rule takes this for its slope."""

    @jax.custom_vjp
    def cube(x):
        return jnp.sum(x**3)

    cube.defvjp(lambda x: (cube(x), x), lambda x, dy: (dy * slope(x),))
    return lambda params, batch: cube(params["w"]) * batch


def custom_jvp(slope):
    @jax.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda x, dx: (cube(*x), slope(*x) * dx[0]))
    return lambda params, batch: jnp.sum(cube(params["w"]) * batch)


@pytest.mark.parametrize("reference", [jax.value_and_grad(loss), loss], ids=["autodiff", "a loss"])
def test_a_right_gradient_passes_and_a_wrong_one_says_where_to_look(reference):
    assert_gradients_agree(reference, by_hand, PARAMS, BATCH)
    with pytest.raises(
        AssertionError, match=r"do not agree: look at \['w'\] first, which differs by 0.5 of its"
    ) as caught:
        assert_gradients_agree(reference, forgets_the_2, PARAMS, BATCH)
    message = str(caught.value)
    assert "They do NOT agree · " in message
    assert "['b']" in message, "the table has all leaves"


@pytest.mark.parametrize("rule", [custom_vjp, custom_jvp])
def test_a_rule_of_ones_own_is_tested_by_the_loss_it_is_in(rule):
    right, wrong = rule(lambda x: 3 * x**2), rule(lambda x: 2 * x**2)
    params = {"w": jnp.array([0.5, -1.0])}
    assert_gradients_agree(right, right, params, 2.0)
    with pytest.raises(AssertionError, match=r"look at \['w'\] first"):
        assert_gradients_agree(wrong, wrong, params, 2.0)
    # Autodiff alone is its own judge.
    assert_gradients_agree(jax.value_and_grad(wrong), jax.value_and_grad(wrong), params, 2.0)


def test_the_types_are_those_that_are_given_and_a_tolerance_is_taken():
    def slightly_off(params, batch):
        value, grads = by_hand(params, batch)
        return value, jax.tree.map(lambda leaf: leaf * (1 + 1e-3), grads)

    assert_gradients_agree(jax.value_and_grad(loss), slightly_off, PARAMS, BATCH, tolerance=1e-2)
    with pytest.raises(AssertionError, match="float32"):
        assert_gradients_agree(jax.value_and_grad(loss), slightly_off, PARAMS, BATCH)
    assert jnp.ones(1).dtype == "float32", "differences take float64, and put the switch back"


def test_the_comparison_comes_back_and_what_was_not_judged_is_a_warning():
    def with_a_kink(params, batch):
        return loss(params, batch) + jnp.abs(params["b"])

    at_the_kink = PARAMS | {"b": jnp.array(0.0)}
    with pytest.warns(UserWarning, match=r"agree, but for this: kink here, not judged: 1 of 4 coordinates: \['b'\]"):
        found = assert_gradients_agree(with_a_kink, with_a_kink, at_the_kink, BATCH)
    assert found.agree
    assert found.notes
    assert not assert_gradients_agree(loss, by_hand, PARAMS, BATCH).notes  # a warning would be an error here


def test_in_unittest_it_is_a_failure_and_no_error():
    class Mine(unittest.TestCase):
        def test_right(self):
            assert_gradients_agree(loss, by_hand, PARAMS, BATCH)

        def test_wrong(self):
            assert_gradients_agree(jax.value_and_grad(loss), forgets_the_2, PARAMS, BATCH)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Mine).run(result)
    assert (result.testsRun, len(result.failures), len(result.errors)) == (2, 1, 0)
    assert "look at ['w'] first" in result.failures[0][1]


def test_what_raises_is_bad_input_with_its_cause():
    def raises(params, batch):
        raise ZeroDivisionError("the cat sat on it")

    for functions in ((raises, by_hand), (loss, raises)):
        with pytest.raises(jp.BadInput, match="raised ZeroDivisionError, which says: the cat") as caught:
            assert_gradients_agree(*functions, PARAMS, BATCH)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_comparison_with_numbers_of_numpy_is_taken_too():
    assert_gradients_agree(loss, by_hand, jax.tree.map(np.asarray, PARAMS), jax.tree.map(np.asarray, BATCH))


def test_importing_it_imports_no_plots_and_no_data():
    program = """
import sys, jaxprop.testing
print([name for name in ("matplotlib", "sklearn", "tensorflow_datasets", "PIL", "requests") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
