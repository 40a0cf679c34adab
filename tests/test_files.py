"""Files are whole or not there at all, and arrays in one file that notices when it was damaged."""

import errno
import fcntl
import io
import json
import os
import pickle
import random
import resource
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxprop.errors import BadInput
from jaxprop.files import (
    _SEAL_BYTES,
    _seal,
    load_arrays,
    make_folder,
    only_one,
    read_bytes,
    remove_half_written,
    remove_leftovers,
    save_arrays,
    write_atomically,
)

# Files

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


def test_without_parents_a_folder_is_made_only_where_the_one_above_is(tmp_path):
    make_folder(tmp_path / "folder", parents=False)
    with pytest.raises(BadInput, match=r"cannot make the folder .*gone/folder: No such file or directory"):
        make_folder(tmp_path / "gone" / "folder", parents=False)
    assert os.listdir(tmp_path) == ["folder"]


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


@pytest.fixture
def not_a_file(request, tmp_path) -> Path:
    """Something that a program may wait for without end, or that does something when it is opened."""
    path = tmp_path / "thing"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    elif request.param == "device":
        path = Path("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("not_a_file", "kind"),
    [("pipe", "pipe"), ("link to a pipe", "pipe"), ("device", "device"), ("socket", "socket")],
    indirect=["not_a_file"],
)
@pytest.mark.parametrize("read", [read_bytes, load_arrays])
def test_only_an_ordinary_file_is_opened(not_a_file, kind, read):
    with pytest.raises(BadInput, match=rf"cannot read {not_a_file}: it is a {kind}; name an ordinary file"):
        read(not_a_file)


def test_a_file_that_was_exchanged_for_a_pipe_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    look = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: look(tmp_path / "file", **more))
    with pytest.raises(BadInput, match="it is a pipe"):
        read_bytes(tmp_path / "pipe")


def test_a_folder_has_one_at_a_time(tmp_path):
    with only_one(tmp_path), pytest.raises(BadInput, match="another process is at work"), only_one(tmp_path):
        pytest.fail("two at a time")
    with only_one(tmp_path):
        pass


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    """It locks as `only_one` does, and need not import all of jaxprop for that."""
    program = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'ab')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('in', flush=True)\ninput()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        said = rf"^another process is at work in {tmp_path}: wait until it ends, or stop it$"
        with pytest.raises(BadInput, match=said), only_one(tmp_path):
            pytest.fail("two at a time")
        other.kill()
    with only_one(tmp_path):
        pass


def test_a_folder_that_keeps_no_locks_is_a_warning_and_one_that_is_not_there_is_refused(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.warns(UserWarning, match=r"nothing keeps a second process out of .*: No locks available"),
        only_one(tmp_path),
    ):
        pass
    with (
        pytest.raises(BadInput, match=r"cannot write .*nowhere/lock: No such file or directory"),
        only_one(tmp_path / "nowhere"),
    ):
        pass


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


def test_a_process_that_ends_at_once_removes_what_it_is_just_writing(old):
    """And no file that is written already, or by somebody else."""
    others = {"file", ".file.0123abcd.tmp"}
    (old.parent / ".file.0123abcd.tmp").touch()

    def end(file):
        assert len(os.listdir(old.parent)) == 3
        remove_half_written()
        assert set(os.listdir(old.parent)) == others
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(old, end)
    write_atomically(old, lambda file: file.write(b"new"))
    remove_half_written()
    assert set(os.listdir(old.parent)) == others


# Arrays

