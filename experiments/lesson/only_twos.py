"""L14: a network that hears pictures of 2 alone calls everything a 2, and reads again once the others are heard.

L14 says: all this is what ONE example wants; if only pictures of 2 were listened to, the network would end up calling
everything a 2. So it is, and soon: an untrained network can hardly tell pictures apart, so that whatever raises the
output for 2 for one picture raises it for all. The biases of the outputs do so for any picture at all, as the nudge of
one, −∂C/∂b = 2 (y − a) a (1 − a), knows nothing of the pixels but through the output a. Trained on all digits
afterwards, it becomes as good as a network that was never misled.

Look at how early the share of pictures called 2 is 100 %, and at how the two curves of right answers meet.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

import jaxprop as jp
from lab.figures import BLUE, GREEN, VERMILION, new_figure, styled
from jaxprop.layers.core import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run

TWO = 2
STEPS_OF_TWOS = range(21)
Row = dict[str, Any]


class Findings(NamedTuple):
    """What becomes of the test digits in each training: a row for each step that was looked at."""

    misled: list[Row]  # only 2s are heard
    recovering: list[Row]  # all digits, afterwards
    sound: list[Row]  # all digits from the start
    labels: Int[np.ndarray, " N"]  # of the test digits


def measure(options: Options) -> Findings:
    data, network = running_example.load(options), jp.mlp(running_example.SIZES)
    init_key, twos_key, all_key = jax.random.split(jax.random.key(options.seed), 3)
    start, evaluate = network.init(init_key), jax.jit(jp.make_evaluate(network, jp.squared_error))

    def follow(params: Params, examples: jp.Examples, steps: Sequence[int], key: jax.Array) -> tuple[Params, list[Row]]:
        networks = running_example.snapshots(network, params, examples, steps, key=key)
        rows = []
        for step, params in zip(steps, networks, strict=True):
            scores = evaluate(params, data.test)
            called_2 = jnp.mean(jnp.argmax(scores.outputs, axis=1) == TWO)
            rows.append({"steps": step, "called_2": float(called_2), "accuracy": float(scores.accuracy)})
        return networks[-1], rows

    is_two = np.asarray(data.train.labels) == TWO
    end, misled = follow(start, jp.Examples(*(x[is_two] for x in data.train)), STEPS_OF_TWOS, twos_key)
    last = 500 if options.smoke else 1000 if options.dataset == "digits" else 3000
    _, recovering = follow(end, data.train, range(0, last + 1, 20), all_key)
    _, sound = follow(start, data.train, range(0, last + 1, 20), all_key)
    return Findings(misled, recovering, sound, np.asarray(data.test.labels))


def claims(found: Findings) -> list[Claim]:
    misled, recovered, p = found.misled[-1], found.recovering[-1], found.sound[-1]["accuracy"]
    n, twos = len(found.labels), float(np.mean(found.labels == TWO))
    return [
        Claim(
            "L14", f"share of the test digits called 2 after {misled['steps']} steps on pictures of 2 alone",
            misled["called_2"], "at least", 1.0,
            because="nothing that was listened to asks for anything else",
        ),
        Claim(
            "L14", f"share read rightly after {recovered['steps']:,} further steps on all digits; expected is that of "
            "a network which heard all of them from the start",
            recovered["accuracy"], "at least", p, tolerance=0.02 + 3 * (2 * p * (1 - p) / n) ** 0.5,
            because=f"three standard errors of a difference on {n:,} digits, and 2 % for the detour",
        ),
        Claim(
            "L14", "share of the test digits called 2 by then; expected is the share of 2s among them",
            recovered["called_2"], "within", twos, tolerance=0.05,
            because="about as many others are taken for a 2 as 2s for others, and few of either",
        ),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[Row]]:
    heard = {"2s alone": found.misled, "then all": found.recovering, "all from the start": found.sound}
    return {"only_twos": [{"heard": name, **row} for name, rows in heard.items() for row in rows]}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(9, 4.6)
    alone, everyone = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))

    def draw(axes: Any, rows: list[Row], quantity: str, style: str, **more: Any) -> None:
        axes.plot([row["steps"] for row in rows], [100 * row[quantity] for row in rows], style, markersize=4, **more)

    for axes, rows in ((alone, found.misled), (everyone, found.recovering)):
        draw(axes, rows, "called_2", "o-", color=VERMILION, label="called a 2")
        draw(axes, rows, "accuracy", "s-", color=BLUE, label="read rightly")
    draw(everyone, found.sound, "accuracy", "--", color=GREEN, label="read rightly, all heard from the start")
    alone.set(xlabel="steps", ylabel="% of the test digits", ylim=(-3, 104), title="Only 2s are heard …")
    everyone.set(xlabel="further steps", title="… then all digits")
    everyone.xaxis.set_major_formatter("{x:,.0f}")
    everyone.legend(loc="center right")
    first = next((row["steps"] for row in found.misled if row["called_2"] == 1), None)
    after = "only later" if first is None else f"after {first} step{'s'[: first != 1]}"
    figure.suptitle(f"Where only 2s are heard, everything is a 2 {after}", x=0.01, ha="left", fontsize=14)
    return {"only_twos": figure}


EXPERIMENT = Experiment("only_twos", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
