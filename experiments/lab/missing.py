"""A script that starts without the packages of the experiments ends in one sentence, not in the traceback of an import.

Imports nothing that takes time, since every script imports it first.
"""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

# What a script imports: the library, what that needs, and what `uv run` brings for the experiments.
NEEDED = {
    *("jaxprop", "jax", "jaxlib", "jaxtyping", "numpy", "optax", "platformdirs", "rich"),
    *("matplotlib", "cycler", "tyro", "PIL", "scipy", "sklearn", "requests", "tensorflow_datasets"),
}


def name_missing(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook for exceptions that nobody catches; a missing package ends the process with the exit code 2 instead."""

    def call(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        package = (name or "").partition(".")[0]
        if package not in NEEDED:
            hook(kind, error, trace)
            return
        given = f"the experiments need the package {package}, which {sys.executable} does not have"
        print(f"error: {given}; start them with `uv run`, which brings all that they need", file=sys.stderr, flush=True)
        raise SystemExit(2)  # Python takes the exit code from here too

    return call
