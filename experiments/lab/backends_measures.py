"""What one way to compute does with the lesson's network: its gradients, its training, and its time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxprop as jp
from jaxprop.data.batches import Batch
from jaxprop.verify.report import Comparison
from jaxprop.layers.core import Params
from lab.timing import interleave
from jaxprop.training import Epoch, Order
from lab import running_example
from lab.precisions import Way, cast, compiled, envelope

HANDS = {"by hand": jp.backprop, "autodiff": jp.autodiff}
OPTIMIZER = optax.sgd(running_example.LEARNING_RATE)


class Measured(NamedTuple):
    """What one way to compute does."""

    way: Way
    gradients: dict[str, Comparison]  # by stage of training and hand
    drift: list[dict[str, Any]]  # step by step
    accuracy: float  # of what it trained, on the test digits
    not_repeated: int  # parameters that came out otherwise when it was trained again
    not_as_highest: int  # parameters that came out otherwise than in the backend's highest precision
    times: dict[str, float]  # milliseconds

    @property
    def worst(self) -> float:
        """The largest scaled difference of any leaf; infinite where something is not even a number."""
        leaves = [leaf for found in self.gradients.values() for leaf in (*found.leaves, found.value)]
        return max(np.inf if leaf.scaled_difference is None else leaf.scaled_difference for leaf in leaves)


def judge_hands(network: jp.Network) -> Callable[[Mapping[str, Params], Batch, Way], dict[str, Comparison]]:
    """`judge(points, batch, way)`: either hand in this way against float64 on the CPU, at each of the named parameters.

    Both are given the same numbers, rounded to the way's type. Differences are measured by the size of what is added
    up, `jp.per_example_scale`, in float64 too.
    """
    truth = jp.in_float64(jax.jit(jp.autodiff(network, jp.squared_error)))
    sizes = jp.in_float64(partial(jp.per_example_scale, jax.jit(jp.per_example(network, jp.squared_error))))

    def judge(points: Mapping[str, Params], batch: Batch, way: Way) -> dict[str, Comparison]:
        hands = {name: compiled(hand(network, jp.squared_error), way) for name, hand in HANDS.items()}
        batch, found = cast(batch, way), {}
        for stage, params in points.items():
            params = cast(params, way)
            scale = sizes(params, batch)
            for name, hand in hands.items():
                found[f"{stage}, {name}"] = jp.compare(truth, hand, params, batch, envelope(way.bits), scale)
        return found

    return judge


def make_training(network: jp.Network) -> Epoch:
    """`training(state, examples, order)`: a step of the lesson's training, by hand, for each row of the order."""
    return jp.make_epoch(jp.make_step(jp.backprop(network, jp.squared_error), OPTIMIZER))


def walk(training: Epoch, every: int, start: Params, examples: jp.Examples, order: Order) -> list[Params]:
    """The parameters at the start, and after every so many of the steps that the order is for."""
    state, found = jp.init_state(start, OPTIMIZER), [start]
    for begin in range(0, len(order), every):
        state, _ = training(state, examples, order[begin : begin + every])
        found.append(state.params)
    return found


def drift(params: Params, truth: Params, start: Params) -> float:
    """How far the parameters are from the true ones, as a share of how far those have come; in the 2-norm."""
    return float(np.linalg.norm(_flat(params) - _flat(truth)) / np.linalg.norm(_flat(truth) - _flat(start)))


def differing(some: Params, others: Params) -> int:
    """How many parameters are not the same to the last bit."""
    return int(np.sum(_flat(some) != _flat(others)))


def _flat(params: Params) -> np.ndarray:
    """All of them in float64, which holds every number of the narrower types."""
    return np.concatenate([np.asarray(leaf).astype(np.float64).ravel() for leaf in jax.tree.leaves(params)])


def times(epochs: Mapping[str, Callable[[], object]], steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a step and of an epoch of so many steps, by the name of who walks through it."""
    medians = {name: 1e3 * float(np.median(seconds)) for name, seconds in interleave(epochs, repeats).items()}
    return {name: {"ms_a_step": median / steps, "ms_an_epoch": median} for name, median in medians.items()}
