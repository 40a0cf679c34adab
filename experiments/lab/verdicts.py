"""One mistake before all its judges, and which of them catch it."""

from collections.abc import Iterable
from typing import NamedTuple

from jaxprop.datasets import Dataset
from jaxprop.networks import Activation
from lab.judges import (
    RATES,
    Objections,
    Stage,
    accuracy_after,
    failing_leaves,
    objections,
    remembering,
    wrong_leaves,
)
from lab.mutants import Mistake, by_hand

CHECK, ONE_POINT, TRAINING = "jaxprop.check", "check_grads, float32, one point", "no longer learns"
JUDGES = (
    *(CHECK, "check_grads, float64", "check_grads, float32", ONE_POINT, "chex, float64", "chex, float32", TRAINING),
)
STEPS = 1500
LEARNT = 0.9  # of the test digits


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
        """Whether it is a mistake at all: somewhere in the suite the gradient is another one."""
        return any(self.wrong.values())

    @property
    def misnamed(self) -> list[str]:
        """The networks in which `check` does not name just the leaves that are wrong."""
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


def judge_the_right_one(stages: list[Stage], dataset: Dataset, seed: int) -> dict[Activation, Verdict]:
    """The gradient with nothing exchanged before the same judges, once for each activation that mistakes are made in."""
    names = [name for name in RATES if any(stage.name == f"6-5-5-5-3 {name}" for stage in stages)]
    return {name: judge(Mistake("none", "", lambda hand: hand, name), stages, dataset, seed) for name in names}


def caught_by(verdict: Verdict, right: Verdict) -> dict[str, bool]:
    """Which judges object to it at a point where they accept the right gradient: elsewhere they score no catch."""
    caught = {name for (name, point), objects in verdict.objections.items() if objects and not right.objections[name, point]}
    return {name: name in caught for name in JUDGES}
