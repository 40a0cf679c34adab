"""What more devices buy: the time of a step against their number, for a small network and a wide one.

Every device takes its part of each mini-batch, and the gradients are summed over the devices. One device is timed as
it trains alone; ideal is a time that falls as the number of devices grows. A step's time holds all that a step needs:
the gather of the examples, the work, and the sum over the devices. No claim rests on time. What is claimed is that the
numbers stay the same: after the same mini-batches the parameters are where one device ends.

Where there is only a CPU it counts as eight devices (`JAX_NUM_CPU_DEVICES` says otherwise). These are virtual: they
share the cores of one machine, so nothing can become faster beyond the number of cores, and what one device does is
shared out over the cores already. What is seen then is what sharing out costs.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import os
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.run.devices import select_device
from jaxprop.run.placement import in_one_message, jit_over, make_mesh, place
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, label_log, new_figure, styled
from lab.timing import interleave

NETWORKS = {running_example.SIZES: 0.5, (784, 1024, 1024, 10): 0.05}  # each with a learning rate at which it trains
BATCHES = (128, 1024)
STEPS = 4  # in a compiled call


class Scaled(NamedTuple):
    """One network on so many devices."""

    network: str
    batch_size: int
    devices: int
    platform: str
    ms_a_step: float  # median
    speedup: float  # over one device: the median of the rounds' ratios
    furthest: float  # from the parameters of one device, as a fraction of the largest number of the same array

    @property
    def efficiency(self) -> float:
        """The speedup as a fraction of the ideal one."""
        return self.speedup / self.devices


def measure(options: Options) -> list[Scaled]:
    train, platform = running_example.load(options).train, select_device(options.device).platform
    numbers = [n for n in (1, 2, 4, 8, 16, 32) if n <= len(jax.devices(platform))]
    cases = [(sizes, batch) for sizes in NETWORKS for batch in BATCHES][: 1 if options.smoke else None]
    with progress(len(cases)) as report:
        found = []
        for sizes, batch in cases:
            rows = list(scale(sizes, batch, train, numbers, platform, options.seed, 1 if options.smoke else 5))
            found += rows
            times = ", ".join(f"{row.ms_a_step:.2f} ms on {row.devices}" for row in rows)
            report(f"{rows[-1].network}, batches of {batch:,}, a step by number of devices: {times}")
    return found


def scale(
    sizes: tuple[int, ...], batch: int, train: jp.Examples, numbers: list[int], platform: str, seed: int, repeats: int
) -> Iterable[Scaled]:
    """One network and batch size on each of these numbers of devices, of which the first is 1."""
    network, optimizer = jp.mlp(sizes), optax.sgd(NETWORKS[sizes])
    gradient = jp.backprop(network, jp.squared_error)
    init_key, order_key = jax.random.split(jax.random.key(seed))
    state = jp.init_state(network.init(init_key), optimizer)
    rows = np.random.default_rng(np.asarray(jax.random.key_data(order_key)))
    order = rows.integers(0, len(train.labels), (STEPS, batch)).astype(np.int32)
    alone = jax.jit(jp.make_epoch(jp.make_step(gradient, optimizer), jp.as_batch))
    calls = {1: partial(alone, state, train, order)}
    for n in numbers[1:]:
        mesh = make_mesh(n, batch, platform)
        epoch = jp.make_epoch(jp.make_step(in_one_message(gradient, mesh), optimizer), jp.as_batch)
        calls[n] = partial(jit_over(mesh, epoch), place(state, mesh), place(train, mesh), order)
    ends = {n: calls[n]()[0].params for n in numbers}
    seconds = interleave(calls, repeats)
    return [
        Scaled(
            network="-".join(map(str, sizes)),
            batch_size=batch,
            devices=n,
            platform=platform,
            ms_a_step=1e3 * float(np.median(seconds[n])) / STEPS,
            speedup=float(np.median(seconds[1] / seconds[n])),
            furthest=max(jax.tree.leaves(jax.tree.map(apart, ends[n], ends[1]))),
        )
        for n in numbers
    ]


def apart(a: Float[jax.Array, "*s"], b: Float[jax.Array, "*s"]) -> float:
    """The largest difference, as a fraction of the largest number of b."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


def claims(found: list[Scaled]) -> list[Claim]:
    return [
        Claim(
            statement="",
            claim=f"the parameters after {STEPS} steps on many devices, and on one: how far apart at most, as a "
            "fraction of the largest number of the same W or b",
            measured=max(each.furthest for each in found),
            relation="at most",
            reference=1e-5,
            because="float32: some roundings of 6e-8 a step, of gradients that are larger than what is left of them",
        )
    ]


def tables(found: list[Scaled]) -> dict[str, list[dict[str, Any]]]:
    return {"scaling": [{**each._asdict(), "efficiency": each.efficiency} for each in found]}


@styled
def scaling_figure(found: list[Scaled]) -> Figure:
    networks = list(dict.fromkeys(each.network for each in found))
    figure = new_figure(11, 4.8)
    for axes, network in zip(np.atleast_1d(figure.subplots(1, len(networks))), networks, strict=True):
        for batch, colour, marker in zip(BATCHES, (BLUE, VERMILION), "os", strict=True):
            some = [each for each in found if (each.network, each.batch_size) == (network, batch)]
            if some:
                devices, times = [each.devices for each in some], [each.ms_a_step for each in some]
                axes.plot(devices, times, marker + "-", color=colour, label=f"batches of {batch:,}")
                axes.plot(devices, times[0] / np.array(devices), ":", color=colour)
        axes.set(xscale="log", yscale="log", xlabel="devices", ylabel="time of a step [ms]", title=network)
        axes.set_xticks(sorted({each.devices for each in found}), minor=False)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        label_log(axes.yaxis)
        axes.legend()
    virtual = f"; virtual devices, which share {os.cpu_count()} cores" if found[0].platform == "cpu" else ""
    figure.suptitle(f"What more devices buy (dotted: ideal{virtual})", x=0.01, ha="left", size=16)
    return figure


def finding(found: list[Scaled]) -> str:
    most = [each for each in found if each.devices == max(each.devices for each in found)]
    speedups = " and ".join(f"{each.speedup:.2g} ({each.network}, batches of {each.batch_size:,})" for each in most)
    return (
        f"On {most[0].devices} devices a step is so many times as fast as on one: {speedups}; the parameters stay the "
        f"same to within {max(each.furthest for each in found):.0e} of the largest."
    )


EXPERIMENT = Experiment(
    name="scaling",
    measure=measure,
    claims=claims,
    tables=tables,
    figures=lambda found: {"scaling": scaling_figure(found)},
    finding=finding,
    look_at={"scaling": "How far the points are above the dotted lines, which fall as the number of devices grows."},
    dtype="float32",
)


def main(options: Options) -> int:
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", 8)
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
