"""Files that are whole or not there at all, and arrays in one file that notices when it was damaged.

Arrays go into an uncompressed npz, so `np.load(path)` opens it. Its member `about` is JSON text, which
`json.loads(np.load(path)["about"])` reads. It ends with a checksum of every byte before, as the comment of the zip
archive that an npz is: no byte can change, and none can go missing, without notice.
"""

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import struct
import tokenize
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxprop.errors import BadInput

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

Arrays = dict[str, np.ndarray]
_DEEPEST = (
    100  # lists and objects of facts inside each other: far more than anybody writes, far less than Python's stack
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KINDS = "biufcSUmM"
_SEAL = b"blake2b-256 "
_SEAL_BYTES = len(_SEAL) + 64
_half_written: set[Path] = set()  # the temporary files of this process, and folders that are not whole yet


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Writes a file by `write(file)`, so that `path` holds either all of it or what it held before.

    The bytes go to a temporary name in the same folder, reach the disk, and are then renamed. Whatever stops that, an
    exception of `write` or Ctrl-C, leaves no temporary file.

    Raises `BadInput` where the system refuses: no space, no permission, no such folder, a folder of that name.
    """
    _check_name(path)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    _half_written.add(temporary)
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
        finally:
            _half_written.discard(temporary)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {why(error)}; {_remedy(error)}") from error


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that was just made, for what belongs together: unless the block comes to its end, it goes again."""
    _half_written.add(folder)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder)
        raise
    finally:
        _half_written.discard(folder)


def remove_half_written() -> None:
    """Removes what is just being written, file or folder, for a process that ends without unwinding its stack."""
    for path in list(_half_written):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # the block itself may be removing it too
        else:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `write_atomically` that a killed process left in a folder."""
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name):
            path.unlink(missing_ok=True)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a file. Raises `BadInput` where it does not exist, is no regular file or cannot be read."""
    with open_regular(path) as file:
        return file.read()


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file to read it. `BadInput` where that fails, also later, and where it is a pipe, a socket or a device.

    Such a thing is not even opened: that could wait for ever, or do something.
    """
    _check_name(path)
    try:
        _check_regular(path, os.stat(path).st_mode)
        with open(path, "rb", opener=_at_once) as file:
            _check_regular(path, os.fstat(file.fileno()).st_mode)  # it may have been exchanged meanwhile
            yield file
    except OSError as error:
        raise BadInput(f"cannot read {path}: {why(error)}; name a file that exists and can be read") from error
    except MemoryError as error:
        raise BadInput(f"cannot read {path}: it is larger than the memory of this computer; name another") from error


def _check_name(path: str | os.PathLike[str]) -> None:
    """Raises `BadInput` for what no file can be called, of which the system does not even hear."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise BadInput(f"{os.fspath(path)!r} holds a character that no name of a file can have: choose another name")


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    if kind := kinds.get(stat.S_IFMT(mode)):
        raise BadInput(f"cannot read {path}: it is {kind}; name an ordinary file")


def _at_once(path: str, flags: int) -> int:
    """Opens a file without waiting for a writer, should it have become a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def only_one(folder: str | os.PathLike[str]) -> Iterator[None]:
    """While the block runs, `only_one` of this folder fails in any other process, by a lock on the file `lock` in it.

    The system takes the lock back when this process ends, however it does. Where the file system keeps no locks, that
    is a warning.

    Raises `BadInput` where another process is in such a block.
    """
    _check_name(folder)
    path = Path(folder) / "lock"
    try:
        file = open(path, "ab")  # noqa: SIM115 - to write, without which a network's file system gives no lock
    except OSError as error:
        raise BadInput(f"cannot write {path}: {why(error)}; {_remedy(error)}") from error
    with file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another process is at work in {folder}: wait until it ends, or stop it") from error
        except OSError as error:
            warnings.warn(f"nothing keeps a second process out of {folder}: {why(error)}", stacklevel=3)
        yield


def make_folder(path: str | os.PathLike[str], parents: bool = True) -> None:
    """Makes a folder, and those above it with `parents`, unless it exists. Raises `BadInput` where the system refuses.

    Without `parents`, a folder in which this one lies must be there.
    """
    _check_name(path)
    try:
        Path(path).mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {path}: {why(error)}; {_remedy(error)}") from error


def cache_folder() -> Path:
    """Where data sets and compiled programs are kept between runs."""
    import platformdirs

    return platformdirs.user_cache_path("jaxprop", appauthor=False)


def why(error: OSError) -> str:
    """The system's reason in words, such as "No space left on device"."""
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "free some space, or choose another place"
    if error.errno == errno.EISDIR:
        return "choose a place that exists and can be written, or remove the folder of that name"
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
    name that is empty, unprintable or "about", for facts that are not finite or more than 100 deep inside each other,
    and where the file cannot be written; nothing is written then.
    """
    _check_facts(about)
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
    looked at before its checksum is right, a pickle is never opened, and no memory is taken for more than is there.
    """
    with open_regular(path) as file:
        # A file without a seal may be of any size, and is not read.
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _SEAL_BYTES))
        end = file.read()
        file.seek(0)
        data = file.read() if end.startswith(_SEAL) else file.read(_SEAL_BYTES) + end
    if data[-_SEAL_BYTES:] != _seal(memoryview(data)[:-_SEAL_BYTES]):
        raise BadInput(f"{path} {_what_is_wrong(data)}; restore it from a copy, or make it again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_archive(archive)
    except _WRONG_INSIDE as error:
        raise BadInput(f"{path} is sealed, but not as jaxprop writes it ({_shortly(error)}); make it again") from error


# What zipfile, json and NumPy raise for what is not of their form. Whoever can compute the checksum can write anything.
_WRONG_INSIDE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, MemoryError, EOFError, SyntaxError),
    *(RuntimeError, struct.error, tokenize.TokenError, zipfile.BadZipFile),
)


