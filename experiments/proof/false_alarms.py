"""False alarms: right gradients of random networks, none of which `jaxprop.compare` may call wrong."""

from typing import Any, NamedTuple

import jax
import numpy as np

import jaxprop as jp
from jaxprop.verify.comparison import compare
from jaxprop.networks import Activation
from jaxprop.verify.suite import random_point

ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "tanh", "identity")


class Architecture(NamedTuple):
    """A network, how many examples it is given, and in which precision."""

    sizes: tuple[int, ...]
    activation: Activation
    batch: int
    dtype: str


def draw_architectures(number: int, seed: int) -> list[Architecture]:
    """One to five layers of 2 to 64 neurons and 1 to 64 examples, even on a log scale; every activation in both dtypes.

    No layer is one neuron wide. There a whole leaf may hang on one number, and where that cancels to a thousandth of
    its terms nothing is left to compare in float32: see the tolerance of `jaxprop.compare`.
    """
    random = np.random.RandomState(seed)

    def between(least: int, most: int) -> int:
        return round(least * (most / least) ** random.uniform())

    return [
        Architecture(
            tuple(between(2, 64) for _ in range(random.randint(2, 7))),
            ACTIVATIONS[i % 4],
            between(1, 64),
            ("float64", "float32")[i // 4 % 2],
        )
        for i in range(number)
    ]


def count_alarms(architecture: Architecture, draws: int, seed: int) -> dict[str, Any]:
    """Compares `jp.backprop` with `jp.autodiff`, each compiled once, at so many draws of parameters and batch.

    alarms: at how many of them they are said to differ.
    worst: the largest scaled difference of a leaf, over what is tolerated.
    """
    sizes, activation, batch, dtype = architecture
    network, random = jp.mlp(sizes, activation), np.random.RandomState(seed)
    by_jax, by_hand = (jax.jit(hand(network, jp.squared_error)) for hand in (jp.autodiff, jp.backprop))
    with jax.enable_x64(dtype == "float64"):
        points = [jax.tree.map(lambda x: x.astype(dtype), random_point(network, random, batch)) for _ in range(draws)]
        found = [compare(by_jax, by_hand, *point) for point in points]
    scaled = [(leaf.scaled_difference, leaf.tolerance) for comparison in found for leaf in comparison.leaves]
    return {
        "sizes": "-".join(map(str, sizes)),
        **{"activation": activation, "batch": batch, "dtype": dtype, "draws": draws},
        "alarms": sum(not comparison.agree for comparison in found),
        "worst": max(np.inf if difference is None else difference / tolerance for difference, tolerance in scaled),
    }
