"""L10: into the wanted output weights grow as Hebb's rule has it; the wishes to go down it does not know.

L10 says: this resembles a theory of learning in brains, where neurons that fire together wire together: the connections
that grow most join the most active neurons with the one that should be active. It is a loose analogy. By Hebb's rule a
weight grows by the product of the activations at its two ends. At the outputs there is a teacher, so that the later of
the two is the activation that was wanted, and the rule says y_j a_k, where backpropagation says -dz_j a_k.

So both grow the weights into the wanted output, in proportion to the brightness of the neurons they come from. They
differ in the nine others, which want to go down. Over all weights the cosine of the two is that of y and -dz. With
every output at 1/2 it is 1/sqrt(10). It is at its best when the network has learned just that each digit is one in ten:
with every output at 1/10 it is 0.9 / sqrt(0.9^2 + 9 * 0.1^2) = 0.949. And averaged over all pictures even the rule's
sign is wrong at the start, when every output is to fall nine times out of ten.

Look at the one row in which the squares agree, and at the stars, which are what theory predicts.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import jaxprop as jp
from lesson.angles import cosine, outer_cosine
from jaxprop.data.batches import NDArray
from jaxprop.nudges import Wishes, wishes
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lesson.hebbian_figures import draw_course, draw_picture

DIGIT = 2  # of the picture that is shown
ONE_IN_TEN = 30  # steps, by when every output is near 1/10
PREDICTED = {0: 10**-0.5, ONE_IN_TEN: 0.9**0.5}  # cosines if every output is 1/2, or 1/10
Row = dict[str, Any]


class Findings(NamedTuple):
    course: list[Row]  # how the nudges of the weights into the outputs compare with the rule: a row for each step
    picture: Float[np.ndarray, "28 28"]
    hebb: Float[np.ndarray, "10 16"]  # what the rule makes of the picture, before the first step
    nudge: Float[np.ndarray, "10 16"]  # and what the picture wishes for


def measure(options: Options) -> Findings:
    examples, network = running_example.load(options).train, jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    steps = [0, ONE_IN_TEN] if options.smoke else [0, 1, 3, 10, ONE_IN_TEN, 100, 300, 1000]
    steps += [3000, 10_000] if options.dataset != "digits" and not options.smoke else []
    networks = running_example.snapshots(network, network.init(init_key), examples, steps, key=order_key)

    inputs, targets = running_example.whole(jp.Examples(*(x[:1000] for x in examples)))
    of_outputs = jax.jit(jax.vmap(lambda *example: wishes(running_example.SIZES, jp.squared_error)(*example)[-1], (None, 0, 0)))
    seen = [of_outputs(params, inputs, targets) for params in networks]
    course = [{"steps": step, **compare(outputs, targets)} for step, outputs in zip(steps, seen, strict=True)]

    first = int(np.flatnonzero(np.asarray(examples.labels[:1000]) == DIGIT)[0])
    outputs = jax.tree.map(lambda x: x[first], seen[0])
    hebb, nudge = jp.expand((jp.Outer(jnp.asarray(targets[first]), outputs.a_prev), outputs.nudge.W))
    return Findings(course, np.asarray(examples.images[first]), np.asarray(hebb), np.asarray(nudge))


def compare(outputs: Wishes, targets: NDArray) -> Row:
    """What N pictures wish for the weights into the outputs, beside the rule."""
    nudges, hebb = outputs.nudge.W, jp.Outer(jnp.asarray(targets), outputs.a_prev)
    growth = jnp.einsum("nj,njk->nk", targets, jp.expand(nudges))  # of the weights into each picture's wanted output
    averages = [jnp.ravel(jp.mean_over_examples(changes)) for changes in (nudges, hebb)]
    return {
        "lowest_cosine_with_brightness": float(jnp.min(cosine(growth, outputs.a_prev))),
        "share_growing": float(jnp.mean(growth > 0)),
        "cosine": float(jnp.mean(outer_cosine(nudges, hebb))),
        "cosine_of_averages": float(cosine(*averages)),
    }


def claims(found: Findings) -> list[Claim]:
    start, one_in_ten = found.course[0], next(row for row in found.course if row["steps"] == ONE_IN_TEN)
    return [
        Claim(
            "L10", "growth of the weights into the wanted output beside the activations they come from: lowest "
            "cosine, of all pictures and steps",
            min(row["lowest_cosine_with_brightness"] for row in found.course), "within", 1.0, tolerance=1e-12,
            because="in proportion, but for rounding of about 1e-15",
        ),
        Claim(
            "L10", "share of the weights into the wanted output that are to grow, after any step",
            min(row["share_growing"] for row in found.course), "within", 1.0,
            because="the wanted output is below 1, so that it always wishes to rise",
        ),
        Claim(
            "L10", "cosine of nudges and Hebb's rule before the first step",
            start["cosine"], "within", PREDICTED[0], tolerance=0.1,
            because="1/sqrt(10) if every output is 1/2; they lie between about 1/4 and 3/4",
        ),
        Claim(
            "L10", f"the same after {ONE_IN_TEN} steps",
            one_in_ten["cosine"], "within", PREDICTED[ONE_IN_TEN], tolerance=0.02,
            because="sqrt(0.9) if every output is 1/10, as it nearly is by now",
        ),
        Claim(
            "L10", "the same before the first step, both averaged over the pictures",
            start["cosine_of_averages"], "at most", -0.8,
            because="-1 if every output is 1/2: nine pictures of ten want it lower, and the rule never lowers",
        ),
    ]  # fmt: skip


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


EXPERIMENT = Experiment("hebbian", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