def _read_archive(archive: zipfile.ZipFile) -> tuple[Arrays, dict[str, Any]]:
    arrays: Arrays = {}
    about = None
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED:  # a few bytes could stand for any number
            raise ValueError(f"{member.filename!r} is compressed")
        name = member.filename.removesuffix(".npy")
        if name in arrays or (name == "about" and about is not None):
            raise ValueError(f"{member.filename!r} is there twice")
        if member.filename == "about":
            about = json.loads(archive.read(member), object_pairs_hook=_once_each)
            _check_facts(about)
        elif member.filename.endswith(".npy"):
            arrays[name] = _read_array(archive, member)
        else:
            raise ValueError(f"{member.filename!r} is no array")
    if not isinstance(about, dict):
        raise ValueError(f"about is a {type(about).__name__}")
    return arrays, about


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array whose header announces exactly as many bytes as follow."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"{member.filename!r} has a header of version {version}")
        shape, in_columns, dtype = read_header[version](file)
        _check_array(member.filename.removesuffix(".npy"), dtype)  # objects, which would be pickles, come no further
        # Of a negative length and items of no bytes, NumPy makes an end of the whole process.
        if any(isinstance(n, bool) or n < 0 for n in shape):
            raise ValueError(f"{member.filename!r} has the shape {shape}")
        content = bytearray(file.read())
    announced = math.prod(shape) * dtype.itemsize
    if announced != len(content):
        raise ValueError(f"{member.filename!r} announces {announced:,} bytes and has {len(content):,}")
    return np.ndarray(shape, dtype, content, order="F" if in_columns else "C")


def _shortly(error: BaseException) -> str:
    said = next(iter(str(error).splitlines()), "")
    return said[:200] or type(error).__name__


def _seal(body: memoryview) -> bytes:
    # BLAKE2b is quick on every processor, SHA-256 only on those that have instructions for it.
    return _SEAL + hashlib.blake2b(body, digest_size=32).hexdigest().encode()


def _check_array(name: str, dtype: np.dtype) -> None:
    if not name or not name.isprintable() or name == "about":
        raise BadInput(f'an array is named {name!r}: expected a printable name other than "about"')
    # NumPy writes a type that another package made, such as bfloat16, as nameless bytes.
    if dtype.isbuiltin == 2 or dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise BadInput(f"array {name!r} is {dtype}: expected numbers, booleans, text or dates of NumPy's own types")


def _check_facts(value: Any, deeper: int = _DEEPEST) -> None:
    """Raises `BadInput` for a NaN, an infinity, and for what is too deep for whoever walks through it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"a fact is {value}: expected finite numbers, which alone JSON knows")
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if inside and not deeper:
        raise BadInput(f"the facts are more than {_DEEPEST} lists and objects deep: expected fewer inside each other")
    for one in inside:
        _check_facts(one, deeper - 1)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a fact is there twice")
    return found


def _what_is_wrong(data: bytes) -> str:
    if data[:1] == b"\x80":
        return "looks like a pickle, which can run any program when it is opened, so it is not"
    if not data.startswith(b"PK"):
        return "is not an npz file"
    if not data[-_SEAL_BYTES:].startswith(_SEAL):
        return "does not end with jaxprop's checksum: it was cut short, or another program wrote it"
    return "does not match its checksum: it was altered or damaged"
