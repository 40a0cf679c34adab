"""The peers in a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_peers(rows: Sequence[Mapping[str, Any]]) -> None:
    """The peers from the fastest to the slowest, the absent ones last."""
    table = Table("peer", "times by hand", "epoch", "after 10 steps", "gets ready", "peak memory", "device", "remark")

    def cell(row: Mapping[str, Any], name: str, form: str) -> str:
        return "" if row[name] is None else form.format(row[name])

    for row in sorted(rows, key=lambda row: row["seconds"] or float("inf")):
        table.add_row(
            row["peer"],
            cell(row, "times_by_hand", "{:.2f} ×"),
            cell(row, "seconds", "{:.3f} s"),
            cell(row, "difference_after_10_steps", "{:.0e}"),
            cell(row, "compile_seconds", "{:.1f} s"),
            cell(row, "peak_megabytes", "{:,.0f} MB"),
            row["device"],
            row["remark"],
        )
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(table)
