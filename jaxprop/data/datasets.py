"""Data sets of small labelled pictures: embedded, downloaded with verification, or read from archives at hand."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from jaxprop.data import digits
from jaxprop.data.archives import checksums, decode, download_archives, holds, read_archives
from jaxprop.data.batches import Examples, check_examples
from jaxprop.errors import BadInput
from jaxprop.files import Arrays, cache_folder, load_arrays, make_folder, save_arrays

DatasetName = Literal["digits", "mnist", "fashion_mnist", "kmnist"]


class Dataset(NamedTuple):
    """Labelled pictures to learn from, and others to be tested on: uint8 images (N, 28, 28), int32 labels (N,)."""

    name: str
    train: Examples
    test: Examples


def load_dataset(name: DatasetName = "digits", archives: str | os.PathLike[str] | None = None) -> Dataset:
    """A data set, by name; its arrays are kept in the user's cache folder, so that the next load is quick.

    digits: 1,500 + 297 real handwritten digits that come with scikit-learn, enlarged to 28 x 28; no download.
    mnist, fashion_mnist, kmnist: 60,000 + 10,000, from the four original archives. `archives` names a folder that has
    them; by default that is the environment variable JAXPROP_ARCHIVES, and without one they are downloaded. A folder
    that is named must hold the right ones, cached or not.

    Raises `BadInput` on an unknown name, on archives that are missing, cut short, altered or of another data set, where
    a download fails, and where the packages are missing that `jaxprop[data]` brings. Warns where the cache is damaged
    (it is made again) or cannot be written.

    Images are uint8, of shape (N, 28, 28), black 0 to white 255; labels int32, of shape (N,).
    """
    if name not in get_args(DatasetName):
        raise BadInput(f"dataset is {name!r}: expected one of {', '.join(get_args(DatasetName))}")
    folder = _archives_folder(name, archives)
    cached, made_from = _read_cache(name)
    if cached and _is_current(name, made_from, folder):
        return cached
    dataset, made_from = _make(name, folder)
    _write_cache(dataset, made_from)
    return dataset


def _archives_folder(name: str, archives: str | os.PathLike[str] | None) -> Path | None:
    if name == "digits":
        if archives is not None:
            raise BadInput(f"digits takes no archives ({archives}): leave them out, or name the dataset they are of")
        return None
    folder = archives if archives is not None else os.environ.get("JAXPROP_ARCHIVES") or None
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise BadInput(f"archives is {folder!r}: expected the name of a folder")
    return None if folder is None else Path(folder).expanduser()


def _make(name: str, folder: Path | None) -> tuple[Dataset, Any]:
    """The data set, and what it was made from: digits' recipe, or the checksums of the archives."""
    if name == "digits":
        return Dataset(name, *digits.make_digits()), digits.RECIPE
    contents = read_archives(name, folder) if folder else download_archives(name, cache_folder())
    return Dataset(name, *decode(contents)), checksums(contents)


def _is_current(name: str, made_from: Any, folder: Path | None) -> bool:
    if name == "digits":
        return made_from == digits.RECIPE
    return folder is None or holds(folder, made_from)


def _read_cache(name: str) -> tuple[Dataset | None, Any]:
    """The data set and what it was made from; None where it is not cached, or not so that it can be trusted."""
    path = _cache_path(name)
    if not os.path.exists(path):
        return None, None
    try:
        arrays, about = load_arrays(path)
        if about.get("dataset") != name:
            raise BadInput(f"{path} is not the cache of {name}")
        return _from_cache(path, name, arrays, about)
    except BadInput as error:
        warnings.warn(f"a cached dataset is not used, and made again: {error}", stacklevel=3)
        return None, None


def _from_cache(path: Path, name: str, arrays: Arrays, about: Mapping[str, Any]) -> tuple[Dataset, Any]:
    """The data set in this file, and what it was made from; `BadInput` where `_write_cache` would not leave it so."""
    parts = []
    for part in ("train", "test"):
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None or labels is None or images.shape[1:] != (28, 28) or labels.dtype != "int32":
            raise BadInput(f"{path} has no {part} examples of 28 x 28 pixels with labels in int32")
        parts.append(Examples(images, labels))
        try:
            check_examples(parts[-1])
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error
    made_from = about.get("made_from")
    sums = made_from.values() if isinstance(made_from, dict) else ()
    # An empty list of archives would hold in any folder.
    if name != "digits" and not (sums and all(isinstance(one, str) for one in sums)):
        raise BadInput(f"{path} has no checksums of the archives that it was made from")
    return Dataset(name, *parts), made_from


def _write_cache(dataset: Dataset, made_from: Any) -> None:
    arrays = {
        f"{part}_{field}": a for part in ("train", "test") for field, a in getattr(dataset, part)._asdict().items()
    }
    try:
        make_folder(cache_folder())
        save_arrays(_cache_path(dataset.name), arrays, {"dataset": dataset.name, "made_from": made_from})
    except BadInput as error:
        # What was asked for is there all the same.
        warnings.warn(f"{dataset.name} is not cached, so loading it will take as long again: {error}", stacklevel=3)


def _cache_path(name: str) -> Path:
    return cache_folder() / f"{name}.npz"
