"""Batches: what a network takes, `(inputs, targets)`, and the way there from labelled images."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float, Int, UInt8

from jaxprop.errors import BadInput

NDArray: TypeAlias = jax.Array | np.ndarray  # on a device, or in host memory
Batch = tuple[Float[NDArray, "B *in"], Float[NDArray, "B out"]]


class Examples(NamedTuple):
    """Labelled images."""

    images: UInt8[NDArray, "N 28 28"]  # grey levels, 0 for the background
    labels: Int[NDArray, " N"]


CLASSES = 10  # the digits, 0 to 9


def as_batch(images: UInt8[NDArray, "B 28 28"], labels: Int[NDArray, " B"], dtype: Any = jnp.float32) -> Batch:
    """Grey levels 0..255 to inputs in [0, 1], one flat vector an example; labels to targets, 1 for the right class.

    Pure and traceable: a compiled epoch calls it on uint8 data, so that no float copy of a data set is ever held.

    Raises `BadInput` on images, labels or a dtype that are none.
    """
    check_examples(Examples(images, labels))
    if dtype is None or not jnp.issubdtype(_as_dtype(dtype), jnp.floating):
        raise BadInput(f"dtype is {dtype!r}: expected a type of floats, such as jnp.float32")
    inputs = images.reshape(len(images), -1).astype(dtype) / 255
    return inputs, jax.nn.one_hot(labels, CLASSES, dtype=dtype)


def check_examples(examples: Examples, in_shape: tuple[int, ...] | None = None) -> None:
    """Raises `BadInput` unless these are N > 0 uint8 images, of as many pixels as a network takes, with N labels.

    Under `jit` the shapes are known and the numbers are not.
    """
    images, labels = _pair(examples, "examples", ("images", "labels"))
    if images.dtype != jnp.uint8:
        raise BadInput(f"images are {images.dtype}: expected uint8 grey levels, 0 to 255")
    pixels = "some" if in_shape is None else in_shape[0]
    if images.ndim < 2 or images.size == 0 or (in_shape and images.size != len(images) * in_shape[0]):
        raise BadInput(
            f"images have shape {images.shape}: expected (N, ...) with {pixels} pixels each and N at least 1"
        )
    if labels.shape != (len(images),) or not jnp.issubdtype(labels.dtype, jnp.integer):
        given = f"labels are {labels.dtype} of shape {labels.shape}"
        raise BadInput(f"{given}: expected one integer for each of the {len(images)} images")
    if isinstance(labels, Tracer):
        return
    lowest, highest = np.min(np.asarray(labels)), np.max(np.asarray(labels))
    if lowest < 0 or highest >= CLASSES:
        raise BadInput(f"labels lie in {lowest}..{highest}: expected 0..{CLASSES - 1}")


def check_batch(batch: Batch, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
    """Raises `BadInput` unless inputs and targets have the network's shapes, the same B > 0, and are finite.

    Under `jit` the shapes are known and the numbers are not, so finiteness is left to whoever holds the numbers.
    """
    inputs, targets = _pair(batch, "batch", ("inputs", "targets"))
    for name, x, shape in (("inputs", inputs, in_shape), ("targets", targets, out_shape)):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise BadInput(f"{name} are {x.dtype}: expected floats; jaxprop.as_batch makes them from images and labels")
        if x.ndim == 0 or x.shape[1:] != shape or len(x) == 0:
            wanted = ", ".join(["B", *map(str, shape)])
            raise BadInput(f"{name} have shape {x.shape}: this network expects ({wanted}) with B at least 1")
        if not isinstance(x, Tracer) and not np.isfinite(np.asarray(x)).all():
            raise BadInput(f"{name} hold a NaN or an infinity: every number must be finite")
    if len(inputs) != len(targets):
        raise BadInput(f"a batch of {len(inputs)} inputs came with {len(targets)} targets: expected as many of each")


def _pair(given: Any, name: str, parts: tuple[str, str]) -> tuple[NDArray, NDArray]:
    """The two arrays that these should be."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise BadInput(f"{name} is a {type(given).__name__}: expected a pair ({', '.join(parts)})")
    for part, x in zip(parts, given, strict=True):
        if not isinstance(x, jax.Array | np.ndarray):
            raise BadInput(f"{part} are a {type(x).__name__}: expected an array")
    return given[0], given[1]


def _as_dtype(dtype: Any) -> Any:
    try:
        return jnp.dtype(dtype)
    except TypeError:
        return object
