"""L19: training comes down to a place that is flat on the floor, steep at the walls, and nearly a local minimum.

The lesson says: going through the mini-batches again and again, the network converges to a local minimum of the cost,
and does a good job on the training examples. What is so: with mini-batches at a constant rate the gradient does not die
away, as each step follows the scatter of its own 100 examples. Where descent goes on from there with all examples, in
float64 and with momentum, the gradient falls below a thousandth of what it was at the start. The lowest and highest
curvatures of the cost there (the λ in H v = λ v, H being its matrix of second derivatives, by Lanczos's method) say
what kind of place that is: a minimum has none below 0. It is nearly one: some directions still bend down, but by a
small part of what the steepest bends up, while at the start the two were of one size.

Weights that lead from a pixel which is black in every picture change nothing at all: they are flat, and left out.

    uv run experiments/lesson/local_minimum.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import jaxprop as jp
from jaxprop.data.batches import NDArray
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BEHIND_TEXT, BLUE, VERMILION, label_log, new_figure, styled
from lesson.lanczos import Ritz, lanczos, overlooked

SMALL = 1e-3  # the gradient is, at this fraction of its length at the start: descent stops there
PATIENCE = 2000  # steps with all examples, at most
PRODUCTS = 100  # of the second derivatives with a direction, for Lanczos's method; a smoke run takes 60
CHANCE = 1e-3  # of overlooking a curvature further below than is allowed for
LOOKS = 12  # at the way down with mini-batches, after the start
Row = dict[str, Any]
Report = Callable[[str], None]


class Findings(NamedTuple):
    descent: list[Row]  # cost and length of the gradient on the way
    gradient_left: float  # at the end by jax.grad, as a fraction of that at the start
    accuracy: float  # on the training examples
    black_pixels: int  # in every picture
    flat: float  # the largest derivative by a weight that leads from one of them
    curvatures: dict[str, Ritz]  # at the start and at the end
    overlooked: float  # how much lower a curvature there may be, as a fraction of the highest
    valley: list[Row]  # the cost along two directions, through the end


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    n = len(examples.labels)
    products = 60 if options.smoke else PRODUCTS
    network = jp.mlp(running_example.SIZES)
    init_key, order_key, lanczos_key = jax.random.split(jax.random.key(options.seed), 3)
    epochs = 200 if options.dataset == "digits" else 30
    steps = epochs * (n // running_example.BATCH_SIZE)
    marks = range(0, steps + 1, steps // LOOKS)
    places = running_example.snapshots(network, network.init(init_key), examples, marks, key=order_key)
    whole = running_example.whole(examples)
    autodiff = jax.jit(jp.autodiff(network, jp.squared_error))
    with progress(len(marks) + PATIENCE // 100 + 2 * (products // 20)) as report:
        descent = []
        for step, params in zip(marks, places, strict=True):
            cost, grads = autodiff(params, whole)
            length = float(optax.tree.norm(grads))
            descent.append({"looking_at": "mini-batches", "step": step, "cost": float(cost), "gradient": length})
            report(f"mini-batches, step {step:,}: cost {cost:.4f}")
        first_length = descent[0]["gradient"]
        end, settling = settle(network, places[-1], whole, SMALL * first_length, report)
        descent += settling
        _, grads = autodiff(end, whole)

        black = np.asarray(examples.images).reshape(n, -1).max(axis=0) == 0
        at = parameters_that_matter(end, black)
        direction = np.asarray(jax.random.normal(lanczos_key, at.shape))
        product = second_derivatives(network, at, report)
        at_start = lanczos(partial(product, places[0], whole), direction, products)
        at_end = lanczos(partial(product, end, whole), direction, products)

    # The spectrum may reach beyond what was found at either end.
    beyond = overlooked(len(at), products, CHANCE)
    width = (at_end.values[-1] - at_end.values[0]) / (1 - 2 * beyond)
    evaluate = jax.jit(jp.make_evaluate(network, jp.squared_error, jp.as_batch))
    return Findings(
        descent,
        gradient_left=float(optax.tree.norm(grads)) / first_length,
        accuracy=float(evaluate(end, examples).accuracy),
        black_pixels=int(black.sum()),
        flat=float(np.abs(grads[0].W[:, black]).max(initial=0)),
        curvatures={"start": at_start, "end": at_end},
        overlooked=float(beyond * width / at_end.values[-1]),
        valley=cut(network, end, whole, at, at_end),
    )


def settle(network: jp.Network, params: Params, whole: Batch, small: float, report: Report) -> tuple[Params, list[Row]]:
    """Descends with all examples until the gradient is no longer than `small`: the place, and the way there."""
    optimizer = optax.sgd(1.0, momentum=0.9)
    backprop = jp.backprop(network, jp.squared_error)

    @jax.jit
    def step(state: jp.State, whole: Batch) -> tuple[jp.State, Array, Array]:
        """One step, and the cost and the length of the gradient before it."""
        cost, grads = backprop(state.params, whole)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        return jp.State(optax.apply_updates(state.params, updates), opt_state), cost, optax.tree.norm(grads)

    state = jp.init_state(params, optimizer)
    way = []
    for i in range(PATIENCE):
        after, cost, length = step(state, whole)
        way.append({"looking_at": "all examples", "step": i, "cost": float(cost), "gradient": float(length)})
        if i % 100 == 0:
            report(f"all examples, step {i}: gradient {length:.5f}, to be {small:.5f}")
        if length <= small:
            break
        state = after
    return state.params, way


def parameters_that_matter(params: tuple, black: Bool[np.ndarray, " 784"]) -> Int[np.ndarray, " p"]:
    """All but the weights that lead from black pixels, as `ravel_pytree` counts the parameters."""
    matter = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), params)
    matter[0].W[:, black] = False
    return np.flatnonzero(ravel_pytree(matter)[0])


def second_derivatives(
    network: jp.Network, at: Int[np.ndarray, " p"], report: Report
) -> Callable[[Params, Batch, Any], Array]:
    """`product(params, whole, v)`: their matrix times a vector, for the parameters that are counted in `at`."""
    hessian_times = jp.hvp(jp.backprop(network, jp.squared_error))
    calls = itertools.count(1)

    @jax.jit
    def compiled(params: Params, whole: Batch, v: Float[NDArray, " p"]) -> Float[Array, " p"]:
        flat, unravel = ravel_pytree(params)
        direction = unravel(jnp.zeros_like(flat).at[at].set(v))
        result, _ = ravel_pytree(hessian_times(params, whole, direction))
        return result[at]

    def product(params: Params, whole: Batch, v: Float[NDArray, " p"]) -> Float[Array, " p"]:
        call = next(calls)
        if call % 20 == 0:
            report(f"second derivatives: {call} products")
        return compiled(params, whole, v)

    return product


def cut(network: jp.Network, params: Params, whole: Batch, at: Int[np.ndarray, " p"], ritz: Ritz) -> list[Row]:
    """The cost along the highest and the lowest curvature, beside the parabola that it predicts."""
    flat, unravel = ravel_pytree(params)
    loss = jax.jit(jp.loss(network, jp.squared_error))
    bottom = float(loss(params, whole))
    rows = []
    for name, i in (("highest", -1), ("lowest", 0)):
        for distance in np.linspace(-0.4, 0.4, 21):
            cost = loss(unravel(flat.at[at].add(distance * ritz.vectors[i])), whole)
            parabola = bottom + ritz.values[i] * distance**2 / 2
            rows.append({"curvature": name, "distance": distance, "cost": float(cost), "parabola": parabola})
    return rows


def claims(found: Findings) -> list[Claim]:
    curvatures = found.curvatures["end"].values
    return [
        Claim(
            "L19",
            "length of the gradient at the end, by jax.grad, as a fraction of that at the start",
            found.gradient_left,
            "at most",
            SMALL * (1 + 1e-9),
            because="that is when descent stops, by manual backprop, which gives the same but for rounding",
        ),
        Claim(
            "L19",
            "the lowest curvature at the end, less what may have been overlooked, as a fraction of the highest",
            float(curvatures[0] / curvatures[-1]) - found.overlooked,
            "at least",
            -0.02,
            because="at a minimum none is below 0; where the slope is all but gone, little should be left of that",
        ),
        Claim(
            "L19",
            f"the largest derivative by a weight that leads from one of the {found.black_pixels} pixels that are black "
            "in every picture",
            found.flat,
            "within",
            0.0,
            because="the derivative is a product with the pixel, which is exactly 0",
        ),
        Claim(
            "L19",
            "the fraction of training examples that are classified correctly in the end",
            found.accuracy,
            "at least",
            0.9,
            because="a good job is nine in ten; guessing is one in ten",
        ),
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    curvatures = [
        {"place": place, "curvature": value, "residual_bound": bound}
        for place, ritz in found.curvatures.items()
        for value, bound in zip(ritz.values, ritz.bounds, strict=True)
    ]
    return {"descent": found.descent, "curvatures": curvatures, "valley": found.valley}


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "curvatures": draw_curvatures(found.curvatures["start"].values, found.curvatures["end"].values, found.valley),
        "descent": draw_descent(found.descent),
    }


@styled
def draw_curvatures(
    start: Float[np.ndarray, " k"], end: Float[np.ndarray, " k"], valley: Sequence[Mapping[str, Any]]
) -> Figure:
    """The curvatures at the start and at the end, in ascending order; and two cuts through the valley at the end."""
    figure = new_figure(10, 4.6)
    strip, cuts = figure.subplots(1, 2, width_ratios=(3, 2))
    for height, curvatures in ((1, start), (0, end)):
        for side, colour in ((curvatures < 0, VERMILION), (curvatures >= 0, BLUE)):
            strip.plot(curvatures[side], np.full(side.sum(), height), "|", color=colour, markersize=44)
        for extreme, colour in ((curvatures[0], VERMILION), (curvatures[-1], BLUE)):
            text = f"{extreme:.2g}".replace("-", "−")
            strip.annotate(text, (extreme, height + 0.28), ha="center", color=colour, bbox=BEHIND_TEXT)
    strip.set_xscale("symlog", linthresh=1e-3)
    strip.axvline(0, color="gray", linewidth=0.8)
    strip.set(ylim=(-0.5, 1.6), yticks=[0, 1], yticklabels=["end", "start"])
    strip.set(xlabel="curvature, an eigenvalue of the second derivatives")
    strip.set_xticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], ["−1", "−0.1", "−0.01", "0", "0.01", "0.1", "1"])
    strip.minorticks_off()
    strip.set_title("What bends down (left of 0) all but vanishes")
    for name, colour in (("highest", BLUE), ("lowest", VERMILION)):
        rows = [row for row in valley if row["curvature"] == name]
        distances = [row["distance"] for row in rows]
        label = f"along the {name} curvature"
        cuts.plot(distances, [row["cost"] for row in rows], color=colour, linewidth=2, label=label)
        cuts.plot(distances, [row["parabola"] for row in rows], "k:", linewidth=1)
    cuts.set(xlabel="distance from the end", ylabel="cost, over all examples")
    cuts.set_title("The valley (dotted: predicted)")
    cuts.set_ylim(0, 1.35 * max(row["cost"] for row in valley))
    cuts.legend(loc="upper center")
    return figure


@styled
def draw_descent(descent: Sequence[Mapping[str, Any]]) -> Figure:
    """The length of the gradient on the way, as a fraction of the start's: first with mini-batches, then with all."""
    first = descent[0]["gradient"]
    with_batches = [row for row in descent if row["looking_at"] == "mini-batches"]
    with_all = [row for row in descent if row["looking_at"] == "all examples"]
    figure = new_figure()
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot([row["step"] for row in with_batches], [row["gradient"] / first for row in with_batches], "o-")
    left.set(xlabel="steps with mini-batches", ylabel="length of the gradient, as a fraction of the start's")
    right.plot([row["step"] for row in with_all], [row["gradient"] / first for row in with_all], color=VERMILION)
    right.set(xlabel="steps with all examples")
    for axes in (left, right):
        axes.axhline(SMALL, color="gray", linestyle=":")
        axes.set(yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    label_log(left.yaxis)
    reached = with_batches[-1]["gradient"] / first
    last = descent[-1]["gradient"] / first
    message = f"Mini-batches bring the gradient down to {reached:.2%}, all examples then to {last:.2%}"
    figure.suptitle(message, x=0.01, ha="left")
    return figure


def finding(found: Findings) -> str:
    curvatures = found.curvatures["end"].values
    return (
        f"In the end the gradient is {found.gradient_left:.2%} as long as at the start, the strongest curvature "
        f"downward is {max(-curvatures[0] / curvatures[-1], 0):.2%} of the strongest upward (at the start: "
        f"{-found.curvatures['start'].values[0] / found.curvatures['start'].values[-1]:.0%}), and {found.accuracy:.1%} "
        "of the training examples are classified correctly."
    )


LOOK_AT = {
    "curvatures": "On the left the marks left of 0, directions in which the cost bends down: many and large at the "
    "start, next to nothing at the end, where a minimum has none. On the right two cuts through the place, along the "
    "steepest and the most downward direction, beside the parabolas that their curvatures predict.",
    "descent": "With mini-batches the gradient stops shrinking; with all examples it then falls to the dotted line.",
}
EXPERIMENT = Experiment("local_minimum", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
