"""L19: training comes down to a place that is flat on the floor, steep at the walls, and nearly a local minimum.

The lesson says: going through the mini-batches again and again, the network converges to a local minimum of the cost,
and does a good job on the training examples. What is so: with mini-batches at a constant rate the gradient does not die
away, as each step follows the scatter of its own 100 examples. Where descent goes on from there with all examples, in
float64 and with momentum, the gradient falls below a thousandth of what it was at the start. The lowest and highest
curvatures of the cost there (the λ in H v = λ v, H being its matrix of second derivatives, by Lanczos's method) say
what kind of place that is: a minimum has none below 0. It is nearly one: some directions still bend down, but by a
small part of what the steepest bends up, while at the start the two were of one size.

Weights that lead from a pixel which is black in every picture change nothing at all: they are flat, and left out.

In the first picture look at the lowest curvatures, from the start to the end; and beside them at two cuts through the
valley, along the steepest and the most downward direction, on the parabolas that their curvatures predict. The second
shows the length of the gradient on the way down.
"""

import sys
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import jaxprop as jp
from lab.figures import styled
from lesson.lanczos import Ritz, lanczos, overlooked
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lesson.local_minimum_figures import draw_curvatures, draw_descent
from lesson.valley import PATIENCE, Row, cut, second_derivatives, settle

GONE = 1e-3  # the gradient has, at this share of its length at the start
PRODUCTS = 100  # of the second derivatives with a direction, for Lanczos's method; a smoke run takes 60
CHANCE = 1e-3  # of overlooking a curvature further below than is allowed for


class Findings(NamedTuple):
    descent: list[Row]  # cost and length of the gradient on the way
    gradient_left: float  # at the end by jax.grad, as a share of that at the start
    accuracy: float  # on the training examples
    black_pixels: int  # in every picture
    flat: float  # the largest derivative by a weight that leads from one of them
    curvatures: dict[str, Ritz]  # at the start and at the end
    overlooked: float  # how much lower a curvature there may be, as a share of the highest
    valley: list[Row]  # the cost along two directions, through the end


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    n, products = len(examples.labels), 60 if options.smoke else PRODUCTS
    network = jp.mlp(running_example.SIZES)
    init_key, order_key, lanczos_key = jax.random.split(jax.random.key(options.seed), 3)
    steps = (200 if options.dataset == "digits" else 30) * (n // running_example.BATCH_SIZE)
    marks = range(0, steps + 1, steps // 12)
    places = running_example.snapshots(network, network.init(init_key), examples, marks, key=order_key)
    whole = running_example.whole(examples)
    by_jax = jax.jit(jp.autodiff(network, jp.squared_error))
    with progress(len(marks) + PATIENCE // 10 + 2 * products // 10) as report:
        descent = []
        for step, params in zip(marks, places, strict=True):
            cost, grads = by_jax(params, whole)
            length = float(optax.tree.norm(grads))
            descent.append({"looking_at": "mini-batches", "step": step, "cost": float(cost), "gradient": length})
            report(f"mini-batches, step {step:,}: cost {cost:.4f}")
        end, settling = settle(network, places[-1], whole, GONE * descent[0]["gradient"], report)
        descent += settling
        _, grads = by_jax(end, whole)

        black = np.asarray(examples.images).reshape(n, -1).max(axis=0) == 0
        live = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), end)
        live[0].W[:, black] = False
        at = np.flatnonzero(ravel_pytree(live)[0])
        start = np.asarray(jax.random.normal(lanczos_key, at.shape))
        product = second_derivatives(network, at, report)
        curvatures = {
            name: lanczos(partial(product, params, whole), start, products)
            for name, params in (("start", places[0]), ("end", end))
        }
    values = curvatures["end"].values
    # The spectrum may reach beyond what was found at either end.
    share = overlooked(len(at), products, CHANCE)
    width = (values[-1] - values[0]) / (1 - 2 * share)
    return Findings(
        descent,
        gradient_left=float(optax.tree.norm(grads)) / descent[0]["gradient"],
        accuracy=float(jax.jit(jp.make_evaluate(network, jp.squared_error))(end, examples).accuracy),
        black_pixels=int(black.sum()),
        flat=float(np.abs(grads[0].W[:, black]).max(initial=0)),
        curvatures=curvatures,
        overlooked=float(share * width / values[-1]),
        valley=cut(network, end, whole, at, curvatures["end"]),
    )


def claims(found: Findings) -> list[Claim]:
    values = found.curvatures["end"].values
    return [
        Claim(
            "L19",
            "the gradient at the end, by jax.grad, as a share of its length at the start",
            found.gradient_left, "at most", GONE * (1 + 1e-9),
            because="that is when descent stops, by the hand-derived gradient, which is the same but for rounding",
        ),
        Claim(
            "L19",
            "the lowest curvature at the end, with all that may have been overlooked, as a share of the highest",
            float(values[0] / values[-1]) - found.overlooked, "at least", -0.02,
            because="at a minimum none is below 0; where the slope is all but gone, little should be left of that",
        ),
        Claim(
            "L19",
            f"the largest derivative by a weight from one of the {found.black_pixels} pixels that are always black",
            found.flat, "at most", 0.0,
            because="the derivative is a product with the pixel, which is exactly 0",
        ),
        Claim(
            "L19",
            "the share of training examples that are read rightly in the end",
            found.accuracy, "at least", 0.9,
            because="a good job is nine in ten; guessing is one in ten",
        ),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[Row]]:
    curvatures = [
        {"place": place, "curvature": value, "residual_bound": bound}
        for place, ritz in found.curvatures.items()
        for value, bound in zip(ritz.values, ritz.bounds, strict=True)
    ]
    return {"descent": found.descent, "curvatures": curvatures, "valley": found.valley}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    return {
        "curvatures": draw_curvatures({name: ritz.values for name, ritz in found.curvatures.items()}, found.valley),
        "descent": draw_descent(found.descent, GONE),
    }


EXPERIMENT = Experiment("local_minimum", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
