"""Probes for anybody's function: points around a given one, at which a gradient is put to the test.

For the networks of jaxprop see `suite.py`, which knows more of what it makes points for.
"""

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.errors import BadInput
from jaxprop.verify.comparison import dtype_of

# 64 is a whole number of blocks of 2 to 64. 131 is more than a block of 128, odd, and leaves a remainder in blocks of 2
# to 128.
SIZES = (1, 2, 7, 64, 131)
MOST_ALONE = 16  # parameters of which each is changed alone

Limit = str | tuple[float, float]
Change = Callable[[np.ndarray], np.ndarray]


class Probe(NamedTuple):
    """One point: parameters and a batch, pytrees of float arrays that `check` casts to each dtype it tries.

    yardstick: None, or a second point `(params, batch)` of the same shapes. Differences at this point are then measured
        by the larger of the two gradients, leaf by leaf. It is for points at which the terms of a gradient may cancel
        each other: what is left is small beside the rounding of each term, and of what size the terms are, the gradient
        at the second point says.
    dtype: "float64" or "float32" for a point that is for one of them alone; None where `check` tries both.
    """

    name: str
    params: Any
    batch: Any
    yardstick: tuple[Any, Any] | None = None
    dtype: str | None = None


def probes(
    params: Any, batch: Any, limits: Mapping[str, Limit] | None = None, sizes: Sequence[int] = SIZES
) -> tuple[Probe, ...]:
    """Points around a given one, for the gradient of any function `(params, batch)`; `check` takes them.

    params: any pytree with floats, as good as any at which the function will be used.
    batch: any pytree. The leading axis of its arrays counts the examples.
    limits: what is legal, by the names of arrays, such as `{"batch[0]": (0, 1), "batch[1]": "rows"}`:
        `(lowest, highest)`: floats outside are moved to the nearest number that is legal.
        "rows": the array keeps the rows that it has, which are repeated and change places: targets that are one-hot.
        "sums": rows may also be mixed, in parts that add up to 1: targets that are probabilities.
        "fixed": the array stays as it is: it holds no examples, or is no parameter to change.
        Arrays of anything but floats (labels, masks, keys) are as with "rows". What has no axis holds no examples.
    sizes: of the batches to make; none, `()`, where the function takes batches of the given size alone.

    The points: the given one; others near it, in batches of each size; parameters that are zero in part, all zero,
    small, large in part, and alike in all rows; examples that are blank, tiny, large, negative and constant, in one
    array after the other; targets of one class; one example repeated; then what differs from the given point in one
    thing, for a gradient that keeps something from call to call: one of the parameters, of the first 16; all examples
    but the first one; one array of the batch, in another order; and the given point again, after all others.
    The yardstick of each has the same parameters, or the given ones where alike or vanishing ones let all terms cancel,
    and examples near the given ones. Arrays keep their dtypes.

    Raises `BadInput` on parameters without floats, arrays of different numbers of examples, a limit that is not one of
    these or is of no array, and sizes that are not whole numbers above 0.
    """
    sizes = _checked_sizes(sizes)
    limits = dict(limits or {})
    with np.errstate(all="ignore"):  # infinities and NaNs are for `compare` to name
        point = _Point(_arrays("params", params, limits), _arrays("batch", batch, limits))
        _check_point(point, limits)
        made = tuple(_probes(point, sizes if point.examples else ()))
    # The trees are put together last, so that what is above deals with lists of arrays alone.
    of_params, of_batch = jax.tree.structure(params), jax.tree.structure(batch)
    given = of_params.unflatten(_values(point.params))

    def probe(name: str, p: list, b: list, other: list) -> Probe:
        params = of_params.unflatten(p)
        measured_at = given if name in CANCELLING else params
        return Probe(name, params, of_batch.unflatten(b), (measured_at, of_batch.unflatten(other)))

    return tuple(probe(*parts) for parts in made)


class _Array(NamedTuple):
    """One leaf of the given point."""

    name: str
    value: Any
    limit: Limit | None

    @property
    def is_float(self) -> bool:
        return jnp.issubdtype(self.value.dtype, jnp.floating)

    @property
    def examples(self) -> int | None:
        """None where nothing counts examples."""
        return None if self.limit == "fixed" or not self.value.ndim else len(self.value)

    @property
    def changes(self) -> bool:
        """Whether its numbers may become others."""
        return self.is_float and self.limit not in ("fixed", "rows", "sums")


