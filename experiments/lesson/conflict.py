"""L14, L15: before the first step the ten digits agree on the way down; a few steps later they are in conflict.

L14 says: all this is what ONE example wants; L15: so the wishes of all are averaged, a wish being minus a derivative of
one example's cost. How much that changes shows in the mean gradients of the ten digits. At the start they agree. Each
digit asks for its own output to rise and for nine to fall, by -dC/da = 2 (y - a), and any two of them have eight of
those nine in common. With every output at 1/2 the wishes of two digits have the cosine 6/10, and the gradients inherit
it, since the way back through the network is much the same for all outputs and all pictures. That common wish is
granted within a few steps. What is left is what divides the digits: of ten unit vectors the mean cosine is at least
-1/9, which they reach if they add up to zero.

    uv run experiments/lesson/conflict.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.batches import CLASSES
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import VERMILION, new_figure, styled
from lesson.angles import cosine_matrix

LATER = 100  # steps, by when the common wish is granted
PAIRS = np.triu_indices(CLASSES, 1)
FLOOR = -1 / (CLASSES - 1)


class Findings(NamedTuple):
    cosines: dict[int, Float[np.ndarray, "10 10"]]  # of the digits' gradients, after so many steps
    wishes: float  # mean cosine of what two digits wish for at the outputs, before the first step
    one_picture: float  # mean cosine of the gradients of the average picture, were it two digits in turn


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    steps = steps_to_look_at(options)
    networks = running_example.snapshots(network, network.init(init_key), examples, steps, key=order_key)
    start = networks[0]

    pictures = by_digit(examples)
    cosines = jax.jit(lambda params, pictures: cosine_matrix(digit_gradients(network, params, pictures)))
    average = jnp.mean(pictures, axis=(0, 1))
    as_each_digit = jnp.tile(average, (CLASSES, 1, 1))
    wishes = -jax.vmap(jp.squared_error.gradient, (None, 0))(network.apply(start, average), jnp.eye(CLASSES))
    return Findings(
        cosines={step: np.asarray(cosines(params, pictures)) for step, params in zip(steps, networks, strict=True)},
        wishes=mean_of_pairs(np.asarray(cosine_matrix(wishes))),
        one_picture=mean_of_pairs(np.asarray(cosines(start, as_each_digit))),
    )


def steps_to_look_at(options: Options) -> list[int]:
    last = 1000 if options.dataset == "digits" else 3000
    if options.smoke:
        last = LATER
    return [*range(10), *range(10, LATER, 10), *range(LATER, last + 1, 100)]


def by_digit(examples: jp.Examples, most: int = 500) -> Float[Array, "10 m 784"]:
    """The inputs of each digit's first pictures, as many of each."""
    labels = np.asarray(examples.labels)
    m = min(most, np.bincount(labels, minlength=CLASSES).min())
    rows = np.concatenate([np.flatnonzero(labels == digit)[:m] for digit in range(CLASSES)])
    inputs, _ = running_example.whole(running_example.select(examples, rows))
    return jnp.reshape(inputs, (CLASSES, m, -1))


def digit_gradients(network: jp.Network, params: Params, inputs: Float[Array, "10 m 784"]) -> Float[Array, "10 P"]:
    """For each digit the gradient of its mean cost, all parameters in one row."""
    targets = jnp.broadcast_to(jnp.eye(CLASSES)[:, None], (*inputs.shape[:2], CLASSES))
    _, grads = jax.vmap(jp.backprop(network, jp.squared_error), (None, 0))(params, (inputs, targets))
    return jax.vmap(lambda g: ravel_pytree(g)[0])(grads)


def mean_of_pairs(cosines: Float[np.ndarray, "10 10"]) -> float:
    return float(cosines[PAIRS].mean())


def claims(found: Findings) -> list[Claim]:
    return [
        Claim(
            "L14",
            "before the first step: cosine of what two digits wish for at the outputs, mean over all pairs",
            found.wishes,
            "within",
            0.6,
            tolerance=0.15,
            because="6/10 if every output is 1/2; 0.45 if all of them are 0.4, and 0.75 if they are 0.65",
        ),
        Claim(
            "L14",
            "before the first step: cosine of the gradients of two digits, mean over all pairs, beside that of one and "
            "the same picture, the average of all, taken for either digit",
            mean_of_pairs(found.cosines[0]),
            "within",
            found.one_picture,
            tolerance=0.02,
            because="an untrained network can hardly tell pictures apart",
        ),
        Claim(
            "L15",
            f"after {LATER} steps on all digits: cosine of the gradients of two digits, mean over all pairs",
            mean_of_pairs(found.cosines[LATER]),
            "at most",
            FLOOR / 2,
            because="more than half of the way from no conflict, 0, to the most that ten can have, -1/9",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict]]:
    rows = [
        {"steps": step, "digit": i, "other": j, "cosine": cosines[i, j]}
        for step, cosines in found.cosines.items()
        for i, j in zip(*PAIRS, strict=True)
    ]
    return {"conflict": rows}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(11, 4.2)
    scale = ScalarMappable(Normalize(-1, 1), "RdBu")
    before, later, course = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    for axes, step in ((before, 0), (later, LATER)):
        axes.imshow(scale.to_rgba(found.cosines[step]))
        axes.set(xticks=range(CLASSES), yticks=range(CLASSES), xlabel="digit", ylabel="digit")
        axes.spines[:].set_visible(False)
        when = f"after {step} steps" if step else "before the first step"
        axes.set_title(f"{when}: mean {mean_of_pairs(found.cosines[step]):.2f}".replace("-", "−"), fontsize=11)
    label = "cosine of two digits' gradients"
    figure.colorbar(scale, ax=[before, later], orientation="horizontal", shrink=0.5, label=label)
    steps = list(found.cosines)
    pairs = np.array([cosines[PAIRS] for cosines in found.cosines.values()])
    course.fill_between(steps, pairs.min(axis=1), pairs.max(axis=1), alpha=0.2, linewidth=0, label="all 45 pairs")
    course.plot(steps, pairs.mean(axis=1), label="mean")
    course.axhline(FLOOR, color=VERMILION, linestyle=":", label="lowest mean that ten can have, −1/9")
    course.set(xscale="symlog", xlabel="steps on all digits", ylabel="cosine", ylim=(-1, 1), xlim=(0, None))
    course.xaxis.set_major_formatter("{x:,.0f}")
    course.legend(loc="lower left", fontsize=9)
    message = "The ten digits agree before the first step, and no more soon after"
    figure.suptitle(message, x=0.01, ha="left", fontsize=14)
    return {"conflict": figure}


def finding(found: Findings) -> str:
    before, later = (mean_of_pairs(found.cosines[step]) for step in (0, LATER))
    return (
        f"The gradients of two digits have a cosine of {before:.2f} before the first step, where all want much the "
        f"same, and of {later:.2f} after {LATER} steps; the lowest mean that ten digits can have is {FLOOR:.2f}."
    )


LOOK_AT = {
    "conflict": "Blue squares, two digits that agree, turn red, two that are in conflict. On the right how soon the "
    "mean of all pairs is at the dotted line, the lowest that it can be.",
}
EXPERIMENT = Experiment("conflict", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
