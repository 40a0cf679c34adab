"""The form of every experiment: it measures, claims, and leaves what it found where people look."""

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import jax
from matplotlib.figure import Figure
from rich.table import Table

from jaxprop.run import folders
from jaxprop.verify.report import as_json
from lab.common import Options, first_line, print_wide, settings
from lab.figures import save_figure
from lab.statements import STATEMENTS


@dataclass(frozen=True)
class Claim:
    """One statement about measured numbers, which can come out false."""

    statement: str  # which statement of the lesson, such as "L5"
    claim: str
    measured: float
    relation: Literal["within", "at least", "at most"]
    reference: float
    because: str  # why this bound
    tolerance: float = 0.0

    @property
    def holds(self) -> bool:
        """within: at most the tolerance away from the reference; the others may miss it by the tolerance. NaN never."""
        difference = self.measured - self.reference
        match self.relation:
            case "within":
                return abs(difference) <= self.tolerance
            case "at least":
                return difference >= -self.tolerance
            case "at most":
                return difference <= self.tolerance

    @property
    def measured_in_words(self) -> str:
        """With four digits. Where these are those of the reference too, it says how far from it the number is."""
        measured, reference = number(self.measured), number(self.reference)
        difference = self.measured - self.reference
        if measured != reference or difference == 0:
            return measured
        return f"{reference} {'−' if difference < 0 else '+'} {abs(difference):.1g}"

    @property
    def expected_in_words(self) -> str:
        """Such as "exactly 10", "1 ± 0.001", "at most 0.5", "at least 0.93 (0.95 − 0.02)"."""
        reference, tolerance = number(self.reference), number(self.tolerance)
        match self.relation, self.tolerance:
            case "within", 0:
                return f"exactly {reference}"
            case "within", _:
                return f"{reference} ± {tolerance}"
            case relation, 0:
                return f"{relation} {reference}"
            case "at least", _:
                return f"at least {number(self.reference - self.tolerance)} ({reference} − {tolerance})"
            case _:
                return f"at most {number(self.reference + self.tolerance)} ({reference} + {tolerance})"


def number(x: float) -> str:
    """With four digits; a whole number with all of its digits."""
    return f"{x:,.0f}" if float(x).is_integer() else f"{x:.4g}"


class Experiment(NamedTuple):
    """What one script adds to the form that all share. Its docstring begins with what the experiment is about.

    measure: does the work; what it returns is all that the other functions know.
    claims: the verdicts.
    tables: the rows behind each figure, by the name of its CSV file.
    figures: the pictures, by the name of their PNG file.
    finding: what was found, in one plain sentence.
    look_at: what to look at in each picture, and what is seen there, by the name of its PNG file.
    dtype: the precision of the numbers that the claims are about.
    """

    name: str
    measure: Callable[[Any], Any]
    claims: Callable[[Any], Sequence[Claim]]
    tables: Callable[[Any], Mapping[str, Sequence[Mapping[str, Any]]]]
    figures: Callable[[Any], Mapping[str, Figure]]
    finding: Callable[[Any], str]
    look_at: Mapping[str, str]
    dtype: Literal["float32", "float64"] = "float64"


def conduct(experiment: Experiment, options: Options) -> int:
    """Measures, leaves a run folder, prints what was found, and returns the exit code: 1 if a claim does not hold."""
    device = first_line(options.device, experiment.dtype)
    print(subject(experiment), flush=True)
    with jax.enable_x64(experiment.dtype == "float64"):
        found = experiment.measure(options)
    claims = experiment.claims(found)
    finding = experiment.finding(found)
    in_words = {"finding": finding, "look_at": experiment.look_at}
    with folders.whole_run_folder(options.out, experiment.name, options.seed) as folder:
        for name, rows in experiment.tables(found).items():
            folders.write_csv(folder / f"{name}.csv", rows)
        if options.figures:
            for name, figure in experiment.figures(found).items():
                save_figure(folder / f"{name}.png", figure)
        # A measured NaN or infinity is a claim that does not hold, and JSON knows neither.
        record = [as_json({**asdict(claim), "holds": claim.holds}) for claim in claims]
        results = {**settings(options), **in_words, "claims": record, **folders.provenance(device)}
        folders.write_json(folder / "results.json", results)
    print_finding(claims, finding)
    print_claims(claims)
    if options.figures:
        print_block("Where to look", {f"{name}.png": text for name, text in experiment.look_at.items()})
    print(f"\nrun folder: {folder}")
    return 0 if all(claim.holds for claim in claims) else 1


def subject(experiment: Experiment) -> str:
    """What the experiment is about: the first line of its script's docstring."""
    module = inspect.getmodule(experiment.claims)
    return (inspect.getdoc(module) or experiment.name).partition("\n")[0]


def print_finding(claims: Sequence[Claim], finding: str) -> None:
    """What the lesson says of what was measured, if anything, and beneath it what was found."""
    claimed = {claim.statement for claim in claims}
    says = {name: text for name, text in STATEMENTS.items() if name in claimed}
    if says:
        print_block("What the lesson says", says)
    print_block("What was found", {"": finding})


def print_block(title: str, texts: Mapping[str, str]) -> None:
    """A title, and beneath it texts with their names, in lines of 120 characters."""
    width = max(map(len, texts))
    print(f"\n{title}")
    for name, text in texts.items():
        head = f"  {name:{width}}  " if width else "  "
        print(textwrap.fill(text, 120, initial_indent=head, subsequent_indent=" " * len(head)))


def print_claims(claims: Sequence[Claim]) -> None:
    """The claims as a table, with what was measured beside what was expected; and how many of them hold."""
    table = Table("", "claim", "measured", "expected", "verdict", show_lines=True)
    for claim in claims:
        verdict = "holds" if claim.holds else "[bold]FALSE[/bold]"
        table.add_row(claim.statement, claim.claim, claim.measured_in_words, claim.expected_in_words, verdict)
    print_wide("What was claimed, and what was measured", table)
    false = sum(not claim.holds for claim in claims)
    print(f'false claims: {false} of {len(claims)}; why each bound is where it is: "because" in results.json')


def as_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of one form for people: each number with three digits, None left blank."""

    def cell(x: Any) -> str:
        if x is None:
            return ""
        return f"{x:.3g}" if isinstance(x, float) else str(x)

    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*map(cell, row.values()))
    return table
