"""Files that are whole or not there at all, and arrays in one file that notices when it was damaged.

Arrays go into an uncompressed npz, so `np.load(path)` opens it. Its member `about` is JSON text, which
`json.loads(np.load(path)["about"])` reads. It ends with a checksum of every byte before, as the comment of the zip
archive that an npz is: no byte can change, and none can go missing, without notice.
"""

import errno
import hashlib
import io
import json
import os
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs

from jaxprop.errors import BadInput

Arrays = dict[str, np.ndarray]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KINDS = "biufcSUmM"
_SEAL = b"blake2b-256 "
_SEAL_BYTES = len(_SEAL) + 64


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


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes named arrays, and facts about them that JSON can hold. The same content gives the same bytes.

    Raises `BadInput` for an array of a type that is not NumPy's own or no plain one (objects, records, bfloat16), for a
    name that is empty, unprintable or "about", and where the file cannot be written; nothing is written then.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            # Memory order is no part of an array's value, so it must not change the file.
            array = np.asarray(arrays[name], order="C")
            _check_array(name, array.dtype)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.writestr(zipfile.ZipInfo("about"), json.dumps(about, indent=1, sort_keys=True, allow_nan=False))
        archive.comment = bytes(_SEAL_BYTES)  # holds the place of the seal, which is known when the rest is
    body = buffer.getbuffer()[:-_SEAL_BYTES]
    write_atomically(path, lambda file: (file.write(body), file.write(_seal(body))))


def load_arrays(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the facts that `save_arrays` wrote.

    Raises `BadInput` where the file is missing, cut short, altered in any bit, or of another kind. Nothing in it is
    looked at before its checksum is right, and a pickle is never opened.
    """
    data = read_bytes(path)
    if data[-_SEAL_BYTES:] != _seal(memoryview(data)[:-_SEAL_BYTES]):
        raise BadInput(f"{path} {_what_is_wrong(data)}; restore it from a copy, or make it again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = json.loads(archive.read("about"))
            if not isinstance(about, dict):
                raise ValueError(f"about is a {type(about).__name__}")
            names = [name for name in archive.namelist() if name != "about"]
            return {name.removesuffix(".npy"): _read_member(archive, name) for name in names}, about
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is sealed, but not as jaxprop writes it ({error}); make it again") from error


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _seal(body: memoryview) -> bytes:
    # BLAKE2b is quick on every processor, SHA-256 only on those that have instructions for it.
    return _SEAL + hashlib.blake2b(body, digest_size=32).hexdigest().encode()


def _check_array(name: str, dtype: np.dtype) -> None:
    if not name or not name.isprintable() or name == "about":
        raise BadInput(f'an array is named {name!r}: expected a printable name other than "about"')
    # NumPy writes a type that another package made, such as bfloat16, as nameless bytes.
    if dtype.isbuiltin == 2 or dtype.kind not in _KINDS:
        raise BadInput(f"array {name!r} is {dtype}: expected numbers, booleans, text or dates of NumPy's own types")


def _what_is_wrong(data: bytes) -> str:
    if data[:1] == b"\x80":
        return "looks like a pickle, which can run any program when it is opened, so it is not"
    if not data.startswith(b"PK"):
        return "is not an npz file"
    if not data[-_SEAL_BYTES:].startswith(_SEAL):
        return "does not end with jaxprop's checksum: it was cut short, or another program wrote it"
    return "does not match its checksum: it was altered or damaged"
