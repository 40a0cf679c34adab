"""From tokens to vectors: a table that is looked up, and one number more for each place in the sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_whole
from jaxprop.structured import Rows


def embedding(tokens: int, width: int) -> Layer:
    """`y[t] = E[ids[t]]`: from T whole numbers, each from 0 to tokens - 1, to (T, width).

    It is a dense layer on one-hot vectors, without the products by 0. So each position gives its dy to the row that it
    looked up, and a row that was looked up twice gets both. Integers have no derivative: dx is None.

    The parameters are E alone, (tokens, width), drawn from Normal(0, 1). A number outside of the table is not noticed
    here, where only shapes are known: JAX would take the nearest row. `fit`, `compare` and `check` look at tokens.

    (Bengio et al., "A neural probabilistic language model", 2003.) Raises `BadInput` where the table has no rows or no
    columns, and `init` on an input that is no row of tokens.
    """
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in (tokens, width)):
        raise BadInput(f"the table is {tokens} x {width}: expected whole numbers above 0")

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Array, Shape]:
        if len(in_shape) != 1:
            raise BadInput(f"an embedding takes one row of tokens, not an input of shape {in_shape}")
        return jax.random.normal(key, (tokens, width)), (*in_shape, width)

    def forward(E: Array, ids: Int[Array, " T"]) -> tuple[Float[Array, "T width"], Array]:
        return E[ids], ids

    def backward(E: Array, ids: Int[Array, " T"], dy: Float[Array, "T width"]) -> tuple[Rows, Any]:
        return Rows(ids, dy, tokens), None

    return Layer(f"embedding({tokens}, {width})", init, forward, backward, takes_integers=True, tokens=tokens)


def positions(longest: int) -> Layer:
    """`y[t] = x[t] + P[t]`: one learned vector for each of the first T of `longest` places, so dP = dy.

    Attention does not know where in the sequence anything stands, unless it is told. The parameters are P alone,
    (longest, width), drawn from Normal(0, 1). Places that the sequence does not reach get 0.

    (Gehring et al., "Convolutional sequence to sequence learning", 2017.) `init` raises `BadInput` on an input that is
    no (T, width), or longer than the places.
    """
    check_whole("the longest sequence of positions is", longest)

    def init(key: PRNGKeyArray, in_shape: Shape) -> tuple[Array, Shape]:
        if len(in_shape) != 2:
            raise BadInput(f"positions take a sequence (T, width), not an input of shape {in_shape}")
        if in_shape[0] > longest:
            raise BadInput(f"a sequence of {in_shape[0]} is longer than the {longest} positions that there are")
        return jax.random.normal(key, (longest, in_shape[1])), in_shape

    def forward(P: Array, x: Array) -> tuple[Array, tuple]:
        return x + P[: len(x)], ()

    def backward(P: Array, residuals: tuple, dy: Array) -> tuple[Array, Array]:
        dP = jnp.zeros_like(P).at[: len(dy)].set(dy)
        return dP, dy

    return Layer(f"positions({longest})", init, forward, backward)
