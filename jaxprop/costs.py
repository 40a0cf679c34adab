"""Costs: how far one example's outputs are from what was wanted, and beside it the gradient that a person derives."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Cost(NamedTuple):
    """The cost of one example.

    value: `(outputs, targets) -> ()`, the cost.
    gradient: `(outputs, targets) -> d value / d outputs`, of the shape of the outputs.
    """

    value: Callable[[Float[Array, " out"], Float[Array, " out"]], Float[Array, ""]]
    gradient: Callable[[Float[Array, " out"], Float[Array, " out"]], Float[Array, " out"]]


# The sum over the outputs of the squared difference, not half of it: hence the 2, and steps twice as long as those of
# the many programs that count half the sum.
squared_error = Cost(
    value=lambda a, y: jnp.sum((a - y) ** 2),
    gradient=lambda a, y: 2 * (a - y),
)
