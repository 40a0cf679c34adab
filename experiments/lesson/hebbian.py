"""L10: into the output that should be active weights grow by Hebb's rule; into the others they do not.

L10 says: this resembles a theory of learning in brains, where neurons that fire together wire together: the connections
that grow most join the most active neurons with the one that should be active. It is a loose analogy. By Hebb's rule a
weight grows by the product of the activations at its two ends. At the outputs there is a target y, so that the later of
the two is the activation that should be, and the rule says y_j a_k, where backpropagation says -dz_j a_k. That is the
nudge of the weight, minus the derivative of one picture's cost: what the picture wishes for.

So both grow the weights into the output that should be active, in proportion to the brightness of the neurons they come
from. They differ in the nine others, which are to go down. Over all weights the cosine of the two is that of y and -dz.
With every output at 1/2 it is 1/sqrt(10). It is at its best when the network has learned just that each digit is one in
ten: with every output at 1/10 it is 0.9 / sqrt(0.9^2 + 9 * 0.1^2) = 0.949. And averaged over all pictures even the
rule's sign is wrong at the start, when every output is to fall nine times out of ten.

    uv run experiments/lesson/hebbian.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.batches import NDArray
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, VERMILION, new_figure, styled
from lesson.angles import cosine, outer_cosine
from lesson.neurons import Neurons, wishes_of_neurons

DIGIT = 2  # of the picture that is shown
PICTURES = 1000
ONE_IN_TEN = 30  # steps, by when every output is near 1/10
PREDICTED = {0: 10**-0.5, ONE_IN_TEN: 0.9**0.5}  # cosines if every output is 1/2, or 1/10
Row = dict[str, Any]


class Findings(NamedTuple):
    course: list[Row]  # how the nudges of the weights into the outputs compare with the rule: a row for each step
    picture: UInt8[np.ndarray, "28 28"]
    hebb: Float[np.ndarray, "10 16"]  # what the rule makes of the picture, before the first step
    nudge: Float[np.ndarray, "10 16"]  # and what the picture wishes for


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    steps = steps_to_look_at(options)
    networks = running_example.snapshots(network, network.init(init_key), examples, steps, key=order_key)

    some = running_example.select(examples, slice(PICTURES))
    inputs, targets = running_example.whole(some)

    @jax.jit
    def wishes(params: Params) -> Neurons:
        """Of the outputs, for each picture."""
        of_all_layers = jax.vmap(wishes_of_neurons(network, jp.squared_error), (None, 0, 0))
        return of_all_layers(params, inputs, targets)[-1]

    seen = [wishes(params) for params in networks]
    course = [{"steps": step, **compare(outputs, targets)} for step, outputs in zip(steps, seen, strict=True)]

    first = int(np.flatnonzero(np.asarray(some.labels) == DIGIT)[0])
    before_training = jax.tree.map(lambda x: x[first], seen[0])
    hebb = jp.expand(jp.Outer(jnp.asarray(targets[first]), before_training.a_prev))
    nudge = jp.expand(before_training.nudge.W)
    return Findings(course, np.asarray(some.images[first]), np.asarray(hebb), np.asarray(nudge))


def steps_to_look_at(options: Options) -> list[int]:
    if options.smoke:
        return [0, ONE_IN_TEN]
    if options.dataset == "digits":
        return [0, 1, 3, 10, ONE_IN_TEN, 100, 300, 1000]
    return [0, 1, 3, 10, ONE_IN_TEN, 100, 300, 1000, 3000, 10_000]


def compare(outputs: Neurons, targets: NDArray) -> Row:
    """What N pictures wish for the weights into the outputs, beside the rule."""
    nudges = outputs.nudge.W
    hebb = jp.Outer(jnp.asarray(targets), outputs.a_prev)
    growth = jnp.einsum("nj,njk->nk", targets, jp.expand(nudges))  # of the weights into each picture's own output

    def average(changes: jp.Outer) -> Float[Array, " weights"]:
        return jnp.ravel(jp.mean_over_examples(changes))

    return {
        "lowest_cosine_with_brightness": float(jnp.min(cosine(growth, outputs.a_prev))),
        "fraction_growing": float(jnp.mean(growth > 0)),
        "cosine": float(jnp.mean(outer_cosine(nudges, hebb))),
        "cosine_of_averages": float(cosine(average(nudges), average(hebb))),
    }


def claims(found: Findings) -> list[Claim]:
    start = found.course[0]
    (one_in_ten,) = (row for row in found.course if row["steps"] == ONE_IN_TEN)
    return [
        Claim(
            "L10",
            "cosine of what the weights into the output that should be active wish for, and the activations that they "
            "lead from; the lowest of all pictures and steps",
            min(row["lowest_cosine_with_brightness"] for row in found.course),
            "within",
            1.0,
            tolerance=1e-12,
            because="in proportion, but for rounding of about 1e-15",
        ),
        Claim(
            "L10",
            "fraction of the weights into the output that should be active which are to grow, the lowest of all steps",
            min(row["fraction_growing"] for row in found.course),
            "within",
            1.0,
            because="that output is below 1, so that it always wishes to rise",
        ),
        Claim(
            "L10",
            "before the first step: cosine of what a picture wishes for all weights into the outputs, and Hebb's rule",
            start["cosine"],
            "within",
            PREDICTED[0],
            tolerance=0.1,
            because="1/sqrt(10) if every output is 1/2; they lie between about 1/4 and 3/4",
        ),
        Claim(
            "L10",
            f"after {ONE_IN_TEN} steps: cosine of what a picture wishes for all weights into the outputs, and Hebb's "
            "rule",
            one_in_ten["cosine"],
            "within",
            PREDICTED[ONE_IN_TEN],
            tolerance=0.02,
            because="sqrt(0.9) if every output is 1/10, as it nearly is by now",
        ),
        Claim(
            "L10",
            "before the first step: cosine of the wishes averaged over all pictures, and Hebb's rule averaged as well",
            start["cosine_of_averages"],
            "at most",
            -0.8,
            because="-1 if every output is 1/2: nine pictures of ten lower it, and the rule never lowers",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict]]:
    weights = [
        {"output": j, "from_neuron": k, "hebb": found.hebb[j, k], "nudge": nudge}
        for (j, k), nudge in np.ndenumerate(found.nudge)
    ]
    return {"hebbian": found.course, "one_picture": weights}


def figures(found: Findings) -> dict[str, Figure]:
    return {
        "one_picture": draw_picture(found.picture, found.hebb, found.nudge),
        "hebbian": draw_course(found.course, PREDICTED),
    }


@styled
def draw_picture(
    image: UInt8[np.ndarray, "28 28"], hebb: Float[np.ndarray, "10 16"], nudge: Float[np.ndarray, "10 16"]
) -> Figure:
    """One picture, what Hebb's rule makes of it, and what it wishes for the same weights."""
    figure = new_figure(10, 3.4)
    scale = ScalarMappable(Normalize(-1, 1), "RdBu")
    digit, rule, backpropagation = figure.subplots(1, 3, width_ratios=(0.6, 1, 1))
    digit.imshow(image, cmap="gray")
    digit.axis("off")
    for axes, matrix, title in ((rule, hebb, "Hebb's rule"), (backpropagation, nudge, "Backpropagation")):
        axes.imshow(scale.to_rgba(matrix / np.abs(matrix).max()), aspect="auto")
        axes.set(xticks=range(0, 16, 3), yticks=range(10), xlabel="from neuron of the layer before", title=title)
        axes.spines[:].set_visible(False)
    rule.set(ylabel="to output")
    label = "change asked of the weight,\nas a fraction of the largest"
    figure.colorbar(scale, ax=[rule, backpropagation], label=label)
    message = "One picture of a 2: Hebb's rule knows what grows, not what shrinks"
    figure.suptitle(message, x=0.01, ha="left", fontsize=14)
    return figure


