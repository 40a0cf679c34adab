"""The four archives of a data set are verified, wherever they come from."""

import resource
import signal
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from jaxprop.data.archives import (
    FAMILY,
    catalogue,
    checksums,
    decode,
    download_archives,
    holds,
    parse_idx,
    read_archives,
)
from jaxprop.errors import BadInput

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


def test_the_catalogue_knows_the_same_four_file_names_with_other_contents_for_each():
    archives = {name: catalogue(name) for name in FAMILY}
    files = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}
    files |= {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}
    assert all(archives[name].keys() == files for name in FAMILY)
    assert len({archive.sha256 for name in FAMILY for archive in archives[name].values()}) == 12
    assert len({urlsplit(archive.url).hostname for name in FAMILY for archive in archives[name].values()}) == 3


def test_the_archives_of_mnist_at_hand_are_the_ones_in_the_catalogue(mnist_archives):
    contents = read_archives("mnist", mnist_archives)
    assert checksums(contents) == {file: archive.sha256 for file, archive in catalogue("mnist").items()}


def test_archives_at_hand_are_read_and_nothing_is_downloaded(family, host):
    contents = read_archives("kmnist", family["kmnist"])
    assert contents == {path.name: path.read_bytes() for path in family["kmnist"].iterdir()}
    assert host.gets == []


def test_they_decode_to_images_and_labels(family):
    train, test = decode(read_archives("mnist", family["mnist"]))
    rng = np.random.default_rng(0)  # the stand-ins were drawn in this order
    for examples, n in ((train, 12), (test, 6)):
        assert (examples.images == rng.integers(0, 256, (n, 28, 28), np.uint8)).all()
        assert (examples.labels == rng.integers(0, 10, n, np.uint8)).all()
        assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)


def test_a_folder_holds_archives_only_as_long_as_every_byte_is_there(family):
    folder = family["mnist"]
    expected = checksums(read_archives("mnist", folder))
    assert holds(folder, expected)
    assert not holds(family["kmnist"], expected)
    whole = (folder / TRAIN_IMAGES).read_bytes()
    (folder / TRAIN_IMAGES).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not holds(folder, expected)
    (folder / TRAIN_IMAGES).unlink()
    assert not holds(folder, expected)


def test_a_missing_folder_is_named(family, tmp_path):
    with pytest.raises(BadInput, match=r"there is no folder .*nowhere: name the one with the four original archives"):
        read_archives("mnist", tmp_path / "nowhere")


def test_missing_files_are_named_and_not_downloaded(family, host):
    (family["mnist"] / TRAIN_IMAGES).unlink()
    with pytest.raises(BadInput, match=f"mnist has no {TRAIN_IMAGES}: put the four original archives of mnist there"):
        read_archives("mnist", family["mnist"])
    assert host.gets == []


def test_a_truncated_archive_is_refused(family):
    path = family["mnist"] / TRAIN_IMAGES
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        BadInput, match=rf"{TRAIN_IMAGES} was cut short: expected the {len(whole)} bytes.*; get it again"
    ):
        read_archives("mnist", family["mnist"])


def test_an_altered_archive_is_refused(family):
    path = family["mnist"] / TRAIN_IMAGES
    whole = path.read_bytes()
    for altered in (whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], whole + b"\0"):
        path.write_bytes(altered)
        with pytest.raises(BadInput, match=rf"{TRAIN_IMAGES} was altered: expected .* SHA-256 sum .*; get it again"):
            read_archives("mnist", family["mnist"])


def test_an_archive_of_another_dataset_is_refused_by_its_name(family):
    with pytest.raises(BadInput, match=r"is an archive of fashion_mnist: expected that of mnist; name another folder"):
        read_archives("mnist", family["fashion_mnist"])


def test_a_real_archive_of_another_dataset_is_refused_by_its_name(mnist_archives):
    with pytest.raises(BadInput, match=r"is an archive of mnist: expected that of kmnist; name another folder"):
        read_archives("kmnist", mnist_archives)


def test_what_is_downloaded_is_what_the_catalogue_expects_and_leaves_nothing_behind(family, host, tmp_path):
    contents = download_archives("mnist", tmp_path / "downloads")
    assert contents == read_archives("mnist", family["mnist"])
    assert sorted(host.gets) == sorted(f"/mnist/{file}" for file in contents)
    assert list((tmp_path / "downloads").iterdir()) == []


def half_then_hang_up(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    return content[:50] + bytes([content[50] ^ 1]) + content[51:]


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (half_then_hang_up, 200, r"the download of mnist broke off \(.*\): try again, or name a folder"),
        (flip_a_bit, 200, r"what came for mnist does not have the checksum in the catalogue: try again, or name"),
        (bytes, 404, r"the download of mnist broke off \(.*HTTP code: 404.*\): try again, or name a folder"),
    ],
)
def test_a_download_that_fails_says_so_and_leaves_nothing_behind(family, host, tmp_path, answer, status, message):
    host.answer, host.status = answer, status
    with pytest.raises(BadInput, match=message):
        download_archives("mnist", tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_no_network_is_said_at_once(family, host, tmp_path):
    host.shutdown()
    host.server_close()
    with pytest.raises(
        BadInput, match=r"no answer from http://127.*: check the network and try again, or name a folder"
    ):
        download_archives("mnist", tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_download_that_finds_no_room_says_so_and_leaves_nothing_behind(family, host, tmp_path):
    """The limit on the size of a file is the system's own, and stands for a disk that is full."""
    (family["mnist"] / TRAIN_IMAGES).write_bytes(bytes(2**21))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(BadInput, match=r"cannot keep the download of mnist in .*: File too large; make room there"):
            download_archives("mnist", tmp_path / "downloads")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_folder_for_downloads_that_cannot_be_made_is_named(family, host, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot make the folder .*file/downloads: Not a directory"):
        download_archives("mnist", tmp_path / "file" / "downloads")
    assert host.gets == []


@pytest.fixture
def ctrl_c_interrupts():
    """Python's own handler, which is not there where whoever started the tests ignores SIGINT, as nohup does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_during_a_download_leaves_nothing_behind(family, host, tmp_path):
    ended, main = threading.Event(), threading.get_ident()

    def press_ctrl_c_meanwhile(content: bytes) -> bytes:
        time.sleep(0.1)  # the other end has opened its file by then
        signal.pthread_kill(main, signal.SIGINT)
        ended.wait(10)
        return content

    host.answer = press_ctrl_c_meanwhile
    with pytest.raises(KeyboardInterrupt):
        download_archives("mnist", tmp_path / "downloads")
    ended.set()
    assert len(host.gets) == 1
    assert list((tmp_path / "downloads").iterdir()) == []


# The IDX format

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
