"""Structured gradients: what one example gives for its weights, kept in its factors until it is needed.

In one dense layer the gradient of the weights is `outer(dz, a)`, a matrix of rank one. Its two factors take as little
memory as the activations, their sum over a batch is one matrix product, and their norms give that of the matrix. Where
the same weights are used at many positions, the gradient is a sum of such products; of a convolution, a correlation of
what went in with what comes back; of an embedding, a few rows. In factors all of these are as cheap.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


@runtime_checkable
class Structured(Protocol):
    """A gradient in factors: a pytree that a layer's `backward` may return in place of an array.

    The functions of this file call these methods. Under `jax.vmap` each factor has a leading axis of examples.
    """

    def expand(self) -> Array:
        """The gradient multiplied out, of the parameter's shape; a leading axis of examples stays."""
        ...

    def sum_over_examples(self) -> Array:
        """The sum over the leading axis, of the parameter's shape, without multiplying out each example."""
        ...

    def norm_squared(self) -> Float[Array, ""]:
        """The squared 2-norm, for one example."""
        ...


class Outer(NamedTuple):
    """`outer(dz, a)`: the gradient of a dense layer's weights, `dW[..., j, k] = dz[..., j] a[..., k]`.

    dz: (..., out), a: (..., in). Derived in `jaxprop/README.md`.
    """

    dz: Float[Array, "*B out"]
    a: Float[Array, "*B in"]

    def expand(self) -> Float[Array, "*B out in"]:
        """All matrices, one for each example."""
        return self.dz[..., :, None] * self.a[..., None, :]

    def sum_over_examples(self) -> Float[Array, "out in"]:
        """One matrix product, `dz^T a`: no (B, out, in) array ever exists."""
        return self.dz.T @ self.a

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm of an outer product is the product of its factors' two."""
        return jnp.sum(self.dz**2) * jnp.sum(self.a**2)


