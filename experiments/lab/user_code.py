"""What people bring along: functions and objects of their own Python files, and whose mistake an error in them is."""

import functools
import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxprop.errors import BadInput


def load_object(option: str, place: str) -> Any:
    """Whatever `place`, written `FILE.py:name`, names: a function, a `jaxprop.Cost`, a number.

    option: the option of the command line that gave the place, such as `--cost`, for the text of errors.

    Raises `BadInput` where there is no such file, no such name in it, or where the file itself raises something.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise BadInput(f"{option} is {place!r}: expected FILE.py:name with a file that exists")
    module = _module(option, place, path)
    # A module may have a `__getattr__` of its own, which may raise anything.
    found = _of_user(option, place, getattr)(module, name, _NOTHING)
    if found is _NOTHING:
        raise BadInput(f"{option} is {place!r}: {file} has nothing of the name {name!r}")
    return found


_NOTHING = object()


def load_function(option: str, place: str) -> Callable:
    """The function that `place`, written `FILE.py:name`, names. Whatever it raises when called becomes a `BadInput`.

    Raises `BadInput` as `load_object` does, and where what is named cannot be called.
    """
    function = load_object(option, place)
    if not callable(function):
        raise BadInput(f"{option} is {place!r}: expected a function, and that is a {type(function).__name__}")
    return _of_user(option, place, function)


# The folders of files that were loaded, the one that was used last at the end: what lies in one of them is a user's.
_FOLDERS: dict[Path, None] = {}
# Where the code of such a folder works, if it has gone elsewhere.
_WORKS_IN: dict[Path, str] = {}


def absolute(place: str | None) -> str | None:
    """The same place, named so that it is found from any folder; None for none."""
    if place is None:
        return None
    file, _, name = place.rpartition(":")
    return f"{Path(file).resolve()}:{name}"


def file_name(place: str | None) -> str | None:
    """The same place without its folder, `FILE.py:name`; None for none."""
    return None if place is None else Path(place).name


def checksum(place: str) -> str:
    """Of the file that `place` names: tells whether its text has changed."""
    file, _, _ = place.rpartition(":")
    return hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()


def _module(option: str, place: str, path: Path) -> ModuleType:
    """The file as a module, run once however many of its names are asked for: its classes are then the same for all."""
    name = f"user_code:{path.resolve()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BadInput(f"{option} is {place!r}: expected a file of Python, named FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their own module up there
    try:
        _of_user(option, place, spec.loader.exec_module)(module)
    except BadInput:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _siblings(folder: Path) -> Iterator[None]:
    """Lets a file import the files beside it, as Python does for a script that it runs.

    A file of the same name that came from another user's folder makes room for the one that is beside this file.
    A file that changes the working folder changes it for its own functions, and not for the script: results and other
    places that were named stay where they were meant.
    """
    if next(reversed(_FOLDERS), None) != folder:
        _FOLDERS.pop(folder, None)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is None or name.startswith("user_code:"):
                continue
            if Path(file).parent in _FOLDERS and (folder / Path(file).name).is_file():
                del sys.modules[name]
        _FOLDERS[folder] = None
    sys.path.insert(0, str(folder))
    ours = os.getcwd()
    if folder in _WORKS_IN:
        os.chdir(_WORKS_IN[folder])
    try:
        yield
    finally:
        if str(folder) in sys.path:  # the user's own file may have taken it out
            sys.path.remove(str(folder))
        if os.getcwd() != ours:
            _WORKS_IN[folder] = os.getcwd()
            os.chdir(ours)
        else:
            _WORKS_IN.pop(folder, None)


def _where(error: BaseException) -> str:
    """Which line of whose file: the last one of a user's that the error came through; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f" at {Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).parent in _FOLDERS:
            return f" at {Path(frame.filename).name}, line {frame.lineno}"
    return ""


def _of_user(option: str, place: str, function: Callable) -> Callable:
    """The same function; whatever it raises becomes a `BadInput` that says whose function it is, and in which line."""

    folder = Path(place.rpartition(":")[0]).resolve().parent

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            with _siblings(folder):
                return function(*arguments, **named)
        except KeyboardInterrupt:  # and what `lab.signals` makes of SIGTERM: somebody wants an end
            raise
        # Anything else at all may come out of somebody else's code. A file that calls sys.exit would end the script,
        # and with exit code 0 pass for a success.
        except BaseException as error:
            said = next(iter(str(error).splitlines()), "nothing")
            what = f"{type(error).__name__}{_where(error)}"
            raise BadInput(f"{option} {place} raised {what}, which says: {said}") from error

    return call
