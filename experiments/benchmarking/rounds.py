"""Rounds of measurement: all that is compared takes turns, and ratios are taken within a round."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lab.timing import interleave

# The idle threads of one library go on looking for work for some 30 ms, and would take a core from the next peer: 100
# steps of jaxprop took 14 ms, but 20 to 37 ms straight after NumPy or PyTorch.
REST = 0.05


def take_turns(
    calls: Mapping[Any, Callable[[], Any]], repeats: int, report: Callable[[str], None], what: str
) -> dict[Any, np.ndarray]:
    """`lab.timing.interleave` of peers with threads of their own: seconds of each call, (repeats,).

    Each call is made twice after a rest, and the second one counts: as in training, its own work came before it.
    Reports once a round, `repeats + 1` times.
    """
    rounds = itertools.count()
    turns = {}
    for name, call in calls.items():
        turns["before", name] = _after_a_rest(call)
        turns["timed", name] = call
    turns["report"] = lambda: report(f"{what}: round {next(rounds)} of {repeats}")
    seconds = interleave(turns, repeats)
    return {name: seconds["timed", name] for name in calls}


def _after_a_rest(call: Callable[[], Any]) -> Callable[[], Any]:
    def rest_and_call() -> Any:
        time.sleep(REST)
        return jax.block_until_ready(call())

    return rest_and_call


def median_ratio(a: np.ndarray, b: np.ndarray) -> float:
    """The median over the rounds of a / b. Noise that lasts longer than a round falls on both and cancels."""
    return float(np.median(a / b))
