"""Pictures that are moved by a few pixels at random, so that a network sees each of them in many places."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

import jaxprop as jp
from jaxprop.gradients import Batch
from jaxprop.training import Data, ToBatch


def shifted(key: PRNGKeyArray, images: UInt8[Array, "B height width"], most: int) -> UInt8[Array, "B height width"]:
    """Each picture moved by -most to most pixels down and to the right, and black where nothing was.

    All places are equally likely, whatever they do to the other pictures. A picture of 28 x 28 loses what is moved over
    its edge; the digits of MNIST keep 4 pixels away from it.
    """
    count, height, width = images.shape
    around = jnp.pad(images, ((0, 0), (most, most), (most, most)))
    corners = jax.random.randint(key, (count, 2), 0, 2 * most + 1)
    return jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, corner, (height, width)))(around, corners)


def with_shifts(to_batch: ToBatch, key: PRNGKeyArray, most: int) -> ToBatch:
    """`to_batch` of an epoch, `(images, labels, rows) -> batch`, whose pictures are shifted at random.

    rows: of the examples, as `with_rows` adds them to the data. The first two of a mini-batch make its key: the order
        is drawn anew for each epoch, so the shifts are too, and a step that is done again gets the same ones.
    """

    def shifted_batch(images: Array, labels: Array, rows: Int[Array, " B"]) -> Batch:
        first, second = rows[0], rows[1]
        of_batch = jax.random.fold_in(jax.random.fold_in(key, first), second)
        return to_batch(shifted(of_batch, jnp.asarray(images), most), labels)

    return shifted_batch


def with_rows(examples: jp.Examples) -> Data:
    """The examples, and beside each the number of its row."""
    return (*examples, jnp.arange(len(examples.labels)))
