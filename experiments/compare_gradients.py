"""The gradient derived by hand against autodiff and other references, number by number.

Which is right? Forward mode carries derivatives the other way, and finite differences only ever ask for the cost: they
know nothing of layers. All are compared leaf by leaf on the lesson's network, untrained and after some training,
because zeros and saturation hide errors; in float64, where rounding and a mistake are eleven digits apart, and in
float32. Then the network is trained with either gradient, so that people see rounding grow along the way, and not an
error.

With --loss, --gradient and --inputs, the functions that are compared are your own; the README shows how. Where they
part, finite differences say which is right.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PRNGKeyArray
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Params
from jaxprop.networks import Activation
from jaxprop.run import folders
from jaxprop.verify.comparison import compare, per_example_scale
from jaxprop.verify.differences import central_differences
from jaxprop.verify.oracles import forward_mode, hvp, in_float64, name_coordinates
from jaxprop.verify.report import LEGEND, Comparison
from lab.claims import Claim, Experiment, as_table, conduct
from lab.common import Options, first_line, print_wide, progress, run
from lab.comparisons import leaf_rows, worst_difference
from lab.figures import BLUE, GREEN, VERMILION, new_figure, styled
from lab.own_gradients import compare_own, load_point
from lab.running_example import load, snapshots
from lab.timing import compile_apart, interleave
from lab.user_code import load_function
from proof.naming import naming_for, say_what_is_wrong, sentence

BATCH = 16
STEPS = (1, 10, 100, 600)
SMOKE_STEPS = (1, 10)
GRADIENTS = {"backprop": jp.backprop, "autodiff": jp.autodiff}
Row = dict[str, Any]


class Bound(NamedTuple):
    """How far apart two correct gradients may be, scaled, and why."""

    tolerance: float
    because: str


ROUNDING = Bound(1e-13, "450 ulps of float64, for sums of up to 784 terms; in units of the mean size of what was added")
ROUNDING_FLOAT32 = Bound(
    2e-6, "17 ulps of float32, for sums of up to 784 terms; in units of the mean size of what was added"
)
DIFFERENCES = Bound(1e-9, "a difference loses half of float64's digits; extrapolation wins back two")


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
    """Your own `g(params, batch) -> gradient`. Without it, autodiff of your loss is what is tested."""
    inputs: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:h", help_behavior_hint="")] = None
    """Where to compare: your own `h() -> (params, batch)`, of arrays."""


class Compared(NamedTuple):
    """One comparison: of which gradient, with which reference."""

    candidate: str
    reference: str
    comparison: Comparison
    bound: Bound


class Gradients(NamedTuple):
    """Of the trained network, in NumPy."""

    manual: Params
    autodiff: Params
    manual_float32: Params


class Findings(NamedTuple):
    """Comparisons by stage of training; what each way takes; how the trajectories part."""

    compared: dict[str, list[Compared]]
    kinks: dict[str, list[str]]  # parameters along which the cost bends at the point itself
    hessian: float  # largest scaled difference of the two Hessian-vector products
    gradients: Gradients
    timings: list[Row]
    trajectories: list[Row]


def measure(options: CompareOptions) -> Findings:
    train = load(options).train
    network = jp.mlp((784, *options.hidden, 10), options.activation)
    init_key, order_key, direction_key = jax.random.split(jax.random.key(options.seed), 3)
    params = network.init(init_key)
    batch = jp.as_batch(train.images[:BATCH], train.labels[:BATCH])
    steps = SMOKE_STEPS if options.smoke else STEPS
    (trained,) = snapshots(network, params, train, steps[-1:], key=order_key)
    stages = {"untrained": params}
    if not options.smoke:
        stages[f"after {steps[-1]} steps"] = trained

    compared = {}
    kinks = {}
    with progress(len(stages) + 3) as report:
        for stage, at in stages.items():
            compared[stage], kinks[stage] = compare_ways(network, at, batch)
            report(f"{stage}: all {jp.count_parameters(params):,} derivatives compared")
        hessian = hessian_products(network, params, batch, direction_key)
        report("Hessian-vector products compared")
        timings = time_ways(network, params, batch, repeats=3 if options.smoke else 20)
        report("times taken")
        trained_apart = list(trajectories(network, params, train, steps, order_key))
        report("trained with either gradient")
    print_comparisons(compared)
    if any(name == "backprop" and not c.agree for found in compared.values() for name, _, c, _ in found):
        print(sentence(naming_for(network)(jp.backprop(network, jp.squared_error))) or "It equals no known mistake.")
    print_wide(f"What each way takes on this device, for a batch of {BATCH} in float32", as_table(timings))
    return Findings(compared, kinks, hessian, gradients_of(network, trained, batch), timings, trained_apart)


def print_comparisons(compared: Mapping[str, Sequence[Compared]]) -> None:
    """A row for each comparison. Leaf by leaf it is in `leaves.csv`; where two do not agree, here too."""
    rows = [
        {
            "network": stage,
            "candidate": candidate,
            "compared with": reference,
            "in": comparison.dtype,
            "worst leaf, scaled": worst_difference([comparison]),
            "at most": bound.tolerance,
            "": "agree" if comparison.agree else "do NOT agree",
        }
        for stage, found in compared.items()
        for candidate, reference, comparison, bound in found
    ]
    print_wide("Every way, compared", as_table(rows))
    apart = [(stage, one) for stage, found in compared.items() for one in found if not one.comparison.agree]
    for stage, one in apart:
        print_wide(f"{stage}: {one.candidate}, compared with {one.reference}", one.comparison)
    if apart:
        print(LEGEND)


# What is measured


def compare_ways(network: jp.Network, params: Params, batch: Batch) -> tuple[list[Compared], list[str]]:
    """Every way against autodiff, at float64 parameters; and the parameters along which the cost bends.

    Where a ReLU wakes or falls asleep at the point itself, a difference quotient says nothing: these are left out.
    """
    manual = jax.jit(jp.backprop(network, jp.squared_error))
    autodiff = jax.jit(jp.autodiff(network, jp.squared_error))
    loss = jp.loss(network, jp.squared_error)
    forwards = forward_mode(loss)
    flat, unravel = ravel_pytree(params)
    found = central_differences(loss)(params, batch, jnp.arange(flat.size))

    def by_differences(params: Params, batch: Batch) -> tuple[Any, Any]:
        reference, _ = ravel_pytree(autodiff(params, batch)[1])
        return found.value, unravel(jnp.where(found.bends, reference, found.slopes))

    scale = per_example_scale(jax.jit(jp.per_example(network, jp.squared_error)), params, batch)

    def against(
        reference: tuple[str, ValueAndGrad], candidate: tuple[str, ValueAndGrad], point: tuple[Any, Any], bound: Bound
    ) -> Compared:
        comparison = compare(reference[1], candidate[1], *point, bound.tolerance, scale)
        return Compared(candidate[0], reference[0], comparison, bound)

    reference = ("autodiff", autodiff)
    truth = ("autodiff in float64", in_float64(autodiff))
    point = (params, batch)
    point_32 = to_float32(point)
    compared = [
        against(reference, ("backprop", manual), point, ROUNDING),
        against(reference, ("forward mode", forwards), point, ROUNDING),
        against(reference, ("finite differences", by_differences), point, DIFFERENCES),
        against(truth, ("backprop", manual), point_32, ROUNDING_FLOAT32),
        against(truth, ("autodiff", autodiff), point_32, ROUNDING_FLOAT32),
        against(truth, ("forward mode", forwards), point_32, ROUNDING_FLOAT32),
    ]
    return compared, name_coordinates(params, np.flatnonzero(found.bends))


def hessian_products(network: jp.Network, params: Params, batch: Batch, key: PRNGKeyArray) -> float:
    """How far the second derivatives by both ways are apart along a random direction, scaled: the worst leaf."""
    flat, unravel = ravel_pytree(params)
    direction = unravel(jax.random.normal(key, flat.shape, flat.dtype))
    manual = jax.jit(hvp(jp.backprop(network, jp.squared_error)))(params, batch, direction)
    autodiff = jax.jit(hvp(jp.autodiff(network, jp.squared_error)))(params, batch, direction)
    apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max() / jnp.abs(b).max(), manual, autodiff)
    return float(jnp.max(jnp.stack(jax.tree.leaves(apart))))  # a NaN stays one


def time_ways(network: jp.Network, params: Params, batch: Batch, repeats: int) -> list[Row]:
    """What each way takes on this device, in float32: median time of the compiled function, memory, operations."""
    params, batch = to_float32((params, batch))
    ways: dict[str, ValueAndGrad] = {name: make(network, jp.squared_error) for name, make in GRADIENTS.items()}
    ways["forward mode"] = forward_mode(jp.loss(network, jp.squared_error))
    compiled = {name: compile_apart(way, params, batch) for name, way in ways.items()}
    calls = {name: (lambda function=function: function(params, batch)) for name, (function, _) in compiled.items()}
    # Forward mode takes its turns apart: whoever came after it would find the caches full of its copies.
    slow = {"forward mode": calls.pop("forward mode")}
    times = interleave(calls, repeats) | interleave(slow, repeats)
    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
    rows = []
    for name, (function, compile_seconds) in compiled.items():
        # What XLA says of itself; a backend may not say it.
        memory = function.memory_analysis()
        operations = function.cost_analysis() or {}
        rows.append(
            {
                "way": name,
                "milliseconds": 1e3 * seconds[name],
                "over_autodiff": seconds[name] / seconds["autodiff"],
                "temporary_bytes": memory.temp_size_in_bytes if memory else None,
                "flops": operations.get("flops"),
                "compile_seconds": compile_seconds,
            }
        )
    return rows


EITHER_64 = "by hand against autodiff, float64"


def trajectories(
    network: jp.Network, params: Params, examples: jp.Examples, steps: Sequence[int], key: PRNGKeyArray
) -> Iterator[Row]:
    """How far the parameters are apart after so many steps with either gradient: |difference| / |parameters|."""
    trained: dict[tuple[str, str], list[np.ndarray]] = {}
    for dtype in ("float64", "float32"):
        start = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), params)
        for name, make in GRADIENTS.items():
            found = snapshots(network, start, examples, steps, key=key, rule=make)
            trained[name, dtype] = [np.asarray(ravel_pytree(p)[0], np.float64) for p in found]
    pairs = {
        EITHER_64: (("backprop", "float64"), ("autodiff", "float64")),
        "by hand against autodiff, float32": (("backprop", "float32"), ("autodiff", "float32")),
        "by hand in float32 against float64": (("backprop", "float32"), ("backprop", "float64")),
        "autodiff in float32 against float64": (("autodiff", "float32"), ("autodiff", "float64")),
    }
    for what, (a, b) in pairs.items():
        for step, p, q in zip(steps, trained[a], trained[b], strict=True):
            yield {"what": what, "step": step, "difference": float(np.linalg.norm(p - q) / np.linalg.norm(q))}


def gradients_of(network: jp.Network, params: Params, batch: Batch) -> Gradients:
    manual = jax.jit(jp.backprop(network, jp.squared_error))
    autodiff = jax.jit(jp.autodiff(network, jp.squared_error))
    found = manual(params, batch), autodiff(params, batch), manual(*to_float32((params, batch)))
    return Gradients(*(jax.tree.map(np.asarray, grads) for _, grads in found))


def to_float32(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


# What is claimed, and what is left


def claims(found: Findings) -> list[Claim]:
    agreements = [
        Claim(
            "",
            f"{stage}: {candidate} against {reference}, in {comparison.dtype}; the worst leaf, scaled",
            worst_difference([comparison]),
            "at most",
            bound.tolerance,
            bound.because,
        )
        for stage, compared in found.compared.items()
        for candidate, reference, comparison, bound in compared
    ]
    hessians = Claim(
        "",
        "Hessian-vector products, by hand against autodiff, in float64; the worst leaf, scaled",
        found.hessian,
        "at most",
        1e-11,
        "rounding of 2e-16, where sums may cancel to 1/50,000 of their terms",
    )
    early = [row for row in found.trajectories if row["what"] == EITHER_64 and row["step"] <= 100]
    last = early[-1]
    training = Claim(
        "",
        f"parameters after {last['step']} steps, by hand against autodiff, in float64",
        last["difference"],
        "at most",
        1e-12,
        "rounding of 1e-16 a step, times 100 steps, times what a curve amplifies",
    )
    return [*agreements, hessians, training]


def tables(found: Findings) -> dict[str, list[Row]]:
    leaves = [
        {"stage": stage, "candidate": candidate, "reference": reference, **row}
        for stage, compared in found.compared.items()
        for candidate, reference, comparison, _ in compared
        for row in leaf_rows(comparison)
    ]
    kinks = [{"stage": stage, "parameter": name} for stage, names in found.kinks.items() for name in names]
    return {"leaves": leaves, "timings": found.timings, "trajectories": found.trajectories, "kinks": kinks}


def figures(found: Findings) -> dict[str, Figure]:
    manual, autodiff, manual_float32 = found.gradients
    differences = {}
    # Of the dense layers, which stand by turns with the activations.
    for i, (a, b) in enumerate(zip(manual_float32[::2], autodiff[::2], strict=True), start=1):
        differences[f"W{i}"] = (a.W - b.W) / np.abs(b.W).max()
    return {
        "scatter": scatter_figure(flatten(manual), flatten(autodiff)),
        "differences": differences_figure(differences),
        "trajectories": trajectories_figure(found.trajectories),
    }


def flatten(grads: Params) -> Float[np.ndarray, " n"]:
    return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])


@styled
def scatter_figure(manual: Float[np.ndarray, " n"], autodiff: Float[np.ndarray, " n"]) -> Figure:
    """Every component of the gradient, by hand against autodiff."""
    figure = new_figure(6.4, 6)
    axes = figure.subplots()
    both = np.concatenate([manual, autodiff])
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color="gray", linewidth=1, label="equal")
    axes.plot(autodiff, manual, ".", color=BLUE, markersize=3, label="one parameter each")
    axes.set(xlabel="derivative of the cost, by jax.grad", ylabel="derivative of the cost, by hand", aspect="equal")
    largest = np.abs(manual - autodiff).max()
    verdict = f"differ by {largest:.1g} at most" if largest else "are the same to the last bit"
    axes.set_title(f"{len(autodiff):,} derivatives, twice: they {verdict}")
    axes.legend()
    return figure


@styled
def differences_figure(differences: Mapping[str, Float[np.ndarray, "out in"]]) -> Figure:
    """How far backprop in float32 is off from autodiff in float64, for each weight matrix, in units of its largest."""
    figure = new_figure(9, 2.2 + 1.6 * len(differences))
    smallest = 1e-12  # a logarithm needs one
    scale = LogNorm(smallest, 1e-6)
    grid = figure.subplots(len(differences), 1, squeeze=False)[:, 0]
    for axes, (name, difference) in zip(grid, differences.items(), strict=True):
        axes.imshow(np.maximum(np.abs(difference), smallest), norm=scale, cmap="cividis", aspect="auto")
        axes.set(ylabel="neuron", title=f"{name}, {' x '.join(map(str, difference.shape))}")
        axes.spines[:].set_visible(False)
    grid[-1].set_xlabel("activation of the layer before that the weight leads from")
    figure.colorbar(ScalarMappable(scale, "cividis"), ax=grid, label="|by hand, float32 − autodiff, float64| / largest")
    largest = max(np.abs(difference).max() for difference in differences.values())
    figure.suptitle(
        f"In float32 no weight's derivative is off by more than {largest:.1g} of the largest\n"
        "(dark stripes: pixels that are black in the whole batch, so that the derivative is exactly 0)",
        ha="left",
        x=0.01,
    )
    return figure


@styled
def trajectories_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """How far training with either gradient parts, and how far each is from the same in float64."""
    figure = new_figure(8.5, 5)
    axes = figure.subplots()
    colors = {"autodiff, float64": BLUE, "autodiff, float32": GREEN, "against float64": VERMILION}
    floor = 1e-17  # below what float64 can tell from 1; 0 has no logarithm
    # Of lines that cover one another all are seen: the later ones are drawn smaller, on top.
    sizes = (11, 12, 8, 5)
    for marker, size, what in zip("Dv^s", sizes, dict.fromkeys(row["what"] for row in rows), strict=True):
        (color,) = (color for end, color in colors.items() if what.endswith(end))
        line = "--" if what.endswith("against float64") else "-"
        steps = [row["step"] for row in rows if row["what"] == what]
        differences = [row["difference"] for row in rows if row["what"] == what]
        looks = {"marker": marker, "markersize": size, "color": color, "linewidth": size / 4}
        axes.plot(steps, np.maximum(differences, floor), line, label=what, **looks)
    axes.set(xscale="log", yscale="log", xlabel="steps of training", ylabel="|difference of parameters| / |parameters|")
    if any(row["difference"] == 0 for row in rows):
        axes.axhline(floor, color="gray", linewidth=0.8, zorder=0)
        axes.annotate(
            "exactly the same",
            (1, floor),
            (0, 8),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
        )
    axes.set_title("Both gradients lead the same way, but for rounding")
    axes.legend()
    return figure


def finding(found: Findings) -> str:
    manual, autodiff = (flatten(grads) for grads in (found.gradients.manual, found.gradients.autodiff))
    apart = int(np.sum(manual != autodiff))
    last = found.trajectories[-1]["step"]
    (either,) = (row for row in found.trajectories if row["what"] == EITHER_64 and row["step"] == last)
    return (
        f"Of {len(manual):,} derivatives of the trained network, by hand and by jax.grad in float64, {apart:,} differ "
        f"in any bit; after {last} steps with either the parameters are apart by {either['difference']:.0e} of their "
        "length."
    )


LOOK_AT = {
    "scatter": "Every derivative twice: the dots lie on the line.",
    "differences": "Dark: the same number, bright: rounding. A dark stripe down is a pixel that is black in every "
    "example of the batch, whose weights have the derivative 0; a stripe across is a neuron whose own derivative was "
    "rounded more or less, and with it those of all its weights.",
    "trajectories": "How the lines rise: training multiplies every rounding. In float32 the two gradients are no "
    "farther from each other than either is from float64. Points at the bottom are exactly the same.",
}
EXPERIMENT = Experiment("compare_gradients", measure, claims, tables, figures, finding, LOOK_AT)


def main_of_own(options: CompareOptions) -> int:
    """Compares the functions that the options name, prints it, leaves a run folder; 1 if one of them is wrong."""
    device = first_line(options.device, "float64")
    reference, found, by_differences, conclusion, right = compare_own(options.loss, options.gradient, options.inputs)
    if options.gradient is None:
        print("autodiff of your loss is what is tested here, so finite differences are the reference")
    record = {
        "loss": options.loss,
        "gradient": options.gradient or "autodiff",
        "inputs": options.inputs,
        "reference": reference,
        **found.to_dict(),
        "by_differences": {name: checked.to_dict() for name, checked in by_differences.items()},
        "conclusion": conclusion,
        "right": right,
        **folders.provenance(device),
    }
    with folders.whole_run_folder(options.out, "compare_gradients", options.seed) as folder:
        folders.write_json(folder / "results.json", record)
    _, first = found.results[0]
    print_wide("Your gradient, in float64 and in float32" if options.gradient else "Autodiff of your loss", found)
    print_wide("Leaf by leaf, in float64", first)
    print(LEGEND)
    for name, checked in by_differences.items():
        print_wide(f"{name.capitalize()}, compared with finite differences", checked)
    if conclusion:
        print(f"\n{conclusion}")
    if options.loss and options.gradient and options.inputs and not right:
        functions = load_function("--loss", options.loss), load_function("--gradient", options.gradient)
        for line in say_what_is_wrong(*functions, load_point(options.inputs)):
            print(line)
    print(f"run folder: {folder}")
    return 0 if right else 1


def main(options: CompareOptions) -> int:
    if options.loss or options.gradient or options.inputs:
        return main_of_own(options)
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, CompareOptions))
