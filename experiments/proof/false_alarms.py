"""False alarms: right gradients of random networks, none of which `jaxprop.compare` may call wrong."""

from typing import Any, NamedTuple, get_args

import jax
import numpy as np

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify.comparison import compare
from jaxprop.verify.suite import random_point

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
DTYPES = ("float64", "float32")


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

    drawn = []
    for i in range(number):
        sizes = tuple(between(2, 64) for _ in range(random.randint(2, 7)))
        dtype = DTYPES[i // len(ACTIVATIONS) % 2]
        drawn.append(Architecture(sizes, ACTIVATIONS[i % len(ACTIVATIONS)], between(1, 64), dtype))
    return drawn


def count_alarms(architecture: Architecture, draws: int, seed: int) -> dict[str, Any]:
    """Compares `jp.backprop` with `jp.autodiff`, each compiled once, at so many draws of parameters and batch.

    alarms: at how many of them they are said to differ.
    worst: the largest scaled difference of a leaf, as a fraction of what is tolerated.
    """
    sizes, activation, batch, dtype = architecture
    network = jp.mlp(sizes, activation)
    by_jax = jax.jit(jp.autodiff(network, jp.squared_error))
    by_hand = jax.jit(jp.backprop(network, jp.squared_error))
    random = np.random.RandomState(seed)
    alarms, worst = 0, 0.0
    with jax.enable_x64(dtype == "float64"):
        for _ in range(draws):
            params, data = jax.tree.map(np.dtype(dtype).type, random_point(network, random, batch))
            comparison = compare(by_jax, by_hand, params, data)
            alarms += not comparison.agree
            for leaf in comparison.leaves:
                difference = np.inf if leaf.scaled_difference is None else leaf.scaled_difference
                worst = max(worst, difference / leaf.tolerance)
    return {
        "sizes": "-".join(map(str, sizes)),
        "activation": activation,
        "batch": batch,
        "dtype": dtype,
        "draws": draws,
        "alarms": alarms,
        "worst": worst,
    }
