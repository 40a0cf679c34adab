"""What can be compared: a point and a reference that mean something there, each array under its path in the tree."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.errors import BadInput

Leaves = dict[str, np.ndarray]


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, each under its path, as `[0].W`; a tree that is one array has the path "all"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path) or "all": leaf for path, leaf in leaves}


def on_host(tree: Any) -> Leaves:
    """The leaves of a tree as NumPy arrays, each under its path."""
    return {path: np.asarray(leaf) for path, leaf in by_path(tree).items()}


def dtype_of(leaf: Any) -> np.dtype:
    """The type of an array or a number, as JAX takes it; `object` for what is neither."""
    if isinstance(leaf, str):  # which JAX would take for the name of a type
        return np.dtype(object)
    try:
        return jnp.result_type(leaf)
    except (TypeError, ValueError):
        return np.dtype(object)


def check_point(params: Any, batch: Any) -> dict[str, np.dtype]:
    """The dtype of each parameter. Raises `BadInput` if one is not a float, there is none, or the batch is empty."""
    dtypes = {path: dtype_of(leaf) for path, leaf in by_path(params).items()}
    if not dtypes:
        raise BadInput("params hold no array: expected a tree with at least one parameter")
    for path, dtype in dtypes.items():
        if not jnp.issubdtype(dtype, jnp.floating):
            raise BadInput(f"parameter {path} is {dtype}: expected floats, since nothing else has a gradient")
    for path, x in by_path(batch).items():
        if np.size(x) == 0:
            raise BadInput(f"the batch is empty: its array {path} has shape {np.shape(x)}; expected an example or more")
    return dtypes


def check_reference(value: Any, grads: Leaves, params: Any) -> None:
    """Raises `BadInput` unless the reference is one number and a gradient like the parameters, and finite."""
    expected = {path: np.shape(leaf) for path, leaf in by_path(params).items()}
    given = {path: leaf.shape for path, leaf in grads.items()}
    if given != expected:
        raise BadInput(f"the reference's gradient has shapes {given}: expected those of the parameters, {expected}")
    if np.shape(value) != ():
        raise BadInput(f"the reference's value has shape {np.shape(value)}: expected one number")
    for path, x in {"value": np.asarray(value), **grads}.items():
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise BadInput(f"the reference is {x.dtype} at {path}: expected floats")
        if not np.isfinite(x.astype(np.float64)).all():
            raise BadInput(f"the reference is not finite at {path}: nothing can be measured by it; try another point")


def check_number(name: str, x: Any) -> None:
    """Raises `BadInput` unless x is finite and at least 0."""
    number = np.asarray(x)
    if number.ndim or not jnp.issubdtype(number.dtype, jnp.number) or not 0 <= x < math.inf:  # false for NaN too
        raise BadInput(f"{name} is {x}: expected a finite number of at least 0")


def check_scale(scale: Any, grads: Leaves) -> dict[str, float | None]:
    """The scale of each leaf, None where none was given. Raises `BadInput` on anything but numbers for each."""
    if scale is None:
        return dict.fromkeys(grads)
    scales = on_host(scale)
    if scales.keys() == {"all"}:
        scales = dict.fromkeys(grads, scales["all"])
    if scales.keys() != grads.keys() or any(x.shape for x in scales.values()):
        raise BadInput(f"scale is {scale!r}: expected a number, or a tree like the gradients with one for each leaf")
    for path, x in scales.items():
        check_number(f"the scale of {path}", x)
    return {path: float(x) for path, x in scales.items()}