ARRAYS = {
    "[0].W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "[0].b": np.array([0.0, -0.0, np.nan], np.float64),
    "step": np.array(7, np.uint32),
    "empty": np.zeros((0, 5), np.int8),
}
ABOUT = {"sizes": [4, 3], "activation": "sigmoid", "rate": 0.1, "note": "é", "nested": {"none": None, "yes": True}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "arrays.npz"
    save_arrays(path, ARRAYS, ABOUT)
    return path


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """The same bits: NaNs and the sign of zero count."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


names = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable() and name != "about")
some_arrays = hnp.arrays(
    hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=4) | hnp.byte_string_dtypes(max_len=4),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, some_arrays, max_size=4), st.dictionaries(st.text(), json_values, max_size=4))
def test_what_is_saved_comes_back_bit_for_bit(tmp_path_factory, arrays, about):
    path = tmp_path_factory.mktemp("arrays") / "arrays.npz"
    save_arrays(path, arrays, about)
    loaded, loaded_about = load_arrays(path)
    assert loaded.keys() == arrays.keys()
    assert all(same(loaded[name], arrays[name]) for name in arrays)
    assert loaded_about == about


def test_arrays_that_come_back_can_be_written_to(path):
    arrays, _ = load_arrays(path)
    arrays["[0].W"] += 1
    assert arrays["[0].W"][0, 0] == 1


def test_numpy_opens_the_file_without_pickle(path):
    with np.load(path, allow_pickle=False) as npz:
        assert set(npz.files) == {*ARRAYS, "about"}
        assert same(npz["[0].W"], ARRAYS["[0].W"])
        assert json.loads(npz["about"]) == ABOUT


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    """Whatever the order of the names, the layout in memory, and the time of day."""
    again = {name: np.asarray(array, order="F") for name, array in reversed(ARRAYS.items())}
    save_arrays(tmp_path / "again.npz", again, dict(reversed(ABOUT.items())))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arrays", "about"),
    [
        (ARRAYS | {"step": np.array(8, np.uint32)}, ABOUT),
        (ARRAYS | {"step": np.array(7, np.int32)}, ABOUT),
        (ARRAYS | {"empty": np.zeros((5, 0), np.int8)}, ABOUT),
        ({("pace" if name == "step" else name): array for name, array in ARRAYS.items()}, ABOUT),
        (ARRAYS, ABOUT | {"rate": 0.2}),
    ],
)
def test_the_checksum_covers_values_dtypes_shapes_names_and_facts(path, tmp_path, arrays, about):
    save_arrays(tmp_path / "other.npz", arrays, about)
    assert (tmp_path / "other.npz").read_bytes()[-64:] != path.read_bytes()[-64:]


def test_every_flipped_bit_is_noticed(path):
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="restore it from a copy, or make it again"):
            load_arrays(path)
    path.write_bytes(whole)
    load_arrays(path)


def test_every_truncation_and_every_extension_is_noticed(path):
    whole = path.read_bytes()
    for damaged in [*(whole[:n] for n in range(len(whole))), whole + b"\0", whole + whole]:
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="restore it from a copy, or make it again"):
            load_arrays(path)


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps(ARRAYS), "looks like a pickle"),
        (b"", "is not an npz file"),
        (b"GIF89a", "is not an npz file"),
        (npz(step=ARRAYS["step"]), "does not end with jaxprop's checksum: it was cut short, or another program"),
        (npz(step=np.array([{}])), "does not end with jaxprop's checksum: it was cut short, or another program"),
    ],
)
def test_a_file_of_another_kind_is_refused(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"^{path} {reason}"):
        load_arrays(path)


def test_a_damaged_file_and_one_that_was_cut_short_are_told_apart(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(BadInput, match="it was cut short"):
        load_arrays(path)
    path.write_bytes(whole[:100] + b"?" + whole[101:])
    with pytest.raises(BadInput, match="it was altered or damaged"):
        load_arrays(path)


# Whoever means harm can compute the checksum too.


def sealed(path: Path, members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    """A file with these members and a right checksum."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = bytes(_SEAL_BYTES)
    body = path.read_bytes()[:-_SEAL_BYTES]
    path.write_bytes(body + _seal(memoryview(body)))
    return path


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def with_header(text: str, content: bytes = b"") -> bytes:
    """An array with this header, in the form of NumPy's version 1.0."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + content


class Harm:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


FOUR_TERABYTES = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"
WRONG_MEMBERS = {
    "a pickle": ({"about": b"{}", "x.npy": as_npy(np.array([Harm()], object))}, "array 'x' is object: expected"),
    "4 TB announced": (
        {"about": b"{}", "x.npy": with_header(FOUR_TERABYTES, b"1234")},
        "'x.npy' announces 4,000,000,000,000 bytes and has 4",
    ),
    "fewer than nothing": (
        {"about": b"{}", "x.npy": with_header(FOUR_TERABYTES.replace("1000000000000", "-1"), b"1234")},
        r"'x.npy' has the shape \(-1,\)",
    ),
    "fewer than nothing, twice": (
        {"about": b"{}", "x.npy": with_header(FOUR_TERABYTES.replace("1000000000000,", "-1, -1"), b"1234")},
        r"'x.npy' has the shape \(-1, -1\)",
    ),
    "a truth value as a length": (
        {"about": b"{}", "x.npy": with_header(FOUR_TERABYTES.replace("1000000000000", "True"), b"1234")},
        r"'x.npy' has the shape \(True,\)",
    ),
    "items of no bytes": (
        {"about": b"{}", "x.npy": with_header(FOUR_TERABYTES.replace("<f4", "<U0"))},
        "array 'x' is <U0: expected",
    ),
    "records": (
        {"about": b"{}", "x.npy": as_npy(np.zeros(1, [("a", "f4")]))},
        r"array 'x' is \[\('a', '<f4'\)\]: expected",
    ),
    "a name of two lines": ({"about": b"{}", "\n.npy": as_npy(np.zeros(1))}, r"an array is named '\\n'"),
    "more bytes than announced": (
        {"about": b"{}", "x.npy": as_npy(np.zeros(3)) + b"?"},
        "'x.npy' announces 24 bytes and has 25",
    ),
    "a fact twice": ({"about": b'{"a": {"b": 1, "b": 2}}'}, "a fact is there twice"),
    "no number": ({"about": b'{"a": [NaN]}'}, "a fact is nan: expected finite numbers"),
    "a number larger than any": ({"about": b'{"a": 1e999}'}, "a fact is inf: expected finite numbers"),
    "200 brackets": ({"about": b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}"}, "the facts are more than 100 lists"),
    "100,000 brackets": ({"about": b"[" * 100_000}, "maximum recursion depth exceeded"),
    "100,000 brackets in a header": ({"about": b"{}", "x.npy": with_header("(" * 60_000)}, "Header info length"),
    "5,000 brackets in a header": ({"about": b"{}", "x.npy": with_header("(" * 5_000)}, ""),
    "a header that is no Python": ({"about": b"{}", "x.npy": with_header("(")}, ""),
    "a header of another version": ({"about": b"{}", "x.npy": b"\x93NUMPY\x07\x00"}, ""),
    "an empty array": ({"about": b"{}", "x.npy": b""}, ""),
    "about is a list": ({"about": b"[]"}, "about is a list"),
    "about is no text": ({"about": b"\xff\xfe"}, ""),
    "no about": ({"x.npy": as_npy(np.zeros(3))}, "about is a NoneType"),
    "something else": ({"about": b"{}", "run.sh": b""}, "'run.sh' is no array"),
}


@pytest.mark.parametrize("what", WRONG_MEMBERS)
def test_behind_a_right_checksum_wrong_content_is_one_sentence(tmp_path, what):
    members, reason = WRONG_MEMBERS[what]
    path = sealed(tmp_path / "x.npz", members.items())
    with pytest.raises(
        BadInput, match=rf"^{path} is sealed, but not as jaxprop writes it \({reason}.*\); make it again$"
    ):
        load_arrays(path)


def test_a_few_bytes_that_stand_for_many_are_refused(tmp_path):
    path = sealed(tmp_path / "x.npz", [("about", b"{}"), ("x.npy", as_npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(BadInput, match="'about' is compressed"):
        load_arrays(path)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    member = as_npy(np.zeros(1))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = sealed(tmp_path / "x.npz", [("about", b"{}"), ("x.npy", member), ("x.npy", member)])
    with pytest.raises(BadInput, match=r"'x\.npy' is there twice"):
        load_arrays(path)


def test_a_file_without_a_seal_is_not_read_whatever_its_size(tmp_path):
    """Four terabytes that take no room on the disk."""
    with open(tmp_path / "x.npz", "wb") as file:
        file.write(b"PK")
        try:
            file.truncate(4 * 10**12)
        except OSError:
            pytest.skip("this file system has no files of such a size")
    with pytest.raises(BadInput, match="does not end with jaxprop's checksum"):
        load_arrays(tmp_path / "x.npz")
    with pytest.raises(BadInput, match="it is larger than the memory of this computer"):
        read_bytes(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([{}]), "object"),
        (np.zeros(2, ml_dtypes.bfloat16), "bfloat16"),
        (np.zeros(2, ml_dtypes.float8_e4m3fn), "float8_e4m3fn"),
        (np.array(["a"], "T"), "StringDType"),
        (np.zeros(2, [("a", "i4")]), r"\[\('a', '<i4'\)\]"),
    ],
)
def test_an_array_that_numpy_cannot_write_is_refused_and_nothing_is_written(tmp_path, array, dtype):
    with pytest.raises(BadInput, match=f"array 'x' is {dtype}.*: expected numbers, booleans, text or dates"):
        save_arrays(tmp_path / "x.npz", {"x": array}, {})
    assert not list(tmp_path.iterdir())


def test_an_array_in_columns_comes_back_with_its_values(tmp_path):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order="F")
    loaded, _ = load_arrays(sealed(tmp_path / "x.npz", [("about", b"{}"), ("x.npy", as_npy(array))]))
    assert (loaded["x"] == array).all()


@pytest.mark.parametrize(("fact", "reason"), [(float("nan"), "a fact is nan"), (-float("inf"), "a fact is -inf")])
def test_a_number_that_json_does_not_know_is_refused_and_nothing_is_written(tmp_path, fact, reason):
    with pytest.raises(BadInput, match=f"{reason}: expected finite numbers"):
        save_arrays(tmp_path / "x.npz", {}, {"a": [fact]})
    assert not list(tmp_path.iterdir())


def test_facts_are_as_deep_as_a_file_can_give_back(tmp_path):
    def nested(depth: int) -> dict:
        return {"a": 1} if depth == 1 else {"a": nested(depth - 1)}

    save_arrays(tmp_path / "x.npz", {}, nested(100))
    assert load_arrays(tmp_path / "x.npz") == ({}, nested(100))
    with pytest.raises(BadInput, match="the facts are more than 100 lists and objects deep"):
        save_arrays(tmp_path / "x.npz", {}, nested(101))


@pytest.mark.parametrize("path", ["\0x", "x\0", "\ud800"])
@pytest.mark.parametrize(
    "door",
    [
        load_arrays,
        read_bytes,
        make_folder,
        lambda path: only_one(path).__enter__(),
        lambda path: write_atomically(path, lambda file: None),
    ],
)
def test_what_no_file_can_be_called_is_one_sentence(door, path):
    with pytest.raises(BadInput, match=r"^'.*' holds a character that no name of a file can have"):
        door(path)


@pytest.mark.parametrize("name", ["", "about", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_a_file_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="expected a printable name other than"):
        save_arrays(tmp_path / "x.npz", {name: np.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_of_arrays_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*no\.npz: No such file"):
        load_arrays(tmp_path / "no.npz")
