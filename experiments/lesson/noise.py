"""How far a mini-batch's gradient is from the gradient over all examples, by the theory of sampling."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprop.structured import mean_over_examples, norm_squared


def total_variance(grads: Any) -> Float[Array, ""]:
    """tr(Σ), where Σ is the covariance, with divisor N, of N per-example gradients as `per_example` gives them.

    That is the mean of their squared lengths less the squared length of their mean: no Σ, and no outer product of the
    factors, is ever held.
    """
    return jnp.mean(jax.vmap(norm_squared)(grads)) - norm_squared(mean_over_examples(grads))


def sampling_error(variance: float, n: int, batch_size: int) -> float:
    """The root of the mean squared distance from the mean of `batch_size` of n gradients to that of all n.

    variance: `total_variance` of the n. They are drawn without replacement, so that the error is 0 where all are
    drawn: sqrt(tr(Σ) (n - B) / (B (n - 1))) (Cochran, "Sampling Techniques", 3rd edition, 1977, theorem 2.2).
    """
    return (variance * (n - batch_size) / (batch_size * (n - 1))) ** 0.5
