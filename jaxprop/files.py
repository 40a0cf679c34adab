"""Files that are whole or not there at all: what everything that reads or writes one uses."""

import errno
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import platformdirs

from jaxprop.errors import BadInput

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Writes a file by `write(file)`, so that `path` holds either all of it or what it held before.

    The bytes go to a temporary name in the same folder, reach the disk, and are then renamed. Whatever stops that, an
    exception of `write` or Ctrl-C, leaves no temporary file.

    Raises `BadInput` where the system refuses: no space, no permission, no such folder, a folder of that name.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            # Opened by name and not by `tempfile`, which would hide the finished file from everybody but its owner.
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {why(error)}; {_remedy(error)}") from error


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `write_atomically` that a killed process left in a folder."""
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name):
            path.unlink(missing_ok=True)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a file. Raises `BadInput` where it does not exist or cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {why(error)}; name a file that exists and can be read") from error


def make_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder and those above it, unless it exists. Raises `BadInput` where the system refuses."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {path}: {why(error)}; {_remedy(error)}") from error


def cache_folder() -> Path:
    """Where data sets and compiled programs are kept between runs."""
    return platformdirs.user_cache_path("jaxprop", appauthor=False)


def why(error: OSError) -> str:
    """The system's reason in words, such as "No space left on device"."""
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "free some space, or choose another place"
    return "choose a place that exists and can be written"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows does not open folders, and so has no call that syncs one.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
