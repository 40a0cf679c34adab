"""Data sets by name: what is in them, where they come from, and what is never taken for good."""

import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxprop.data import datasets
from jaxprop.data import digits as digits_module
from jaxprop.data.datasets import load_dataset
from jaxprop.errors import BadInput
from jaxprop.files import load_arrays, save_arrays


@pytest.fixture(autouse=True)
def no_archives_unless_a_test_names_them(monkeypatch):
    monkeypatch.delenv("JAXPROP_ARCHIVES", raising=False)


def same(a, b) -> bool:
    return a.name == b.name and all((x == y).all() for x, y in zip(a.train + a.test, b.train + b.test, strict=True))


# MNIST, as published


def test_mnist_has_60000_examples_to_train_on_and_10000_to_test(mnist):
    for examples, n in ((mnist.train, 60_000), (mnist.test, 10_000)):
        assert (examples.images.shape, examples.images.dtype) == ((n, 28, 28), np.uint8)
        assert (examples.labels.shape, examples.labels.dtype) == ((n,), np.int32)


def test_mnist_has_its_known_labels(mnist):
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.train.labels).tolist() == train
    assert np.bincount(mnist.test.labels).tolist() == test


def test_mnist_has_its_known_mean(mnist):
    """0.1307 of the range from black to white: the number by which many programs centre MNIST."""
    assert round(mnist.train.images.mean() / 255, 4) == 0.1307


# The cache


def test_digits_are_the_default_and_come_from_the_cache_the_second_time(empty_cache, monkeypatch):
    first = load_dataset()
    assert os.listdir(empty_cache) == ["digits.npz"]
    monkeypatch.setattr(digits_module, "make_digits", lambda: pytest.fail("they were made again"))
    assert same(load_dataset("digits"), first)


def test_digits_are_made_again_when_their_recipe_changes(empty_cache, monkeypatch):
    load_dataset()
    fewer = tuple(type(part)(*(a[:5] for a in part)) for part in load_dataset()[1:])
    monkeypatch.setattr(digits_module, "make_digits", lambda: fewer)
    monkeypatch.setattr(digits_module, "RECIPE", "another")
    assert len(load_dataset().test.labels) == 5
    assert load_arrays(empty_cache / "digits.npz")[1] == {"dataset": "digits", "made_from": "another"}


def test_digits_do_not_look_at_archives_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("JAXPROP_ARCHIVES", "nowhere")
    assert len(load_dataset("digits").test.labels) == 297


def test_a_cached_dataset_needs_neither_catalogue_nor_download_nor_archives(family, host, empty_cache):
    first = load_dataset("mnist", family["mnist"])
    for path in family["mnist"].iterdir():
        path.unlink()
    assert same(load_dataset("mnist"), first)
    assert host.gets == []


