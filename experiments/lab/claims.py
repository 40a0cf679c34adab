"""The form of every experiment: it measures, claims, and leaves what it found where people look."""

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


class Experiment(NamedTuple):
    """What one script adds to the form that all share.

    measure: does the work; what it returns is all that the other three know.
    claims: the verdicts.
    tables: the rows behind each figure, by the name of its CSV file.
    figures: the pictures, by the name of their PNG file.
    dtype: the precision of the numbers that the claims are about.
    """

    name: str
    measure: Callable[[Any], Any]
    claims: Callable[[Any], Sequence[Claim]]
    tables: Callable[[Any], Mapping[str, Sequence[Mapping[str, Any]]]]
    figures: Callable[[Any], Mapping[str, Figure]]
    dtype: Literal["float32", "float64"] = "float64"


def conduct(experiment: Experiment, options: Options) -> int:
    """Measures, prints the claims, leaves a run folder, and returns the exit code: 1 if a claim does not hold."""
    device = first_line(options.device, experiment.dtype)
    with jax.enable_x64(experiment.dtype == "float64"):
        found = experiment.measure(options)
    claims = experiment.claims(found)
    with folders.whole_run_folder(options.out, experiment.name, options.seed) as folder:
        for name, rows in experiment.tables(found).items():
            folders.write_csv(folder / f"{name}.csv", rows)
        if options.figures:
            for name, figure in experiment.figures(found).items():
                save_figure(folder / f"{name}.png", figure)
        # A measured NaN or infinity is a claim that does not hold, and JSON knows neither.
        record = [as_json({**asdict(claim), "holds": claim.holds}) for claim in claims]
        results = {**settings(options), "claims": record, **folders.provenance(device)}
        folders.write_json(folder / "results.json", results)
    print_claims(claims)
    print(f"run folder: {folder}")
    return 0 if all(claim.holds for claim in claims) else 1


def print_claims(claims: Sequence[Claim]) -> None:
    """The claims as a table, with what was measured beside what was expected."""
    table = Table("", "claim", "measured", "expected", "verdict", show_lines=True)
    for claim in claims:
        margin = f" ± {claim.tolerance:.3g}" if claim.tolerance else ""
        expected = f"{claim.relation} {claim.reference:.6g}{margin}"
        verdict = "holds" if claim.holds else "[bold]FALSE[/bold]"
        table.add_row(claim.statement, claim.claim, f"{claim.measured:.6g}", expected, verdict)
    print_wide("What was claimed, and what was found", table)


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
