"""Files are whole or not there at all."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxprop.errors import BadInput
from jaxprop.files import make_folder, read_bytes, remove_leftovers, write_atomically

MEGABYTE = 2**20


@pytest.fixture
def old(tmp_path):
    """A file that is there before, alone in its folder."""
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


@pytest.fixture
def a_disk_that_takes_a_megabyte() -> Iterator[None]:
    """A real limit of the system on the size of a file, since filling a disk would take a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def read_only(tmp_path) -> Iterator[Path]:
    """A folder that may not be written. Root may write everywhere, so root becomes somebody else meanwhile."""
    folder = tmp_path / "read only"
    folder.mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)


def test_a_file_is_written_in_the_place_of_the_old_one(old):
    write_atomically(old, lambda file: file.write(b"new"))
    assert old.read_bytes() == b"new"
    assert os.listdir(old.parent) == ["file"]


def test_a_new_file_has_the_rights_that_any_new_file_has(tmp_path):
    write_atomically(tmp_path / "ours", lambda file: file.write(b""))
    (tmp_path / "any").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_the_bytes_reach_the_disk_before_the_name_does(old, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, call=call: (calls.append(name), call(*args)))
    write_atomically(old, lambda file: file.write(b"new"))
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(old, stop):
    def write(file):
        file.write(b"half of the new")
        file.flush()
        assert len(os.listdir(old.parent)) == 2
        raise stop

    with pytest.raises(stop):
        write_atomically(old, write)
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["file"]


@pytest.mark.usefixtures("a_disk_that_takes_a_megabyte")
def test_a_write_that_runs_out_of_room_leaves_the_old_file_and_says_so(old):
    with pytest.raises(BadInput, match=r"cannot write .*file: File too large; free some space"):
        write_atomically(old, lambda file: file.write(bytes(2 * MEGABYTE)))
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_named(old):
    def write(file):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"new")

    with pytest.raises(BadInput, match=r"No space left on device; free some space") as caught:
        write_atomically(old, write)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert old.read_bytes() == b"old"


def test_a_folder_that_may_not_be_written_is_named(read_only):
    with pytest.raises(BadInput, match=r"cannot write .*read only/file: Permission denied; choose a place"):
        write_atomically(read_only / "file", lambda file: file.write(b"new"))
    with pytest.raises(BadInput, match=r"cannot make the folder .*read only/folder: Permission denied; choose a place"):
        make_folder(read_only / "folder")


def test_a_path_that_is_a_folder_or_below_a_file_or_nowhere_is_refused(old):
    for path, reason in [
        (old.parent, "Is a directory"),
        (old / "file", "Not a directory"),
        (old.parent / "nowhere" / "file", "No such file or directory"),
    ]:
        with pytest.raises(BadInput, match=f"cannot write {path}: {reason}; choose a place"):
            write_atomically(path, lambda file: file.write(b"new"))
    assert os.listdir(old.parent.parent) == ["folder"]


def test_a_mistake_in_what_writes_keeps_its_own_exception(old):
    with pytest.raises(TypeError):
        write_atomically(old, lambda file: file.write("text"))  # pyright: ignore


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "above" / "below")
    assert (tmp_path / "above" / "below").is_dir()


def test_a_folder_in_the_place_of_a_file_is_refused(old):
    with pytest.raises(BadInput, match=r"cannot make the folder .*: File exists; choose a place"):
        make_folder(old)


def test_a_file_is_read_whole(old):
    assert read_bytes(old) == b"old"


def test_a_file_that_cannot_be_read_is_named(old):
    with pytest.raises(BadInput, match=r"cannot read .*nothing: No such file or directory; name a file"):
        read_bytes(old.parent / "nothing")
    with pytest.raises(BadInput, match=r"cannot read .*folder: Is a directory; name a file"):
        read_bytes(old.parent)


def test_what_a_killed_write_left_is_removed_and_nothing_else(old):
    """A process that is killed cleans up nothing, so the name is seen while it is there."""
    names = []
    write_atomically(old, lambda file: names.extend(os.listdir(old.parent)))
    (left,) = set(names) - {"file"}
    others = {"file", "file.tmp", ".file.tmp", ".file.0123abcd.tmp.gz", ".file.0123ABCD.tmp"}
    for name in {left, *others}:
        (old.parent / name).touch()
    remove_leftovers(old.parent)
    assert set(os.listdir(old.parent)) == others