class _Point(NamedTuple):
    params: list[_Array]
    batch: list[_Array]

    @property
    def examples(self) -> int:
        """As many as most arrays of the batch hold; 0 where none holds any."""
        counts = [array.examples for array in self.batch if array.examples]
        return max(counts, key=counts.count, default=0)


def _probes(point: _Point, sizes: tuple[int, ...]) -> Iterator[tuple[str, list, list, list]]:
    """Name, parameters, batch, and the yardstick's batch."""
    # RandomState is the one generator whose numbers NumPy promises never to change.
    random = np.random.RandomState(0)
    params, batch, examples = point.params, point.batch, point.examples
    given, given_batch = _values(params), _values(batch)
    first = ("as given", given, given_batch, _near_batch(batch, examples, random))
    yield first

    for n in (examples, *sizes):
        name = f"batch of {n}" if n in sizes else "others near it"
        yield name, _near(params, random), _near_batch(batch, n, random), _near_batch(batch, n, random)
    for name, change in OF_PARAMETERS.items():
        changed = [_changed(array, change) for array in params]
        yield f"parameters {name}", changed, given_batch, _near_batch(batch, examples, random)
    for i, array in enumerate(batch):
        if not array.examples:
            continue
        variants = {"all alike": _row(array, np.zeros(examples, int))}
        if array.changes:
            variants |= {name: _changed(array, change) for name, change in OF_EXAMPLES.items()}
        for name, changed in variants.items():
            others = [*given_batch[:i], changed, *given_batch[i + 1 :]]
            yield f"{array.name} {name}", _near(params, random), others, _near_batch(batch, examples, random)
    if examples:
        repeated = [_row(array, np.zeros(examples, int)) for array in batch]
        yield "one example repeated", _near(params, random), repeated, _near_batch(batch, examples, random)
    yield from _that_differ_in_one_thing(point, random)
    yield "as given, again", *first[1:]


def _that_differ_in_one_thing(point: _Point, random: np.random.RandomState) -> Iterator[tuple[str, list, list, list]]:
    params, batch, examples = point.params, point.batch, point.examples
    given, given_batch = _values(params), _values(batch)

    def beside() -> list:
        return _near_batch(batch, examples, random)

    alone = [i for i, array in enumerate(params) if array.changes][:MOST_ALONE]
    for i in alone if len(params) > 1 else ():
        yield (
            f"{params[i].name} alone",
            [*given[:i], _near([params[i]], random)[0], *given[i + 1 :]],
            given_batch,
            beside(),
        )
    if examples < 2:
        return
    others = beside()
    kept = [
        np.concatenate([array.value[:1], x[1:]]) if array.examples and array.changes else array.value
        for array, x in zip(batch, others, strict=True)
    ]
    yield "all but the first example", given, kept, beside()
    for i, array in enumerate(batch):
        if array.examples:
            turned = _row(array, np.arange(1, examples + 1))
            yield f"{array.name} in another order", given, [*given_batch[:i], turned, *given_batch[i + 1 :]], beside()


def _first_row_times(factor: float) -> Change:
    """The first row is multiplied; of an array without axes, the number."""

    def change(x: np.ndarray) -> np.ndarray:
        first = x[:1] if x.ndim else x
        first *= factor
        return x

    return change


OF_PARAMETERS: dict[str, Change] = {
    "zero in the first row": _first_row_times(0),
    "all zero": lambda x: x * 0,
    "small": lambda x: x * 1e-3,
    "large in the first row": _first_row_times(10),
    "alike in all rows": lambda x: np.broadcast_to(x[:1], x.shape) if x.ndim else x,
}
# With such parameters the outputs of a classifier are alike, and what comes back through a softmax adds up to 0 for any
# examples: only other parameters say how large the terms are.
CANCELLING = {"parameters all zero", "parameters small", "parameters alike in all rows"}
OF_EXAMPLES: dict[str, Change] = {
    "blank in the first example": _first_row_times(0),
    "all blank": lambda x: x * 0,
    "tiny": lambda x: x * 1e-9,
    "large": lambda x: x * 30,
    "large in the first example": _first_row_times(300),
    "negative": lambda x: -np.abs(x),
    "constant": lambda x: np.full_like(x, np.mean(x)),
}


