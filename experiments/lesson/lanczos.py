"""The Lanczos method: the extreme eigenvalues of a symmetric matrix that is known only by its products with vectors."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxprop.data.batches import NDArray
from jaxprop.errors import BadInput


class Ritz(NamedTuple):
    """What k products tell about the eigenvalues: the Ritz pairs, in ascending order of their values.

    There is an eigenvalue within `bounds[i]` of `values[i]`: that is the length of A v - value v.
    """

    values: Float[np.ndarray, " k"]
    bounds: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "k n"]  # of length 1


def lanczos(
    product: Callable[[Float[np.ndarray, " n"]], Float[NDArray, " n"]], start: Float[np.ndarray, " n"], steps: int
) -> Ritz:
    """The Ritz pairs of a symmetric matrix A after `steps` products `product(v)` = A v, in float64 from a given start.

    Every new direction is made orthogonal to all before it, twice: otherwise rounding lets converged eigenvalues come
    back as copies (Parlett, "The Symmetric Eigenvalue Problem", 1998, chapters 6 and 13). It ends early where the
    directions that A can reach from the start are used up; the Ritz values are then eigenvalues.

    Raises `BadInput` unless 1 <= steps <= n, and where the start is zero or a product is not finite.
    """
    n = len(start)
    if not 1 <= steps <= n:
        raise BadInput(f"steps is {steps}: expected 1 to {n}, the length of the start")
    length = float(np.linalg.norm(start))
    if not 0 < length < math.inf:
        raise BadInput(f"the start has length {length}: expected a finite vector other than zero")
    basis = np.zeros((steps, n))
    diagonal = []
    beside = []
    q = np.asarray(start, np.float64) / length
    for k in range(steps):
        basis[k] = q
        r = np.asarray(product(q), np.float64)
        if not np.isfinite(r).all():
            raise BadInput(f"product {k + 1} holds a NaN or an infinity: every number must be finite")
        diagonal.append(q @ r)
        for _ in range(2):
            r = r - basis[: k + 1].T @ (basis[: k + 1] @ r)
        beside.append(np.linalg.norm(r))
        if beside[k] <= n * np.finfo(np.float64).eps * np.abs([*diagonal, *beside]).max():
            break
        q = r / beside[k]
    k = len(diagonal)
    values, weights = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1))
    return Ritz(values, beside[k - 1] * np.abs(weights[-1]), weights.T @ basis[:k])


def overlooked(n: int, steps: int, chance: float) -> float:
    """How far beyond the outermost Ritz value the outermost eigenvalue may lie, over the width of the spectrum.

    More than that after so many steps from a random start has at most this chance: (ln(1.648 sqrt(n) / chance) /
    (2 steps - 1))^2, whatever the matrix (Kuczyński and Woźniakowski, "Estimating the largest eigenvalue by the power
    and Lanczos algorithms with a random start", SIAM Journal on Matrix Analysis and Applications 13, 1992).
    """
    return (math.log(1.648 * n**0.5 / chance) / (2 * steps - 1)) ** 2
