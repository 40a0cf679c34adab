"""L6 to L8 and L11 to L13: what one picture of a 2 wishes for, on a network that is not trained yet.

A wish is minus a derivative of the cost C = Σ (a − y)² of this one example. The output for 2 wishes to go up and the
nine others down, each by 2 (y − a). Three avenues change an output a = σ(Σ w a' + b): its bias b, its weights w in
proportion to the activations a' of the layer before, and those activations in proportion to the weights. The requests
of all ten outputs for the layer before, added up, are the wishes of that layer; and so on, down to the pixels.

The lesson says that a request is in proportion to its weight and to how much the output needs to change. What is so:
also to the slope a (1 − a) of the sigmoid, so that an output that is wrong but saturated asks for little.

What to look at: `wishes.png` is read from right to left. Blue should go up, orange down. Every row of a block adds up
to the arrow on its left. `avenues.png` shows the three avenues of the output for 2, and what a small step along each
buys.
"""

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
from jaxprop.layers.core import Params, chain
from jaxprop.networks import mlp_layers
from jaxprop.nudges import Wishes, wishes
from lesson.avenues_figure import avenues_figure
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.running_example import SIZES, load, whole
from lesson.wishes_figure import wishes_figure

LABEL = 2
STEP = 1e-5  # of each nudge that is followed
LEVELS = ("pixels", "hidden 1", "hidden 2", "outputs")
AVENUES = ("bias", "weights", "activations", "together")


class Findings(NamedTuple):
    """One example and its wishes; beside them what JAX derives, and what small steps do to the cost."""

    image: UInt8[np.ndarray, "28 28"]
    wishes: tuple[Wishes, ...]  # of the two hidden layers and the outputs
    weights: Float[np.ndarray, "10 16"]  # into the outputs
    derived: tuple[Float[np.ndarray, " width"], ...]  # minus jax.grad by the activations of each level
    level_drops: Float[np.ndarray, " 4"]  # of the cost over STEP, after a step along the nudges of each level
    avenue_drops: Float[np.ndarray, " 4"]  # the same for the cost of one output, along each avenue and all three


def measure(options: Options) -> Findings:
    train = load(options).train
    first = int(np.argmax(np.asarray(train.labels) == LABEL))
    example = jp.Examples(*(part[first : first + 1] for part in train))
    params = jp.mlp(SIZES).init(jax.random.key(options.seed))
    found = jax.jit(partial(look, mlp_layers(SIZES)))(params, *(part[0] for part in whole(example)))
    return jax.tree.map(np.asarray, Findings(np.asarray(example.images[0]), *found))


def look(stack: Sequence[jp.Layer], params: Params, x: Array, y: Array) -> tuple:
    """Everything that is found, but for the picture."""
    cost = jp.squared_error
    found = wishes(SIZES, cost)(params, x, y)

    def level_cost(level: int, a: Array) -> Array:
        outputs, _ = chain(*stack[2 * level :]).forward(params[2 * level :], a)
        return cost.value(outputs, y)

    def output_cost(b: Array, w: Array, a_prev: Array) -> Array:
        last = jp.Dense(params[-2].W.at[LABEL].set(w), params[-2].b.at[LABEL].set(b))
        outputs, _ = chain(*stack[-2:]).forward((last, params[-1]), a_prev)
        return cost.value(outputs[LABEL], y[LABEL])

    levels = list(enumerate((x, *(layer.a for layer in found))))
    derived = [-jax.grad(level_cost, argnums=1)(i, a) for i, a in levels]
    level_drops = [level_cost(i, a) - level_cost(i, a + STEP * level_nudges(found)[i]) for i, a in levels]

    here = [params[-2].b[LABEL], params[-2].W[LABEL], found[-1].a_prev]
    there = [at + STEP * nudge for at, nudge in zip(here, avenue_nudges(found), strict=True)]
    ways = [[*here[:i], there[i], *here[i + 1 :]] for i in range(3)]
    avenue_drops = [output_cost(*here) - output_cost(*way) for way in (*ways, there)]
    return found, params[-2].W, tuple(derived), jnp.array(level_drops) / STEP, jnp.array(avenue_drops) / STEP


def level_nudges(found: Sequence[Wishes]) -> list:
    """Of the pixels, both hidden layers and the outputs."""
    return [found[0].nudge_a_prev, *(layer.nudge_a for layer in found)]


def avenue_nudges(found: Sequence[Wishes]) -> list:
    """What the output for 2 wishes of its bias, of its weights, and of the activations before it."""
    outputs = found[-1]
    return [outputs.nudge.b[LABEL], outputs.nudge.W.dz[LABEL] * outputs.nudge.W.a, outputs.requests[LABEL]]