def test_a_second_load_imports_no_catalogue(family, empty_cache):
    """The catalogue and scikit-learn take seconds to import, so that a load from the cache must do without."""
    load_dataset("digits")
    load_dataset("mnist", family["mnist"])
    program = """if True:
        import sys
        from jaxprop.data.datasets import load_dataset
        load_dataset("digits")
        load_dataset("mnist")
        load_dataset("mnist", sys.argv[1])
        print([name for name in ("tensorflow_datasets", "tensorflow", "sklearn", "PIL") if name in sys.modules])
    """
    ran = subprocess.run([sys.executable, "-c", program, family["mnist"]], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_reading_archives_does_not_need_tensorflow(family, empty_cache):
    load_dataset("mnist", family["mnist"])
    assert "tensorflow_datasets" in sys.modules
    assert "tensorflow" not in sys.modules


def resealed(change: Callable[[dict, dict], object]) -> Callable[[Path], None]:
    """The same file with other content, and a right checksum."""

    def damage(path: Path) -> None:
        arrays, about = load_arrays(path)
        change(arrays, about)
        save_arrays(path, arrays, about)

    return damage


DAMAGES = {
    "has no train examples": resealed(lambda arrays, about: arrays.pop("train_images")),
    "has no test examples of 28 x 28": resealed(
        lambda arrays, about: arrays.update(test_images=arrays["test_images"].reshape(-1, 784))
    ),
    "has no test examples of 28 x 28 pixels with labels in int32": resealed(
        lambda arrays, about: arrays.update(test_labels=arrays["test_labels"].astype("int64"))
    ),
    "labels are int32 of shape": resealed(
        lambda arrays, about: arrays.update(train_labels=arrays["train_labels"][:-1])
    ),
    "has no checksums": resealed(lambda arrays, about: about.update(made_from={})),
    "has no checksums of the archives": resealed(lambda arrays, about: about.update(made_from={"file": None})),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "altered": lambda path: path.write_bytes(path.read_bytes()[:3000] + b"?" + path.read_bytes()[3001:]),
    "not the cache of mnist": lambda path: save_arrays(path, {}, {"dataset": "kmnist"}),
    "not an npz file": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_reported_and_made_again(family, empty_cache, damage):
    first = load_dataset("mnist", family["mnist"])
    whole = (empty_cache / "mnist.npz").read_bytes()
    DAMAGES[damage](empty_cache / "mnist.npz")
    with pytest.warns(UserWarning, match=f"a cached dataset is not used, and made again: .*mnist.npz.* {damage}"):
        assert same(load_dataset("mnist", family["mnist"]), first)
    assert (empty_cache / "mnist.npz").read_bytes() == whole


def test_a_thousand_flipped_bits_and_a_thousand_truncations_of_a_cache_are_noticed_every_time(
    family, empty_cache, monkeypatch
):
    first, rng = load_dataset("mnist", family["mnist"]), random.Random(0)
    path = empty_cache / "mnist.npz"
    whole, made = path.read_bytes(), []
    monkeypatch.setattr(datasets, "_write_cache", lambda dataset, made_from: made.append(dataset))
    for _ in range(1000):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        for damaged in (flipped, whole[: rng.randrange(len(whole))]):
            path.write_bytes(damaged)
            with pytest.warns(UserWarning, match="a cached dataset is not used, and made again"):
                assert same(load_dataset("mnist", family["mnist"]), first)
    assert len(made) == 2000


def test_a_damaged_cache_is_not_used_where_nothing_can_replace_it(family, host, empty_cache):
    load_dataset("mnist", family["mnist"])
    DAMAGES["altered"](empty_cache / "mnist.npz")
    host.status = 404
    with pytest.warns(UserWarning, match="not used"), pytest.raises(BadInput, match="the download of mnist broke off"):
        load_dataset("mnist")


def test_a_cache_that_cannot_be_written_is_reported_and_the_dataset_is_there_all_the_same(
    family, tmp_path, empty_cache
):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    with pytest.warns(UserWarning, match=r"mnist is not cached, so loading .* as long again: cannot make the folder"):
        assert len(load_dataset("mnist", family["mnist"]).train.labels) == 12


# Archives and downloads


def test_archives_that_are_named_must_hold_whether_cached_or_not(family, empty_cache):
    first = load_dataset("mnist", family["mnist"])
    with pytest.raises(BadInput, match="is an archive of kmnist: expected that of mnist"):
        load_dataset("mnist", family["kmnist"])
    with pytest.raises(BadInput, match="there is no folder"):
        load_dataset("mnist", empty_cache / "nowhere")
    path = family["mnist"] / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="was cut short"):
        load_dataset("mnist", family["mnist"])
    path.unlink()
    with pytest.raises(BadInput, match=r"has no t10k-labels-idx1-ubyte\.gz"):
        load_dataset("mnist", family["mnist"])
    assert same(load_dataset("mnist"), first)


def test_archives_that_are_refused_leave_no_cache(family, empty_cache):
    with pytest.raises(BadInput, match="is an archive of kmnist"):
        load_dataset("mnist", family["kmnist"])
    assert not empty_cache.exists()


def test_archives_may_be_named_by_the_environment(family, host, empty_cache, monkeypatch):
    monkeypatch.setenv("JAXPROP_ARCHIVES", str(family["kmnist"]))
    assert len(load_dataset("kmnist").train.labels) == 12
    with pytest.raises(BadInput, match="is an archive of kmnist: expected that of fashion_mnist"):
        load_dataset("fashion_mnist")
    assert len(load_dataset("fashion_mnist", family["fashion_mnist"]).train.labels) == 12
    assert host.gets == []


def test_without_archives_a_dataset_is_downloaded_once(family, host, empty_cache):
    first = load_dataset("fashion_mnist")
    assert len(host.gets) == 4
    assert same(load_dataset("fashion_mnist"), first)
    assert len(host.gets) == 4
    assert os.listdir(empty_cache) == ["fashion_mnist.npz"]
    assert same(load_dataset("fashion_mnist", family["fashion_mnist"]), first)


def test_the_three_are_not_the_same(family, empty_cache):
    mnist, fashion, kuzushiji = (load_dataset(name, folder) for name, folder in family.items())
    assert not (mnist.train.images == fashion.train.images).all()
    assert not (fashion.train.images == kuzushiji.train.images).all()


def test_a_good_load_warns_of_nothing(family, empty_cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            load_dataset("mnist", family["mnist"])


# Bad input


@pytest.mark.parametrize("name", ["MNIST", "", "emnist", None, 3])
def test_an_unknown_dataset_is_refused(name):
    with pytest.raises(BadInput, match=f"dataset is {name!r}: expected one of digits, mnist, fashion_mnist, kmnist"):
        load_dataset(name)


def test_digits_with_archives_are_refused():
    with pytest.raises(BadInput, match=r"digits takes no archives \(folder\): leave them out"):
        load_dataset("digits", "folder")
