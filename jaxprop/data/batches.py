"""Labelled images of ten classes, and how uint8 images and labels become a batch."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from jaxprop.errors import BadInput
from jaxprop.gradients import Batch

NDArray: TypeAlias = jax.Array | np.ndarray  # on a device, or in host memory


class Examples(NamedTuple):
    """Labelled images of ten classes, such as the digits. For other data any tuple of arrays will do."""

    images: UInt8[NDArray, "N 28 28"]  # grey levels, 0 for the background
    labels: Int[NDArray, " N"]


CLASSES = 10  # the digits, 0 to 9


def as_batch(
    images: UInt8[NDArray, "B 28 28"],
    labels: Int[NDArray, " B"],
    dtype: Any = None,
    in_shape: tuple[int, ...] | None = None,
    one_hot: bool = True,
) -> Batch:
    """Grey levels 0..255 to inputs in [0, 1], labels to targets: `to_batch` of an epoch over handwritten digits.

    dtype: of inputs and targets; by default JAX's own float type, as in `network.init`.
    in_shape: of one example's inputs; by default one flat vector.
    one_hot: targets are 1 for the right class and 0 for the nine others; otherwise they are the labels themselves, for
        a cost that takes these.

    Pure: it looks at shapes and types alone. A label outside 0..9 makes a target of zeros; `check_examples` finds it.
    Raises `BadInput` on images, labels or a dtype that are none.
    """
    _check_kinds(images, labels)
    dtype = jnp.result_type(float) if dtype is None else _float_type(dtype)
    pixels = images.size // len(images)
    shape = (pixels,) if in_shape is None else in_shape
    if np.prod(shape, dtype=int) != pixels:
        raise BadInput(f"images have shape {images.shape}: a network with inputs {shape} takes other numbers of pixels")
    inputs = jnp.asarray(images).reshape(len(images), *shape).astype(dtype) / 255
    return inputs, jax.nn.one_hot(labels, CLASSES, dtype=dtype) if one_hot else jnp.asarray(labels)


def check_examples(examples: Any, in_shape: tuple[int, ...] | None = None) -> None:
    """Raises `BadInput` unless these are N > 0 uint8 images with N labels from 0 to 9. Looks at every number.

    Images whose brightest pixel is 16 or less are refused too: black and white as 0 and 1, or the sixteenths in which
    scikit-learn has its digits. As inputs they would all be nearly black. All black ones are let through.

    in_shape: the shape of the inputs of the network that takes them: as many numbers as an image has pixels.
    """
    if not isinstance(examples, tuple | list) or len(examples) != 2:
        raise BadInput(f"examples is a {type(examples).__name__}: expected a pair (images, labels)")
    images, labels = examples
    _check_kinds(images, labels)
    if in_shape is not None and images.size != len(images) * np.prod(in_shape, dtype=int):
        wanted = int(np.prod(in_shape, dtype=int))
        raise BadInput(f"images have shape {images.shape}: the network's inputs are {wanted} numbers each")
    brightest = int(images.max())  # on its own device
    if 0 < brightest <= 16:
        given = f"the brightest pixel of all images is {brightest}"
        raise BadInput(
            f"{given}: expected grey levels up to 255, such as (images * (255 / {brightest})).astype('uint8')"
        )
    lowest, highest = np.min(np.asarray(labels)), np.max(np.asarray(labels))
    if lowest < 0 or highest >= CLASSES:
        raise BadInput(f"labels lie in {lowest}..{highest}: expected 0..{CLASSES - 1}")


def _check_kinds(images: Any, labels: Any) -> None:
    """Raises `BadInput` unless the two are N > 0 uint8 images and N integers, by their shapes and types."""
    for name, x in (("images", images), ("labels", labels)):
        if not isinstance(x, jax.Array | np.ndarray):
            raise BadInput(f"{name} are a {type(x).__name__}: expected an array")
    if images.dtype != jnp.uint8:
        raise BadInput(f"images are {images.dtype}: expected uint8 grey levels, 0 to 255")
    if images.ndim < 2 or images.size == 0:
        raise BadInput(f"images have shape {images.shape}: expected (N, ...) with some pixels each and N at least 1")
    if labels.shape != (len(images),) or not jnp.issubdtype(labels.dtype, jnp.integer):
        given = f"labels are {labels.dtype} of shape {labels.shape}"
        raise BadInput(f"{given}: expected one integer for each of the {len(images)} images")


def _float_type(dtype: Any) -> Any:
    try:
        given = jnp.dtype(dtype)
    except TypeError:
        given = None
    if given is None or not jnp.issubdtype(given, jnp.floating):
        raise BadInput(f"dtype is {dtype!r}: expected a type of floats, such as jnp.float32")
    return given
