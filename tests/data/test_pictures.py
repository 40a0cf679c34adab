"""Picture files, read within bounds. What a drawing in them becomes, test_drawings shows."""

import io
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxprop.data.pictures import MEMORY, read_grey
from jaxprop.errors import BadInput

STEPS = np.repeat(np.arange(0, 240, 30, dtype=np.uint8)[:, None], 12, axis=1)


def test_grey_levels_come_as_they_are(tmp_path):
    Image.fromarray(STEPS).save(tmp_path / "steps.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "steps.png"), STEPS)


def test_a_large_picture_is_averaged_and_its_last_rows_and_columns_are_kept(tmp_path):
    """2,061 x 1,700 are halved to 1,031 x 850 in strips, and then brought to 1,024 x 844."""
    y, x = np.mgrid[:1700, :2061]
    slope = (y / 1700 * 100 + x / 2061 * 100).astype(np.uint8)
    Image.fromarray(slope).save(tmp_path / "slope.png", compress_level=1)
    read = read_grey(tmp_path / "slope.png")
    assert read.shape == (844, 1024)
    y, x = (np.arange(n)[:, None] + 0.5 for n in read.shape)
    # Half a level where levels were cut to whole numbers, one where they are rounded twice, one at the sides.
    assert abs(read - (y / 844 * 100 + x.T / 1024 * 100 - 0.5)).max() < 2


def test_colours_of_a_palette_are_averaged_and_not_their_numbers(tmp_path):
    """Columns of black and white alternate, and red has the number between them."""
    image = Image.fromarray(np.tile(np.array([0, 2], np.uint8), (16, 1024)))
    image.putpalette([0, 0, 0, 255, 0, 0, 255, 255, 255])
    image.save(tmp_path / "columns.png")
    assert set(read_grey(tmp_path / "columns.png").flat) <= {127, 128}


def test_behind_what_is_transparent_is_more_of_what_is_opaque(tmp_path):
    """Of ten columns four are opaque and light; six are black, and let half of what is behind them through."""
    image = np.zeros((10, 10, 2), np.uint8)
    image[..., 1] = 127
    image[:, :4] = 200, 255
    Image.fromarray(image, "LA").save(tmp_path / "half.png")
    assert set(read_grey(tmp_path / "half.png")[:, 4:].flat) == {100}


def test_of_several_photographs_in_one_jpeg_the_first_is_read(tmp_path):
    first, second = Image.fromarray(STEPS), Image.new("L", (12, 8), 255)
    first.save(tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    assert abs(read_grey(tmp_path / "two.jpg").astype(int) - STEPS).max() <= 8


def test_a_picture_that_is_not_square_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(STEPS)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_grey(tmp_path / "turned.jpg").shape == STEPS.shape


PROGRAM = """
import resource, sys
from jaxprop.data.pictures import read_grey
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    read_grey(path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes are what Linux counts in")
def test_a_picture_of_10000_x_10000_takes_less_than_300_mb(tmp_path):
    """A grey PNG takes a byte a pixel, 100 MB; a JPEG is shrunk while it is decoded, whatever its colours."""
    Image.new("L", (10_000, 10_000)).save(tmp_path / "large.png", compress_level=1)
    Image.new("RGB", (10_000, 10_000)).save(tmp_path / "large.jpg")
    command = [sys.executable, "-c", PROGRAM, tmp_path / "large.png", tmp_path / "large.jpg"]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) < 300_000


def test_a_progressive_jpeg_is_counted_with_the_coefficients_of_all_its_pixels(tmp_path):
    """7,000 x 7,000 x 3 coefficients of 2 bytes: 294 MB, which shrinking does not save, and 12 for what is shrunk."""
    Image.new("RGB", (7000, 7000)).save(tmp_path / "progressive.jpg", progressive=True)
    with pytest.raises(BadInput, match="is 7,000 x 7,000 pixels, which take 306,250,000 bytes"):
        read_grey(tmp_path / "progressive.jpg")


def make_pipe(path) -> None:
    os.mkfifo(path)


def make_socket(path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_link_to_a_device(path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no such files")
@pytest.mark.parametrize("make", [make_pipe, make_socket, make_link_to_a_device, os.mkdir])
def test_what_is_no_regular_file_is_not_opened(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    make(tmp_path.relative_to(tmp_path) / "drawing.png")
    with pytest.raises(BadInput, match=r"cannot read drawing.png: it is not a regular file"):
        read_grey("drawing.png")


def test_a_file_larger_than_all_memory_that_is_granted_is_not_opened(tmp_path):
    with open(tmp_path / "long.png", "wb") as file:
        file.truncate(MEMORY + 1)  # takes no space
    with pytest.raises(BadInput, match="has 268,435,457 bytes: expected a picture of at most 268,435,456"):
        read_grey(tmp_path / "long.png")


def test_a_file_is_closed_again_however_it_ends(tmp_path):
    """An open one would be reported as a `ResourceWarning`, which is an error in the tests."""
    file = io.BytesIO()
    Image.fromarray(STEPS).save(file, "PNG")
    (tmp_path / "cut.png").write_bytes(file.getvalue()[:-30])
    before = os.listdir("/dev/fd")
    with pytest.raises(BadInput, match="damaged"):
        read_grey(tmp_path / "cut.png")
    assert len(os.listdir("/dev/fd")) == len(before)