class OuterSum(NamedTuple):
    """Outer products summed over T positions that share their weights, `dW[j, k] = sum_t dz[t, j] a[t, k]`.

    dz: (..., T, out), a: (..., T, in). Derived in `jaxprop/layers/README.md`.
    """

    dz: Float[Array, "*B T out"]
    a: Float[Array, "*B T in"]

    def expand(self) -> Float[Array, "*B out in"]:
        """The sum over the positions, for each example one matrix product."""
        return jnp.einsum("...tj,...tk->...jk", self.dz, self.a)

    def sum_over_examples(self) -> Float[Array, "out in"]:
        """One matrix product, in which the positions of all examples stand in one row."""
        return self.dz.reshape(-1, self.dz.shape[-1]).T @ self.a.reshape(-1, self.a.shape[-1])

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm, multiplied out or from the Gram matrices of the factors, whichever takes fewer products.

        `|sum_t dz_t a_t^T|^2 = sum_ts (dz_t . dz_s) (a_t . a_s)` (Goodfellow, "Efficient per-example gradient
        computations", 2015, for one position; Li et al., "Large language models can be strong differentially private
        learners", 2022, for many).
        """
        positions, out, fan_in = *self.dz.shape, self.a.shape[-1]
        if positions * (out + fan_in) < out * fan_in:
            return jnp.sum((self.dz @ self.dz.T) * (self.a @ self.a.T))
        return jnp.sum(self.expand() ** 2)


@partial(jax.tree_util.register_dataclass, data_fields=("x", "dy"), meta_fields=("kernel", "stride", "padding"))
@dataclass(frozen=True)
class Correlation:
    """The gradient of a convolution's kernel: its input correlated with the derivative of the cost by its output.

    `dW[i, j, c, o] = sum_hw x[s h + i - p, s w + j - q, c] dy[h, w, o]`, with strides s and padding p, q at the top
    and the left. Not flipped: it is the backward pass by x that flips.

    kernel: its height and width. stride: of both. padding: rows added at the top and the bottom, columns at the left
    and the right.

    Derived in `jaxprop/layers/README.md`.
    """

    x: Float[Array, "*B height width in"]
    dy: Float[Array, "*B rows columns out"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]

    def expand(self) -> Float[Array, "*B kh kw in out"]:
        """One kernel for each example."""
        if self.x.ndim > 3:
            return jax.vmap(Correlation.expand)(self)
        return self._replace(self.x[None], self.dy[None]).sum_over_examples()

    def sum_over_examples(self) -> Float[Array, "kh kw in out"]:
        """One convolution, in which the examples are what is summed over, where usually the channels are.

        The channels of the input take the place of the examples, and dy that of the kernel, spread out by the stride.
        Rows and columns of the input that no window reached are cut off at the end (`lax` pads by a negative number).
        """
        padding = [
            (low, high - unreached) for (low, high), unreached in zip(self.padding, self._unreached(), strict=True)
        ]
        layout = ("CHWN", "IHWO", "HWNC")
        kind = jnp.result_type(self.x, self.dy)
        return lax.conv_general_dilated(
            self.x.astype(kind),
            self.dy.astype(kind),
            (1, 1),
            padding,
            rhs_dilation=self.stride,
            dimension_numbers=layout,
        )

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm, multiplied out or by the Gram matrices of all windows, whichever takes fewer products."""
        positions, out = math.prod(self.dy.shape[:2]), self.dy.shape[2]
        fan_in = math.prod(self.kernel) * self.x.shape[2]
        if positions * (out + fan_in) < out * fan_in:
            layout = ("NHWC", "HWIO", "NHWC")
            windows = lax.conv_general_dilated_patches(
                self.x[None], self.kernel, self.stride, self.padding, dimension_numbers=layout
            )
            return OuterSum(self.dy.reshape(positions, out), windows.reshape(positions, fan_in)).norm_squared()
        return jnp.sum(self.expand() ** 2)

    def _replace(self, x: Array, dy: Array) -> "Correlation":
        return Correlation(x, dy, self.kernel, self.stride, self.padding)

    def _unreached(self) -> list[int]:
        """How many rows, and how many columns, of the padded input lie behind the last window."""
        return [
            size + low + high - k - s * (windows - 1)
            for size, (low, high), k, s, windows in zip(
                self.x.shape[-3:-1], self.padding, self.kernel, self.stride, self.dy.shape[-3:-1], strict=True
            )
        ]


@partial(jax.tree_util.register_dataclass, data_fields=("ids", "dy"), meta_fields=("count",))
@dataclass(frozen=True)
class Rows:
    """The gradient of a table that is looked up: `dE[v] = sum_t dy[t]` over the positions t that hold v.

    count: rows of the table. A row that is looked up twice gets both; one that is not looked up gets 0.

    Derived in `jaxprop/layers/README.md`.
    """

    ids: Int[Array, "*B T"]
    dy: Float[Array, "*B T width"]
    count: int

    def expand(self) -> Float[Array, "*B count width"]:
        """One table for each example."""
        if self.ids.ndim > 1:
            return jax.vmap(Rows.expand)(self)
        return self.sum_over_examples()

    def sum_over_examples(self) -> Float[Array, "count width"]:
        """One table, to which the positions of all examples are added."""
        dy = self.dy.reshape(-1, self.dy.shape[-1])
        return jnp.zeros((self.count, dy.shape[1]), dy.dtype).at[self.ids.reshape(-1)].add(dy)

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm: positions that hold the same row add up before they are squared."""
        same = self.ids[:, None] == self.ids[None, :]
        return jnp.sum(jnp.where(same, self.dy @ self.dy.T, 0))


def is_structured(x: Any) -> bool:
    """Whether x is a gradient in factors: for `is_leaf` of `jax.tree.map`."""
    return isinstance(x, Structured)


def expand(grads: Any) -> Any:
    """The same gradients with everything that is in factors multiplied out.

    Each leaf then has the shape of its parameter, behind any leading axis of examples.
    """
    return jax.tree.map(lambda g: g.expand() if is_structured(g) else g, grads, is_leaf=is_structured)


def sum_over_examples(grads: Any) -> Any:
    """The sum of per-example gradients, whose leaves have a leading axis of B examples."""

    def leaf(g: Any) -> Array:
        return g.sum_over_examples() if is_structured(g) else jnp.sum(g, axis=0)

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def mean_over_examples(grads: Any) -> Any:
    """The mean of per-example gradients, whose leaves have a leading axis of B examples.

    The mean of the products is not the product of the means: a plain `tree.map` of the mean over the factors would be
    silently wrong.
    """

    def leaf(g: Any) -> Array:
        return sum_over_examples(g) / len(jax.tree.leaves(g)[0])

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def sum_over_positions(grads: Any) -> Any:
    """The gradient of weights that T positions share, from gradients with a leading axis of T: kept in factors.

    An `Outer` at each position makes one `OuterSum`. Whatever else is in factors is summed as over examples.
    """

    def leaf(g: Any) -> Any:
        if isinstance(g, Outer):
            return OuterSum(*g)
        if isinstance(g, OuterSum):
            return OuterSum(*(factor.reshape(-1, factor.shape[-1]) for factor in g))
        if isinstance(g, Rows):
            return Rows(g.ids.reshape(-1), g.dy.reshape(-1, g.dy.shape[-1]), g.count)
        return sum_over_examples(g)

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def norm_squared(grads: Any) -> Float[Array, ""]:
    """The squared 2-norm of one example's gradient, over all leaves."""

    def leaf(g: Any) -> Array:
        return g.norm_squared() if is_structured(g) else jnp.sum(g**2)

    return sum(jax.tree.leaves(jax.tree.map(leaf, grads, is_leaf=is_structured)), start=jnp.zeros(()))
