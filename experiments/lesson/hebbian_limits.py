"""L10: in the hidden layers "fire together, wire together" is no guide to what backpropagation asks for.

L10 calls the likeness to Hebb's rule, by which neurons that fire together wire together, a loose analogy with limits.
Two of them are measured here.

A hidden layer has no teacher who says what should be active. The rule then grows a weight by what is active at both of
its ends, a_j a_k, and grows all of them. Backpropagation asks for -dz_j a_k, where -dz_j is what the layers above want,
and that falls as often as it rises. The cosine of the two is far from 1.

And the most active neurons are those with the least to say. A wish for z is a wish for a times the sigmoid's slope,
a (1 - a), which is nothing for a neuron that is saturated, while the rule would change its weights the most.

Look at how low the curves are on the left, and how the bars on the right leave the rule's line.
"""

import sys
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

import jaxprop as jp
from lesson.angles import outer_cosine
from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled
from jaxprop.nudges import Wishes, wishes
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run

HIDDEN = ("first", "second")
BINS = np.linspace(0, 1, 21)


class Findings(NamedTuple):
    steps: list[int]
    cosines: Float[np.ndarray, "steps 2"]  # of nudges and rule in each hidden layer, mean over the pictures
    growing: Float[np.ndarray, "steps 2"]  # share of the weights from active neurons that are to grow; all by the rule
    active: Float[np.ndarray, "N 32"]  # activations of the hidden neurons after the last step
    wished: Float[np.ndarray, "N 32"]  # and what is wished for their pre-activations


def measure(options: Options) -> Findings:
    examples, network = running_example.load(options).train, jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    steps = [0, 300] if options.smoke else [0, 1, 3, 10, 30, 100, 300, 1000]
    steps += [3000, 10_000] if options.dataset != "digits" and not options.smoke else []
    networks = running_example.snapshots(network, network.init(init_key), examples, steps, key=order_key)

    inputs, targets = running_example.whole(jp.Examples(*(x[:1000] for x in examples)))
    of_hidden = jax.jit(jax.vmap(lambda *example: wishes(running_example.SIZES, jp.squared_error)(*example)[:2], (None, 0, 0)))
    seen = [of_hidden(params, inputs, targets) for params in networks]
    cosines, growing = np.array([[compare(layer) for layer in layers] for layers in seen]).transpose(2, 0, 1)
    active, wished = (np.concatenate(x, axis=1) for x in zip(*((h.a, h.nudge_z) for h in seen[-1]), strict=True))
    return Findings(steps, cosines, growing, active, wished)


@jax.jit
def compare(layer: Wishes) -> tuple[jax.Array, jax.Array]:
    """Cosine of the nudges with what fires together, mean over the pictures; share of the weights that are to grow."""
    fire_together = jp.Outer(layer.a, layer.a_prev)
    return jnp.mean(outer_cosine(layer.nudge.W, fire_together)), jnp.mean(layer.nudge.W.dz > 0)


def size(wished: Float[np.ndarray, "N 32"], chosen: Bool[np.ndarray, "N 32"]) -> float:
    return float(np.sqrt(np.mean(wished[chosen] ** 2)))


def of_saturated(found: Findings) -> float:
    """Size of the wishes of the most active tenth of the neurons, beside the tenth that is nearest to 1/2."""
    undecided = np.abs(found.active - 0.5)
    most, nearest = found.active >= np.quantile(found.active, 0.9), undecided <= np.quantile(undecided, 0.1)
    return size(found.wished, most) / size(found.wished, nearest)


def claims(found: Findings) -> list[Claim]:
    return [
        Claim(
            "L10", "highest cosine of nudges and Hebb's rule in a hidden layer, of all steps",
            float(found.cosines.max()), "at most", 0.5,
            because="a change at such an angle lowers the cost less than half as much as a nudge of its length",
        ),
        Claim(
            "L10", "highest share of the weights into a hidden layer that are to grow, of all steps",
            float(found.growing.max()), "at most", 0.75,
            because="half of the way from chance, 0.5, to the rule, by which all of them grow",
        ),
        Claim(
            "L10", f"after {found.steps[-1]:,} steps, size of the wishes of the most active tenth of the hidden "
            "neurons beside the tenth nearest to 1/2",
            of_saturated(found), "at most", 0.5,
            because="more than 1 by the rule; but the slope a (1 - a) is 0.25 at 1/2 and below 0.05 above 0.95",
        ),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict]]:
    course = [
        {"steps": step, "hidden_layer": name, "cosine": found.cosines[s, i], "growing": found.growing[s, i]}
        for s, step in enumerate(found.steps)
        for i, name in enumerate(HIDDEN)
    ]
    bins = [(low, high, (found.active >= low) & (found.active < high)) for low, high in pairwise(BINS)]
    sizes = [
        {"activation_from": low, "activation_to": high, "size_of_wish": size(found.wished, chosen)}
        for low, high, chosen in bins
        if chosen.any()
    ]
    return {"hidden_layers": course, "saturated": sizes}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(10, 4.4)
    course, saturated = figure.subplots(1, 2)
    for i, (name, colour, style) in enumerate(zip(HIDDEN, (ORANGE, BLUE), ("s--", "o-"), strict=True)):
        course.plot(found.steps, found.cosines[:, i], style, color=colour, label=f"{name} hidden layer")
    course.axhline(1, color=VERMILION, linestyle=":", label="Hebb's rule itself")
    course.axhline(0, color="gray", linewidth=0.8)
    course.set(xscale="symlog", xlim=(-0.1, None), ylim=(-0.5, 1.05), xlabel="steps", ylabel="cosine with Hebb's rule")
    course.xaxis.set_major_formatter("{x:,.0f}")
    course.set_title("Hidden layers go their own way")
    course.legend(loc="center left", bbox_to_anchor=(0.0, 0.75))

    rows = tables(found)["saturated"]
    sizes = np.array([row["size_of_wish"] for row in rows]) / max(row["size_of_wish"] for row in rows)
    saturated.bar([row["activation_from"] for row in rows], sizes, width=0.04, align="edge", label="wished for")
    saturated.plot(BINS, BINS, "--", color=VERMILION, label="by Hebb's rule")
    saturated.set(
        xlabel="activation of the hidden neuron", ylim=(0, 1.2), ylabel="size of its change, as a share of the largest"
    )
    saturated.set_title("The most active wish for nothing")
    saturated.legend(loc="upper center", ncols=2)
    figure.suptitle("Inside the network, firing together is no reason to wire together", x=0.01, ha="left", fontsize=14)
    return {"hebbian_limits": figure}


EXPERIMENT = Experiment("hebbian_limits", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
