"""One file of named arrays and facts, which notices when it was damaged."""

import io
import json
import pickle
import random
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxprop.files import _SEAL_BYTES, _seal, load_arrays, save_arrays
from jaxprop.errors import BadInput

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


def test_a_pickle_is_not_opened_even_behind_a_right_checksum(path):
    """The checksum tells of accidents. Whoever means harm can compute it, and must not get a program to run."""

    class Harm:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about", "{}")
        with archive.open("harm.npy", "w") as member:
            np.lib.format.write_array(member, np.array([Harm()], object), allow_pickle=True)
        archive.comment = bytes(_SEAL_BYTES)
    body = path.read_bytes()[:-_SEAL_BYTES]
    path.write_bytes(body + _seal(memoryview(body)))
    with pytest.raises(BadInput, match=r"is sealed, but not as jaxprop writes it \(Object arrays cannot be loaded"):
        load_arrays(path)


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


@pytest.mark.parametrize("name", ["", "about", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_a_file_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="expected a printable name other than"):
        save_arrays(tmp_path / "x.npz", {name: np.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*no\.npz: No such file"):
        load_arrays(tmp_path / "no.npz")
