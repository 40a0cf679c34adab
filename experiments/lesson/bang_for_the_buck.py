"""L9: of all changes of a neuron's weights of one length, the one in proportion to the activations helps the most.

The pre-activation of a neuron is Σ w a' + b, so a small change d of its weights moves it by d · a'. By Cauchy and
Schwarz none of the same length moves it further than the one in proportion to a', the activations of the layer before;
the effect of any other is smaller by the cosine of its angle with that one. It is compared with changing all weights
alike, with the same changes given to the dimmest neurons first, and with random changes: at an output, whose 16 neurons
before it are all about half bright on a network that is not trained, and at a neuron after the 784 pixels of a 2, most
of which are black. Every change goes the way that the example wishes: a wish, or nudge, is minus a derivative of its
cost.

    uv run experiments/lesson/bang_for_the_buck.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, SKY, new_figure, styled
from lesson.neurons import Neurons, wishes_of_neurons

LABEL = 2
LENGTH = 1e-5  # of every change
CHANGES = ("in proportion to the activations", "all alike", "dimmest first")
RANDOM = 1000  # more changes


class Neuron(NamedTuple):
    """Changes of the weights of one neuron: those of CHANGES, then the random ones."""

    name: str
    cosines: Float[np.ndarray, " changes"]  # with the activations
    drops: Float[np.ndarray, " changes"]  # of the cost

    @property
    def fractions(self) -> Float[np.ndarray, " changes"]:
        """The drops as fractions of that by the change in proportion to the activations."""
        return self.drops / self.drops[0]


def measure(options: Options) -> list[Neuron]:
    train = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    init_key, output_key, hidden_key = jax.random.split(jax.random.key(options.seed), 3)
    params = network.init(init_key)
    first = np.argmax(np.asarray(train.labels) == LABEL)
    example = running_example.whole(running_example.select(train, np.array([first])))
    inputs, targets = example
    wishes = jax.jit(wishes_of_neurons(network, jp.squared_error))(params, inputs[0], targets[0])
    hidden, outputs = wishes[0], wishes[-1]
    most_moved = int(jnp.argmax(jnp.abs(hidden.nudge_z)))

    def neuron(name: str, layer: int, neurons: Neurons, j: int, key: Array) -> Neuron:
        upwards = jnp.sign(neurons.nudge_z[j])
        cosines, drops = change_weights(network, params, example, layer, j, neurons.a_prev, upwards, key)
        return Neuron(name, np.asarray(cosines), np.asarray(drops))

    return [
        neuron("16 weights into the output for 2", 4, outputs, LABEL, output_key),
        neuron("784 weights into a neuron of hidden layer 1", 0, hidden, most_moved, hidden_key),
    ]


def change_weights(
    network: jp.Network,
    params: Params,
    example: Batch,
    layer: int,
    j: int,
    a_prev: Float[Array, " in"],
    upwards: Float[Array, ""],
    key: Array,
) -> tuple[Float[Array, " changes"], Float[Array, " changes"]]:
    """The cosine of each change of neuron j of a layer with the activations before it, and how far it lowers the cost.

    upwards: 1 where the example wishes the neuron to go up, -1 where down.
    """
    loss = jp.loss(network, jp.squared_error)

    @jax.jit
    def cosines_and_drops(a: Array) -> tuple[Array, Array]:
        alike = jnp.ones_like(a)
        dimmest_first = jnp.zeros_like(a).at[jnp.argsort(a)].set(jnp.sort(a)[::-1])
        changes = jnp.vstack([a, alike, dimmest_first, jax.random.normal(key, (RANDOM, len(a)))])
        changes /= jnp.linalg.norm(changes, axis=1, keepdims=True)

        def drop(change: Array) -> Array:
            W = params[layer].W.at[j].add(LENGTH * upwards * change)
            changed = (*params[:layer], params[layer]._replace(W=W), *params[layer + 1 :])
            return loss(params, example) - loss(changed, example)

        return changes @ a / jnp.linalg.norm(a), jax.lax.map(drop, changes, batch_size=100)

    return cosines_and_drops(a_prev)


def claims(neurons: list[Neuron]) -> list[Claim]:
    found = []
    for neuron in neurons:
        best = float(neuron.fractions[1:].max())
        apart = float(np.abs(neuron.fractions - neuron.cosines).max())
        found += [
            Claim(
                "L9",
                f"{neuron.name}: the largest drop of the cost by any of {len(neuron.drops) - 1:,} other changes, as a "
                "fraction of the drop by the change in proportion to the activations",
                best,
                "at most",
                1,
                because="no vector of the same length has a larger product with the activations (Cauchy and Schwarz)",
            ),
            Claim(
                "L9",
                f"{neuron.name}: the drop by each change, as such a fraction, and its cosine with the activations: how "
                "far apart at most",
                apart,
                "at most",
                1e-3,
                because="a change of length 1e-5 bends off the straight line by 1e-5 times half the curvature over the "
                "slope",
            ),
        ]
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
    named = len(CHANGES)
    figure = new_figure(11, 4.6)
    for axes, neuron in zip(figure.subplots(1, 2, sharey=True), neurons, strict=True):
        best_random = named + int(np.argmax(neuron.drops[named:]))
        shown = [best_random, *reversed(range(named))]  # a bar chart begins at the bottom
        names = [f"best of {RANDOM:,} random ones", *reversed(CHANGES)]
        fractions = neuron.fractions[shown]
        axes.barh(names, fractions, color=[SKY, SKY, SKY, BLUE])
        for name, fraction in zip(names, fractions, strict=True):
            axes.annotate(f"{fraction:z.2f}", (max(fraction, 0), name), (8, 0), textcoords="offset points", va="center")
        axes.plot(neuron.cosines[shown], names, "|", color="black", markersize=44, clip_on=False)
        axes.set(xlabel="drop of the cost, as a fraction of the largest\n(black mark: the cosine, which predicts it)")
        axes.set(xlim=(0, 1.2), xticks=np.linspace(0, 1, 6))
        axes.set_title(neuron.name, fontsize=11)
    figure.suptitle("Weights from bright neurons lower the cost most", x=0.01, ha="left", size=18)
    return {"changes": figure}


def finding(neurons: list[Neuron]) -> str:
    bests = " and ".join(f"{neuron.fractions[1:].max():.2f} times as far for the {neuron.name}" for neuron in neurons)
    return (
        "Beside the change in proportion to the activations, the best of "
        f"{len(neurons[0].drops) - 1:,} others of the same length lowers the cost {bests}."
    )


LOOK_AT = {
    "changes": "The dark bar, the change in proportion to the activations, is the longest, and every bar ends at its "
    "black mark, the cosine. On the right it wins by far: most of the 784 pixels are black, and changing their weights "
    "is length spent for nothing.",
}
EXPERIMENT = Experiment("bang_for_the_buck", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
