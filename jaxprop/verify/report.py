"""What a comparison of two gradients found: plain numbers, a table for people, a dictionary for JSON."""

import dataclasses
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

# What draws tables is imported by the functions that do: it takes a tenth of a second, and most programs draw none.
if TYPE_CHECKING:
    from rich.table import Table

# Of every table here: its title above and its notes below begin at the left.
TABLE_STYLE: dict[str, Any] = {
    "title_justify": "left",
    "title_style": "bold",
    "caption_justify": "left",
    "caption_style": "",
}


@dataclasses.dataclass(frozen=True)
class LeafComparison:
    """One array of the gradient, reference against candidate. None stands for what could not be measured.

    path: where the array is in the tree, as `[0].W`; "value" for the cost itself.
    max_difference: the largest |reference - candidate|; of a reference that knows its errors, beyond these.
    scale: what the difference is divided by; see `jaxprop.compare`.
    scaled_difference: max_difference / scale; 0 where both are 0.
    angle: between the two as vectors, in radians; None where one of them is all zeros and has no direction.
    ulps_median, ulps_max: how many floating-point numbers of this dtype lie between the two.
    worst_index: where the difference is largest, or the first number that is not finite; and the two values there.
    verdict: "agrees", or what is wrong.
    error: how far the reference may be off by its own estimate, where it has one: the largest that was judged.
    unjudged: how many numbers were not judged: the loss has a kink there, so that there was nothing to measure (kinks
        names the first ten), or the error is as large as the leaf.
    unmeasured: at how many the latter is so.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    tolerance: float
    agree: bool
    verdict: str
    max_difference: float | None = None
    scale: float | None = None
    scaled_difference: float | None = None
    angle: float | None = None
    ulps_median: float | None = None
    ulps_max: float | None = None
    worst_index: tuple[int, ...] | None = None
    worst_reference: float | None = None
    worst_candidate: float | None = None
    error: float | None = None
    unjudged: int = 0
    unmeasured: int = 0
    kinks: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two gradients of one function at one point: each leaf, the value, and whether all of it agrees.

    It is true where they agree, as `agree` is. `print` shows it as a table; `to_dict` is for JSON.
    notes: what else there is to know, a sentence each: numbers that were not judged, a function that is not repeatable.
    """

    agree: bool
    value: LeafComparison
    leaves: tuple[LeafComparison, ...]
    dtype: str
    device: str
    matmul_precision: str
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.agree

    @property
    def value_difference(self) -> float | None:
        """|reference - candidate| of the two values."""
        return self.value.max_difference

    @property
    def failures(self) -> tuple[LeafComparison, ...]:
        """What disagrees, nearest to the output first: the value, then the leaves from the end of the tree.

        An error in one layer spreads backwards to every earlier one, so the first that is named is the place to look.
        """
        return tuple(leaf for leaf in (self.value, *reversed(self.leaves)) if not leaf.agree)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON knows it. NaN and infinity, which JSON does not know, become "nan", "inf" and "-inf"."""
        return {
            "agree": self.agree,
            "failures": [leaf.path for leaf in self.failures],
            "value_difference": as_json(self.value_difference),
            "dtype": self.dtype,
            "device": self.device,
            "matmul_precision": self.matmul_precision,
            "notes": list(self.notes),
            "value": as_json(dataclasses.asdict(self.value)),
            "leaves": [as_json(dataclasses.asdict(leaf)) for leaf in self.leaves],
        }

    def __rich__(self) -> "Table":
        title = "They agree" if self.agree else "They do NOT agree"
        if self.agree and any(leaf.unjudged for leaf in self.leaves):
            title += ", where they could be judged"
        title += f" · {self.dtype} · {self.device} · matmul precision {self.matmul_precision}"
        return leaf_table(title, (*self.leaves, self.value), self.notes)

    def __str__(self) -> str:
        return as_text(self)


# What the columns of a table of leaves mean, for the people who read it.
LEGEND = """\
scaled: the largest difference, as a fraction of the largest number of the leaf (or of the scale that was given). This
    is what is compared with the tolerance.
angle: between the two gradients of the leaf as vectors, in radians: 0 is the same direction, 3.14 the opposite one.
ulps: how many floating-point numbers lie between the two. Very many are no mistake where a number is nearly 0: sums
    that cancel leave only rounding there, which is small beside the leaf and large beside itself."""


def leaf_table(title: str, leaves: Iterable[LeafComparison], notes: Iterable[str] = ()) -> "Table":
    """A row for each leaf, and the notes below."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), **TABLE_STYLE)
    table.caption = Text("\n".join(notes)) if notes else None
    table.add_column("leaf", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    for heading in ("max difference", "scaled", "angle", "ulps median", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for leaf in leaves:
        numbers = (leaf.max_difference, leaf.scaled_difference, leaf.angle, leaf.ulps_median, leaf.ulps_max)
        shape = " x ".join(map(str, leaf.shape))
        verdict = Text(leaf.verdict, style="green" if leaf.agree else "red")
        table.add_row(escape(leaf.path), shape, *map(_short, numbers), verdict)
    return table


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.2g}"


def as_text(record: Any) -> str:
    """Whatever rich can show, as plain text."""
    from rich.console import Console

    file = io.StringIO()
    # In a notebook rich would show it at once, past the file, and there would be no text.
    Console(file=file, width=140, color_system=None, force_jupyter=False).print(record)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().splitlines())


def as_json(x: Any) -> Any:
    """Tuples to lists, NaN and infinity to text, through every level."""
    if isinstance(x, dict):
        return {name: as_json(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [as_json(value) for value in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x
