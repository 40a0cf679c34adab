"""The judges: each accepts the right gradient of a small network, and objects to a wrong one."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.data.datasets import load_dataset
from proof import judges
from proof.cases import make_case
from proof.judges import as_custom_vjp, objects, remembering
from proof.mutants import in_cost, in_dense

CASE = make_case("4-3 sigmoid")
RIGHT = jp.backprop(CASE.network, jp.squared_error)
HALF = in_cost(lambda a, y: a - y)(CASE.network, jp.squared_error)
UPHILL = in_cost(lambda a, y: 2 * (y - a))
BIAS_TWICE = in_dense(db=lambda p, a, dz: 2 * dz)(CASE.network, jp.squared_error)


def test_check_names_the_leaves_that_are_wrong_and_no_others():
    assert judges.failing_leaves(CASE, RIGHT) == set()
    assert judges.failing_leaves(CASE, BIAS_TWICE) == {"[0].b"}
    assert judges.failing_leaves(CASE, HALF) == {"[0].b", "[0].W"}


def test_the_judges_by_differences_are_asked_at_seven_points_in_both_types():
    found = judges.objections(CASE, RIGHT)
    names = ("check_grads, float64", "check_grads, float32", "chex, float64", "chex, float32")
    assert found.keys() == {(name, f"4-3 sigmoid, {probe}") for name in names for probe in judges.POINTS}
    assert not any(found.values())
    wrong = judges.objections(CASE, UPHILL(CASE.network, jp.squared_error))
    for name in names:
        assert any(wrong[name, f"4-3 sigmoid, {probe}"] for probe in judges.POINTS)


def test_each_judge_is_asked_in_the_type_that_it_is_named_after(monkeypatch):
    asked = []
    judge = lambda f, args: asked.append({str(x.dtype) for x in (*args, f(*args))})  # noqa: E731
    monkeypatch.setattr(judges, "difference_judges", lambda: {"judge": judge})
    found = judges.objections(CASE, RIGHT)
    names = [name for name, _ in found]
    assert [f"judge, {dtype}" for (dtype,) in asked] == names
    assert set(names) == {"judge, float64", "judge, float32"}


def test_a_gradient_is_wrapped_so_that_jax_takes_it_for_the_derivative():
    _, params, batch, *_ = CASE.probes[1]
    f, leaves = as_custom_vjp(CASE.loss, BIAS_TWICE, params, batch)
    right = jax.tree.leaves(RIGHT(params, batch)[1])
    W, b = jax.grad(lambda *leaves: 3 * f(*leaves), argnums=(0, 1))(*map(jnp.asarray, leaves))
    assert f(*leaves) == CASE.loss(params, batch)
    np.testing.assert_allclose(W, 3 * right[0], rtol=1e-6)
    np.testing.assert_allclose(b, 6 * right[1], rtol=1e-6)


def test_a_judge_objects_by_an_assertion_and_anything_else_is_no_verdict():
    def raising(error):
        def judge(f, args):
            raise error

        return judge

    assert not objects(lambda f, args: None, RIGHT, ())
    assert objects(raising(AssertionError("they differ")), RIGHT, ())
    with pytest.raises(ZeroDivisionError):
        objects(raising(ZeroDivisionError()), RIGHT, ())


def test_chex_is_asked_for_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "chex", None)
    with pytest.raises(jp.BadInput, match="chex is one of the judges and is not installed: `uv sync` installs it"):
        judges.difference_judges()


def test_a_gradient_is_evaluated_once_at_each_point():
    asked = []

    def value_and_grad(params, batch):
        asked.append((params, batch))
        return jnp.zeros(()), len(asked)

    remembered = remembering(value_and_grad)
    x, y = np.ones(2), np.zeros(2)
    points = [(x, (y, y)), (y, (x, y)), (x.astype(np.float32), (y, y)), (x, (y[None], y))]
    assert [remembered(*point)[1] for point in points + points] == [1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_the_right_gradient_learns_to_classify_and_uphill_it_does_not(activation):
    digits = load_dataset("digits")
    assert judges.accuracy_after(1500, digits, activation, jp.backprop, seed=0) > 0.95
    assert judges.accuracy_after(100, digits, activation, UPHILL, seed=0) < 0.3
