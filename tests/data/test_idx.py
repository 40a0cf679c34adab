"""The IDX format."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from jaxprop.errors import BadInput
from jaxprop.data.archives import parse_idx

# Two rows of three, written out: magic, two sizes, six numbers.
EXAMPLE = bytes.fromhex("00000802 00000002 00000003 000102 fdfeff")


def test_an_example_worked_by_hand():
    array = parse_idx(EXAMPLE, "example")
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1, 2], [253, 254, 255]]


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_any_array_of_bytes_is_read_back(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    read = parse_idx(header + array.tobytes(), "array")
    assert read.shape == array.shape
    assert (read == array).all()
    assert read.flags.writeable


@pytest.mark.parametrize("length", range(len(EXAMPLE)))
def test_a_truncated_file_is_refused(length):
    message = (
        "begins with" if length < 4 else f"ends after {length} bytes" if length < 12 else f"holds {length - 12} num"
    )
    with pytest.raises(BadInput, match=f"^example {message}"):
        parse_idx(EXAMPLE[:length], "example")


def test_a_file_with_more_than_it_says_is_refused():
    with pytest.raises(BadInput, match=r"holds 7 numbers: expected 6, an array of \(2, 3\)"):
        parse_idx(EXAMPLE + b"\0", "example")


@pytest.mark.parametrize("magic", ["01000802", "00010802", "00000d02", "1f8b0800"])
def test_another_kind_of_file_is_refused(magic):
    with pytest.raises(BadInput, match=f"begins with {bytes.fromhex(magic).hex(' ')}: expected 00 00 08, an IDX file"):
        parse_idx(bytes.fromhex(magic) + EXAMPLE[4:], "example")


def test_sizes_beyond_all_memory_are_refused_before_any_is_taken():
    with pytest.raises(BadInput, match=f"expected {(2**32 - 1) ** 3}"):
        parse_idx(bytes((0, 0, 8, 3)) + b"\xff" * 12, "example")
