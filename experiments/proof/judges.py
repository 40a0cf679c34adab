"""The judges of a gradient: `jaxprop.check`, `jax.test_util.check_grads`, chex, and "it still trains"."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.test_util import check_grads

import jaxprop as jp
from jaxprop.gradients import Batch, Loss, ValueAndGrad
from jaxprop.layers import Params
from jaxprop.networks import Activation
from jaxprop.verify.checking import Rule, check
from lab.running_example import SIZES, snapshots
from proof.cases import Case

# Learning rates at which the right gradient trains, from any of ten seeds.
RATES: dict[Activation, float] = {"sigmoid": 2.0, "relu": 0.2, "tanh": 0.2}

# Where derivatives are held against finite differences, which take long at each point: ordinary points, exact kinks,
# saturation and small activations.
POINTS = ("batch of 1", "batch of 7", "batch of 131", "zeros, batch of 1", "zeros", "saturated", "small")

Objections = dict[tuple[str, str], bool]  # by judge and point


def remembering(value_and_grad: ValueAndGrad) -> ValueAndGrad:
    """The same function, which is evaluated once at one point, however many judges ask.

    Not compiled: for networks so small, operations that all mutants share cost less than a program for each of them.
    """
    known = {}

    def remembered(params: Params, batch: Batch) -> tuple[Any, Any]:
        arrays = map(np.asarray, jax.tree.leaves((params, batch)))
        point = tuple((x.shape, x.dtype, x.tobytes()) for x in arrays)
        if point not in known:
            known[point] = value_and_grad(params, batch)
        return known[point]

    return remembered


def failing_leaves(case: Case, value_and_grad: ValueAndGrad) -> set[str]:
    """What `jaxprop.check` calls wrong."""
    return set(check(case.by_jax, value_and_grad, case.probes).failing_leaves)


def difference_judges() -> dict[str, Callable]:
    """The judges that hold a function's derivative against finite differences: `judge(f, args)` raises if it objects.

    Raises `BadInput` if chex is not there.
    """
    try:
        import chex
    except ImportError as error:
        raise jp.BadInput("chex is one of the judges and is not installed: `uv sync` installs it") from error
    return {
        "check_grads": lambda f, args: check_grads(f, args, order=1, modes=("rev",)),
        "chex": lambda f, args: chex.assert_numerical_grads(f, args, order=1, modes=("rev",)),
    }


def objections(case: Case, value_and_grad: ValueAndGrad) -> Objections:
    """Whether each of these judges, in float64 and in float32, objects to the gradient at each of `POINTS`."""
    found = {}
    for dtype in (np.float64, np.float32):
        with jax.enable_x64(dtype == np.float64):
            for probe in case.probes:
                if probe.name not in POINTS:
                    continue
                params, batch = jax.tree.map(dtype, (probe.params, probe.batch))
                f, leaves = as_custom_vjp(case.loss, value_and_grad, params, batch)
                for name, judge in difference_judges().items():
                    found[f"{name}, {np.dtype(dtype)}", f"{case.name}, {probe.name}"] = objects(judge, f, leaves)
    return found


def objects(judge: Callable, f: Callable, args: Any) -> bool:
    try:
        judge(f, args)
    except AssertionError:
        return True
    return False


def as_custom_vjp(
    loss: Loss, value_and_grad: ValueAndGrad, params: Params, batch: Batch
) -> tuple[Callable, tuple[Any, ...]]:
    """The cost as a function of the parameters' leaves, with the given gradient as its derivative; and the leaves."""
    leaves, tree = jax.tree.flatten(params)

    @jax.custom_vjp
    def f(*leaves: Any) -> Any:
        return loss(tree.unflatten(leaves), batch)

    def forward(*leaves: Any) -> tuple[Any, Any]:
        return value_and_grad(tree.unflatten(leaves), batch)

    def backward(grads: Any, dy: Any) -> tuple[Any, ...]:
        return tuple(dy * g for g in jax.tree.leaves(grads))

    f.defvjp(forward, backward)
    return f, tuple(leaves)


def accuracy_after(steps: int, dataset: jp.Dataset, activation: Activation, rule: Rule, seed: int) -> float:
    """The fraction of test digits that the lesson's network classifies correctly after so many steps of SGD.

    rule: makes the gradient that it goes down. In float32, as people train.
    """
    network = jp.mlp(SIZES, activation)
    with jax.enable_x64(False):
        init_key, order_key = jax.random.split(jax.random.key(seed))
        (params,) = snapshots(
            network,
            network.init(init_key),
            dataset.train,
            [steps],
            key=order_key,
            rate=RATES[activation],
            rule=rule,
        )
        return float(scorer(activation)(params, dataset.test).accuracy)


@lru_cache
def scorer(activation: Activation) -> Callable:
    return jax.jit(jp.make_evaluate(jp.mlp(SIZES, activation), jp.squared_error, jp.as_batch))
