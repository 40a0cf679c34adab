"""The power of the proof: mistakes planted in the backward pass, as people make them, and who finds them.

Four judges look at each mistake. `jaxprop.check` over its fixed suite; `jax.test_util.check_grads` and chex's
`assert_numerical_grads`, which hold the derivative along one random direction against finite differences, at every
point of the same suite; and the question whether digits are still learnt. A judge scores where it accepts the right
gradient, and nowhere else.

A mistake counts if its gradient, in float64, differs from the truth by more than rounding at any point of the suite;
the truth is forward mode's. The leaves that differ must be those that `check` names, network by network. And the right
gradients of random networks must not be called wrong.

What to look at: in `mistakes.png` the first column is full. The last one is not: most mistakes still learn to read.
"""

import sys
from typing import Any, NamedTuple

import jax
from matplotlib.figure import Figure
from rich.table import Table

from jaxprop.verify.suite import probe_networks
from lab import mistakes_in_batches, mistakes_in_layers, mistakes_in_walks
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, print_wide, progress, run
from proof.false_alarms import count_alarms, draw_architectures
from proof.judges import RATES, Objections, difference_judges
from lab.running_example import load
from proof.mutants import Mistake
from proof.planted_bugs_figure import mistakes_figure
from proof.stages import make_stage
from proof.verdicts import CHECK, JUDGES, Verdict, judge, judge_rows, mistake_row

MISTAKES = [
    *(*mistakes_in_batches.COST, *mistakes_in_layers.SIGMOID, *mistakes_in_layers.TANH, *mistakes_in_layers.RELU),
    *(*mistakes_in_layers.DENSE, *mistakes_in_walks.WALK, *mistakes_in_batches.AVERAGE),
    *(*mistakes_in_layers.HARMLESS, *mistakes_in_batches.HARMLESS),
]
# The last of them is harmless.
SMOKE = ("the 2 lost", "1 % on a single bias", "first layer never reached", "σ′ = σ(z) σ(−z)")
SMOKE_NETWORK = "6-5-5-5-3 sigmoid"


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
    names = [SMOKE_NETWORK] if options.smoke else list(probe_networks())
    planted = [mistake for mistake in MISTAKES if not options.smoke or mistake.name in SMOKE]
    rights = [Mistake("none", "", lambda hand: hand, name) for name in RATES if f"6-5-5-5-3 {name}" in names]
    architectures = draw_architectures(2 if options.smoke else 50, options.seed)
    draws, dataset = 5 if options.smoke else 20, load(options)
    # Matrix products at the highest precision, as `check` pins it: whoever asks first is answered like all others.
    with progress(len(architectures) + len(rights) + len(planted)) as report, jax.default_matmul_precision("highest"):
        alarms = []
        for i, architecture in enumerate(architectures):
            alarms.append(count_alarms(architecture, draws, options.seed + i))
            report("right, random: {sizes} {activation} {dtype}: {alarms} of {draws} called wrong".format(**alarms[-1]))
        stages = [make_stage(name) for name in names]
        judged = []
        for mistake in (*rights, *planted):
            judged.append(judge(mistake, stages, dataset, options.seed))
            report(f"{mistake.name}: {'caught' if any(judged[-1].failing.values()) else 'accepted'} by {CHECK}")
    enough = len(SMOKE) - 1 if options.smoke else 40
    found = Findings(judged[: len(rights)], judged[len(rights) :], alarms, enough)
    print_findings(tables(found))
    return found


def claims(found: Findings) -> list[Claim]:
    caught = judge_rows(tables(found)["mistakes"], found.objections_to_the_right_one)[JUDGES.index(CHECK)]
    compared = sum(row["draws"] for row in found.architectures)
    return [
        Claim("", "mistakes that count: somewhere in the suite their gradient is another one", caught["of"],
              "at least", found.enough, "so many that no kind of mistake is left out"),
        Claim("", f"those of them that {CHECK} catches", caught["caught"],
              "at least", caught["of"], "a mistake that gets through is what the suite is there to prevent"),
        Claim("", "networks in which it names a leaf that is right, or does not name one that is wrong, over all "
              "gradients", sum(len(verdict.misnamed) for verdict in (*found.right, *found.verdicts)),
              "at most", 0, "a wrong name sends people to look in the wrong place"),
        Claim("", f"right gradients called wrong, of {compared:,} in {len(found.architectures)} random architectures",
              sum(row["alarms"] for row in found.architectures),
              "at most", 0, "whoever has been called wrong for nothing listens no more"),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    right = found.objections_to_the_right_one
    mistakes = [mistake_row(verdict, right) for verdict in found.verdicts]
    return {"mistakes": mistakes, "judges": judge_rows(mistakes, right), "false_alarms": found.architectures}


def print_findings(rows: dict[str, list[dict[str, Any]]]) -> None:
    shown = Table("mistake", *JUDGES, "digits read")
    for row in sorted(rows["mistakes"], key=lambda row: not row["counts"]):
        marks = ["caught" if row[judge] else "·" for judge in JUDGES]
        remark = "" if row["counts"] else " (not counted)"
        shown.add_row(row["mistake"] + remark, *marks, f"{row['digits read']:.1%}")
    print_wide("Who catches which mistake; not counted is what changes the gradient nowhere in the suite", shown)
    judges = Table(*rows["judges"][0])
    for row in rows["judges"]:
        judges.add_row(*map(str, row.values()))
    print_wide("The judges", judges)


def figures(found: Findings) -> dict[str, Figure]:
    return {"mistakes": mistakes_figure(tables(found)["mistakes"])}


EXPERIMENT = Experiment("planted_bugs", measure, claims, tables, figures)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
