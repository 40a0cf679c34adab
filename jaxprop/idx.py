"""IDX, the format of the MNIST files: a header of four bytes, the sizes of the axes, then the numbers."""

import math

import numpy as np
from jaxtyping import UInt8

from jaxprop.errors import BadInput

_UINT8 = 0x08


def parse_idx(data: bytes, source: str) -> UInt8[np.ndarray, "..."]:
    """The array in an IDX file of unsigned bytes, the one type that the MNIST family uses.

    The header is two zero bytes, the type of the numbers and the number of axes; each size is a big-endian 32-bit
    number (LeCun, Cortes and Burges, "The MNIST database of handwritten digits").

    source: names the data in messages. Raises `BadInput` unless the data are exactly as long as their header says.
    """
    if len(data) < 4 or data[:3] != bytes((0, 0, _UINT8)):
        raise BadInput(f"{source} begins with {data[:4].hex(' ')}: expected 00 00 08, an IDX file of unsigned bytes")
    axes = data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise BadInput(f"{source} ends after {len(data)} bytes: expected a header of {start}")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) - start != math.prod(shape):
        raise BadInput(f"{source} holds {len(data) - start} numbers: expected {math.prod(shape)}, an array of {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()  # the data themselves are read-only
