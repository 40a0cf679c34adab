"""How exact is each backend in each precision? Gradients, 600 steps of training, and what they cost.

For every backend that JAX sees here, in float32 (highest and default precision of matrix products) and in bfloat16: the
gradient of one batch by either hand against float64 on the CPU, leaf by leaf, untrained and trained; how far the
parameters drift from those that float64 leads to over the same 600 mini-batches; and the time of a step and an epoch,
on which no claim rests. `--device` looks at that one alone; `JAX_PLATFORMS` decides what JAX sees.

On a CPU the default is the highest. On a GPU it is TensorFloat-32, on a TPU bfloat16, in products alone. Look at how
far below the grey lines the points stay: roundings seldom all go in one direction.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import jaxprop as jp
from jaxprop.verify.report import as_json
from lab import running_example
from lab.backends_figure import backends_figure
from lab.backends_measures import Measured, differing, drift, judge_hands, make_training, times, walk
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, print_wide, progress, run
from lab.precisions import BFLOAT16, DEFAULT, HIGHEST, backends, cast, compiled, envelope, ways

EXACT = 2e-6  # envelope(23), which is 33 roundings of 2^-24, is 1.97e-6
Row = dict[str, Any]


def measure(options: Options) -> list[Measured]:
    data, network = running_example.load(options), jp.mlp(running_example.SIZES)
    steps, examples = 60 if options.smoke else 600, len(data.train.labels)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    start, an_epoch = network.init(init_key), jp.steps_per_epoch(examples, running_example.BATCH_SIZE)
    keys = jax.random.split(order_key, -(-steps // an_epoch))
    order = np.concatenate([jp.epoch_order(key, examples, running_example.BATCH_SIZE) for key in keys])[:steps]
    batch = jp.as_batch(data.train.images[order[0]], data.train.labels[order[0]])
    training, every = make_training(network), min(an_epoch, 20)
    truth = jp.in_float64(partial(walk, jax.jit(training), every))(start, data.train, order)
    evaluate, judge = jp.in_float64(jax.jit(jp.make_evaluate(network, jp.squared_error))), judge_hands(network)

    all_ways = [way for device in backends(options.device) for way in ways(device)]
    walks = {
        way: partial(walk, compiled(training, way), every, cast(start, way), jax.device_put(data.train, way.device))
        for way in all_ways
    }
    taken = times({way.name: partial(go, order[:an_epoch]) for way, go in walks.items()}, an_epoch, repeats=11)
    found, ends = [], {}
    with progress(len(all_ways)) as report:
        for way in all_ways:
            gradients = judge({"untrained": truth[0], "trained": truth[-1]}, batch, way)
            walked, again = walks[way](order), walks[way](order)
            shares = [drift(params, true, truth[0]) for params, true in zip(walked[1:], truth[1:], strict=True)]
            drifts = [{"step": every * i, "drift": share} for i, share in enumerate(shares, 1)]
            highest = ends.setdefault(way.device, walked[-1])  # the first way of a backend is the highest
            others = differing(walked[-1], again[-1]), differing(walked[-1], highest)
            accuracy = float(evaluate(walked[-1], data.test).accuracy)
            found.append(Measured(way, gradients, drifts, accuracy, *others, taken[way.name]))
            report(f"{way.name}: a gradient is off by at most {found[-1].worst:.2g} of its scale")
    print_wide("Each way to compute, against float64", as_table(summary(found)))
    return found


def claims_of(each: Measured) -> Iterator[Claim]:
    way, bits, step = each.way, each.way.bits, each.drift[-1]["step"]
    gradient = f"{way.name}: the gradient against float64; the worst leaf of either hand, scaled"
    bound = EXACT if way.precision == HIGHEST else envelope(bits)
    yield Claim("", gradient, each.worst, "at most", bound, f"33 roundings of 2^-{bits + 1}: see lab/precisions.py")
    if way.precision == HIGHEST:
        share, apart = each.drift[-1]["drift"], "as if each step were off by that much, as often this way as that"
        drifted = f"{way.name}: the parameters after {step} steps, off by this share of the way they came"
        yield Claim("", drifted, share, "at most", step**0.5 * EXACT, apart)
    if way.precision == BFLOAT16:
        why = f"half of one rounding to {bits} bits: whatever is more exact was computed with more bits"
        yield Claim("", gradient, each.worst, "at least", 2.0 ** -(bits + 2), why)
    if way.precision == DEFAULT and way.device.platform == "cpu":
        same = f"{way.name}: parameters after {step} steps that are not those of the highest precision"
        yield Claim("", same, each.not_as_highest, "at most", 0, "on a CPU all float32 products are the same")
    again = f"{way.name}: parameters that come out otherwise when the {step} steps are done again"
    yield Claim("", again, each.not_repeated, "at most", 0, "same start, same order, same programs, same backend")


def claims(found: list[Measured]) -> list[Claim]:
    return [claim for each in found for claim in claims_of(each)]


def summary(found: list[Measured]) -> list[Row]:
    return [
        {
            "way": each.way.name,
            "gradient_off_by": each.worst,
            "bits_allow": envelope(each.way.bits),
            **each.drift[-1],
            "accuracy": each.accuracy,
            **each.times,
        }
        for each in found
    ]


def as_table(rows: list[Row]) -> Table:
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row.values()))
    return table


def tables(found: list[Measured]) -> dict[str, list[Row]]:
    leaves = [
        {"way": each.way.name, "gradient": name, **as_json(asdict(leaf))}
        for each in found
        for name, comparison in each.gradients.items()
        for leaf in (*comparison.leaves, comparison.value)
    ]
    walks = [{"way": each.way.name, **row} for each in found for row in each.drift]
    return {"backends": summary(found), "leaves": leaves, "drift": walks}


def figures(found: list[Measured]) -> dict[str, Figure]:
    rows = tables(found)
    leaves = [row for row in rows["leaves"] if row["gradient"] == "trained, by hand" and row["path"] != "value"]
    return {"backends": backends_figure([each.way for each in found], leaves, rows["drift"])}


EXPERIMENT = Experiment("backends", measure, claims, tables, figures, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
