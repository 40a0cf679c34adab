"""The power of the proof: mistakes planted in the backward pass, as people make them, and who finds them.

Each mistake is the shipped `jaxprop.backprop` with one part exchanged (`mutants.py`, `mistakes.py`). Four judges look
at it: `jaxprop.check` over its quick suite; `jax.test_util.check_grads` and chex's `assert_numerical_grads`, which hold
the derivative along one random direction against finite differences, at seven points of each network of that suite; and
the question whether a network still learns to classify digits. A judge scores where it accepts the right gradient, and
nowhere else.

A mistake counts if its gradient, in float64, differs from the truth by more than rounding at any point of the suite;
the truth is forward mode's. The leaves that differ must be those that `check` names, network by network. And the right
gradients of random networks must not be called wrong.

It takes about a quarter of an hour on two CPU cores.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from rich.table import Table

import jaxprop as jp
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, print_wide, progress, run
from lab.figures import BLUE, VERMILION, styled
from lab.running_example import load
from proof.cases import make_case
from proof.false_alarms import count_alarms, draw_architectures
from proof.judges import RATES, Objections, difference_judges
from proof.mistakes import MISTAKES, Mistake
from proof.verdicts import CHECK, JUDGES, ONE_POINT, TRAINING, Verdict, judge, judge_rows, mistake_row

# The last of them is harmless.
SMOKE = ("the 2 lost", "1 % on a single bias", "first layer never reached", "σ′ = σ(z) σ(−z)")
SMOKE_NETWORK = "6-5-5-5-3 sigmoid"
ENOUGH = 40  # mistakes that count


class Findings(NamedTuple):
    """right: of the gradient with nothing exchanged, once for each activation that is trained with.

    enough: how many mistakes should count.
    """

    right: list[Verdict]
    verdicts: list[Verdict]
    architectures: list[dict[str, Any]]
    enough: int

    @property
    def objections_to_the_right_one(self) -> Objections:
        return {key: rejects for verdict in self.right for key, rejects in verdict.objections.items()}


def measure(options: Options) -> Findings:
    difference_judges()  # says it before the work begins if one of them is not there
    dataset = load(options)
    networks = [SMOKE_NETWORK] if options.smoke else list(jp.probe_networks())
    planted = [mistake for mistake in MISTAKES if not options.smoke or mistake.name in SMOKE]
    # `jp.backprop` itself, which the judges should accept.
    rights = [
        Mistake("none", "", lambda network, cost, backprop=None: jp.backprop(network, cost), name) for name in RATES
    ]
    rights = [right for right in rights if right.home in networks]
    architectures = draw_architectures(2 if options.smoke else 100, options.seed)
    draws = 3 if options.smoke else 7  # for each of three ways to write it
    total = len(architectures) + len(networks) + len(rights) + len(planted)
    if not options.smoke:
        print(
            f"{len(planted)} mistakes are planted: this takes about a quarter of an hour on two CPU cores", flush=True
        )
    # Matrix products at the highest precision, as `check` pins it: whoever asks first is answered like all others.
    with progress(total) as report, jax.default_matmul_precision("highest"):
        alarms = []
        for i, architecture in enumerate(architectures):
            row = count_alarms(architecture, draws, options.seed + i)
            alarms.append(row)
            report("right, random: {sizes} {activation} {dtype}: {alarms} of {draws} called wrong".format(**row))
        cases = []
        for name in networks:
            cases.append(make_case(name))
            report(f"{name}: the true gradients by forward mode")
        verdicts = []
        for mistake in (*rights, *planted):
            verdict = judge(mistake, cases, dataset, options.seed)
            verdicts.append(verdict)
            report(f"{mistake.name}: {'caught' if any(verdict.failing.values()) else 'accepted'} by {CHECK}")
    enough = len(SMOKE) - 1 if options.smoke else ENOUGH
    found = Findings(verdicts[: len(rights)], verdicts[len(rights) :], alarms, enough)
    print_findings(tables(found))
    return found


def claims(found: Findings) -> list[Claim]:
    judged = judge_rows(tables(found)["mistakes"], found.objections_to_the_right_one)
    by_check = judged[JUDGES.index(CHECK)]
    misnamed = sum(len(verdict.misnamed) for verdict in (*found.right, *found.verdicts))
    compared = sum(row["draws"] for row in found.architectures)
    return [
        Claim(
            statement="",
            claim="how many mistakes count: somewhere in the suite their gradient is another one",
            measured=by_check["of"],
            relation="at least",
            reference=found.enough,
            because="so many that no kind of mistake is left out",
        ),
        Claim(
            statement="",
            claim=f"how many of these {CHECK} catches",
            measured=by_check["caught"],
            relation="within",
            reference=by_check["of"],
            because="a mistake that gets through is what the suite is there to prevent",
        ),
        Claim(
            statement="",
            claim="how many times, over all gradients and networks, it names an array that is right, or does not name "
            "one that is wrong",
            measured=misnamed,
            relation="within",
            reference=0,
            because="a wrong name sends people to look in the wrong place",
        ),
        Claim(
            statement="",
            claim=f"how many right gradients it calls wrong, of {compared:,} on {len(found.architectures)} networks",
            measured=sum(row["alarms"] for row in found.architectures),
            relation="within",
            reference=0,
            because="whoever has been called wrong for nothing listens no more",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    right = found.objections_to_the_right_one
    mistakes = [mistake_row(verdict, right) for verdict in found.verdicts]
    return {"mistakes": mistakes, "judges": judge_rows(mistakes, right), "false_alarms": found.architectures}


def print_findings(rows: dict[str, list[dict[str, Any]]]) -> None:
    shown = Table("mistake", *JUDGES, "accuracy")
    for row in sorted(rows["mistakes"], key=lambda row: not row["counts"]):
        marks = ["caught" if row[judge] else "·" for judge in JUDGES]
        remark = "" if row["counts"] else " (not counted)"
        shown.add_row(row["mistake"] + remark, *marks, f"{row['accuracy']:.1%}")
    print_wide("Who catches which mistake; not counted is what changes the gradient nowhere in the suite", shown)
    judges = Table(*rows["judges"][0])
    for row in rows["judges"]:
        judges.add_row(*map(str, row.values()))
    print_wide("The judges", judges)


HEADINGS = {
    CHECK: "jaxprop\ncheck",
    "check_grads, float64": "check_\ngrads\nfloat64",
    "check_grads, float32": "check_\ngrads\nfloat32",
    ONE_POINT: "the same\nat one\npoint",
    "chex, float64": "chex\nfloat64",
    "chex, float32": "chex\nfloat32",
    TRAINING: "no longer\nlearns",
}
BLOCKS = 2
PALE = "0.94"


@styled
def mistakes_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Which judge has caught which mistake, at a glance.

    rows: as `mistake_row` gives them. Those that do not count are left out.
    """
    rows = [row for row in rows if row["counts"]]
    figure = Figure(figsize=(16, 9))
    height = -(-len(rows) // BLOCKS)
    for block in range(BLOCKS):
        axes = figure.add_axes((0.185 + 0.5 * block, 0.035, 0.305, 0.775))
        draw_block(axes, rows[block * height : (block + 1) * height], height)
    caught = {judge: sum(row[judge] for row in rows) for judge in JUDGES}
    learn = len(rows) - caught[TRAINING]
    title = f"{len(rows)} mistakes planted in the backward pass: {learn} of them still learn to classify digits"
    figure.text(0.008, 0.955, title, size=19, weight="bold")
    counts = " · ".join(f"{judge}: {number}" for judge, number in caught.items())
    figure.text(0.008, 0.92, f"Caught by {counts}", size=11.5)
    figure.text(0.01, 0.85, "caught", size=12, color="white", weight="bold", bbox={"facecolor": BLUE, "lw": 0})
    figure.text(0.06, 0.85, "×", size=15, color=VERMILION, weight="bold", bbox={"facecolor": PALE, "lw": 0})
    figure.text(0.08, 0.85, "missed", size=12)
    return figure


def draw_block(axes: Axes, rows: Sequence[Mapping[str, Any]], height: int) -> None:
    """A row for each mistake from the top, of as many as `height` high, and a column for each judge."""
    caught = np.array([[row[judge] for judge in JUDGES] for row in rows]).reshape(-1, len(JUDGES))
    axes.pcolormesh(caught, cmap=ListedColormap([PALE, BLUE]), vmin=0, vmax=1, edgecolor="white", linewidth=1.5)
    y, x = np.nonzero(~caught)
    axes.scatter(x + 0.5, y + 0.5, s=26, marker="x", color=VERMILION, linewidth=1.5)
    axes.set(xlim=(0, len(JUDGES)), ylim=(height, 0), yticks=np.arange(len(rows)) + 0.5)
    axes.set_yticklabels([row["mistake"] for row in rows], fontsize=10.5)
    axes.set_xticks(np.arange(len(JUDGES)) + 0.5, [HEADINGS[judge] for judge in JUDGES], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def figures(found: Findings) -> dict[str, Figure]:
    return {"mistakes": mistakes_figure(tables(found)["mistakes"])}


def finding(found: Findings) -> str:
    mistakes = [row for row in tables(found)["mistakes"] if row["counts"]]
    caught = {judge: sum(row[judge] for row in mistakes) for judge in JUDGES}
    others = max(number for judge, number in caught.items() if judge not in (CHECK, TRAINING))
    return (
        f"Of {len(mistakes)} mistakes that change the gradient, {CHECK} catches {caught[CHECK]}, the best of the other "
        f"checks {others}, and training {caught[TRAINING]}: {len(mistakes) - caught[TRAINING]} still learn to classify "
        "digits."
    )


LOOK_AT = {
    "mistakes": "A row for each mistake, a column for each way to look for it. The first column is full. The last one "
    "is not: whoever only looks whether the network learns misses what has a cross there."
}
EXPERIMENT = Experiment("planted_bugs", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
