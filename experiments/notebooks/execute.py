"""Executes the notebooks and writes each with its outputs; or checks that stored outputs and texts belong together.

The text of a notebook is its `.py` file, which people review: cells begin with `# %%`. The `.ipynb` file is made of it
here, and holds the outputs as they came out. `--check` executes all of them anew, on the CPU, and writes nothing. The
exit code is 1 where a stored notebook has another text, or outputs of another kind than come out now.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import matplotlib
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from jaxprop.errors import BadInput
from jaxprop.files import read_bytes, write_atomically
from lab.common import run

FOLDER = Path(__file__).parent
NOTEBOOKS = ("both_gradients", "judge_your_own", "a_layer_of_your_own")
LONGEST = 300  # seconds for one cell: they take a few, unless they wait for ever


@dataclass(frozen=True)
class NotebookOptions:
    """Executes the notebooks, and writes each with its outputs beside its text."""

    check: bool = False
    """Write nothing; say whether each stored notebook has the text of its .py file, and outputs like those of today."""


def notebook_of(text: str) -> NotebookNode:
    """The notebook that a text in cells is, with no outputs. The same text gives the same notebook."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """The notebook with what its cells print and show, in a fresh kernel, on the CPU.

    Whatever the kernel keeps of itself lies in a temporary folder. Raises `CellExecutionError`, which shows the cell,
    where one raises something.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        connection = {"connection_file": os.path.join(folder, "connection.json")}
        if os.name == "posix":  # by sockets in that folder: over TCP everybody on the machine could listen
            connection |= {"transport": "ipc", "ip": os.path.join(folder, "socket")}
        client = NotebookClient(
            notebook,
            config=Config({"ConnectionFileMixin": connection}),
            kernel_name="python3",
            resources={"metadata": {"path": str(FOLDER)}},
            timeout=LONGEST,
            record_timing=False,
        )
        own = {
            "IPYTHONDIR": folder,
            "JAX_PLATFORMS": "cpu",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "MPLCONFIGDIR": matplotlib.get_cachedir(),  # a folder that can be written, also where HOME cannot
        }
        with environment(own):  # and not only the kernel's: what starts it looks for IPython's folder too
            return client.execute()


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """While the block runs, these stand in the environment."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def complaints(stored: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    """How the notebook that is kept differs from the one that came out now, cell by cell, in sentences."""
    if [(cell.cell_type, cell.source) for cell in stored.cells] != [(c.cell_type, c.source) for c in fresh.cells]:
        yield "its cells are not those of the .py file"
        return
    for number, (before, now) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        outlines = [[outline(output) for output in cell.get("outputs", [])] for cell in (before, now)]
        if outlines[0] != outlines[1]:
            yield f"the outputs of cell {number} are not those that come out now: {outlines[0]} for {outlines[1]}"


def outline(output: NotebookNode) -> tuple[Any, ...]:
    """What is the same of an output on each machine: of text the first line, and three words of each other.

    Numbers, the order of a table's rows and where a difference is largest depend on how a machine rounds.
    """
    if output.output_type != "stream":
        return output.output_type, *sorted(output.get("data", {}))
    first, *others = re.sub(r"-?\d[\d.,]*(e[+-]?\d+)?", "#", output.text).splitlines() or [""]
    return output.name, first.strip(), *sorted(" ".join(line.split()[:3]) for line in others if line.strip(" ─"))


def main(options: NotebookOptions) -> int:
    wrong = 0
    for name in NOTEBOOKS:
        begin = time.perf_counter()
        text = read_bytes(FOLDER / f"{name}.py").decode()
        fresh = execute(notebook_of(text))
        path = FOLDER / f"{name}.ipynb"
        print(f"{path.name}: executed in {time.perf_counter() - begin:.1f} s", flush=True)
        if options.check:
            for complaint in complaints(stored(path), fresh):
                print(f"  {complaint}; make it again with uv run experiments/notebooks/execute.py")
                wrong += 1
        else:
            content = nbformat.writes(fresh).encode() + b"\n"
            write_atomically(path, lambda file, content=content: file.write(content))
    return 1 if wrong else 0


def stored(path: Path) -> NotebookNode:
    """The notebook in a file. Raises `BadInput` where there is none, or it is none."""
    try:
        return nbformat.reads(read_bytes(path).decode(), as_version=4)
    except ValueError as error:
        remedy = "make it with uv run experiments/notebooks/execute.py"
        raise BadInput(f"{path} is no notebook that can be read: {remedy}") from error


if __name__ == "__main__":
    sys.exit(run(main, NotebookOptions))
