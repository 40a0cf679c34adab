"""The judges of a gradient: `jaxprop.check`, `jax.test_util.check_grads`, chex, and "it still trains"."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.test_util import check_grads

import jaxprop as jp
from jaxprop.gradients import ValueAndGrad
from jaxprop.data.batches import Batch
from jaxprop.verify.checking import check
from jaxprop.data.datasets import Dataset
from jaxprop.layers.core import Params
from jaxprop.networks import Activation
from lab.running_example import SIZES, snapshots
from proof.mutants import Change, by_hand
from proof.stages import Stage

# Learning rates at which the right gradient trains, from any of ten seeds.
RATES: dict[Activation, float] = {"sigmoid": 2.0, "relu": 0.2, "tanh": 0.2}

Objections = dict[tuple[str, str], bool]  # by judge and point


def remembering(rule: ValueAndGrad) -> ValueAndGrad:
    """The same rule, which is evaluated once at one point, however many judges ask.

    Not compiled: for networks so small, operations that all mutants share cost less than a program for each of them.
    """
    known = {}

    def value_and_grad(params: Params, batch: Batch) -> tuple[Any, Any]:
        arrays = map(np.asarray, jax.tree.leaves((params, batch)))
        point = tuple((x.shape, x.dtype, x.tobytes()) for x in arrays)
        if point not in known:
            known[point] = rule(params, batch)
        return known[point]

    return value_and_grad


def failing_leaves(stage: Stage, rule: ValueAndGrad) -> set[str]:
    """What `jaxprop.check` calls wrong."""
    return set(check(stage.by_jax, rule, stage.probes).failing_leaves)


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


def objections(stage: Stage, rule: ValueAndGrad) -> Objections:
    """Whether each of these judges, in float64 and in float32, objects to the rule at each probe."""
    found = {}
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            # The lambda is called at once, while `dtype` is what it says.
            points = [jax.tree.map(lambda x: np.asarray(x, dtype), probe[1:]) for probe in stage.probes]  # noqa: B023
            functions = [as_custom_vjp(stage.loss, rule, *point) for point in points]
            for name, judge in difference_judges().items():
                for probe, function in zip(stage.probes, functions, strict=True):
                    found[f"{name}, {dtype}", f"{stage.name}, {probe.name}"] = objects(judge, *function)
    return found


def objects(judge: Callable, f: Callable, args: Any) -> bool:
    try:
        judge(f, args)
    except AssertionError:
        return True
    return False


def as_custom_vjp(loss: Callable, rule: ValueAndGrad, params: Params, batch: Batch) -> tuple[Callable, Any]:
    """The cost as a function of the parameters' leaves, whose derivative, to JAX, is the rule; and the leaves."""
    leaves, tree = jax.tree.flatten(params)
    f = jax.custom_vjp(lambda *leaves: loss(tree.unflatten(leaves), batch))
    f.defvjp(
        lambda *leaves: rule(tree.unflatten(leaves), batch),
        lambda grads, dy: tuple(dy * g for g in jax.tree.leaves(grads)),
    )
    return f, tuple(leaves)


def accuracy_after(steps: int, dataset: Dataset, activation: Activation, change: Change, seed: int) -> float:
    """The share of test digits that the lesson's network reads rightly after so many steps down this gradient.

    In float32, as people train.
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
            hand=lambda network, cost: by_hand(SIZES, activation, change),
        )
        return float(scorer(activation)(params, dataset.test).accuracy)


@lru_cache
def scorer(activation: Activation) -> Callable:
    return jax.jit(jp.make_evaluate(jp.mlp(SIZES, activation), jp.squared_error))
