"""Labelled images to batches, which looks at shapes and types; and the door, which looks at every label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.data.batches import Examples, as_batch, check_examples
from jaxprop.errors import BadInput

IMAGES = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], np.int32)


def test_grey_levels_become_inputs_from_0_to_1_and_labels_become_targets():
    inputs, targets = as_batch(IMAGES, LABELS)
    assert inputs.shape == (3, 784)
    np.testing.assert_allclose(inputs, IMAGES.reshape(3, 784) / 255, rtol=1e-7)  # one rounding to float32
    assert inputs.min() == 0
    assert inputs.max() == 1
    np.testing.assert_array_equal(np.argmax(targets, axis=1), LABELS)
    np.testing.assert_array_equal(targets.sum(axis=1), np.ones(3))


@pytest.mark.parametrize(("x64", "default"), [(False, "float32"), (True, "float64")])
def test_a_batch_is_in_the_default_float_type_or_the_one_that_is_asked_for(x64, default):
    with jax.enable_x64(x64):
        for dtype, expected in ((None, default), (jnp.bfloat16, "bfloat16"), ("float16", "float16")):
            inputs, targets = as_batch(IMAGES, LABELS, dtype)
            assert inputs.dtype == targets.dtype == expected
        if x64:
            # An ulp: XLA may multiply by 1 / 255 instead.
            np.testing.assert_allclose(as_batch(IMAGES, LABELS)[0], IMAGES.reshape(3, 784) / 255, rtol=2.3e-16)


@pytest.mark.parametrize("in_shape", [(28, 28), (28, 28, 1), (7, 4, 28), (784,)])
def test_inputs_take_the_shape_that_the_network_takes(in_shape):
    inputs, _ = as_batch(IMAGES, LABELS, in_shape=in_shape)
    assert inputs.shape == (3, *in_shape)
    np.testing.assert_array_equal(inputs.reshape(3, 784), as_batch(IMAGES, LABELS)[0])


def test_labels_stay_labels_for_a_cost_that_takes_these():
    _, targets = as_batch(IMAGES, LABELS, one_hot=False)
    np.testing.assert_array_equal(targets, LABELS)
    assert targets.dtype == np.int32


@pytest.mark.parametrize("label", [-1, 10, 12, 2**31 - 1])
def test_a_label_that_is_no_digit_is_a_target_of_zeros_until_somebody_looks(label):
    labels = np.array([3, label, 4], np.int32)
    _, targets = as_batch(IMAGES, labels)
    np.testing.assert_array_equal(targets.sum(axis=1), [1, 0, 1])
    with pytest.raises(BadInput, match=rf"labels lie in {min(label, 3)}..{max(label, 4)}: expected 0..9"):
        check_examples(Examples(IMAGES, labels))


@pytest.mark.parametrize("brightest", [1, 16])
def test_images_in_sixteenths_or_black_and_white_are_refused_with_what_makes_them_grey(brightest):
    images = (IMAGES % (brightest + 1)).astype(np.uint8)
    with pytest.raises(
        BadInput, match=f"the brightest pixel of all images is {brightest}: expected .* up to 255"
    ) as bad:
        check_examples(Examples(images, LABELS))
    assert str(bad.value).endswith(f"such as (images * (255 / {brightest})).astype('uint8')")
    mended = (images * (255 / brightest)).astype("uint8")
    check_examples(Examples(mended, LABELS))
    assert mended.max() == 255
    for fine in (IMAGES % 18, 0 * IMAGES):
        check_examples(Examples(fine, LABELS))


BAD_KINDS = [
    ((IMAGES.astype(np.float32), LABELS), "images are float32: expected uint8 grey levels, 0 to 255"),
    ((IMAGES[:0], LABELS[:0]), r"images have shape \(0, 28, 28\): expected .* N at least 1"),
    ((IMAGES[0, 0], LABELS), r"images have shape \(28,\): expected \(N, ...\)"),
    ((IMAGES[:, :, :0], LABELS), r"images have shape \(3, 28, 0\): expected .* some pixels each"),
    ((IMAGES, LABELS[:2]), r"labels are int32 of shape \(2,\): expected one integer for each of the 3 images"),
    ((IMAGES, LABELS[:, None]), r"labels are int32 of shape \(3, 1\)"),
    ((IMAGES, LABELS.astype(np.float32)), "labels are float32"),
    ((IMAGES.tolist(), LABELS), "images are a list: expected an array"),
    ((IMAGES, None), "labels are a NoneType: expected an array"),
]


@pytest.mark.parametrize(("examples", "complaint"), BAD_KINDS)
def test_what_are_no_images_and_labels_is_refused_by_the_batch_and_by_the_door(examples, complaint):
    for function in (lambda: as_batch(*examples), lambda: check_examples(examples)):
        with pytest.raises(BadInput, match=complaint):
            function()


@pytest.mark.parametrize("dtype", [jnp.int32, "text", complex, object()])
def test_a_batch_of_no_floats_is_refused(dtype):
    with pytest.raises(BadInput, match=r"dtype is .*: expected a type of floats, such as jnp.float32"):
        as_batch(IMAGES, LABELS, dtype)


def test_pixels_that_do_not_fill_the_inputs_are_refused():
    with pytest.raises(BadInput, match=r"images have shape \(3, 28, 28\): a network with inputs \(8, 8\) takes other"):
        as_batch(IMAGES, LABELS, in_shape=(8, 8))
    check_examples(Examples(IMAGES, LABELS), (784,))
    check_examples(Examples(IMAGES, LABELS), (28, 28, 1))
    with pytest.raises(BadInput, match=r"images have shape \(3, 27, 28\): the network's inputs are 784 numbers each"):
        check_examples(Examples(IMAGES[:, :27], LABELS), (784,))


@pytest.mark.parametrize("examples", [(IMAGES,), (IMAGES, LABELS, LABELS), IMAGES, None, "text"])
def test_what_is_no_pair_is_no_examples(examples):
    with pytest.raises(BadInput, match=r"examples is a .*: expected a pair \(images, labels\)"):
        check_examples(examples)
