"""L9: of all changes of a neuron's weights of one length, the one in proportion to the activations buys the most.

The pre-activation of a neuron is Σ w a' + b, so a small change d of its weights moves it by d · a'. By Cauchy and
Schwarz none of the same length moves it further than the one in proportion to a', the activations of the layer before;
any other buys the cosine of its angle with that one. It is tried against changing all weights alike, against handing
out the same sizes dimmest first, and against random changes: at an output, whose 16 neurons before it are all about
half lit on a network that is not trained, and at a neuron behind the 784 pixels of a 2, most of which are black.

What to look at: the first bar is the longest, and each ends at its cosine.
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.batches import Batch
from lab.figures import BLUE, SKY, new_figure, styled
from jaxprop.layers.core import Params
from jaxprop.nudges import Wishes, wishes
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.running_example import SIZES, load, whole

LABEL = 2
LENGTH = 1e-5  # of every change
CHANGES = ("in proportion to the activations", "all alike", "dimmest first")
RANDOM = 1000  # more changes


class Neuron(NamedTuple):
    """Changes of the weights of one neuron: those of CHANGES, then the random ones."""

    name: str
    cosines: Float[np.ndarray, " changes"]  # with the activations
    drops: Float[np.ndarray, " changes"]  # of the cost


def measure(options: Options) -> list[Neuron]:
    train = load(options).train
    init_key, *keys = jax.random.split(jax.random.key(options.seed), 3)
    params = jp.mlp(SIZES).init(init_key)
    first = int(np.argmax(np.asarray(train.labels) == LABEL))
    x, y = whole(jp.Examples(*(part[first : first + 1] for part in train)))
    hidden, _, outputs = jax.jit(wishes(SIZES, jp.squared_error))(params, x[0], y[0])
    eager = int(jnp.argmax(jnp.abs(hidden.nudge_z)))
    return [
        change_weights("16 weights into the output for 2", params, (x, y), 4, LABEL, outputs, keys[0]),
        change_weights("784 weights into a neuron of hidden layer 1", params, (x, y), 0, eager, hidden, keys[1]),
    ]


def change_weights(
    name: str, params: Params, example: Batch, layer: int, neuron: int, wished: Wishes, key: Array
) -> Neuron:
    """Every change is turned the way that the example wishes the neuron to go."""
    loss = jp.loss(jp.mlp(SIZES), jp.squared_error)

    @jax.jit
    def cosines_and_drops(a: Array, upwards: Array) -> tuple[Array, Array]:
        dimmest_first = jnp.zeros_like(a).at[jnp.argsort(a)].set(jnp.sort(a)[::-1])
        changes = jnp.vstack([a, jnp.ones_like(a), dimmest_first, jax.random.normal(key, (RANDOM, len(a)))])
        changes /= jnp.linalg.norm(changes, axis=1, keepdims=True)

        def drop(change: Array) -> Array:
            W = params[layer].W.at[neuron].add(LENGTH * upwards * change)
            changed = (*params[:layer], params[layer]._replace(W=W), *params[layer + 1 :])
            return loss(params, example) - loss(changed, example)

        return changes @ a / jnp.linalg.norm(a), jax.lax.map(drop, changes, batch_size=100)

    found = cosines_and_drops(wished.a_prev, jnp.sign(wished.nudge_z[neuron]))
    return Neuron(name, *map(np.asarray, found))


def claims(neurons: list[Neuron]) -> list[Claim]:
    cauchy_schwarz = "no vector of the same length has a larger product with the activations (Cauchy and Schwarz)"
    line = "a change of length 1e-5 bends off the straight line by 1e-5 times half the curvature over the slope"
    found = []
    for name, cosines, drops in neurons:
        best, apart = (drops[1:] / drops[0]).max(), np.abs(drops / drops[0] - cosines).max()
        others = f"{name}: the most that any of {len(drops) - 1:,} other changes buys, of what the change"
        found += [
            Claim("L9", f"{others} in proportion to the activations buys", float(best), "at most", 1, cauchy_schwarz),
            Claim("L9", f"{name}: the same share for every change, beside its cosine with the activations: the largest "
                  "difference", float(apart), "at most", 1e-3, line),
        ]  # fmt: skip
    return found


def tables(neurons: list[Neuron]) -> dict[str, list[dict]]:
    changes = [*CHANGES, *["random"] * RANDOM]
    return {
        "changes": [
            {"neuron": neuron.name, "change": change, "cosine": cosine, "drop": drop}
            for neuron in neurons
            for change, cosine, drop in zip(changes, neuron.cosines, neuron.drops, strict=True)
        ]
    }


@styled
def figures(neurons: list[Neuron]) -> dict[str, Figure]:
    figure = new_figure(11, 4.6)
    for axes, neuron in zip(figure.subplots(1, 2, sharey=True), neurons, strict=True):
        named = len(CHANGES)
        shown = [named + int(np.argmax(neuron.drops[named:])), *reversed(range(named))]
        names = [f"best of {RANDOM:,} random ones", *reversed(CHANGES)]
        shares = neuron.drops[shown] / neuron.drops[0]
        bars = axes.barh(names, shares, color=[SKY, SKY, SKY, BLUE])
        axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=8)
        axes.plot(neuron.cosines[shown], names, "|", color="black", markersize=44)
        axes.set(
            xlabel="drop of the cost, as a share of the largest\n(black mark: the cosine, which predicts it)",
            xlim=(0, 1.2),
            title=neuron.name,
        )
    figure.suptitle("Weights from bright neurons buy the most", x=0.01, ha="left", size=18)
    return {"changes": figure}


EXPERIMENT = Experiment("bang_for_the_buck", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
