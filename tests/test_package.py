"""What other projects install: the wheel alone, in an environment of its own, away from the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import jaxprop as jp

ROOT = Path(__file__).parents[1]
# Taken before the tests get a cache folder of their own: uv finds there what it has downloaded before.
ENVIRONMENT = dict(os.environ)
UV = ENVIRONMENT.get("UV") or shutil.which("uv")

# All that may come along, with what it needs itself: jax, optax, jaxtyping and rich.
LEAN = {
    *("absl-py", "jax", "jaxlib", "jaxprop", "jaxtyping", "markdown-it-py", "mdurl", "ml-dtypes", "numpy"),
    *("opt-einsum", "optax", "platformdirs", "pygments", "rich", "scipy", "wadler-lindig"),
}


class Package(NamedTuple):
    """The package as others get it."""

    sdist: Path
    python: Path  # of the environment with the wheel
    files: list[Path]  # in the wheel

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        """Runs a program there. Isolated, so that it finds neither the checkout nor what lies around it."""
        command = [str(self.python), "-I", "-W", "error", "-c", program]
        return subprocess.run(command, cwd=self.sdist.parent, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    if (program := UV) is None:
        pytest.skip("there is no uv, which builds the package and makes an environment for it")
    folder = tmp_path_factory.mktemp("package")
    environment = folder / "environment"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def uv(*arguments: str | Path) -> None:
        done = subprocess.run(
            [program, *arguments, "--quiet"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    uv("build", ROOT, "--out-dir", folder)  # the sdist, and the wheel out of the sdist
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    uv("venv", "--python", sys.executable, environment)
    uv("pip", "install", "--python", python, wheel)
    with zipfile.ZipFile(wheel) as archive:
        return Package(sdist, python, [Path(name) for name in archive.namelist()])


def test_the_wheel_brings_what_the_library_needs_and_no_more(package):
    names = "import importlib.metadata as m; print(*{d.metadata['Name'].lower() for d in m.distributions()})"
    assert set(package.run(names).stdout.replace("_", "-").split()) == LEAN
    assert any(path.name == "py.typed" for path in package.files), "type checkers of others would see no types"


def test_both_gradients_and_the_checks_work_there(package):
    program = """
import jax, jaxprop as jp
from jaxprop.testing import assert_gradients_agree

network = jp.mlp((3, 2))
params = network.init(jax.random.key(0))
batch = jax.random.normal(jax.random.key(1), (5, 3)), jax.random.uniform(jax.random.key(2), (5, 2))
autodiff, backprop = (jax.jit(rule(network, jp.squared_error)) for rule in (jp.autodiff, jp.backprop))
assert jp.check(autodiff, backprop, [jp.Probe("a point", params, batch)]).agree

def uphill(params, batch):
    cost, grads = backprop(params, batch)
    return cost, jax.tree.map(lambda leaf: -leaf, grads)

assert_gradients_agree(autodiff, backprop, params, batch)
assert_gradients_agree(autodiff, uphill, params, batch)
"""
    done = package.run(program)
    assert done.returncode == 1
    (first, *table) = done.stderr.partition("AssertionError: ")[2].splitlines()
    assert first.startswith("the gradients do not agree: look at [0].b first, which differs by 2 of its scale")
    rows = [line.split() for line in table if "differs by" in line or "agrees" in line]
    assert [row[0] for row in rows] == ["[0].W", "[0].b", "value"]


def test_what_is_not_installed_there_is_named_with_the_command_that_brings_it(package, tmp_path):
    program = f"""
import os
os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
import jaxprop as jp
from jaxprop.errors import BadInput

def said(use):
    try:
        use()
    except BadInput as error:
        print(error)

said(lambda: jp.load_dataset("digits"))
said(lambda: jp.load_dataset("mnist"))
said(lambda: __import__("jaxprop.data.drawings"))
said(lambda: __import__("jaxprop.data.pictures"))
"""
    done = package.run(program)
    remedy = 'which is not installed: pip install "jaxprop[data]" brings it'
    assert done.stdout.splitlines() == [
        f"the data set digits needs the package sklearn, {remedy}",
        f"the data set mnist needs the package tensorflow_datasets, {remedy}",
        f"a picture needs the package PIL, {remedy}",
        f"a picture needs the package PIL, {remedy}",
    ], done.stderr


def test_a_script_that_starts_there_names_what_is_missing_in_one_sentence(package):
    done = subprocess.run([package.python, ROOT / "experiments" / "train.py"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: the experiments need the package ")
    assert sentence.endswith("start them with `uv run`, which brings all that they need")


def test_the_sdist_has_the_tests_and_the_experiments(package):
    with tarfile.open(package.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/conftest.py", "experiments/train.py"} <= names


def test_the_version_is_the_same_wherever_it_stands():
    stated = {
        "pyproject.toml": rf'^version = "{jp.__version__}"$',
        "CITATION.cff": rf"^version: {jp.__version__}$",
        "CHANGELOG.md": rf"^## {jp.__version__}$",
    }
    for file, line in stated.items():
        assert re.search(line, (ROOT / file).read_text(), re.MULTILINE), file
