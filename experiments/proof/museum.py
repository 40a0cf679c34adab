"""A museum of real bugs: backward passes that real projects shipped, and who would have noticed.

Each exhibit (`exhibits/`) is made small enough to run, written afresh after the words of the thread that it links to,
with the one thing in it that was wrong; and once more with this thing mended. `jaxprop.check` should name the leaves
that were wrong, and accept what is mended. The judges by finite differences (`judges.py`) score where they accept what
is mended. Where the bug can be planted in the network that reads digits, that network is trained with it.

Beside the bugs are gradients that were reported as bugs and are none: there every judge should agree.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import jaxprop as jp
from jaxprop.verify.checking import cast, check
from jaxprop.verify.comparison import ValueAndGrad
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, print_wide, progress, run
from lab.figures import BLUE, ORANGE, styled
from lab.running_example import load
from proof import exhibits
from proof.exhibits.frame import Exhibit
from proof.judges import accuracy_after, as_custom_vjp, difference_judges, objects
from proof.verdicts import CHECK, JUDGES, LEARNT, ONE_POINT, STEPS, TRAINING

SMOKE = 8  # every eighth exhibit
DTYPES = (np.float64, np.float32)


class Visit(NamedTuple):
    """What was found of one exhibit.

    failing, failing_when_mended: the leaves that `check` calls wrong.
    caught: by each judge that objects to it and accepts what is mended; None where a judge was not asked.
    accuracy: the fraction of test digits classified correctly after training with it; None where it cannot be planted.
    """

    exhibit: Exhibit
    failing: frozenset[str]
    failing_when_mended: frozenset[str]
    caught: dict[str, bool | None]
    accuracy: float | None

    @property
    def is_bug(self) -> bool:
        return bool(self.exhibit.wrong)


def measure(options: Options) -> list[Visit]:
    difference_judges()  # says it before the work begins if one of them is not there
    dataset = load(options)
    shown = [*exhibits.BUGS, *exhibits.NONE]
    shown = shown[:: SMOKE if options.smoke else 1]
    visits = []
    with progress(len(shown)) as report, jax.default_matmul_precision("highest"):
        for exhibit in shown:
            visit = visited(exhibit, dataset, options.seed)
            visits.append(visit)
            report(f"{exhibit.name}: {'rejected' if visit.failing else 'accepted'} by {CHECK}")
    print_visits(visits)
    return visits


class Ways(NamedTuple):
    """The gradients of one exhibit, compiled together."""

    by_jax: ValueAndGrad
    shipped: ValueAndGrad
    mended: ValueAndGrad


def ways(exhibit: Exhibit) -> Ways:
    """Where nothing was mended, `mended` is what was shipped."""
    functions = (jax.value_and_grad(exhibit.loss), exhibit.shipped, exhibit.mended or exhibit.shipped)
    together = jax.jit(lambda params, batch: [function(params, batch) for function in functions])

    def way(i: int) -> ValueAndGrad:
        return lambda params, batch: together(params, batch)[i]

    return Ways(way(0), way(1), way(2))


def failing_leaves(exhibit: Exhibit) -> tuple[frozenset[str], frozenset[str]]:
    """What `check` calls wrong in what was shipped, and when it is mended."""
    by_jax, shipped, mended = ways(exhibit)
    points = exhibit.points()
    first, second = (check(by_jax, candidate, points).failing_leaves for candidate in (shipped, mended))
    return frozenset(first), frozenset(second)


def visited(exhibit: Exhibit, dataset: jp.Dataset, seed: int) -> Visit:
    failing, failing_when_mended = failing_leaves(exhibit)
    caught: dict[str, bool | None] = {CHECK: bool(failing) and not failing_when_mended}
    caught |= caught_by_differences(exhibit)
    accuracy = None
    if exhibit.rule:
        accuracy = accuracy_after(STEPS, dataset, exhibit.activation, exhibit.rule, seed)
    caught[TRAINING] = None if accuracy is None else not accuracy >= LEARNT  # so that a NaN has not learnt
    return Visit(exhibit, failing, failing_when_mended, caught, accuracy)


def caught_by_differences(exhibit: Exhibit) -> dict[str, bool | None]:
    _, shipped, mended = ways(exhibit)
    caught: dict[str, bool | None] = {}
    for dtype in DTYPES:
        with jax.enable_x64(dtype == np.float64):
            for i, probe in enumerate(exhibit.points()):
                params, batch = cast((probe.params, probe.batch), dtype)
                for name, judge in difference_judges().items():
                    title = f"{name}, {np.dtype(dtype)}"
                    wrong, right = (
                        objects(judge, *as_custom_vjp(exhibit.loss, way, params, batch)) for way in (shipped, mended)
                    )
                    caught[title] = bool(caught.get(title)) or (wrong and not right)
                    if i == 0 and title == "check_grads, float32":
                        caught[ONE_POINT] = wrong and not right
    return caught


def claims(visits: Sequence[Visit]) -> list[Claim]:
    bugs = [visit for visit in visits if visit.is_bug]
    others = [visit for visit in visits if not visit.is_bug]
    named = sum(visit.failing == visit.exhibit.wrong for visit in bugs)
    because = "a bug that gets through is what the check is there to prevent"
    return [
        Claim(
            "", f"bugs in which {CHECK} names exactly the leaves that were wrong", named, "at least", len(bugs), because
        ),
        Claim(
            statement="",
            claim=f"gradients reported as bugs that are none, which {CHECK} calls wrong",
            measured=sum(bool(visit.failing) for visit in others),
            relation="at most",
            reference=0,
            because="what is right in other words is right",
        ),
        Claim(
            statement="",
            claim=f"mended backward passes that {CHECK} calls wrong",
            measured=sum(bool(visit.failing_when_mended) for visit in visits),
            relation="at most",
            reference=0,
            because="each is wrong by the one thing that was reported, and by nothing else",
        ),
    ]


def row(visit: Visit) -> dict[str, Any]:
    return {
        "exhibit": visit.exhibit.name,
        "story": visit.exhibit.story,
        "is a bug": visit.is_bug,
        **{judge: visit.caught[judge] for judge in JUDGES},
        "accuracy": visit.accuracy,
        "leaves": " ".join(sorted(visit.failing)),
        "links": " ".join(visit.exhibit.links),
    }


def judge_rows(visits: Sequence[Visit]) -> list[dict[str, Any]]:
    """How many of the bugs that it was asked about each judge has caught."""
    bugs = [visit for visit in visits if visit.is_bug]
    answers = {judge: [v.caught[judge] for v in bugs if v.caught[judge] is not None] for judge in JUDGES}
    return [{"judge": judge, "caught": sum(map(bool, told)), "of": len(told)} for judge, told in answers.items()]


def tables(visits: Sequence[Visit]) -> dict[str, list[dict[str, Any]]]:
    return {"exhibits": [row(visit) for visit in visits], "judges": judge_rows(visits)}


def print_visits(visits: Sequence[Visit]) -> None:
    table = Table("exhibit", *JUDGES)
    for visit in visits:
        marks = {True: "caught", False: "·", None: ""}
        remark = "" if visit.is_bug else " (no bug)"
        table.add_row(visit.exhibit.name + remark, *(marks[visit.caught[judge]] for judge in JUDGES))
    print_wide("Who catches which real bug; blank is what was not asked", table)


@styled
def museum_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Which judge catches which bug, and that nobody objects to what is none.

    rows: as `row` gives them.
    """
    figure = Figure(figsize=(11, 2.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colors = {True: BLUE, False: "0.92", None: "white"}
    for y, entry in enumerate(rows):
        for x, judge in enumerate(JUDGES):
            axes.barh(y, 0.92, left=x + 0.04, height=0.86, color=colors[entry[judge]])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, len(JUDGES)), yticks=range(len(rows)))
    axes.set_yticklabels([entry["exhibit"] for entry in rows], fontsize=9)
    for label, entry in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color("black" if entry["is a bug"] else ORANGE)
    axes.set_xticks(np.arange(len(JUDGES)) + 0.5, [judge.replace(", ", "\n") for judge in JUDGES], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bugs = sum(bool(entry["is a bug"]) for entry in rows)
    axes.set_title(
        f"{bugs} bugs that real projects shipped (blue: caught), and {len(rows) - bugs} that were none (orange)"
    )
    return figure


def figures(visits: Sequence[Visit]) -> dict[str, Figure]:
    return {"museum": museum_figure([row(visit) for visit in visits])}


def finding(visits: Sequence[Visit]) -> str:
    bugs = sum(visit.is_bug for visit in visits)
    told = {row["judge"]: row for row in judge_rows(visits)}
    caught, one_point = told[CHECK]["caught"], told[ONE_POINT]
    wrong = sum(bool(visit.failing) for visit in visits if not visit.is_bug)
    return (
        f"Of {bugs} bugs that real projects shipped, jaxprop.check finds {caught}, and finite differences in float32 "
        f"at one point {one_point['caught']} of {one_point['of']}; of {len(visits) - bugs} that were reported and are "
        f"none, it calls {wrong} wrong."
    )


LOOK_AT = {
    "museum": "A row for each bug, a column for each way to look for it. In the upper rows the first column is full. "
    "The lower rows, with orange names, are no bugs, and there it is empty."
}
EXPERIMENT = Experiment("museum", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
