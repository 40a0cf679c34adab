"""Pictures that are moved at random: by how much, to where, and when by something else."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from lab.shifts import shifted, with_rows, with_shifts

KEY = jax.random.key(0)


def test_each_picture_is_moved_whole_and_all_places_come_up():
    """One bright pixel in the middle of 28 x 28 shows where its picture went: 2,000 of them to all 25 places."""
    images = jnp.zeros((2000, 28, 28), jnp.uint8).at[:, 14, 13].set(200)
    moved = np.asarray(shifted(KEY, images, 2))
    assert moved.dtype == np.uint8
    assert (moved.reshape(2000, -1).sum(axis=1) == 200).all()
    _, rows, columns = moved.nonzero()
    places, often = np.unique(np.stack([rows - 14, columns - 13]), axis=1, return_counts=True)
    assert places.shape == (2, 25)
    assert places.min() == -2
    assert places.max() == 2
    assert often.min() > 80 - 5 * 80**0.5, "each is expected 80 times, with a standard deviation of 9"


def test_what_leaves_the_picture_is_lost_and_what_comes_in_is_black():
    moved = np.asarray(shifted(KEY, jnp.full((100, 3, 3), 7, jnp.uint8), 1)).reshape(100, -1)
    assert set(np.unique(moved)) == {0, 7}
    assert set((moved == 7).sum(axis=1)) == {9, 6, 4}  # straight, along one direction, along both


def test_the_shifts_follow_from_the_order_and_the_key():
    examples = jp.Examples(jnp.arange(40 * 784).reshape(40, 28, 28).astype(jnp.uint8), jnp.arange(40) % 10)
    data = with_rows(examples)

    def batch(rows, key=KEY):
        return with_shifts(jp.as_batch, key, 2)(*(x[jnp.array(rows)] for x in data))

    inputs, targets = batch([3, 5, 8])
    again, _ = jax.jit(batch)([3, 5, 8])
    np.testing.assert_allclose(inputs, again, rtol=1e-6, err_msg="a division by 255 may be compiled in another way")
    np.testing.assert_array_equal(targets.argmax(axis=1), [3, 5, 8])
    assert (np.asarray(batch([3, 5, 8], jax.random.key(1))[0]) != np.asarray(inputs)).any()


def test_the_first_two_rows_of_a_mini_batch_say_how_its_pictures_are_shifted():
    # All pictures are alike, so two mini-batches are alike where their shifts are: for three pictures, one in 15,625.
    alike = jp.Examples(jnp.zeros((40, 9, 9), jnp.uint8).at[:, 4, 4].set(255), jnp.zeros(40, jnp.int32))

    def places(rows):
        inputs, _ = with_shifts(jp.as_batch, KEY, 2)(*(x[jnp.array(rows)] for x in with_rows(alike)))
        return np.asarray(inputs).argmax(axis=1).tolist()

    assert places([3, 5, 8]) == places([3, 5, 9])
    for others in ([5, 3, 8], [3, 6, 8], [4, 5, 8], [4, 4, 8]):
        assert places(others) != places([3, 5, 8]), others


def test_each_direction_has_its_own_shift_and_a_picture_that_is_no_square_keeps_its_sides():
    # A number of its own in every pixel shows by how much each picture was moved, down to the row that it lost.
    image = np.arange(1, 21).reshape(4, 5)
    moved = np.asarray(shifted(KEY, jnp.broadcast_to(image, (200, 4, 5)).astype(jnp.uint8), 2))
    around = np.pad(image, 2)
    # How far down and to the right from the corner of what is around it, in black: 25 windows, each another one.
    windows = {around[i : i + 4, j : j + 5].tobytes(): (2 - i, 2 - j) for i in range(5) for j in range(5)}
    found = [windows[picture.astype(image.dtype).tobytes()] for picture in moved]
    assert len(set(found)) == len(windows) == 25
    corners = np.asarray(jax.random.randint(KEY, (200, 2), 0, 5))
    # The draws say where the picture is cut out: the lower the window, the higher the digit. A run that is gone on with
    # must shift as before.
    np.testing.assert_array_equal(found, 2 - corners)


def test_no_shift_leaves_a_picture_as_it_is():
    images = jnp.arange(32, dtype=jnp.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(shifted(KEY, images, 0), images)
