"""False alarms: right gradients of random networks, none of which `jaxprop.check` may call wrong."""

from typing import Any, NamedTuple, get_args

import jax
import numpy as np

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify.checking import compare_at
from proof.ways import WAYS

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
DTYPES = ("float64", "float32")


class Architecture(NamedTuple):
    """A network, how its gradient is written (names of `WAYS`), and in which precision."""

    sizes: tuple[int, ...]
    activation: Activation
    ways: tuple[str, ...]
    dtype: str


def draw_architectures(number: int, seed: int, ways: int = 3) -> list[Architecture]:
    """One to eight layers of 1 to 512 neurons, even on a log scale; every activation in both dtypes, every way in turn.

    ways: for each network.
    """
    random = np.random.RandomState(seed)
    names = list(WAYS)
    drawn = []
    for i in range(number):
        sizes = tuple(round(512 ** random.uniform()) for _ in range(random.randint(2, 10)))
        dtype = DTYPES[i // len(ACTIVATIONS) % 2]
        of_this = tuple(names[(i * ways + j) % len(names)] for j in range(ways))
        drawn.append(Architecture(sizes, ACTIVATIONS[i % len(ACTIVATIONS)], of_this, dtype))
    return drawn


def count_alarms(architecture: Architecture, draws: int, seed: int) -> dict[str, Any]:
    """Compares the ways in turn with `jp.autodiff`, each at so many points of the quick suite.

    alarms: at how many of them they are said to differ.
    worst: the largest scaled difference of a leaf, as a fraction of what is tolerated, and where it was.
    """
    sizes, activation, ways, dtype = architecture
    network = jp.mlp(sizes, activation)
    by_jax = jax.jit(jp.autodiff(network, jp.squared_error))
    probes = [probe for probe in jp.probes_for(network, quick=True) if probe.dtype in (None, dtype)]
    random = np.random.RandomState(seed)
    alarms, worst, where = 0, 0.0, ""
    for way in ways:
        candidate = WAYS[way](sizes, activation)
        for i in random.choice(len(probes), draws, replace=draws > len(probes)):
            comparison = compare_at(probes[i], by_jax, candidate, np.dtype(dtype))
            alarms += not comparison.agree
            for leaf in (comparison.value, *comparison.leaves):
                difference = np.inf if leaf.scaled_difference is None else leaf.scaled_difference
                if difference / leaf.tolerance >= worst:
                    worst, where = difference / leaf.tolerance, f"{way}, {probes[i].name}, {leaf.path}"
    return {
        "sizes": "-".join(map(str, sizes)),
        "activation": activation,
        "dtype": dtype,
        "ways": ", ".join(ways),
        "draws": draws * len(ways),
        "alarms": alarms,
        "worst": worst,
        "where": where,
    }
