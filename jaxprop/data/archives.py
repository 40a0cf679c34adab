"""The four archives of a data set of the MNIST family: at hand in a folder, or downloaded. Never used unverified.

The addresses and checksums are those of the catalogue tensorflow-datasets. Its own reader needs TensorFlow, so only its
catalogue and its downloader are used. Importing it takes a second, which only the functions that need it pay.
"""

import gzip
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxprop.data.batches import Examples
from jaxprop.data.optional import optional_packages
from jaxprop.errors import BadInput
from jaxprop.files import make_folder, read_bytes, why

FAMILY = ("mnist", "fashion_mnist", "kmnist")
_UINT8 = 0x08  # how an IDX file says that its numbers are unsigned bytes


class Archive(NamedTuple):
    """What the catalogue knows of one file."""

    url: str
    size: int  # bytes
    sha256: str


def catalogue(name: str) -> dict[str, Archive]:
    """The archives of a data set by file name. All of the family share their file names, and nothing else."""
    with optional_packages(f"the data set {name}"):
        import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    assert infos is not None, "the catalogue has the checksums of all of the family"
    return {url.rpartition("/")[2]: Archive(url, int(info.size), info.checksum) for url, info in infos.items()}


def checksums(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 sums of the archives, by file name."""
    return {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def holds(folder: Path, expected: Mapping[str, str]) -> bool:
    """Whether the folder has files of these names with these SHA-256 sums. Does without the catalogue."""
    if _missing(folder, expected):
        return False
    return checksums({file: read_bytes(folder / file) for file in expected}) == expected


def read_archives(name: str, folder: Path) -> dict[str, bytes]:
    """The content of the archives in a folder, by file name, still compressed.

    Raises `BadInput` where the folder or a file is missing, and where a file is cut short, altered, or another data
    set's.
    """
    expected = catalogue(name)
    if not os.path.isdir(folder):
        raise BadInput(f"there is no folder {folder}: name the one with the four original archives of {name}")
    if missing := _missing(folder, expected):
        raise BadInput(f"{folder} has no {', '.join(missing)}: put the four original archives of {name} there")
    return {file: _verified(name, folder / file, expected[file]) for file in expected}


def download_archives(name: str, folder: Path) -> dict[str, bytes]:
    """The content of the archives, by file name, still compressed, from the hosts in the catalogue and no others.

    They pass through a temporary folder in `folder`, of which nothing stays.

    Raises `BadInput` where there is no network or no space, where the download breaks off, and where what arrives is
    not what the catalogue expects.
    """
    expected = catalogue(name)
    make_folder(folder)
    try:
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder, ignore_cleanup_errors=True) as temporary:
            paths = _fetch(name, {file: archive.url for file, archive in expected.items()}, temporary)
            return {file: _verified(name, Path(paths[file]), expected[file]) for file in expected}
    except OSError as error:
        raise BadInput(f"cannot keep the download of {name} in {folder}: {why(error)}; make room there") from error


def _fetch(name: str, urls: dict[str, Any], folder: str) -> dict[str, Any]:
    with optional_packages(f"the data set {name}"):
        import requests
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    advice = f"try again, or name a folder with the four original archives of {name} (archives or JAXPROP_ARCHIVES)"
    first = next(iter(urls.values()))
    try:
        # Where there is no network the manager would keep trying for minutes. So ask once, and believe the answer.
        requests.head(first, timeout=10)
    except requests.RequestException as error:
        raise BadInput(f"no answer from {first}: check the network and {advice}") from error
    infos = tfds.builder_cls(name).url_infos
    manager = tfds.download.DownloadManager(download_dir=folder, url_infos=infos, dataset_name=name)
    try:
        # One after another: what fails or is interrupted then leaves no other thread that still writes.
        return {file: manager.download(url) for file, url in urls.items()}
    except NonMatchingChecksumError as error:
        raise BadInput(f"what came for {name} does not have the checksum in the catalogue: {advice}") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise BadInput(f"the download of {name} broke off ({error}): {advice}") from error


def decode(contents: Mapping[str, bytes]) -> tuple[Examples, Examples]:
    """The training and the test examples in the four archives."""

    def examples(prefix: str) -> Examples:
        images, labels = (
            parse_idx(gzip.decompress(contents[file]), file)
            for file in (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
        )
        return Examples(images, labels.astype(np.int32))

    return examples("train"), examples("t10k")


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


def _missing(folder: Path, files: Iterable[str]) -> list[str]:
    return [file for file in files if not os.path.isfile(folder / file)]


def _verified(name: str, path: Path, expected: Archive) -> bytes:
    content = read_bytes(path)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum == expected.sha256:
        return content
    for other in FAMILY:
        if checksum in (archive.sha256 for archive in catalogue(other).values()):
            raise BadInput(f"{path} is an archive of {other}: expected that of {name}; name another folder or dataset")
    wrong = "was cut short" if len(content) < expected.size else "was altered"
    raise BadInput(
        f"{path} {wrong}: expected the {expected.size} bytes of {name} with the SHA-256 sum {expected.sha256}, "
        f"but it has {len(content)} with {checksum}; get it again"
    )
