"""Probes for anybody's function: points around a given one, at which a gradient is put to the test.

For the networks of jaxprop see `suite.py`, which knows more of what it makes points for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.errors import BadInput

# 131 is odd, above 128, and leaves a remainder in blocks of 2, 4, 8 and so on up to 128; 33 is one more than a block.
SIZES = (1, 2, 7, 33, 131)

Limit = str | tuple[float, float]


class Probe(NamedTuple):
    """One point: parameters and a batch, pytrees of float arrays that `check` casts to each dtype it tries.

    yardstick: None, or a second point `(params, batch)` of the same shapes. Differences at this point are then measured
        by the larger of the two gradients, leaf by leaf. It is for points at which the terms of a gradient cancel each
        other: what is left is small beside the rounding of each term, and of what size the terms are, the gradient at
        the second point says.
    """

    name: str
    params: Any
    batch: Any
    yardstick: tuple[Any, Any] | None = None


def probes(
    params: Any, batch: Any, limits: Mapping[str, Limit] | None = None, sizes: Sequence[int] = SIZES
) -> tuple[Probe, ...]:
    """Points around a given one, for the gradient of any function `(params, batch)`; `check` takes them.

    params: any pytree with at least one array of floats, as good as any at which the function will be used.
    batch: any pytree. The leading axis of its arrays counts the examples.
    limits: what is legal, by the names that arrays have below, such as `{"batch[0]": (0, 1)}`:
        `(lowest, highest)`: numbers outside are moved to the nearest legal one;
        "rows": the array keeps the rows that it has, which change places and are repeated: targets that are one-hot;
        "sums": rows are repeated, or mixed with one another in parts that add up to 1: targets that are probabilities;
        "fixed": it is no array of examples, and stays as it is.
        Arrays without floats (labels, masks, keys) keep their rows in any case. What has no axis and is no float stays.
    sizes: of the batches to make; empty where the function takes a batch of this size alone.

    The points: the given one; other parameters and examples near it, in batches of each size; parameters that are zero
    in part, all zero, small, large in one row, alike in all rows; for each array of floats one by one, examples that are
    blank, tiny, large and negative; an example repeated; the first point again, after all others. Every point has
    ordinary parameters with the same batch as its `yardstick`. Arrays come as NumPy's, keys as they are.

    Raises `BadInput` on parameters without floats, on arrays of examples that do not count the same examples, on a
    limit that is not one of those above or names no array, and on sizes that are not whole numbers above 0.
    """
    maker = _Maker(params, batch, dict(limits or {}), _checked_sizes(sizes))
    return tuple(maker.make())


class _Array(NamedTuple):
    """One leaf of the given point, and what may become of it."""

    name: str
    value: Any
    limit: Limit | None
    is_float: bool
    examples: int | None  # None if no axis counts them


class _Maker:
    """Makes the points around one, always the same ones."""

    def __init__(self, params: Any, batch: Any, limits: dict[str, Limit], sizes: tuple[int, ...]):
        self.params, self.params_tree = _arrays("params", params, limits)
        self.batch, self.batch_tree = _arrays("batch", batch, limits)
        _check(self.params, self.batch, limits)
        counts = [array.examples for array in self.batch if array.examples is not None]
        self.examples = counts[0] if counts else None
        self.sizes = sizes if counts else ()
        # RandomState is the one generator whose numbers NumPy promises never to change.
        self.random = np.random.RandomState(0)

    def make(self) -> list[Probe]:
        given = self.point("as given", self.near_params(0), self.rows(self.examples))
        made = [given, self.point("other parameters", self.near_params(0.3), self.rows(self.examples))]
        made += [self.point(f"batch of {n}", self.near_params(0.3), self.near_batch(n)) for n in self.sizes]
        made += [
            self.point(f"parameters {name}", self.changed_params(change), self.rows(self.examples))
            for name, change in PARAMETERS.items()
        ]
        if self.examples is not None:
            made += [
                self.point(f"{array.name} {name}", self.near_params(0), self.changed_batch(array, change))
                for array in self.batch
                if array.is_float and array.examples is not None and array.limit not in ("fixed", "rows", "sums")
                for name, change in EXAMPLES.items()
            ]
            made.append(self.point("one example repeated", self.near_params(0.3), self.repeated()))
        return [*made, given._replace(name="as given, again")]

    def point(self, name: str, params: list, batch: list) -> Probe:
        made = self.batch_tree.unflatten(batch)
        ordinary = self.params_tree.unflatten(self.near_params(0.3))
        return Probe(name, self.params_tree.unflatten(params), made, (ordinary, made))

    def near_params(self, share: float) -> list:
        """Parameters that are off from the given ones by this share of the size of their array."""
        return [self.nudged(array, array.value, share) for array in self.params]

    def changed_params(self, change: Callable[[np.ndarray], np.ndarray]) -> list:
        return [self.legal(array, change(np.array(array.value, np.float64))) for array in self.params]

    def rows(self, n: int | None) -> list:
        """The given examples, one after the other and round and round, n of them."""
        return [self.taken(array, None if n is None else np.arange(n)) for array in self.batch]

    def taken(self, array: _Array, rows: np.ndarray | None) -> Any:
        if rows is None or array.examples is None or self.examples is None:
            return array.value
        return array.value[rows % self.examples]

    def near_batch(self, n: int) -> list:
        """n examples near the given ones, in another order."""
        assert self.examples is not None
        rows = self.random.permutation(max(n, self.examples))[:n]
        others = self.random.permutation(max(n, self.examples))[:n]
        return [self.near_rows(array, self.taken(array, rows), self.taken(array, others)) for array in self.batch]

    def near_rows(self, array: _Array, rows: Any, others: Any) -> Any:
        if not array.is_float or array.limit in ("fixed", "rows"):
            return rows
        if array.limit == "sums":
            share = self.random.uniform(size=(len(rows), *[1] * (np.ndim(rows) - 1)))
            return (share * rows + (1 - share) * others).astype(rows.dtype)
        return self.nudged(array, rows, 0.3)

    def changed_batch(self, changed: _Array, change: Callable[[np.ndarray], np.ndarray]) -> list:
        """The given examples, of which one array is changed."""
        return [
            self.legal(array, change(np.array(array.value, np.float64))) if array is changed else array.value
            for array in self.batch
        ]

    def repeated(self) -> list:
        assert self.examples is not None
        return [self.taken(array, np.zeros(self.examples, int)) for array in self.batch]

    def nudged(self, array: _Array, x: Any, share: float) -> Any:
        if not array.is_float or not share or array.limit == "fixed":
            return x
        wide = np.asarray(x, np.float64)
        size = np.sqrt(np.mean(wide**2)) if np.any(wide) else 1.0
        return self.legal(array, wide + share * size * self.random.normal(size=wide.shape))

    def legal(self, array: _Array, x: np.ndarray) -> Any:
        """In the array's own dtype and limits. An array that is fixed stays as it is."""
        if array.limit == "fixed":
            return array.value
        if isinstance(array.limit, tuple):
            x = np.clip(x, *array.limit)
        return x.astype(array.value.dtype)


def _zeros_in_the_first_row(x: np.ndarray) -> np.ndarray:
    x[:1] = 0 if x.ndim else x[:1]
    return x


def _first_row(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """The first row, or the number where there is no row, multiplied."""

    def change(x: np.ndarray) -> np.ndarray:
        x[(slice(1),) if x.ndim else ()] *= factor
        return x

    return change


def _rows_alike(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x[:1], x.shape) if x.ndim and len(x) else x


PARAMETERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero in the first row": _first_row(0),
    "all zero": lambda x: x * 0,
    "small": lambda x: x * 1e-3,
    "large in the first row": _first_row(30),
    "alike in all rows": _rows_alike,
}
EXAMPLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blank in the first example": _first_row(0),
    "all blank": lambda x: x * 0,
    "tiny": lambda x: x * 1e-5,
    "large": lambda x: x * 30,
    "large in the first example": _first_row(300),
    "negative": lambda x: -np.abs(x),
    "constant": lambda x: np.full_like(x, np.mean(x)),
}
