"""L10: in the hidden layers "fire together, wire together" is no guide to what backpropagation asks for.

L10 calls the likeness to Hebb's rule, by which neurons that fire together wire together, a loose analogy with limits.
Two of them are measured here.

A hidden layer has no target that says what should be active. The rule then grows a weight by what is active at both of
its ends, a_j a_k, and grows all of them. Backpropagation asks for the nudge -dz_j a_k, minus the derivative of one
picture's cost, where -dz_j is what the layers above wish for, and that falls as often as it rises. The cosine of the
two is far from 1.

And the most active neurons are those with the smallest wishes. A wish for z is a wish for a times the sigmoid's slope,
a (1 - a), which is nothing for a neuron that is saturated, while the rule would change its weights the most.

    uv run experiments/lesson/hebbian_limits.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled
from lesson.angles import outer_cosine
from lesson.neurons import Neurons, wishes_of_neurons

HIDDEN = ("first", "second")
PICTURES = 1000
BINS = np.linspace(0, 1, 21)


class Findings(NamedTuple):
    steps: list[int]
    cosines: Float[np.ndarray, "steps 2"]  # of nudges and rule in each hidden layer, mean over the pictures
    growing: Float[np.ndarray, "steps 2"]  # fraction of the weights that are to grow; by the rule, all of them
    active: Float[np.ndarray, "N 32"]  # activations of the hidden neurons after the last step
    wished: Float[np.ndarray, "N 32"]  # and what is wished for their pre-activations


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    steps = steps_to_look_at(options)
    networks = running_example.snapshots(network, network.init(init_key), examples, steps, key=order_key)
    inputs, targets = running_example.whole(running_example.select(examples, slice(PICTURES)))

    @jax.jit
    def hidden_wishes(params: Params) -> tuple[Neurons, Neurons]:
        """Of both hidden layers, for each picture."""
        of_all_layers = jax.vmap(wishes_of_neurons(network, jp.squared_error), (None, 0, 0))
        first, second, _ = of_all_layers(params, inputs, targets)
        return first, second

    seen = [hidden_wishes(params) for params in networks]
    at_the_end = seen[-1]
    return Findings(
        steps,
        cosines=np.array([[cosine_with_rule(neurons) for neurons in hidden] for hidden in seen]),
        growing=np.array([[fraction_growing(neurons) for neurons in hidden] for hidden in seen]),
        active=np.concatenate([neurons.a for neurons in at_the_end], axis=1),
        wished=np.concatenate([neurons.nudge_z for neurons in at_the_end], axis=1),
    )


def steps_to_look_at(options: Options) -> list[int]:
    if options.smoke:
        return [0, 300]
    if options.dataset == "digits":
        return [0, 1, 3, 10, 30, 100, 300, 1000]
    return [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]


def cosine_with_rule(neurons: Neurons) -> float:
    """Of the nudges of the weights with what fires together, mean over the pictures."""
    fire_together = jp.Outer(neurons.a, neurons.a_prev)
    return float(jnp.mean(outer_cosine(neurons.nudge.W, fire_together)))


def fraction_growing(neurons: Neurons) -> float:
    """Of the weights from active neurons, those that are to grow: their sign is that of -dz."""
    return float(jnp.mean(neurons.nudge_z > 0))


def size(wished: Float[np.ndarray, "N 32"], chosen: Bool[np.ndarray, "N 32"]) -> float:
    """Root mean square of the chosen wishes."""
    return float(np.sqrt(np.mean(wished[chosen] ** 2)))


def of_saturated(found: Findings) -> float:
    """Size of the wishes of the most active tenth of the neurons, beside the tenth that is nearest to 1/2."""
    undecided = np.abs(found.active - 0.5)
    most_active = found.active >= np.quantile(found.active, 0.9)
    nearest_to_half = undecided <= np.quantile(undecided, 0.1)
    return size(found.wished, most_active) / size(found.wished, nearest_to_half)


def claims(found: Findings) -> list[Claim]:
    return [
        Claim(
            "L10",
            "cosine of what a picture wishes for the weights into a hidden layer, and Hebb's rule; the highest of both "
            "layers and all steps",
            float(found.cosines.max()),
            "at most",
            0.5,
            because="a change at such an angle lowers the cost less than half as much as a nudge of its length",
        ),
        Claim(
            "L10",
            "fraction of the weights into a hidden layer that are to grow; the highest of both layers and all steps",
            float(found.growing.max()),
            "at most",
            0.75,
            because="half of the way from chance, 0.5, to the rule, by which all of them grow",
        ),
        Claim(
            "L10",
            f"after {found.steps[-1]:,} steps: size of the wishes of the most active tenth of the hidden neurons, as a "
            "fraction of that of the tenth nearest to 1/2",
            of_saturated(found),
            "at most",
            0.5,
            because="more than 1 by the rule; but the slope a (1 - a) is 0.25 at 1/2 and below 0.05 above 0.95",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict]]:
    course = [
        {"steps": step, "hidden_layer": name, "cosine": found.cosines[s, i], "growing": found.growing[s, i]}
        for s, step in enumerate(found.steps)
        for i, name in enumerate(HIDDEN)
    ]
    sizes = []
    for low, high in pairwise(BINS):
        chosen = (found.active >= low) & (found.active < high)
        if chosen.any():
            wish = size(found.wished, chosen)
            sizes.append({"activation_from": low, "activation_to": high, "size_of_wish": wish})
    return {"hidden_layers": course, "saturated": sizes}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(10, 4.4)
    course, saturated = figure.subplots(1, 2)
    course.plot(found.steps, found.cosines[:, 0], "s--", color=ORANGE, label="first hidden layer")
    course.plot(found.steps, found.cosines[:, 1], "o-", color=BLUE, label="second hidden layer")
    course.axhline(1, color=VERMILION, linestyle=":", label="Hebb's rule itself")
    course.axhline(0, color="gray", linewidth=0.8)
    course.set(xscale="symlog", xlim=(-0.1, None), ylim=(-0.5, 1.05), xlabel="steps", ylabel="cosine with Hebb's rule")
    course.xaxis.set_major_formatter("{x:,.0f}")
    course.set_title("Hidden layers do not follow the rule")
    course.legend(loc="center left", bbox_to_anchor=(0.0, 0.75))

    rows = tables(found)["saturated"]
    sizes = np.array([row["size_of_wish"] for row in rows])
    lefts = [row["activation_from"] for row in rows]
    saturated.bar(lefts, sizes / sizes.max(), width=0.04, align="edge", label="wished for")
    saturated.plot(BINS, BINS, "--", color=VERMILION, label="by Hebb's rule")
    saturated.set(xlabel="activation of the hidden neuron", ylim=(0, 1.2))
    saturated.set(ylabel="size of its change, as a fraction of the largest")
    saturated.set_title("The most active have the smallest wishes")
    saturated.legend(loc="upper center", ncols=2)
    message = "Inside the network, firing together is no reason to wire together"
    figure.suptitle(message, x=0.01, ha="left", fontsize=14)
    return {"hebbian_limits": figure}


def finding(found: Findings) -> str:
    return (
        f"In the hidden layers the wishes and Hebb's rule have a cosine of at most {found.cosines.max():.2f} at any "
        f"time, and the most active neurons wish for {of_saturated(found):.2g} times as much as those near 1/2."
    )


LOOK_AT = {
    "hebbian_limits": "On the left how far the curves stay below the dotted line, which is Hebb's rule. On the right "
    "how the bars, the sizes of the wishes, leave the dashed line of the rule: where a neuron is nearly 1, and the "
    "rule would change its weights the most, next to nothing is wished for.",
}
EXPERIMENT = Experiment("hebbian_limits", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