@styled
def draw_course(course: Sequence[Mapping[str, Any]], predicted: Mapping[int, float]) -> Figure:
    """Cosines of nudges and rule along training, beside those predicted after so many steps."""
    figure = new_figure()
    axes = figure.subplots()
    steps = [row["steps"] for row in course]
    one_by_one = [row["cosine"] for row in course]
    averages = [row["cosine_of_averages"] for row in course]
    axes.plot(steps, one_by_one, "o-", color=BLUE, label="picture by picture")
    axes.plot(steps, averages, "s--", color=VERMILION, label="averaged over the pictures")
    axes.plot(
        list(predicted), list(predicted.values()), "k*", markersize=13, label="predicted, if every output were so"
    )
    for star, outputs, side in zip(predicted.items(), ("1/2", "1/10"), ("left", "center"), strict=True):
        axes.annotate(f"every output {outputs}", star, (0, -22), textcoords="offset points", ha=side)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set(xscale="symlog", xlim=(-0.1, None), ylim=(-1.05, 1.05), xlabel="steps")
    axes.set(ylabel="cosine of wishes and Hebb's rule")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right")
    message = "At the outputs: one picture's wishes follow Hebb's rule, their average does not"
    figure.suptitle(message, x=0.01, ha="left")
    return figure


def finding(found: Findings) -> str:
    start = found.course[0]
    (one_in_ten,) = (row for row in found.course if row["steps"] == ONE_IN_TEN)
    return (
        "Into the output that should be active, "
        f"{min(row['fraction_growing'] for row in found.course):.0%} of the weights are to grow, as Hebb's rule says; "
        "over the weights into all ten outputs, one picture's wishes and the rule have a cosine of "
        f"{start['cosine']:.2f} before the first step and {one_in_ten['cosine']:.2f} after {ONE_IN_TEN}, but averaged "
        f"over the pictures it begins at {start['cosine_of_averages']:.2f}."
    )


LOOK_AT = {
    "one_picture": "The two squares agree in one row, that of the output for 2, whose weights are to grow. In the nine "
    "other rows backpropagation asks them to shrink, and Hebb's rule asks for nothing.",
    "hebbian": "Blue: one picture's wishes soon follow Hebb's rule. The stars are what theory predicts, for an "
    "untrained network with every output at 1/2, and for one that has learned only that each digit is one in ten, with "
    "every output at 1/10. Orange: averaged over the pictures, they begin on the opposite side.",
}
EXPERIMENT = Experiment("hebbian", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
