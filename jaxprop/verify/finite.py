"""Numbers that are finite: looked at on the host, by whoever wants an error instead of a NaN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxprop.errors import BadInput
from jaxprop.gradients import ValueAndGrad
from jaxprop.verify.comparison import dtype_of
from jaxprop.verify.ranges import check_ranges


def all_finite(tree: Any) -> bool:
    """Whether a tree of arrays holds neither a NaN nor an infinity.

    Looked at on the host, which needs no compilation: 0.1 ms for the 13,002 parameters of the running example.
    """
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree) if _is_inexact(leaf))


def checked(value_and_grad: ValueAndGrad) -> ValueAndGrad:
    """The same function for people who explore: it raises `BadInput` where a number is not finite.

    It names the array of the parameters or of the batch that holds a NaN or an infinity, and the row of a token or a
    label that the network does not have. Where all of them are finite
    and the result is not, it says how large they were.

    It looks at numbers, so it goes outside of `jax.jit`: `checked(jax.jit(backprop(network, cost)))`. Inside it raises.
    """

    def value_and_grad_checked(params: Any, batch: Any) -> tuple[Any, Any]:
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, batch))):
            raise BadInput("checked looks at numbers, which jit does not have yet: expected checked(jax.jit(...))")
        for name, tree in (("params", params), ("batch", batch)):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                if not all_finite(leaf):
                    where = jax.tree_util.keystr(path)
                    raise BadInput(f"{name}{where} holds a NaN or an infinity: every number must be finite")
        check_ranges(value_and_grad, batch)
        result = value_and_grad(params, batch)
        if not all_finite(result):
            sizes = f"params reach {_largest(params):.3g} and the batch {_largest(batch):.3g}"
            raise BadInput(f"the result is not finite, for {sizes}: scale them down, or compute in a wider type")
        return result

    return value_and_grad_checked


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(dtype_of(leaf), jnp.inexact)


def _largest(tree: Any) -> float:
    numbers = [np.asarray(leaf).astype(np.complex128) for leaf in jax.tree.leaves(tree) if _is_inexact(leaf)]
    return max((float(np.abs(x).max()) for x in numbers if x.size), default=0.0)
