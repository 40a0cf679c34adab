"""One gradient before all its judges, and which of them catch a mistake in it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxprop.data.datasets import Dataset
from proof.judges import Objections, accuracy_after, failing_leaves, objections, remembering
from proof.mutants import Mistake, by_hand
from proof.stages import Stage, wrong_leaves

CHECK, ONE_POINT, TRAINING = "jaxprop.check", "check_grads, float32, one point", "no longer learns"
JUDGES = (
    *(CHECK, "check_grads, float64", "check_grads, float32", ONE_POINT, "chex, float64", "chex, float32", TRAINING),
)
STEPS = 1500
LEARNT = 0.9  # of the test digits read rightly


class Verdict(NamedTuple):
    """What is wrong in one gradient, and what the judges say of it.

    wrong, failing: the leaves that differ from the truth, and those that `check` calls wrong; by network.
    objections: of every judge, at every point where it was asked.
    accuracy: the share of test digits read rightly after training with it.
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


def judge(mistake: Mistake, stages: Iterable[Stage], dataset: Dataset, seed: int) -> Verdict:
    """Puts one mistake before all judges. One of the `stages` is 6-5-5-5-3 with the mistake's activation."""
    wrong, failing, found = {}, {}, {}
    for stage in stages:
        rule = remembering(by_hand(stage.sizes, stage.activation, mistake.change))
        wrong[stage.name], failing[stage.name] = wrong_leaves(stage, rule), failing_leaves(stage, rule)
        found |= {(CHECK, stage.name): bool(failing[stage.name]), **objections(stage, rule)}
    # What people usually do: ordinary parameters of the network that they have, one batch, JAX's default precision.
    point = f"6-5-5-5-3 {mistake.activation}, batch of 7"
    found[ONE_POINT, point] = found["check_grads, float32", point]
    accuracy = accuracy_after(STEPS, dataset, mistake.activation, mistake.change, seed)
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
        "digits read": verdict.accuracy,
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
