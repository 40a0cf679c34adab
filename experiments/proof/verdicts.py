"""One gradient before all its judges, and which of them catch a mistake in it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jaxprop as jp
from proof.cases import Case, wrong_leaves
from proof.judges import Objections, accuracy_after, failing_leaves, objections, remembering
from proof.mistakes import Mistake

CHECK = "jaxprop.check"
ONE_POINT = "check_grads, float32, one point"
TRAINING = "no longer learns"
JUDGES = (
    CHECK,
    "check_grads, float64",
    "check_grads, float32",
    ONE_POINT,
    "chex, float64",
    "chex, float32",
    TRAINING,
)
STEPS = 1500
LEARNT = 0.9  # of the test digits classified correctly


class Verdict(NamedTuple):
    """What is wrong in one gradient, and what the judges say of it.

    wrong, failing: the leaves that differ from the truth, and those that `check` calls wrong; by network.
    objections: of every judge, at every point where it was asked.
    accuracy: the fraction of test digits classified correctly after training with it.
    """

    mistake: Mistake
    wrong: dict[str, set[str]]
    failing: dict[str, set[str]]
    objections: Objections
    accuracy: float

    @property
    def counts(self) -> bool:
        """Whether the gradient is another one, anywhere in the suite."""
        return any(self.wrong.values())

    @property
    def misnamed(self) -> list[str]:
        """The networks in which `check` names a leaf that is right, or does not name one that is wrong."""
        return [network for network, leaves in self.wrong.items() if leaves != self.failing[network]]


def judge(mistake: Mistake, cases: Iterable[Case], dataset: jp.Dataset, seed: int) -> Verdict:
    """Puts one mistake before all judges. One of the `cases` is the network that the mistake is made in."""
    wrong, failing, found = {}, {}, {}
    for case in cases:
        value_and_grad = remembering(mistake.rule(case.network, jp.squared_error))
        wrong[case.name] = wrong_leaves(case, value_and_grad)
        failing[case.name] = failing_leaves(case, value_and_grad)
        found[CHECK, case.name] = bool(failing[case.name])
        found |= objections(case, value_and_grad)
    # What people usually do: ordinary parameters of the network that they have, one batch, JAX's default precision.
    point = f"{mistake.home}, batch of 7"
    found[ONE_POINT, point] = found["check_grads, float32", point]
    accuracy = accuracy_after(STEPS, dataset, mistake.activation, mistake.rule, seed)
    found[TRAINING, mistake.activation] = not accuracy >= LEARNT  # so that a NaN has not learnt
    return Verdict(mistake, wrong, failing, found, accuracy)


def caught_by(objected: Objections, to_the_right_one: Objections) -> dict[str, bool]:
    """Which judges object to a mistake at a point where they accept the right gradient: elsewhere nothing is scored."""
    scored = {judge for (judge, point), wrong in objected.items() if wrong and not to_the_right_one[judge, point]}
    return {judge: judge in scored for judge in JUDGES}


def mistake_row(verdict: Verdict, right: Objections) -> dict[str, Any]:
    """What there is to tell of one mistake."""
    named = sorted({path for leaves in verdict.failing.values() for path in leaves})
    return {
        "mistake": verdict.mistake.name,
        "story": verdict.mistake.story,
        "counts": verdict.counts,
        **caught_by(verdict.objections, right),
        "trained with": verdict.mistake.activation,
        "accuracy": verdict.accuracy,
        "networks": sum(bool(leaves) for leaves in verdict.wrong.values()),
        "leaves": " ".join(named),
    }


def judge_rows(mistakes: Iterable[dict[str, Any]], right: Objections) -> list[dict[str, Any]]:
    """How many of the mistakes that count each judge has caught, and where it rejects the right gradient."""
    counting = [row for row in mistakes if row["counts"]]
    return [
        {
            "judge": judge,
            "asked at": sum(name == judge for name, _ in right),
            "rejects the right gradient at": sum(rejects for (name, _), rejects in right.items() if name == judge),
            "caught": sum(row[judge] for row in counting),
            "of": len(counting),
        }
        for judge in JUDGES
    ]
