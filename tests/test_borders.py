"""Which room of the library may import which; and what importing it does not do."""

import ast
import importlib
import importlib.util
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

import jaxprop as jp

ROOT = Path(jp.__file__).parent

# The heart, from the ground up: a room may import those before it.
HEART = [
    "errors",
    "structured",
    "layers",
    "costs",
    "contracts",
    "networks",
    "gradients",
    "training",
    "nudges",
    "instruments",
]
# The arrows: what of jaxprop each room may import besides itself.
ALLOWED = {
    **{room: set(HEART[:i]) for i, room in enumerate(HEART)},
    "files": {"errors"},
    "data": {*HEART, "files"},
    "verify": {*HEART},
    "testing": {*HEART, "verify"},
    "run": {*HEART, "files", "data", "verify"},
    "": {*HEART, "files", "data", "verify", "run"},  # jaxprop/__init__.py
}
# And of other packages, beside Python's own. Each room says in its own files which it takes.
OTHERS = {
    **{room: {"jax", "jaxtyping", "optax"} for room in HEART},
    "files": {"numpy", "platformdirs"},
    "data": {"jax", "jaxtyping", "numpy", "PIL", "requests", "scipy", "sklearn", "tensorflow_datasets"},
    "verify": {"jax", "jaxtyping", "numpy", "rich"},
    "testing": {"jax"},
    "run": {"jax", "jaxtyping", "numpy", "optax"},
    "": set(),
}


class Import(ast.NodeVisitor):
    """All that a module imports, at its top, in functions and for type checkers alike, by absolute names."""

    def __init__(self, module: str, is_package: bool):
        self.found: list[str] = []
        self.package = module if is_package else module.rpartition(".")[0]

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), self.package)
        self.found += [f"{base}.{alias.name}" for alias in node.names]


def imports_of(source: str, module: str, is_package: bool = False) -> list[str]:
    visitor = Import(module, is_package)
    visitor.visit(ast.parse(source))
    return visitor.found


