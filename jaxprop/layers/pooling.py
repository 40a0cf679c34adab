"""Pooling: a picture made smaller, window by window. The windows do not overlap, and no number is learned."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape


def max_pool(size: int = 2) -> Layer:
    """The largest number of each `size x size` window, channel by channel: (height, width, channels) to (height //
    size, width // size, channels).

    Its derivative goes back to where the largest number was. Where several are equal the first one gets all of it, in
    the order of reading: row by row, from the left. That is the convention of `lax.reduce_window` under autodiff;
    `jnp.max` would share it out. It matters: in most windows of a picture with a blank ground all numbers are equal.
    Rows and columns behind the last whole window are not looked at, and get 0.

    Raises `BadInput` on a size that is none, and `init` on an input without a window, or of another number of axes.
    """

    def forward(params: tuple, x: Array) -> tuple[Array, tuple[Array, Array]]:
        window = (size, size, 1)
        y = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        return y, (x, y)

    def backward(params: tuple, residuals: tuple[Array, Array], dy: Array) -> tuple[tuple, Array]:
        x, y = residuals
        taken = jnp.zeros(y.shape, bool)
        parts = []
        for corner in _corners(x, size):
            largest = (corner == y) & ~taken
            taken = taken | largest
            parts.append(jnp.where(largest, dy, 0))
        return (), _put_back(parts, size, x.shape)

    return Layer(f"max_pool({size})", _init("max_pool", size), forward, backward)


def avg_pool(size: int = 2) -> Layer:
    """The mean of each `size x size` window, channel by channel, so each number in it gets `dy / size^2`.

    Rows and columns behind the last whole window are not looked at, and get 0.

    (height, width, channels) to (height // size, width // size, channels). Raises `BadInput` as `max_pool` does.
    """

    def forward(params: tuple, x: Array) -> tuple[Array, Array]:
        return jnp.stack(_corners(x, size)).mean(axis=0), x

    def backward(params: tuple, x: Array, dy: Array) -> tuple[tuple, Array]:
        return (), _put_back([dy / size**2] * size**2, size, x.shape)

    return Layer(f"avg_pool({size})", _init("avg_pool", size), forward, backward)


def _init(name: str, size: int):
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInput(f"the windows of {name} are {size!r} wide: expected a whole number above 0")

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[tuple, Shape]:
        if len(in_shape) != 3:
            raise BadInput(f"{name}({size}) takes (height, width, channels), not an input of shape {in_shape}")
        height, width, channels = in_shape
        if size > min(height, width):
            raise BadInput(f"the windows of {name}({size}) do not fit into a picture of {height} x {width}")
        return (), (height // size, width // size, channels)

    return init


def _corners(x: Float[Array, "height width channels"], size: int) -> list[Float[Array, "rows columns channels"]]:
    """The first number of every window, then the second, ...: size^2 arrays, in the order of reading."""
    rows, columns = x.shape[0] // size, x.shape[1] // size
    whole = x[: rows * size, : columns * size]
    return [whole[i::size, j::size] for i in range(size) for j in range(size)]


def _put_back(parts: list[Array], size: int, shape: Shape) -> Float[Array, "height width channels"]:
    """The inverse of `_corners`, with 0 where there was no whole window."""
    rows, columns, channels = parts[0].shape
    windows = jnp.stack(parts).reshape(size, size, rows, columns, channels)
    whole = windows.transpose(2, 0, 3, 1, 4).reshape(rows * size, columns * size, channels)
    height, width, _ = shape
    return jnp.pad(whole, ((0, height - rows * size), (0, width - columns * size), (0, 0)))
