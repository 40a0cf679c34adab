"""What the texts promise: links lead somewhere, commands exist with their options, code runs, and quotes are quotes."""

import ast
import dataclasses
import importlib.util
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "runs"} & set(path.relative_to(ROOT).parts))
SOURCE = "\n".join(path.read_text() for path in (ROOT / "jaxprop").rglob("*.py"))


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a text in this language; "" for those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Every script of experiments/ that a text tells people to run, with its options."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"uv run (?:--extra \w+ )?(experiments/\S+\.py)((?: +[^\s`\"#]+)*)", joined)
    return [(script, re.findall(r"--([a-z][a-z-]*)", rest)) for script, rest in found]


def known_options(script: Path) -> set[str]:
    """The options of a script: the fields of the record that it hands to `run`."""
    spec = importlib.util.spec_from_file_location(f"text_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "run"]
    assert isinstance(call.args[1], ast.Name)
    fields = [field.name.replace("_", "-") for field in dataclasses.fields(getattr(module, call.args[1].id))]
    return {*fields, *(f"no-{field}" for field in fields)}


def test_there_are_texts():
    chapters = {"jaxprop/README.md", "jaxprop/verify/README.md", "jaxprop/run/README.md", "experiments/README.md"}
    assert {"README.md", *chapters} <= {names(path) for path in TEXTS}


def test_the_first_page_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 900


@pytest.mark.parametrize("path", TEXTS, ids=names)
def test_every_link_and_picture_leads_somewhere(path):
    outside = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", outside):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{target} in {names(path)}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
            assert heading in slugs, f"{target} in {names(path)}"


@pytest.mark.parametrize("path", TEXTS, ids=names)
def test_every_command_names_a_script_and_options_that_exist(path):
    for script, options in commands(path.read_text()):
        assert (ROOT / script).is_file(), f"{script} in {names(path)}"
        assert set(options) <= known_options(ROOT / script), f"{script} in {names(path)}"


def test_a_command_with_an_option_that_does_not_exist_would_be_found():
    ((script, options),) = commands("`uv run experiments/train.py --dataset mnist --hidden 5 \\\n    --teleport`")
    assert options == ["dataset", "hidden", "teleport"]
    assert set(options) - known_options(ROOT / script) == {"teleport"}


@pytest.mark.parametrize("path", TEXTS, ids=names)
def test_every_test_that_a_text_tells_to_run_exists(path):
    for file in re.findall(r"uv run pytest (?:-m slow )?(tests/\S+?\.py)", path.read_text()):
        assert (ROOT / file).is_file(), f"{file} in {names(path)}"


@pytest.mark.parametrize(
    ("path", "number", "code"),
    [(path, i, code) for path in TEXTS for i, code in enumerate(blocks(path.read_text(), "python"))],
    ids=lambda x: names(x) if isinstance(x, Path) else str(x) if isinstance(x, int) else "",
)
def test_code_runs_and_what_is_quoted_stands_in_the_library(path, number, code, tmp_path):
    if "import " in code:
        file = tmp_path / f"block_{number}.py"
        file.write_text(code)
        runpy.run_path(str(file))
    else:
        check_quote(code)


def check_quote(code: str) -> None:
    """Every line stands in the library, but for its comment."""
    for line in code.splitlines():
        statement = line.partition("  #")[0].strip()
        assert re.search(rf"^ *{re.escape(statement)}(  #.*)?$", SOURCE, re.MULTILINE), statement


def test_quotes_between_paragraphs_stand_in_the_library_too():
    before_the_first_block, *_ = (ROOT / "jaxprop" / "README.md").read_text().split("```")
    quoted = re.findall(r"^    (.*)$", before_the_first_block, re.MULTILINE)
    assert len(quoted) >= 2
    check_quote("\n".join(quoted))
    with pytest.raises(AssertionError):
        check_quote("dx = layer.forward(layer_params, dx)")


@pytest.mark.parametrize("path", TEXTS, ids=names)
def test_results_that_a_text_prints_are_those_of_a_run_folder_of_a_person(path):
    """No path of a machine, such as that of a temporary folder."""
    assert not re.search(r"(^|[\s(`])/(tmp|home|root|work)/", path.read_text())
