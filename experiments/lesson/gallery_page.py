"""The page of the gallery: what the experiments found about each statement of the lesson, as Markdown."""

import ast
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxprop.errors import BadInput
from jaxprop.files import read_bytes
from lab.common import Options
from lesson.statements import STATEMENTS, Statement

HERE = Path(__file__).parent.parent

PAGE = """# The lesson, measured

What the lesson says, statement by statement; what was claimed about it, where a claim can come out false; and what came
out. Every number and every picture is of a run on {dataset}. `uv run experiments/gallery.py` makes this page from the
newest runs, and with `--run` it makes the runs first.

| | the lesson, the claims, the measured numbers and the commands | picture |
|---|---|---|
{rows}
## The runs

| script | seed | device | JAX | commit |
|---|---|---|---|---|
{runs}"""


class Run(NamedTuple):
    """What one run of an experiment left behind."""

    folder: Path
    results: Mapping[str, Any]
    titles: Mapping[str, str]  # of its pictures, by their names; empty where they are not to be shown


def command(script: str, dataset: str, seed: int) -> list[str]:
    """What makes such a run, as the words after `uv run`."""
    words = [f"experiments/{script}.py"]
    if dataset != Options.dataset:
        words += ["--dataset", dataset]
    return words + (["--seed", str(seed)] if seed else [])


def make_page(runs: Mapping[str, Run], dataset: str) -> str:
    """The whole page, from the run of every script. Raises `BadInput` where nothing is claimed about a statement."""
    rows = [statement_row(name, statement, runs) for name, statement in STATEMENTS.items()]
    return PAGE.format(dataset=dataset, rows="".join(rows), runs="".join(run_row(*item) for item in runs.items()))


def statement_row(name: str, statement: Statement, runs: Mapping[str, Run]) -> str:
    lines, commands = [f"*{escaped(statement.says)}*"], []
    for script, (_, results, _) in runs.items():
        if texts := [claim_text(claim) for claim in results["claims"] if claim["statement"] == name]:
            lines += texts
            commands.append(f"`uv run {' '.join(command(script, results['dataset'], results['seed']))}`")
    if not commands:
        raise BadInput(f"no run claims anything about {name}: leave --smoke out, or add a script that does")
    picture = ""
    if statement.figure in (titles := runs[statement.script].titles):
        alt = alt_text(statement.script, titles[statement.figure])
        picture = f'<img src="gallery/{picture_name(statement)}" width="400" alt="{alt}">'
    return f"| {name} | {'<br><br>'.join(lines + commands)} | {picture} |\n"


def picture_name(statement: Statement) -> str:
    return f"{statement.script}-{statement.figure}.png"


def claim_text(claim: Mapping[str, Any]) -> str:
    measured, reference, tolerance = (
        x if isinstance(x, str) else f"{x:,.0f}" if float(x).is_integer() else f"{x:.4g}"
        for x in (claim[name] for name in ("measured", "reference", "tolerance"))
    )
    margin = f" ± {tolerance}" if claim["tolerance"] else ""
    verdict = "" if claim["holds"] else ", which is **FALSE**"
    return f"{escaped(claim['claim'])}: **{measured}**, expected {claim['relation']} {reference}{margin}{verdict}"


def alt_text(script: str, title: str) -> str:
    """What a picture says, for those who do not see it: its title, and what its script is about."""
    docstring = ast.get_docstring(ast.parse(read_bytes(HERE / f"{script}.py"))) or ""
    _, _, subject = docstring.partition("\n")[0].partition(": ")
    return html.escape(f"{title} ({subject})" if title else subject).replace("|", "&#124;")


def escaped(text: str) -> str:
    """Text as Markdown shows it literally, in a table."""
    for character in "\\|*_`[]<":
        text = text.replace(character, f"\\{character}")
    return text


def run_row(script: str, run: Run) -> str:
    device, versions, commit = (run.results[name] for name in ("device", "versions", "commit"))
    cells = f"`{script}.py`", run.results["seed"], device["kind"], versions["jax"], (commit or "none")[:7]
    return f"| {' | '.join(map(str, cells))} |\n"