def _values(arrays: list[_Array]) -> list:
    return [array.value for array in arrays]


def _changed(array: _Array, change: Change) -> Any:
    """The array after `change`, in its dtype and its limits."""
    if not array.changes:
        return array.value
    return _legal(array, change(np.array(array.value, np.float64)))


def _near(arrays: list[_Array], random: np.random.RandomState) -> list:
    return [_changed(array, lambda x: _nudged(x, random)) for array in arrays]


def _nudged(x: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Numbers that are off by 0.3 of their usual size; of 1, where all are 0."""
    size = np.mean(np.abs(x)) if x.any() else 1.0
    return x + 0.3 * size * random.normal(size=x.shape)


def _near_batch(batch: list[_Array], n: int, random: np.random.RandomState) -> list:
    """n examples near the given ones, in another order: all arrays in the same one."""
    order, others = random.permutation(n), random.permutation(n)
    share = random.uniform(size=n)
    near = []
    for array in batch:
        rows = _row(array, order)
        if array.limit == "sums":
            part = share.reshape(-1, *[1] * (rows.ndim - 1))
            rows = _legal(array, part * rows + (1 - part) * _row(array, others))
        near.append(_changed(array._replace(value=rows), lambda x: _nudged(x, random)))
    return near


def _row(array: _Array, rows: np.ndarray) -> Any:
    """These rows, counted round and round; all of the array where it holds no examples."""
    return array.value[rows % array.examples] if array.examples else array.value


def _legal(array: _Array, x: np.ndarray) -> np.ndarray:
    if isinstance(array.limit, tuple):
        x = np.clip(x, *array.limit)
    return x.astype(array.value.dtype)


def _arrays(what: str, tree: Any, limits: Mapping[str, Limit]) -> list[_Array]:
    """The leaves of a tree by name, such as `batch[0]`. Raises `BadInput` on a leaf that is no array of numbers."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = f"{what}{jax.tree_util.keystr(path)}"
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if not is_key and dtype_of(leaf).hasobject:
            raise BadInput(f"{name} is a {type(leaf).__name__}: expected arrays of numbers")
        found.append(_Array(name, leaf if is_key else np.asarray(leaf), limits.get(name)))
    return found


def _check_point(point: _Point, limits: Mapping[str, Limit]) -> None:
    if not any(array.is_float for array in point.params):
        raise BadInput("params hold no floats: expected at least one parameter, which has a gradient")
    names = [array.name for array in (*point.params, *point.batch)]
    for name, limit in limits.items():
        if name not in names:
            raise BadInput(f"limits name {name!r}: expected names of {', '.join(names)}")
        if not _is_interval(limit) and limit not in ("rows", "sums", "fixed"):
            raise BadInput(f'the limit of {name} is {limit!r}: expected (lowest, highest), "rows", "sums" or "fixed"')
        if limit in ("rows", "sums") and name.startswith("params"):
            raise BadInput(
                f'the limit of {name} is {limit!r}, which is for examples: expected (lowest, highest) or "fixed"'
            )
    for array in point.batch:
        if array.examples not in (None, point.examples):
            raise BadInput(
                f"{array.name} has {array.examples} rows, others have {point.examples}: expected as many examples in "
                f'each array of the batch; where one holds no examples, say limits={{"{array.name}": "fixed"}}'
            )


def _is_interval(limit: Any) -> bool:
    is_pair = isinstance(limit, tuple | list) and len(limit) == 2
    return is_pair and all(isinstance(x, numbers.Real) and not math.isnan(x) for x in limit) and limit[0] <= limit[1]


def _checked_sizes(sizes: Any) -> tuple[int, ...]:
    given = tuple(sizes) if isinstance(sizes, Sequence | np.ndarray) and not isinstance(sizes, str) else None
    if given is None or not all(isinstance(n, int | np.integer) and n > 0 for n in given):
        raise BadInput(f"sizes are {sizes!r}: expected whole numbers above 0, such as {SIZES}, or none: ()")
    return tuple(int(n) for n in given)
