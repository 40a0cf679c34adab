"""The reference: pages of HTML for `jaxprop`, its costs and `jaxprop.testing`, made by pdoc from the docstrings.

    uv run .ci/reference.py

writes `reference/index.html`, which git ignores. Any warning is an error: a reference that was built is whole.
"""

import re
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

ROOT = Path(__file__).resolve().parents[1]
# With the sign ! in front pdoc leaves modules out: what is public of those below stands on the page of jaxprop.
MODULES = ("jaxprop", "jaxprop.costs", "jaxprop.testing", r"!jaxprop\.(?!costs|testing)")

ENTRY = re.compile(r"(\w+(?:, \w+)*): ")


def as_markdown(docstring: str) -> str:
    """A docstring of this project as Markdown: lines such as `x, y: what they are` become entries of a list."""
    lines: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        if match := ENTRY.match(line):
            if not in_list:
                lines.append("")
            in_list = True
            lines.append(f"- **{match[1]}**: {line[match.end() :]}")
        else:
            if in_list and line and not line.startswith(" "):
                lines.append("")
                in_list = False
            lines.append(line)
    return "\n".join(lines)


def build(folder: Path) -> None:
    """Writes the pages. Raises the first warning that pdoc gives."""
    pdoc.render.configure(docformat="markdown", footer_text="jaxprop, a laboratory for backpropagation in JAX")
    pdoc.render.env.filters["to_markdown"] = as_markdown
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # optax names the type of its state with names that only its own module knows.
        warnings.filterwarnings("ignore", message="Error parsing type annotation .*ForwardRef\\('ArrayTree'\\)")
        pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    out = ROOT / "reference"
    build(out)
    pages = sorted(str(path.relative_to(ROOT)) for path in out.rglob("*.html"))
    print(f"written without a warning: {', '.join(pages)}")
    sys.exit(0)