def modules(root: Path) -> dict[str, tuple[str, bool]]:
    """Every module below a folder that is a package: its name, its source, and whether it is a package."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = (path.read_text(), is_package)
    return found


def room_of(name: str) -> str:
    """The first part after `jaxprop`, and "" for jaxprop itself."""
    return [*name.split("."), ""][1]


def crossings(sources: Mapping[str, tuple[str, bool]]) -> Iterator[str]:
    """Every import that no arrow allows, in a sentence."""
    for module, (source, is_package) in sources.items():
        room = room_of(module)
        if room not in ALLOWED:
            yield f"{module}: the room {room!r} is not on the map"
            continue
        for name in imports_of(source, module, is_package):
            package = name.split(".")[0]
            if package == "jaxprop":
                # A name from jaxprop itself may be any function of any room: only jaxprop's own rooms are arrows.
                if room_of(name) not in ALLOWED[room] | {room}:
                    yield f"{module} imports {name}"
            elif package not in sys.stdlib_module_names | OTHERS[room]:
                yield f"{module} imports {name}"


def cycle(sources: Mapping[str, tuple[str, bool]]) -> list[str]:
    """Modules that import one another round in a ring, as a list that ends where it begins; empty where there are none.

    A package imports what its `__init__` does; whoever imports a name from it, the package.
    """
    arrows = {
        module: {_module_in(sources, name) for name in imports_of(source, module, is_package)} - {module, None}
        for module, (source, is_package) in sources.items()
    }
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module not in done:
            for other in sorted(arrows[module]):  # pyright: ignore[reportArgumentType]
                if found := walk(other, [*way, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in arrows if (found := walk(module, []))), [])


def _module_in(sources: Iterable[str], name: str) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in sources:
        name = name.rpartition(".")[0]
    return name or None


# The rooms


def test_every_import_follows_an_arrow():
    assert list(crossings(modules(ROOT))) == []


def test_no_modules_import_one_another_round_in_a_ring():
    without_top = {name: module for name, module in modules(ROOT).items() if name != "jaxprop"}
    assert cycle(without_top) == []


def test_within_the_layers_a_family_imports_what_a_layer_is_and_no_other_family():
    families = {name: source for name, (source, is_package) in modules(ROOT / "layers").items() if not is_package}
    assert families.keys() > {"layers.core", "layers.activations"}
    for name, source in families.items():
        siblings = {other for other in imports_of(source, f"jaxprop.{name}") if room_of(other) == "layers"}
        assert all(other.startswith("jaxprop.layers.core.") for other in siblings), name
        assert not siblings or name != "layers.core"


def test_every_room_is_on_the_map_and_the_map_has_no_room_that_is_not_there():
    assert {room_of(name) for name in modules(ROOT)} == ALLOWED.keys() == OTHERS.keys()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("jaxprop.gradients", "from jaxprop.data.batches import as_batch", "imports jaxprop.data.batches.as_batch"),
        ("jaxprop.gradients", "import jaxprop.verify.finite", "imports jaxprop.verify.finite"),
        ("jaxprop.gradients", "from jaxprop import files", "imports jaxprop.files"),
        ("jaxprop.gradients", "from . import files", "imports jaxprop.files"),
        ("jaxprop.gradients", "from .run.fitting import fit", "imports jaxprop.run.fitting.fit"),
        ("jaxprop.layers.core", "from ..networks import mlp", "imports jaxprop.networks.mlp"),
        ("jaxprop.layers.core", "def f():\n    from jaxprop.costs import Cost", "imports jaxprop.costs.Cost"),
        ("jaxprop.costs", "import numpy as np", "imports numpy"),
        ("jaxprop.costs", "if TYPE_CHECKING:\n    from rich.table import Table", "imports rich.table.Table"),
        ("jaxprop.files", "import jax", "imports jax"),
        ("jaxprop.files", "from jaxprop.layers import Params", "imports jaxprop.layers.Params"),
        ("jaxprop.verify.suite", "from jaxprop.data import batches", "imports jaxprop.data.batches"),
        ("jaxprop.verify.suite", "from jaxprop import run", "imports jaxprop.run"),
        ("jaxprop.data.batches", "from jaxprop.run.fitting import fit", "imports jaxprop.run.fitting.fit"),
        ("jaxprop.data.batches", "from jaxprop.verify import finite", "imports jaxprop.verify.finite"),
        ("jaxprop.run.fitting", "import matplotlib.pyplot", "imports matplotlib.pyplot"),
        ("jaxprop.run.fitting", "import jaxprop", "imports jaxprop"),
        ("jaxprop.cellar", "", "the room 'cellar' is not on the map"),
    ],
)
def test_an_import_against_the_arrows_is_found(module, source, complaint):
    (found,) = crossings({module: (source, False)})
    assert found.startswith(module)
    assert found.endswith(complaint)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jaxprop.gradients", "import math, jax.numpy as jnp\nfrom jaxprop.errors import BadInput\nimport optax"),
        ("jaxprop.layers.activations", "from .core import Layer\nfrom ..structured import Outer"),
        ("jaxprop.run.fitting", "from jaxprop.verify.finite import all_finite\nfrom jaxprop import training, data"),
        ("jaxprop.verify.report", "from rich import box"),
        ("jaxprop", "from jaxprop.run.fitting import fit"),
    ],
)
def test_an_import_along_the_arrows_is_let_through(module, source):
    assert list(crossings({module: (source, module == "jaxprop")})) == []


def test_a_ring_is_found():
    ring = {"a": ("import b.c", False), "b": ("", True), "b.c": ("def f():\n    from d import x", False)}
    assert cycle({**ring, "d": ("x = 1", False)}) == []
    assert cycle({**ring, "d": ("from a import f", False)}) == ["a", "b.c", "d", "a"]


# Names


def clashes(package: ModuleType, public: Iterable[str]) -> list[str]:
    """Modules inside a package, at any depth, that bear the name of one of these functions and classes."""
    below = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [module.name for module in below if module.name.rpartition(".")[2] in set(public)]


def test_no_module_bears_the_name_of_a_public_function():
    """`import jaxprop.check` must not give a function: a module of that name would be hidden by it."""
    public = [name for name in jp.__all__ if callable(getattr(jp, name))]
    assert set(public) > {"check", "compare", "Outer"}
    assert clashes(jp, public) == []


def test_a_module_with_the_name_of_a_function_is_found(tmp_path, monkeypatch):
    for file in ("__init__.py", "good.py", "room/__init__.py", "room/check.py"):
        path = tmp_path / "house" / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    house = importlib.import_module("house")
    assert clashes(house, jp.__all__) == ["house.room.check"]


def test_every_module_of_the_library_is_what_its_name_imports():
    for name in modules(ROOT):
        module = importlib.import_module(name)
        assert inspect.ismodule(module)
        assert sys.modules[name] is module
        parent, _, last = name.rpartition(".")
        if parent:
            assert getattr(sys.modules[parent], last) is module, f"{name} is hidden by something else"


def test_the_public_names_are_there_once_and_in_order():
    assert list(jp.__all__) == sorted(set(jp.__all__))
    assert all(hasattr(jp, name) for name in jp.__all__)


# What importing does not do


def test_importing_jaxprop_imports_no_plots_and_no_catalogues_and_starts_no_device(tmp_path):
    program = """
import sys, jaxprop
heavy = ("matplotlib", "sklearn", "scipy.ndimage", "tensorflow_datasets", "PIL", "requests")
print([name for name in heavy if name in sys.modules])
import jax._src.xla_bridge as bridge
print(bridge.backends_are_initialized())
"""
    here = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT.parent)}}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, **here)
    assert done.stdout.splitlines() == ["[]", "False"]
