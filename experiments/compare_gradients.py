"""The gradient derived by hand against autodiff and other referees, number by number.

Which is right? Forward mode carries derivatives the other way, and finite differences only ever ask for the cost: they
know nothing of layers. All are compared leaf by leaf on the lesson's network, untrained and after some training,
because zeros and saturation hide errors; in float64, where rounding and a mistake are eleven digits apart, and in
float32. Then both hands train, so that people see rounding grow along the way, and not an error.

With --loss, --gradient and --inputs, the functions that are compared are your own; the README shows how.

What to look at: in `scatter.png` all derivatives lie on one line; `differences.png` shows what float32 loses, weight by
weight; in `trajectories.png` both hands stay equally far from the float64 truth.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.table import Table

import jaxprop as jp
from jaxprop.data.batches import Batch
from jaxprop.verify.report import Comparison, as_json
from jaxprop.layers.core import Params
from jaxprop.networks import Activation
from lab.agreement import BECAUSE, HANDS_64, Judged, hessian_products, judge, prices, trajectories
from lab.agreement_figures import differences_figure, scatter_figure, trajectories_figure
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, first_line, print_wide, progress, run
from lab.running_example import load, snapshots
from lab.own_gradients import compare_own

BATCH = 16
STEPS, SMOKE_STEPS = (1, 10, 100, 600), (1, 10)


@dataclass(frozen=True)
class CompareOptions(Options):
    """Compare the gradient derived by hand with autodiff, forward mode and finite differences."""

    hidden: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (16, 16)
    """Neurons in each hidden layer."""
    activation: Activation = "sigmoid"
    """Of the hidden layers; the outputs are sigmoids."""
    loss: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:f", help_behavior_hint="")] = None
    """Instead of the lesson's network: your own `f(params, batch) -> cost`."""
    gradient: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:g", help_behavior_hint="")] = None
    """Your own `g(params, batch) -> gradient`. Without it, finite differences judge autodiff of your loss."""
    inputs: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:h", help_behavior_hint="")] = None
    """Where to compare: your own `h() -> (params, batch)`, of arrays."""


class Gradients(NamedTuple):
    """Of the trained network, in NumPy."""

    by_hand: Params
    by_jax: Params
    by_hand_float32: Params


class Findings(NamedTuple):
    """Comparisons by stage of training; what each way costs; how the trajectories part."""

    judged: dict[str, list[Judged]]
    flipped: dict[str, list[str]]  # parameters along which a ReLU wakes or falls asleep inside the step
    hessian: float  # largest scaled difference of the two Hessian-vector products
    gradients: Gradients
    prices: list[dict[str, Any]]
    trajectories: list[dict[str, Any]]


def measure(options: CompareOptions) -> Findings:
    train = load(options).train
    network = jp.mlp((784, *options.hidden, 10), options.activation)
    init_key, order_key, direction_key = jax.random.split(jax.random.key(options.seed), 3)
    params = network.init(init_key)
    batch = jp.as_batch(train.images[:BATCH], train.labels[:BATCH], jnp.float64)
    steps = SMOKE_STEPS if options.smoke else STEPS
    (trained,) = snapshots(network, params, train, steps[-1:], key=order_key)
    stages = {"untrained": params} if options.smoke else {"untrained": params, f"after {steps[-1]} steps": trained}
    judged, flipped = {}, {}
    with progress(len(stages) + 3) as report:
        for stage, p in stages.items():
            judged[stage], flipped[stage] = judge(network, p, batch)
            report(f"{stage}: all {jp.count_parameters(params):,} derivatives judged")
        hessian = hessian_products(network, params, batch, direction_key)
        report("Hessian-vector products compared")
        paid = prices(network, params, batch, repeats=3 if options.smoke else 20)
        report("times taken")
        walked = list(trajectories(network, params, train, steps, order_key))
        report("trajectories walked")
    for stage, found in judged.items():
        for candidate, reference, comparison in found:
            print_wide(f"{stage}: {candidate}, judged by {reference}", comparison)
    print_wide(f"What each way costs on this device, for a batch of {BATCH} in float32", price_table(paid))
    return Findings(judged, flipped, hessian, gradients_of(network, trained, batch), paid, walked)


def gradients_of(network: jp.Network, params: Params, batch: Batch) -> Gradients:
    by_hand, by_jax = (jax.jit(hand(network, jp.squared_error)) for hand in (jp.backprop, jp.autodiff))
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), (params, batch))
    found = by_hand(params, batch), by_jax(params, batch), by_hand(*rounded)
    return Gradients(*(jax.tree.map(np.asarray, grads) for _, grads in found))


def price_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values()))
    return table


def worst(comparison: Comparison) -> float:
    """The largest scaled difference; infinite where something could not even be measured."""
    scaled = [leaf.scaled_difference for leaf in (*comparison.leaves, comparison.value)]
    return max(np.inf if x is None else x for x in scaled)


def claims(found: Findings) -> list[Claim]:
    step, hands_part = max(
        (row["step"], row["difference"]) for row in found.trajectories if row["what"] == HANDS_64 and row["step"] <= 100
    )
    return [
        *(
            Claim("", f"{stage}: {candidate} against {reference}, in {comparison.dtype}; the worst leaf, scaled",
                  worst(comparison), "at most", comparison.leaves[0].tolerance, BECAUSE[comparison.leaves[0].tolerance])
            for stage, judged in found.judged.items()
            for candidate, reference, comparison in judged
        ),
        Claim("", "Hessian-vector products, by hand against autodiff, in float64; the worst leaf, scaled",
              found.hessian, "at most", 1e-11, "rounding of 2e-16, where sums may cancel to 1/50,000 of their terms"),
        Claim("", f"parameters after {step} steps, by hand against autodiff, in float64",
              hands_part, "at most", 1e-12, "rounding of 1e-16 a step, times 100 steps, times what a curve amplifies"),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    leaves = [
        {"stage": stage, "candidate": candidate, "reference": reference, **as_json(asdict(leaf))}
        for stage, judged in found.judged.items()
        for candidate, reference, comparison in judged
        for leaf in (*comparison.leaves, comparison.value)
    ]
    flipped = [{"stage": stage, "parameter": name} for stage, names in found.flipped.items() for name in names]
    return {"leaves": leaves, "prices": found.prices, "trajectories": found.trajectories, "flipped": flipped}


def figures(found: Findings) -> dict[str, Figure]:
    by_hand, by_jax, by_hand_float32 = found.gradients
    pairs = enumerate(zip(by_hand_float32[::2], by_jax[::2], strict=True), start=1)
    flat_hand, flat_jax = (np.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (by_hand, by_jax))
    return {
        "scatter": scatter_figure(flat_hand, flat_jax),
        "differences": differences_figure({f"W{i}": (a.W - b.W) / np.abs(b.W).max() for i, (a, b) in pairs}),
        "trajectories": trajectories_figure(found.trajectories),
    }


EXPERIMENT = Experiment("compare_gradients", measure, claims, tables, figures)


def main(options: CompareOptions) -> int:
    if options.loss or options.gradient or options.inputs:
        return compare_own(first_line(options.device, "float64"), options)
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, CompareOptions))