def predicted(found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """The drops on a straight line, per step: the squared lengths of the nudges. Of the levels, and of the avenues."""
    levels, avenues = ([np.sum(n**2) for n in nudges(found.wishes)] for nudges in (level_nudges, avenue_nudges))
    return np.array(levels), np.array([*avenues, sum(avenues)])


def claims(found: Findings) -> list[Claim]:
    outputs, levels, avenues = found.wishes[-1], *predicted(found)
    upwards = np.where(np.arange(10) == LABEL, 1, -1)
    distance = (upwards == 1) - outputs.a
    over_weight = outputs.requests[LABEL] / found.weights[LABEL]
    over_product = outputs.requests / (found.weights * (2 * distance * outputs.a * (1 - outputs.a))[:, None])
    signs = np.sign(outputs.requests) == upwards[:, None] * np.sign(found.weights)
    hidden_2, *further = (
        float(np.abs(layer.requests.sum(axis=0) - derived).max() / np.abs(derived).max())
        for layer, derived in list(zip(found.wishes, found.derived, strict=False))[::-1]
    )
    line = "such a step bends off the straight line by 1e-5 times half the curvature; 200 is far beyond a few sigmoids"
    rounding = "sums of at most 784 products in float64, each rounded by 1.1e-16 of its size"
    return [
        Claim("L6", "outputs that wish in the right direction: the 2 up, the nine others down",
              float(np.sum(np.sign(outputs.nudge_a) == upwards)), "within", 10,
              "a sigmoid reaches neither 0 nor 1, so every output has somewhere to go"),
        Claim("L7", "wish of an output over its distance from the target: the ratio farthest from 2",
              farthest(outputs.nudge_a / distance, 2), "within", 2, "(a − y)² has the derivative 2 (a − y)", 1e-12),
        Claim("L8", "drop after a small step along the bias, the weights or the activations, over the predicted drop: "
              "the ratio farthest from 1", farthest(found.avenue_drops[:3] / avenues[:3]), "within", 1, line, 1e-3),
        Claim("L8", "drop after a small step along all three, over the sum of the predicted drops",
              float(found.avenue_drops[3] / avenues[3]), "within", 1, line, 1e-3),
        Claim("L11", "requests with the sign of their weight (output 2) or the opposite one (the nine others), of 160",
              float(np.sum(signs)), "within", 160, "the derivative of a weighted sum by an activation is the weight"),
        Claim("L11", "requests of output 2 over their weights: the largest deviation from their mean, relative",
              float(np.abs(over_weight / over_weight.mean() - 1).max()), "at most", 1e-12, rounding),
        Claim("L12", "a request over weight × 2 (y − a) × slope a (1 − a), which the lesson leaves out: the ratio "
              "farthest from 1", farthest(over_product), "within", 1, rounding, 1e-12),
        Claim("L12", "requests of the ten outputs added up, beside jax.grad: the largest difference, relative",
              hidden_2, "at most", 1e-12, rounding),
        Claim("L13", "the same for hidden layer 1 and for the pixels", max(further), "at most", 1e-12, rounding),
        Claim("L13", "drop after a small step along the nudges of the pixels, a hidden layer or the outputs, over the "
              "predicted one: the farthest ratio", farthest(found.level_drops / levels), "within", 1, line, 1e-3),
    ]  # fmt: skip


def farthest(ratios: np.ndarray, target: float = 1) -> float:
    return float(ratios.flat[np.argmax(np.abs(ratios - target))])


def tables(found: Findings) -> dict[str, list[dict]]:
    outputs, names = found.wishes[-1], (*LEVELS, *AVENUES)
    drops = zip(names, [*found.level_drops, *found.avenue_drops], np.concatenate(predicted(found)), strict=True)
    return {
        "outputs": [
            {"digit": j, "activation": a, "target": int(j == LABEL), "wish": wish}
            for j, (a, wish) in enumerate(zip(outputs.a, outputs.nudge_a, strict=True))
        ],
        "requests": [
            {"asking": f"{LEVELS[i + 1]}: {j}", "asked": f"{LEVELS[i]}: {k}", "request": request}
            for i, layer in enumerate(found.wishes)
            for (j, k), request in np.ndenumerate(layer.requests)
        ],
        "steps": [{"along": name, "drop": drop, "predicted": line} for name, drop, line in drops],
    }


def figures(found: Findings) -> dict[str, Figure]:
    drops = (found.avenue_drops, predicted(found)[1])
    return {
        "wishes": wishes_figure(found.image, LABEL, found.wishes),
        "avenues": avenues_figure(LABEL, found.wishes[-1], found.weights, *drops),
    }


EXPERIMENT = Experiment("one_example", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
