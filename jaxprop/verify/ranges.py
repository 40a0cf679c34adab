"""Tokens that a network does not know, and labels of classes that it does not have.

JAX takes the nearest row of a table for a token that has none, and no class at all for a label that is none: the
numbers that come out are finite, and wrong. So both are looked at where data come in. The first layer knows how many
tokens there are, and the outputs how many labels.
"""

from typing import Any

import jax
import numpy as np

from jaxprop.errors import BadInput
from jaxprop.gradients import made_for


def check_ranges(function: Any, batch: Any) -> None:
    """Raises `BadInput` on a token or a label that is out of range: which row has it, and what is expected.

    function: made for a network and a cost, as by `jaxprop.backprop`, compiled or not, or a step or an epoch of that.
        Of any other function nothing is known here, so its batch is not looked at.
    batch: a pair `(inputs, targets)`, any shapes. Integers are looked at in host memory. Anything else is left to the
        function itself, which refuses wrong shapes and types.
    """
    known = made_for(function)
    if known is None or not isinstance(batch, tuple | list) or len(batch) != 2:
        return
    network, cost = known
    inputs, targets = batch
    tokens = network.layers[0].tokens
    if tokens is not None:
        _check("tokens", tokens, "the inputs have", inputs)
    if cost.takes_labels and network.out_shape:
        _check("labels", network.out_shape[-1], "the targets have", targets)


def _check(what: str, count: int, where: str, given: Any) -> None:
    if not isinstance(given, jax.Array | np.ndarray) or given.ndim == 0 or not np.issubdtype(given.dtype, np.integer):
        return
    numbers = np.asarray(given)
    outside = (numbers < 0) | (numbers >= count)
    if outside.any():
        row, *rest = (int(i) for i in np.argwhere(outside)[0])
        found = numbers[(row, *rest)]
        raise BadInput(f"{what} go from 0 to {count - 1}: {where} {found} in row {row}, counted from 0")
