"""L14: a network that is trained on pictures of 2 alone calls everything a 2, and recovers with the others.

L14 says: all this is what ONE example wants; if only pictures of 2 were listened to, the network would end up calling
everything a 2. So it is, and soon: an untrained network can hardly tell pictures apart, so that whatever raises the
output for 2 for one picture raises it for all. The biases of the outputs do so for any picture at all, as the nudge of
one (minus the derivative of the cost by it), −∂C/∂b = 2 (y − a) a (1 − a), depends on the pixels through the output a
alone. Trained on all digits afterwards, it becomes as good as a network that was trained on all from the start.

    uv run experiments/lesson/only_twos.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, GREEN, VERMILION, new_figure, styled

TWO = 2
STEPS_OF_TWOS = range(21)
Row = dict[str, Any]


class Findings(NamedTuple):
    """What becomes of the test digits in each training: a row for each step that was looked at."""

    twos_alone: list[Row]  # trained on 2s alone
    recovering: list[Row]  # on all digits, afterwards
    from_start: list[Row]  # on all digits from the start
    labels: Int[np.ndarray, " N"]  # of the test digits


def measure(options: Options) -> Findings:
    data = running_example.load(options)
    network = jp.mlp(running_example.SIZES)
    init_key, twos_key, all_key = jax.random.split(jax.random.key(options.seed), 3)
    start = network.init(init_key)
    evaluate = jax.jit(jp.make_evaluate(network, jp.squared_error, jp.as_batch))

    def follow(params: Params, examples: jp.Examples, steps: Sequence[int], key: jax.Array) -> tuple[Params, list[Row]]:
        """Trains from these parameters on: those after the last step, and a row for each of the steps."""
        networks = running_example.snapshots(network, params, examples, steps, key=key)
        rows = []
        for step, params in zip(steps, networks, strict=True):
            scores = evaluate(params, data.test)
            called_2 = jnp.mean(jnp.argmax(scores.outputs, axis=1) == TWO)
            rows.append({"steps": step, "called_2": float(called_2), "accuracy": float(scores.accuracy)})
        return networks[-1], rows

    twos = running_example.select(data.train, np.asarray(data.train.labels) == TWO)
    steps_of_all = range(0, last_step(options) + 1, 20)
    misled, twos_alone = follow(start, twos, STEPS_OF_TWOS, twos_key)
    _, recovering = follow(misled, data.train, steps_of_all, all_key)
    _, from_start = follow(start, data.train, steps_of_all, all_key)
    return Findings(twos_alone, recovering, from_start, np.asarray(data.test.labels))


def last_step(options: Options) -> int:
    """On all digits."""
    if options.smoke:
        return 500
    return 1000 if options.dataset == "digits" else 3000


def claims(found: Findings) -> list[Claim]:
    misled = found.twos_alone[-1]
    recovered = found.recovering[-1]
    p = found.from_start[-1]["accuracy"]
    n = len(found.labels)
    standard_error = (2 * p * (1 - p) / n) ** 0.5  # of the difference of two fractions
    return [
        Claim(
            "L14",
            f"fraction of the test digits called 2 after {misled['steps']} steps on pictures of 2 alone",
            misled["called_2"],
            "within",
            1.0,
            because="no example that it was trained on asks for anything else",
        ),
        Claim(
            "L14",
            f"fraction classified correctly after {recovered['steps']:,} further steps on all digits, beside a network "
            "that was trained on all of them from the start",
            recovered["accuracy"],
            "at least",
            p,
            tolerance=0.02 + 3 * standard_error,
            because=f"three standard errors of a difference on {n:,} digits, and 2 % for the detour",
        ),
        Claim(
            "L14",
            "fraction of the test digits called 2 by then, beside the fraction of 2s among them",
            recovered["called_2"],
            "within",
            float(np.mean(found.labels == TWO)),
            tolerance=0.05,
            because="about as many others are taken for a 2 as 2s for others, and few of either",
        ),
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    trainings = {
        "2s alone": found.twos_alone,
        "then all": found.recovering,
        "all from the start": found.from_start,
    }
    return {"only_twos": [{"trained_on": name, **row} for name, rows in trainings.items() for row in rows]}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(9, 4.6)
    alone, with_all = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))

    def draw(axes: Axes, rows: list[Row], quantity: str, style: str, colour: str, label: str) -> None:
        steps = [row["steps"] for row in rows]
        axes.plot(steps, [100 * row[quantity] for row in rows], style, markersize=4, color=colour, label=label)

    for axes, rows in ((alone, found.twos_alone), (with_all, found.recovering)):
        draw(axes, rows, "called_2", "o-", VERMILION, "called a 2")
        draw(axes, rows, "accuracy", "s-", BLUE, "classified correctly")
    draw(with_all, found.from_start, "accuracy", "--", GREEN, "classified correctly, all from the start")
    alone.set(xlabel="steps", ylabel="% of the test digits", ylim=(-3, 104), title="Trained on 2s alone …")
    with_all.set(xlabel="further steps", title="… then on all digits")
    with_all.xaxis.set_major_formatter("{x:,.0f}")
    with_all.legend(loc="center right")
    figure.suptitle(message(found), x=0.01, ha="left", fontsize=14)
    return {"only_twos": figure}


def message(found: Findings) -> str:
    """When everything is called a 2 for the first time."""
    steps = [row["steps"] for row in found.twos_alone if row["called_2"] == 1]
    if not steps:
        return f"After {found.twos_alone[-1]['steps']} steps on 2s alone, not everything is called a 2 yet"
    return f"Trained on 2s alone, the network calls everything a 2 after {steps[0]} step{'' if steps[0] == 1 else 's'}"


def finding(found: Findings) -> str:
    recovered = found.recovering[-1]
    return (
        f"{message(found)}; after {recovered['steps']:,} further steps on all digits it classifies "
        f"{recovered['accuracy']:.1%} correctly, and a network that saw all digits from the start "
        f"{found.from_start[-1]['accuracy']:.1%}."
    )


LOOK_AT = {
    "only_twos": "On the left how early the orange curve, the pictures called a 2, is at 100 %. On the right how it "
    "comes down, and how the two curves of correct answers meet: the detour leaves no trace.",
}
EXPERIMENT = Experiment("only_twos", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
