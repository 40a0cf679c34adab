"""Honest times: compilation apart, the device waited for, what is compared interleaved."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.stages import Compiled


def compile_apart(function: Callable, *args: Any) -> tuple[Compiled, float]:
    """Compiles `function` for arguments of these shapes: the compiled function, and the seconds that took."""
    started = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    return compiled, time.perf_counter() - started


def interleave(calls: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, np.ndarray]:
    """Seconds of each call, (repeats,), all of them in turn in every round: a slow minute falls on all alike.

    One round more is run first and not counted, since first calls pay for what later ones find ready.
    """
    seconds = {name: np.empty(repeats) for name in calls}
    for i in range(-1, repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            if i >= 0:
                seconds[name][i] = time.perf_counter() - started
    return seconds
