"""The UCI digits, as pictures like MNIST's, and their split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits

from jaxprop.data.digits import TEST_EXAMPLES, is_test, like_mnist, make_digits

PIXELS, LABELS = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def digits():
    return make_digits()


def test_there_are_1500_to_train_on_and_297_to_test(digits):
    train, test = digits
    for examples, n in ((train, 1500), (test, 297)):
        assert (examples.images.shape, examples.images.dtype) == ((n, 28, 28), np.uint8)
        assert (examples.labels.shape, examples.labels.dtype) == ((n,), np.int32)


def test_every_digit_is_in_one_part_and_keeps_its_label(digits):
    test = is_test(LABELS)
    images = np.empty((len(LABELS), 28, 28), np.uint8)
    labels = np.empty(len(LABELS), np.int32)
    for part, chosen in zip(digits, (~test, test), strict=True):
        images[chosen], labels[chosen] = part
    assert (labels == LABELS).all()
    assert (images == [like_mnist(image) for image in grey_levels()]).all()


def grey_levels() -> np.ndarray:
    """0..16 to 0..255; both ends stay ends."""
    return np.round(PIXELS.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)


def test_they_are_the_same_every_time(digits):
    for part, again in zip(digits, make_digits(), strict=True):
        assert (part.images == again.images).all()
        assert (part.labels == again.labels).all()


def test_the_split_is_fixed():
    """As indices into scikit-learn's order. Another rule, or another order, would change every published result."""
    chosen = np.flatnonzero(is_test(LABELS))
    assert chosen[:10].tolist() == [4, 5, 6, 7, 13, 37, 38, 42, 46, 49]
    assert chosen.sum() == 264_519
    assert np.bincount(LABELS[chosen]).tolist() == [29, 30, 29, 30, 30, 30, 30, 30, 29, 30]


@given(hnp.arrays(np.int32, st.integers(TEST_EXAMPLES, 2000), elements=st.integers(0, 9)))
def test_each_class_gives_its_fraction_give_or_take_one(labels):
    test = is_test(labels)
    assert test.sum() == TEST_EXAMPLES
    expected = np.bincount(labels, minlength=10) * TEST_EXAMPLES / len(labels)
    assert (abs(np.bincount(labels[test], minlength=10) - expected) < 1).all()


def test_the_pictures_look_like_mnist(digits):
    """20 pixels on the longer side, plus at most one blurred row at each end; centred by mass to half a pixel.

    MNIST's own centres lie from 14 to 15.
    """
    for images, _ in digits:
        sides = [np.count_nonzero(images.any(axis=axis), axis=1) for axis in (1, 2)]
        assert np.max(sides, axis=0).min() >= 20
        assert np.max(sides, axis=0).max() <= 22
        assert (images.max(axis=(1, 2)) == 255).all()
        middles, mass = np.arange(28) + 0.5, images.sum(axis=(1, 2))
        for axis in (1, 2):
            centre = images.sum(axis=3 - axis) @ middles / mass
            assert abs(centre - 14.5).max() < 0.5


def test_a_stroke_in_a_corner_moves_to_the_middle():
    image = np.zeros((8, 8), np.uint8)
    image[:4, :1] = 255
    picture = like_mnist(image)
    assert picture[14, 14] == 255
    assert picture[:3].max() == picture[:, :10].max() == picture[:, 19:].max() == 0
