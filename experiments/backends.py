"""How exact is each backend in each precision? Gradients, 600 steps of training, and what they take.

For every backend that JAX sees here, in float32 (highest and default precision of matrix products) and in bfloat16: the
gradient of one batch, by hand and by autodiff, against float64 on the CPU, leaf by leaf, untrained and trained; how far
the parameters drift from those that float64 leads to over the same 600 mini-batches; and the time of a step and an
epoch, on which no claim rests. `--device` looks at that one alone; `JAX_PLATFORMS` decides what JAX sees.

On a CPU the default is the highest. On a GPU it is TensorFloat-32, on a TPU bfloat16, in products alone.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch, ValueAndGrad
from jaxprop.layers import Params
from jaxprop.run.devices import Device, DeviceName, select_device
from jaxprop.training import Epoch, Order
from jaxprop.verify.report import Comparison
from lab import running_example
from lab.claims import Claim, Experiment, as_table, conduct
from lab.common import Options, print_wide, progress, run
from lab.comparisons import leaf_rows, worst_difference
from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled
from lab.timing import interleave

OPTIMIZER = optax.sgd(running_example.LEARNING_RATE)
EXACT = 2e-6  # envelope(23), which is 33 roundings of 2^-24, is 1.97e-6
Row = dict[str, Any]


# The ways to compute that a machine has: every backend that is present, and the precisions that each knows.

HIGHEST = "float32, highest"
DEFAULT = "float32, default"
BFLOAT16 = "bfloat16"

# Bits that are stored of a number: in float32, in bfloat16, and in what the default precision makes of the factors of a
# float32 product. NVIDIA's GPUs since 2020 take TensorFloat-32, TPUs bfloat16 (JAX's guide "Matmul precision").
_BITS_FLOAT32 = 23
_BITS_BFLOAT16 = 7
_BITS_OF_FACTORS = {"cpu": _BITS_FLOAT32, "gpu": 10, "tpu": _BITS_BFLOAT16}
_ROUNDINGS_OF_A_LAYER = 10
_ROUNDINGS_OF_THE_COST = 3


class Way(NamedTuple):
    """One backend in one precision."""

    device: Device
    precision: str
    dtype: str
    matmul: Literal["highest", "default"]
    bits: int  # stored of the coarsest numbers that are multiplied

    @property
    def name(self) -> str:
        return f"{self.device.platform}, {self.precision}"


def backends(name: DeviceName) -> list[Device]:
    """A device of every backend that JAX sees here; or only the one that was asked for, which must be there."""
    if name != "auto":
        return [select_device(name)]
    found = []
    for each in ("cpu", "gpu", "tpu"):
        try:
            found.append(select_device(each))
        except jp.BadInput:
            continue  # absent
    return found


def ways(device: Device) -> list[Way]:
    """The precisions of a backend. On a CPU the default is the highest: both are float32 throughout."""
    return [
        Way(device, HIGHEST, "float32", "highest", _BITS_FLOAT32),
        Way(device, DEFAULT, "float32", "default", _BITS_OF_FACTORS[device.platform]),
        Way(device, BFLOAT16, "bfloat16", "highest", _BITS_BFLOAT16),
    ]


def envelope(bits: int) -> float:
    """How far rounding may take a leaf of the gradient, as a fraction of the size of what is added up: K u.

    u = 2^-(bits + 1) is the most by which one rounding to nearest moves a number, as a fraction of it. K = 33 is how
    many lie between the examples and the gradient of the lesson's network: ten in each of three dense layers with their
    sigmoids (forward the weighted sum, the bias, exp, 1 + exp, its inverse; back 1 - a, a (1 - a), its product with da,
    the weighted sum of dz, the average over the batch) and three in the cost (a - y, its square, their sum). To first
    order they add up: K u is all of them at once in one direction, between steps that make no error larger. Rounding
    is as often up as down, so that about sqrt(K) u is to be expected (Higham and Mary, "A new approach to
    probabilistic rounding error analysis", 2019). The terms of a sum do not count, for sums are kept in float32.
    """
    layers = len(running_example.SIZES) - 1
    return (_ROUNDINGS_OF_A_LAYER * layers + _ROUNDINGS_OF_THE_COST) * 2.0 ** -(bits + 1)


def compiled(function: Callable, way: Way) -> Callable:
    """The function, compiled for this way whatever precision its caller has set, and where its arguments are."""

    @jax.jit
    def own(*arguments: Any) -> Any:
        with jax.default_matmul_precision(way.matmul):
            return function(*arguments)

    return own


def cast(tree: Any, way: Way) -> Any:
    """A tree of floats in the way's type, on its device. Rounded on the host, which needs no compilation."""
    return jax.device_put(jax.tree.map(lambda x: np.asarray(x).astype(jnp.dtype(way.dtype)), tree), way.device)


# What one way to compute does with the lesson's network: its gradients, its training, and its time.


class Measured(NamedTuple):
    """What one way to compute does."""

    way: Way
    comparisons: dict[str, Comparison]  # by stage of training and gradient
    drift: list[Row]  # step by step
    accuracy: float  # of what it trained, on the test digits
    not_repeated: int  # parameters that came out otherwise when it was trained again
    not_as_highest: int  # parameters that came out otherwise than in the backend's highest precision
    times: dict[str, float]  # milliseconds

    @property
    def worst(self) -> float:
        """The largest scaled difference of any leaf; infinite where something is not even a number."""
        return worst_difference(self.comparisons.values())


def measure(options: Options) -> list[Measured]:
    data = running_example.load(options)
    network = jp.mlp(running_example.SIZES)
    examples = len(data.train.labels)
    steps = 60 if options.smoke else 600
    an_epoch = jp.steps_per_epoch(examples, running_example.BATCH_SIZE)
    every = min(an_epoch, 20)

    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    start = network.init(init_key)
    order = running_example.mini_batches(order_key, examples, steps)
    batch = jp.as_batch(*running_example.select(data.train, order[0]))

    # The float64 truth, which all others are measured by.
    in_64 = jax.jit(make_training(network, "float64"))
    truth = jp.in_float64(partial(train, in_64, every))(start, data.train, order)
    evaluate = jp.in_float64(jax.jit(jp.make_evaluate(network, jp.squared_error, jp.as_batch)))
    compare = make_comparison(network)
    stages = {"untrained": truth[0], "trained": truth[-1]}
    gradients = {
        "by hand": jp.backprop(network, jp.squared_error),
        "autodiff": jp.autodiff(network, jp.squared_error),
    }

    all_ways = [way for device in backends(options.device) for way in ways(device)]
    trainings = {}
    for way in all_ways:
        training = compiled(make_training(network, way.dtype), way)
        trainings[way] = partial(train, training, every, cast(start, way), jax.device_put(data.train, way.device))
    calls = {way.name: partial(training, order[:an_epoch]) for way, training in trainings.items()}
    taken = median_times(calls, an_epoch, repeats=11)

    found = []
    highest = {}  # of each device, the parameters to which its highest precision leads
    with progress(len(all_ways)) as report:
        for way in all_ways:
            trained = trainings[way](order)
            again = trainings[way](order)
            if way.precision == HIGHEST:
                highest[way.device] = trained[-1]
            measured = Measured(
                way=way,
                comparisons=compare(gradients, stages, batch, way),
                drift=[
                    {"step": every * i, "drift": drift(trained[i], truth[i], truth[0])} for i in range(1, len(truth))
                ],
                accuracy=float(evaluate(trained[-1], data.test).accuracy),
                not_repeated=differing(trained[-1], again[-1]),
                not_as_highest=differing(trained[-1], highest[way.device]),
                times=taken[way.name],
            )
            found.append(measured)
            report(f"{way.name}: a gradient is off by at most {measured.worst:.2g} of its scale")
    print_wide("Each way to compute, against float64", as_table(summary(found)))
    return found


def make_comparison(
    network: jp.Network,
) -> Callable[[Mapping[str, ValueAndGrad], Mapping[str, Params], Batch, Way], dict[str, Comparison]]:
    """`compare(gradients, stages, batch, way)`: each gradient in this way against float64 on the CPU, at each stage.

    Both are given the same numbers, rounded to the way's type. Differences are measured by the size of what is added
    up, `jp.per_example_scale`, in float64 too.
    """
    truth = jp.in_float64(jax.jit(jp.autodiff(network, jp.squared_error)))
    sizes = jp.in_float64(partial(jp.per_example_scale, jax.jit(jp.per_example(network, jp.squared_error))))

    def compare(
        gradients: Mapping[str, ValueAndGrad], stages: Mapping[str, Params], batch: Batch, way: Way
    ) -> dict[str, Comparison]:
        candidates = {name: compiled(gradient, way) for name, gradient in gradients.items()}
        batch = cast(batch, way)
        found = {}
        for stage, params in stages.items():
            params = cast(params, way)
            scale = sizes(params, batch)
            for name, candidate in candidates.items():
                found[f"{stage}, {name}"] = jp.compare(truth, candidate, params, batch, envelope(way.bits), scale)
        return found

    return compare


def make_training(network: jp.Network, dtype: str) -> Epoch:
    """`training(state, examples, order)`: a step of the lesson's training, by hand, for each row of the order."""
    step = jp.make_step(jp.backprop(network, jp.squared_error), OPTIMIZER)
    return jp.make_epoch(step, partial(jp.as_batch, dtype=dtype))


def train(training: Epoch, every: int, start: Params, examples: jp.Examples, order: Order) -> list[Params]:
    """The parameters at the start, and after every so many of the steps that the order is for."""
    state = jp.init_state(start, OPTIMIZER)
    found = [start]
    for begin in range(0, len(order), every):
        state, _ = training(state, examples, order[begin : begin + every])
        found.append(state.params)
    return found


def drift(params: Params, truth: Params, start: Params) -> float:
    """How far the parameters are from the true ones, as a fraction of how far those have come; in the 2-norm."""
    return float(np.linalg.norm(_flat(params) - _flat(truth)) / np.linalg.norm(_flat(truth) - _flat(start)))


def differing(some: Params, others: Params) -> int:
    """How many parameters are not the same to the last bit."""
    return int(np.sum(_flat(some) != _flat(others)))


def _flat(params: Params) -> np.ndarray:
    """All of them in float64, which holds every number of the narrower types."""
    return np.concatenate([np.asarray(leaf).astype(np.float64).ravel() for leaf in jax.tree.leaves(params)])


def median_times(calls: Mapping[str, Callable[[], object]], steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a step and of an epoch of so many steps, by the name of the call that trains for one."""
    medians = {name: 1e3 * float(np.median(seconds)) for name, seconds in interleave(calls, repeats).items()}
    return {name: {"ms_a_step": median / steps, "ms_an_epoch": median} for name, median in medians.items()}


# What is claimed, and what is left


def claims_of(each: Measured) -> Iterator[Claim]:
    way = each.way
    last = each.drift[-1]
    step = last["step"]
    gradient = (
        f"{way.name}: the gradients, and those in float64 on the CPU: how far apart at most, as a fraction of what is "
        "added up in the same W or b"
    )
    bound = EXACT if way.precision == HIGHEST else envelope(way.bits)
    because = f"33 roundings of 2^-{way.bits + 1}: see `envelope` in backends.py"
    yield Claim("", gradient, each.worst, "at most", bound, because)
    if way.precision == HIGHEST:
        drifted = (
            f"{way.name}: the parameters after {step} steps, and those that float64 leads to: how far apart, as a "
            "fraction of the way they came"
        )
        because = "as if each step were off by that much, as often this way as that"
        yield Claim("", drifted, last["drift"], "at most", step**0.5 * EXACT, because)
    if way.precision == BFLOAT16:
        because = f"half of one rounding to {way.bits} bits: whatever is more exact was computed with more bits"
        yield Claim("", gradient, each.worst, "at least", 2.0 ** -(way.bits + 2), because)
    if way.precision == DEFAULT and way.device.platform == "cpu":
        same = f"{way.name}: how many parameters after {step} steps are not those of the highest precision"
        yield Claim("", same, each.not_as_highest, "within", 0, "on a CPU all float32 products are the same")
    again = f"{way.name}: how many parameters come out otherwise when the {step} steps are done again"
    yield Claim("", again, each.not_repeated, "within", 0, "same start, same order, same programs, same backend")


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


def tables(found: list[Measured]) -> dict[str, list[Row]]:
    leaves = [
        {"way": each.way.name, "gradient": name, **row}
        for each in found
        for name, comparison in each.comparisons.items()
        for row in leaf_rows(comparison)
    ]
    drifts = [{"way": each.way.name, **row} for each in found for row in each.drift]
    return {"backends": summary(found), "leaves": leaves, "drift": drifts}


def figures(found: list[Measured]) -> dict[str, Figure]:
    return {"backends": backends_figure(found)}


# The default is drawn first, and larger: where it is the highest, it is seen around it.
_LOOKS = {DEFAULT: (ORANGE, 10.0, 5.0), HIGHEST: (BLUE, 6.0, 2.0), BFLOAT16: (VERMILION, 6.0, 2.0)}
_STYLES = {"cpu": ("o", "-"), "gpu": ("s", "--"), "tpu": ("^", ":")}


@styled
def backends_figure(found: Sequence[Measured]) -> Figure:
    """How far each way is from float64: one gradient leaf by leaf, and the parameters step by step."""
    figure = new_figure(10.5, 5.2)
    by_leaf, by_step = figure.subplots(1, 2)
    for each in sorted(found, key=lambda each: list(_LOOKS).index(each.way.precision)):
        colour, size, width = _LOOKS[each.way.precision]
        marker, style = _STYLES[each.way.device.platform]
        leaves = each.comparisons["trained, by hand"].leaves
        names = [running_example.parameter_name(leaf.path) for leaf in leaves]
        differences = [leaf.scaled_difference for leaf in leaves]
        by_leaf.semilogy(names, differences, marker, color=colour, markersize=size, label=each.way.name)
        steps = [row["step"] for row in each.drift]
        drifts = [row["drift"] for row in each.drift]
        by_step.semilogy(steps, drifts, style, color=colour, linewidth=width)
    for bits in {each.way.bits for each in found}:
        by_leaf.axhline(envelope(bits), color="gray", linewidth=1)
        by_leaf.annotate(
            f"what {bits} stored bits allow",
            (0, envelope(bits)),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=10,
        )
    by_leaf.margins(y=0.1)
    by_leaf.set(
        title="One gradient of the trained network, by hand", ylabel="off by, as a fraction of what is added up"
    )
    by_leaf.set(xlabel="weights W and biases b of layer 1, 2 and 3")
    by_step.set(title="The parameters drift", ylabel="off by, as a fraction of the way they came")
    by_step.set(xlabel="steps on the same mini-batches")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def finding(found: list[Measured]) -> str:
    ways = "; ".join(
        f"{each.way.name}, by {each.worst:.0e}, and classifies {each.accuracy:.1%} of the test digits correctly after "
        f"{each.drift[-1]['step']} steps"
        for each in found
    )
    return f"The gradient is off from that of float64, as a fraction of what is added up: {ways}."


LOOK_AT = {
    "backends": "On the left how far below the grey lines the points stay, for roundings seldom all go in one "
    "direction. On the right how slowly the parameters drift away from those of float64."
}
EXPERIMENT = Experiment("backends", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
