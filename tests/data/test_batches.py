import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.data.batches import Examples, as_batch, check_batch, check_examples
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


def test_a_batch_can_be_made_in_float64():
    with jax.enable_x64(True):
        inputs, targets = as_batch(IMAGES, LABELS, jnp.float64)
        assert inputs.dtype == targets.dtype == np.float64
        np.testing.assert_array_equal(inputs, IMAGES.reshape(3, 784) / 255)


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (IMAGES.astype(np.float32), LABELS, "images are float32: expected uint8"),
        (IMAGES[:, :27], LABELS, r"images have shape \(3, 27, 28\): expected .* 784 pixels"),
        (IMAGES[:0], LABELS[:0], "at least 1"),
        (IMAGES, LABELS[:2], r"labels are int32 of shape \(2,\): expected one integer for each of the 3"),
        (IMAGES, LABELS.astype(np.float32), "labels are float32"),
        (IMAGES, LABELS + 1, r"labels lie in 1\.\.10: expected 0\.\.9"),
        (IMAGES, LABELS - 1, r"labels lie in -1\.\.8: expected 0\.\.9"),
    ],
)
def test_examples_that_no_network_can_learn_from_are_refused(images, labels, complaint):
    check_examples(Examples(IMAGES, LABELS), (784,))
    with pytest.raises(BadInput, match=complaint):
        check_examples(Examples(images, labels), (784,))


INPUTS, TARGETS = np.zeros((3, 4), np.float32), np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        ((INPUTS[:, :3], TARGETS), r"inputs have shape \(3, 3\): this network expects \(B, 4\)"),
        ((INPUTS[0], TARGETS), r"inputs have shape \(4,\)"),
        ((INPUTS, TARGETS[:, :1]), r"targets have shape \(3, 1\): this network expects \(B, 2\)"),
        ((INPUTS[:0], TARGETS[:0]), "B at least 1"),
        ((INPUTS, TARGETS[:2]), "a batch of 3 inputs came with 2 targets"),
        ((INPUTS.astype(np.uint8), TARGETS), "inputs are uint8: expected floats"),
        ((INPUTS + np.nan, TARGETS), "inputs hold a NaN"),
        ((INPUTS, TARGETS + np.inf), "targets hold a NaN or an infinity"),
    ],
)
def test_batches_that_do_not_fit_the_network_are_refused(batch, complaint):
    check_batch((INPUTS, TARGETS), (4,), (2,))
    with pytest.raises(BadInput, match=complaint):
        check_batch(batch, (4,), (2,))


def test_shapes_are_checked_under_jit_and_constant_batches_may_be_closed_over():
    jax.jit(lambda: check_batch((jnp.zeros((3, 4)), TARGETS), (4,), (2,)))()
    with pytest.raises(BadInput, match="inputs have shape"):
        jax.jit(lambda inputs: check_batch((inputs, TARGETS), (4,), (2,)))(INPUTS[:, :3])
