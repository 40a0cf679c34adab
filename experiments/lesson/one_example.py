"""L6 to L8 and L11 to L13: what one picture of a 2 wishes for, on a network that is not trained yet.

A wish, or nudge, is minus a derivative of the cost C = Σ (a − y)² of this one example: the change that would lower it.
The output for 2 wishes to go up and the nine others down, each by 2 (y − a). Three avenues (that is, three kinds of
numbers) change an output a = σ(Σ w a' + b): its bias b, its weights w in proportion to the activations a' of the layer
before, and those activations in proportion to the weights. What an output by itself wishes of an activation before it
is called its request. The requests of all ten outputs, added up, are the wishes of the layer before; and so on, down to
the pixels.

The lesson says that a request is in proportion to its weight and to how much the output needs to change. What is so:
also to the slope a (1 − a) of the sigmoid, so that an output that is wrong but saturated asks for little.

    uv run experiments/lesson/one_example.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.batches import NDArray
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, GREEN, ORANGE, SKY, new_figure, styled
from lesson.neurons import Neurons, wishes_of_neurons
from lesson.wishes_figure import wishes_figure

LABEL = 2
STEP = 1e-5  # of each nudge that is followed
LEVELS = ("pixels", "hidden 1", "hidden 2", "outputs")
AVENUES = ("bias", "weights", "activations", "together")


class Findings(NamedTuple):
    """One example and its wishes; beside them what JAX derives, and what small steps do to the cost."""

    image: UInt8[np.ndarray, "28 28"]
    wishes: tuple[Neurons, ...]  # of the two hidden layers and the outputs
    weights: Float[np.ndarray, "10 16"]  # into the outputs
    derived: tuple[Float[np.ndarray, " width"], ...]  # minus jax.grad by the activations of each level
    level_drops: Float[np.ndarray, " 4"]  # of the cost over STEP, after a step along the nudges of each level
    avenue_drops: Float[np.ndarray, " 4"]  # the same for the cost of one output, along each avenue and all three


def measure(options: Options) -> Findings:
    train = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    first = np.argmax(np.asarray(train.labels) == LABEL)
    example = running_example.select(train, np.array([first]))
    inputs, targets = running_example.whole(example)
    params = network.init(jax.random.key(options.seed))
    found = jax.jit(partial(look, network))(params, inputs[0], targets[0])
    return Findings(np.asarray(example.images[0]), *jax.tree.map(np.asarray, found))


def look(network: jp.Network, params: Params, x: Array, y: Array) -> tuple:
    """Everything that is found, but for the picture."""
    cost = jp.squared_error
    found = wishes_of_neurons(network, cost)(params, x, y)

    def level_cost(level: int, a: Array) -> Array:
        """The cost of the example where the activations of one level are these."""
        above = jp.chain(*network.layers[2 * level :])
        outputs, _ = above.forward(params[2 * level :], a)
        return cost.value(outputs, y)

    def output_cost(b: Array, w: Array, a_prev: Array) -> Array:
        """What the output for 2 adds to the cost, with this bias and these weights, after these activations."""
        weights, biases = params[-2]
        changed = jp.Dense(weights.at[LABEL].set(w), biases.at[LABEL].set(b))
        outputs, _ = jp.chain(*network.layers[-2:]).forward((changed, params[-1]), a_prev)
        return cost.value(outputs[LABEL], y[LABEL])

    levels = [x, *(neurons.a for neurons in found)]
    derived = []
    level_drops = []
    for level, (a, nudge) in enumerate(zip(levels, level_nudges(found), strict=True)):
        derived.append(-jax.grad(level_cost, argnums=1)(level, a))
        level_drops.append(level_cost(level, a) - level_cost(level, a + STEP * nudge))

    b, w, a_prev = params[-2].b[LABEL], params[-2].W[LABEL], found[-1].a_prev
    nudge_b, nudge_w, nudge_a_prev = avenue_nudges(found)
    steps = [
        (b + STEP * nudge_b, w, a_prev),
        (b, w + STEP * nudge_w, a_prev),
        (b, w, a_prev + STEP * nudge_a_prev),
        (b + STEP * nudge_b, w + STEP * nudge_w, a_prev + STEP * nudge_a_prev),
    ]
    avenue_drops = [output_cost(b, w, a_prev) - output_cost(*step) for step in steps]
    return found, params[-2].W, tuple(derived), jnp.array(level_drops) / STEP, jnp.array(avenue_drops) / STEP


def level_nudges(found: Sequence[Neurons]) -> list:
    """Of the pixels, both hidden layers and the outputs."""
    return [found[0].nudge_a_prev, *(neurons.nudge_a for neurons in found)]


def avenue_nudges(found: Sequence[Neurons]) -> list:
    """What the output for 2 wishes of its bias, of its weights, and of the activations before it."""
    outputs = found[-1]
    return [outputs.nudge.b[LABEL], outputs.nudge.W.dz[LABEL] * outputs.nudge.W.a, outputs.requests[LABEL]]


def predicted(found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """The drops on a straight line, per step: the squared lengths of the nudges. Of the levels, and of the avenues."""
    levels = [np.sum(nudge**2) for nudge in level_nudges(found.wishes)]
    avenues = [np.sum(nudge**2) for nudge in avenue_nudges(found.wishes)]
    return np.array(levels), np.array([*avenues, sum(avenues)])


def claims(found: Findings) -> list[Claim]:
    outputs = found.wishes[-1]
    levels, avenues = predicted(found)
    target = np.arange(10) == LABEL
    upwards = np.where(target, 1, -1)
    distance = target - outputs.a
    slope = outputs.a * (1 - outputs.a)
    signs = np.sign(outputs.requests) == upwards[:, None] * np.sign(found.weights)
    over_weight = outputs.requests[LABEL] / found.weights[LABEL]
    over_product = outputs.requests / (found.weights * (2 * distance * slope)[:, None])
    of_pixels, of_hidden_1, of_hidden_2 = (
        float(np.abs(neurons.requests.sum(axis=0) - derived).max() / np.abs(derived).max())
        for neurons, derived in zip(found.wishes, found.derived[:-1], strict=True)
    )
    line = "such a step bends off the straight line by 1e-5 times half the curvature; 200 is far beyond a few sigmoids"
    rounding = "sums of at most 784 products in float64, each rounded by 1.1e-16 of its size"
    return [
        Claim(
            "L6",
            "outputs, of ten, that wish in the right direction: the one for 2 up, the nine others down",
            float(np.sum(np.sign(outputs.nudge_a) == upwards)),
            "within",
            10,
            because="a sigmoid reaches neither 0 nor 1, so every output has somewhere to go",
        ),
        Claim(
            "L7",
            "the wish of an output, divided by its distance from the target; of ten, the one farthest from 2",
            farthest(outputs.nudge_a / distance, 2),
            "within",
            2,
            tolerance=1e-12,
            because="(a − y)² has the derivative 2 (a − y)",
        ),
        Claim(
            "L8",
            "drop of the cost after a small step along the bias, the weights or the activations, divided by the "
            "predicted drop; of three, the one farthest from 1",
            farthest(found.avenue_drops[:3] / avenues[:3]),
            "within",
            1,
            tolerance=1e-3,
            because=line,
        ),
        Claim(
            "L8",
            "drop of the cost after a small step along all three, divided by the sum of the three predicted drops",
            float(found.avenue_drops[3] / avenues[3]),
            "within",
            1,
            tolerance=1e-3,
            because=line,
        ),
        Claim(
            "L11",
            "requests, of 160, that have the sign of their weight (of output 2) or the opposite sign (of the others)",
            float(np.sum(signs)),
            "within",
            160,
            because="the derivative of a weighted sum by an activation is the weight",
        ),
        Claim(
            "L11",
            "requests of output 2, each divided by its weight: how far from their mean at most, as a fraction of it",
            float(np.abs(over_weight / over_weight.mean() - 1).max()),
            "at most",
            1e-12,
            because=rounding,
        ),
        Claim(
            "L12",
            "a request, divided by weight × 2 (y − a) × slope a (1 − a), of which the lesson leaves out the slope; of "
            "160, the one farthest from 1",
            farthest(over_product),
            "within",
            1,
            tolerance=1e-12,
            because=rounding,
        ),
        Claim(
            "L12",
            "requests of the ten outputs, added up, and what jax.grad gives for hidden layer 2: how far apart at most, "
            "as a fraction of the largest",
            of_hidden_2,
            "at most",
            1e-12,
            because=rounding,
        ),
        Claim(
            "L13",
            "requests added up, and what jax.grad gives for hidden layer 1 and for the pixels: how far apart at most, "
            "as a fraction of the largest",
            max(of_hidden_1, of_pixels),
            "at most",
            1e-12,
            because=rounding,
        ),
        Claim(
            "L13",
            "drop of the cost after a small step along the wishes of the pixels, of a hidden layer or of the outputs, "
            "divided by the predicted drop; of four, the one farthest from 1",
            farthest(found.level_drops / levels),
            "within",
            1,
            tolerance=1e-3,
            because=line,
        ),
    ]


def farthest(ratios: np.ndarray, target: float = 1) -> float:
    """Of these ratios the one that is farthest from the target."""
    return float(ratios.flat[np.argmax(np.abs(ratios - target))])


def tables(found: Findings) -> dict[str, list[dict]]:
    outputs = found.wishes[-1]
    drops = zip(
        (*LEVELS, *AVENUES),
        (*found.level_drops, *found.avenue_drops),
        np.concatenate(predicted(found)),
        strict=True,
    )
    return {
        "outputs": [
            {"digit": j, "activation": a, "target": int(j == LABEL), "wish": wish}
            for j, (a, wish) in enumerate(zip(outputs.a, outputs.nudge_a, strict=True))
        ],
        "requests": [
            {"asking": f"{LEVELS[i + 1]}: {j}", "asked": f"{LEVELS[i]}: {k}", "request": request}
            for i, neurons in enumerate(found.wishes)
            for (j, k), request in np.ndenumerate(neurons.requests)
        ],
        "steps": [{"along": name, "drop": drop, "predicted": line} for name, drop, line in drops],
    }


def figures(found: Findings) -> dict[str, Figure]:
    _, avenues = predicted(found)
    return {
        "wishes": wishes_figure(found.image, LABEL, found.wishes),
        "avenues": avenues_figure(LABEL, found.wishes[-1], found.weights, found.avenue_drops, avenues),
    }


@styled
def avenues_figure(
    label: int,
    outputs: Neurons,
    weights: Float[NDArray, "out in"],
    drops: Float[NDArray, " 4"],
    predicted: Float[NDArray, " 4"],
) -> Figure:
    """What an example wishes of one output's bias, its weights and the activations before it, and what each achieves.

    label: the output. outputs: the wishes of the last layer. weights: into the outputs.
    drops, predicted: of the cost per step along each avenue and along all three together.
    """
    bias = outputs.nudge.b[label]
    per_weight = outputs.nudge.W.dz[label] * outputs.nudge.W.a
    figure = new_figure(12.5, 4.8)
    by_activation, by_weight, achieved = figure.subplots(1, 3)
    by_activation.plot([0, 1], [0, bias], color="0.8", zorder=0)
    by_activation.plot(outputs.a_prev, per_weight, "o", color=BLUE, label=f"its {len(per_weight)} weights")
    by_activation.plot(1, bias, "D", color=ORANGE, label="its bias, as if from a 1")
    by_activation.set(xlabel="activation that the weight comes from", ylabel="wish for the weight (bias)")
    by_activation.set(title="Weights: by the activations")
    by_activation.legend()

    by_weight.axline((0, 0), slope=outputs.nudge_z[label], color="0.8", zorder=0)
    by_weight.plot(weights[label], outputs.requests[label], "o", color=BLUE)
    by_weight.set(xlabel="weight that the activation goes through", ylabel="wish for the activation")
    by_weight.set(title="Activations: by the weights")

    names = ("bias", "weights", "activations", "all three")
    achieved.bar(names, drops, color=(ORANGE, BLUE, SKY, GREEN), label="measured")
    achieved.plot(names, predicted, "_", color="black", markersize=32, label="predicted")
    achieved.set(ylabel="drop of the cost, per unit of step", title="How far a step lowers the cost")
    achieved.legend(loc="upper left")
    achieved.margins(y=0.2)
    figure.suptitle(f"Three avenues move the output for {label}, and their effects add up", x=0.01, ha="left", size=18)
    return figure


def finding(found: Findings) -> str:
    outputs = found.wishes[-1]
    upwards = np.where(np.arange(10) == LABEL, 1, -1)
    right = int(np.sum(np.sign(outputs.nudge_a) == upwards))
    *drops, together = found.avenue_drops
    shares = ", ".join(f"{name} {drop / together:.0%}" for name, drop in zip(AVENUES[:3], drops, strict=True))
    return (
        f"{right} of 10 outputs wish the right way; the one for {LABEL} wishes for {outputs.nudge_a[LABEL]:+.2f}, "
        f"and of what a step along all three of its avenues achieves, each alone has its part: {shares}."
    )


LOOK_AT = {
    "wishes": "Read it from right to left: what each output wishes for, what it therefore asks of each neuron of the "
    "layer before (one column of a block), and how each row of a block adds up to the arrow on its left. Blue should "
    "go up, orange down.",
    "avenues": "The output for 2: on the left its weights and bias wish in proportion to the activations they come "
    "from, in the middle the activations in proportion to the weights; on the right a step along each lowers the cost "
    "as predicted, and together they add up.",
}
EXPERIMENT = Experiment("one_example", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
