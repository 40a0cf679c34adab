"""The stages on which a gradient is judged: each network of the suite with its probes, and what is true there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxprop as jp
from jaxprop.gradients import ValueAndGrad
from jaxprop.data.batches import Batch
from jaxprop.verify.comparison import on_host
from jaxprop.verify.comparison import per_example_scale
from jaxprop.layers.core import Params
from jaxprop.verify.suite import Probe, probe_networks, probes_for
from jaxprop.verify.oracles import forward_mode

ROUNDING = 1e-13  # of the leaf's scale: what a right gradient in float64 may be off by


class Truth(NamedTuple):
    """The gradient at one probe, and how large each leaf would be if no two examples disagreed; both by path."""

    grads: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]


class Stage(NamedTuple):
    """One network of the suite, its probes, and what is true there."""

    name: str
    sizes: tuple[int, ...]
    activation: Any
    probes: tuple[Probe, ...]
    loss: Callable[[Params, Batch], Any]
    by_jax: ValueAndGrad
    truths: list[Truth]


def make_stage(name: str) -> Stage:
    """Of the network of that name. All that is compiled for a stage is compiled once, whatever is judged on it."""
    network, cost = probe_networks()[name], jp.squared_error
    sizes, activation = name.split()
    probes, loss = probes_for(network), jp.loss(network, cost)
    forward, each = forward_mode(loss), jp.per_example(network, cost)
    with jax.enable_x64(True):
        truths = [
            Truth(on_host(forward(p.params, p.batch)[1]), on_host(per_example_scale(each, p.params, p.batch)))
            for p in probes
        ]
    by_jax = jax.jit(jp.autodiff(network, cost))
    return Stage(name, tuple(map(int, sizes.split("-"))), activation, probes, jax.jit(loss), by_jax, truths)


def wrong_leaves(stage: Stage, rule: ValueAndGrad) -> set[str]:
    """The leaves that differ from the truth at any probe, in float64, by more than rounding can explain.

    The truth is forward mode's: neither `check` nor what it takes as its reference has a say.
    """
    wrong = set()
    with jax.enable_x64(True):
        for probe, truth in zip(stage.probes, stage.truths, strict=True):
            _, grads = rule(probe.params, probe.batch)
            for path, g in on_host(grads).items():
                # Written so that a NaN is wrong.
                if not (np.abs(g - truth.grads[path]) <= ROUNDING * truth.scales[path]).all():
                    wrong.add(path)
    return wrong
