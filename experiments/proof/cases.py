"""The cases in which a gradient is judged: each network of the suite with its probes, and the true gradients there."""

from typing import NamedTuple

import jax
import numpy as np

import jaxprop as jp
from jaxprop.gradients import Loss, ValueAndGrad
from jaxprop.verify.comparison import on_host
from jaxprop.verify.oracles import forward_mode

# Of the leaf's scale: what a right gradient in float64 may be off by. Where a layer is closed, e⁻ᶻ / (1 + e⁻ᶻ)² and
# a (1 - a) differ by 3e-13; elsewhere right ones share some digits more.
ROUNDING = 1e-12


class Truth(NamedTuple):
    """The gradient at one probe, by path, and how large each leaf would be if no two examples disagreed.

    scales: by path, the larger of those at the probe and at its yardstick.
    """

    grads: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]


class Case(NamedTuple):
    """One network of the suite, its quick probes, and the true gradient at each; the cost is the squared error.

    loss, by_jax: `jaxprop.loss` and `jaxprop.autodiff` of the network, compiled.
    """

    name: str
    network: jp.Network
    probes: tuple[jp.Probe, ...]
    loss: Loss
    by_jax: ValueAndGrad
    truths: list[Truth]


def make_case(name: str) -> Case:
    """Of one network of `jaxprop.probe_networks()`. What it compiles is compiled once, whatever is judged on it."""
    network, cost = jp.probe_networks()[name], jp.squared_error
    probes = jp.probes_for(network, cost, quick=True)
    loss = jax.jit(jp.loss(network, cost))
    forward = forward_mode(loss)
    each = jax.jit(jp.per_example(network, cost))
    truths = []
    with jax.enable_x64(True):
        for probe in probes:
            assert probe.yardstick is not None  # every probe of the suite has one
            point = probe.params, probe.batch
            _, grads = forward(*point)
            scales = [jp.per_example_scale(each, *at) for at in (point, probe.yardstick)]
            truths.append(Truth(on_host(grads), on_host(jax.tree.map(np.maximum, *scales))))
    return Case(name, network, probes, loss, jax.jit(jp.autodiff(network, cost)), truths)


def wrong_leaves(case: Case, value_and_grad: ValueAndGrad) -> set[str]:
    """The leaves that differ from the truth at any probe, in float64, by more than rounding can explain.

    The truth is forward mode's: neither `check` nor what it takes as its reference has a say.
    """
    wrong = set()
    with jax.enable_x64(True):
        for probe, truth in zip(case.probes, case.truths, strict=True):
            _, grads = value_and_grad(probe.params, probe.batch)
            for path, g in on_host(grads).items():
                # Written so that a NaN is wrong.
                if not (np.abs(g - truth.grads[path]) <= ROUNDING * truth.scales[path]).all():
                    wrong.add(path)
    return wrong
