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

    Three is what a structure must have. It may have more, for B examples at once, and what it has not is done in
    general, by multiplying out one example after the other: in the memory of one parameter, but B products in a row.

        weighted_sum(weights)   `sum_b weights[b] g_b`, of the parameter's shape
        sum_of_squares()        `sum_b g_b^2`, number by number, of the parameter's shape
        dot(direction)          `<g_b, direction>` for each example, the direction being of the parameter's shape
        smaller()               the same gradients, multiplied out where that takes no more room than the factors
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


SQUARES = 2**15  # numbers that may always be squared at once: they fit in a cache


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

    def weighted_sum(self, weights: Float[Array, " B"]) -> Float[Array, "out in"]:
        """A weight for each example goes to its dz: then it is the sum."""
        return Outer(self.dz * weights[:, None], self.a).sum_over_examples()

    def sum_of_squares(self) -> Float[Array, "out in"]:
        """The square of a product is the product of the squares: one matrix product of those.

        Squares are arrays of their own, and those of many examples take more room than anything else in a narrow layer.
        So there is a product for each block of examples whose squares take twice the room of the result.
        """
        examples, out, fan_in = len(self.a), self.dz.shape[-1], self.a.shape[-1]
        block = max(2 * out * fan_in, SQUARES) // (out + fan_in)

        def of_some(some: Outer) -> Array:
            return Outer(some.dz**2, some.a**2).sum_over_examples()

        if examples <= block:
            return of_some(self)

        def add(i: Array, total: Array) -> Array:
            return total + of_some(Outer(*(lax.dynamic_slice_in_dim(factor, i * block, block) for factor in self)))

        blocks = examples // block
        rest = Outer(*(factor[blocks * block :] for factor in self))
        return lax.fori_loop(0, blocks, add, of_some(rest))

    def dot(self, direction: Float[Array, "out in"]) -> Float[Array, " B"]:
        """`dz^T D a`: one matrix product for all examples."""
        return jnp.sum((self.dz @ direction) * self.a, axis=-1)


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
        if self._is_small():
            return _at_least_0(jnp.sum((self.dz @ self.dz.T) * (self.a @ self.a.T)))
        return jnp.sum(self.expand() ** 2)

    def weighted_sum(self, weights: Float[Array, " B"]) -> Float[Array, "out in"]:
        """A weight for each example goes to all of its dz: then it is the sum."""
        return OuterSum(self.dz * weights[:, None, None], self.a).sum_over_examples()

    def dot(self, direction: Float[Array, "out in"]) -> Float[Array, " B"]:
        """`sum_t dz_t^T D a_t`: one matrix product for all positions of all examples."""
        return jnp.sum((self.dz @ direction) * self.a, axis=(-2, -1))

    def smaller(self) -> Any:
        """Multiplied out where there are many positions: then a norm, too, takes fewer products that way."""
        return self if self._is_small() else self.expand()

    def _is_small(self) -> bool:
        positions, out, fan_in = *self.dz.shape[-2:], self.a.shape[-1]
        return positions * (out + fan_in) < out * fan_in


def convolve(x: Array, kernel: Array, stride: tuple[int, int], padding: Any, **layout: Any) -> Array:
    """`lax.conv_general_dilated` in the wider type of the two; of complex numbers, from their parts.

    JAX makes a complex convolution of three real ones, each of a sum of both parts, and takes their differences. A
    complex step of 1e-30 is lost in such a sum, and every slope that it would show. Of each part by itself it is not.
    """
    kind = jnp.result_type(x, kernel)
    x, kernel = x.astype(kind), kernel.astype(kind)

    def real(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, stride, padding, **layout)

    if not jnp.issubdtype(kind, jnp.complexfloating):
        return real(x, kernel)
    return lax.complex(
        real(x.real, kernel.real) - real(x.imag, kernel.imag),
        real(x.real, kernel.imag) + real(x.imag, kernel.real),
    )


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
        """One kernel for each example, by a matrix product for each row of the kernel.

        A CPU takes one example after another, whose windows then stay in its cache: that is faster there than all at
        once, and takes a fiftieth of the room. A convolution for each example would be several times as slow.
        """
        if self.x.ndim == 3:
            return self._expand_one()
        each = partial(lax.map, Correlation.expand)
        return lax.platform_dependent(self, cpu=each, default=jax.vmap(Correlation.expand))

    def _expand_one(self) -> Float[Array, "kh kw in out"]:
        rows, columns, out = self.dy.shape
        (kh, kw), (down, right) = self.kernel, self.stride
        kind = jnp.result_type(self.x, self.dy)
        # `lax` cuts off where padding is negative, as it does in a convolution.
        around = [*((low, high, 0) for low, high in self.padding), (0, 0, 0)]
        x = lax.pad(self.x, jnp.zeros((), self.x.dtype), around).astype(kind)
        # What the columns of a row of the kernel see at each position, side by side; then the rows, one below another.
        wide = jnp.concatenate([x[:, j : j + right * (columns - 1) + 1 : right] for j in range(kw)], axis=-1)
        seen = [wide[i : i + down * (rows - 1) + 1 : down].reshape(rows * columns, -1) for i in range(kh)]
        dy = self.dy.reshape(rows * columns, out).astype(kind)
        return jnp.stack([row.T @ dy for row in seen]).reshape(kh, kw, x.shape[-1], out)

    def sum_over_examples(self) -> Float[Array, "kh kw in out"]:
        """One convolution, in which the examples are what is summed over, where usually the channels are.

        The channels of the input take the place of the examples, and dy that of the kernel, spread out by the stride.
        Rows and columns of the input that no window reached are cut off at the end (`lax` pads by a negative number).
        """
        padding = [
            (low, high - unreached) for (low, high), unreached in zip(self.padding, self._unreached(), strict=True)
        ]
        layout = ("CHWN", "IHWO", "HWNC")
        return convolve(self.x, self.dy, (1, 1), padding, rhs_dilation=self.stride, dimension_numbers=layout)

    def norm_squared(self) -> Float[Array, ""]:
        """The squared norm, multiplied out or by the Gram matrices of all windows, whichever takes fewer products."""
        if self._is_small():
            positions, out, fan_in = self._sizes()
            windows = self._windows()
            return OuterSum(self.dy.reshape(positions, out), windows.reshape(positions, fan_in)).norm_squared()
        return jnp.sum(self.expand() ** 2)

    def weighted_sum(self, weights: Float[Array, " B"]) -> Float[Array, "kh kw in out"]:
        """A weight for each example goes to its dy: then it is the sum."""
        return self._replace(self.x, self.dy * weights[:, None, None, None]).sum_over_examples()

    def dot(self, direction: Float[Array, "kh kw in out"]) -> Float[Array, " B"]:
        """The convolution of the forward pass, with the direction as its kernel, times what comes back."""
        layout = ("NHWC", "HWIO", "NHWC")
        along = convolve(self.x, direction, self.stride, self.padding, dimension_numbers=layout)
        return jnp.sum(along * self.dy, axis=(1, 2, 3))

    def smaller(self) -> Any:
        """Multiplied out where there are many positions, as in all but the last layers of a network for pictures."""
        return self if self._is_small() else self.expand()

    def _sizes(self) -> tuple[int, int, int]:
        """How many windows there are, and the two sides of the matrix that the kernel is to them."""
        return math.prod(self.dy.shape[-3:-1]), self.dy.shape[-1], math.prod(self.kernel) * self.x.shape[-1]

    def _is_small(self) -> bool:
        positions, out, fan_in = self._sizes()
        return positions * (out + fan_in) < out * fan_in

    def _windows(self) -> Float[Array, "1 rows columns kh*kw*in"]:
        """What each window of one example sees. JAX finds it by a convolution, so complex numbers go in two parts."""

        def patches(x: Array) -> Array:
            layout = ("NHWC", "HWIO", "NHWC")
            return lax.conv_general_dilated_patches(
                x[None], self.kernel, self.stride, self.padding, dimension_numbers=layout
            )

        if jnp.iscomplexobj(self.x):
            return lax.complex(patches(self.x.real), patches(self.x.imag))
        return patches(self.x)

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
        return _at_least_0(jnp.sum(jnp.where(same, self.dy @ self.dy.T, 0)))

    def weighted_sum(self, weights: Float[Array, " B"]) -> Float[Array, "count width"]:
        """A weight for each example goes to all of its dy: then it is the sum."""
        return Rows(self.ids, self.dy * weights[:, None, None], self.count).sum_over_examples()

    def sum_of_squares(self) -> Float[Array, "count width"]:
        """Positions that hold the same row add up before they are squared, and count once."""
        same = self.ids[:, :, None] == self.ids[:, None, :]
        together = same.astype(self.dy.dtype) @ self.dy
        first = jnp.argmax(same, axis=-1) == jnp.arange(self.ids.shape[-1])
        return Rows(self.ids, jnp.where(first[..., None], together**2, 0), self.count).sum_over_examples()

    def dot(self, direction: Float[Array, "count width"]) -> Float[Array, " B"]:
        """What the rows that were looked up have in common with what came back."""
        return jnp.sum(direction[self.ids] * self.dy, axis=(-2, -1))

    def smaller(self) -> Any:
        """Multiplied out where the table has fewer rows than there are positions."""
        return self if self.ids.shape[-1] < self.count else self.expand()


def _at_least_0(square: Float[Array, ""]) -> Float[Array, ""]:
    """Terms of a Gram matrix cancel, so that the square of a small norm may come out as minus a rounding error.

    A NaN stays one.
    """
    return jnp.maximum(square, 0)


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


def weighted_sum(grads: Any, weights: Float[Array, " B"]) -> Any:
    """`sum_b weights[b] g_b` of per-example gradients, whose leaves have a leading axis of B examples."""

    def leaf(g: Any) -> Array:
        if not is_structured(g):
            return jnp.sum(g * weights.reshape(-1, *(1,) * (g.ndim - 1)), axis=0)
        if hasattr(g, "weighted_sum"):
            return g.weighted_sum(weights)
        return _one_after_the_other(lambda g, weight: weight * g.expand(), g, weights)

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def sum_of_squares(grads: Any) -> Any:
    """`sum_b g_b^2`, number by number, of per-example gradients, whose leaves have a leading axis of B examples."""

    def leaf(g: Any) -> Array:
        if not is_structured(g):
            return jnp.sum(g**2, axis=0)
        if hasattr(g, "sum_of_squares"):
            return g.sum_of_squares()
        return _one_after_the_other(lambda g: g.expand() ** 2, g)

    return jax.tree.map(leaf, grads, is_leaf=is_structured)


def dot(grads: Any, direction: Any) -> Float[Array, " B"]:
    """`<g_b, direction>` for each of B examples, over all leaves.

    direction: a tree of the parameters' shapes, such as the mean gradient.
    """

    def leaf(g: Any, along: Array) -> Array:
        if not is_structured(g):
            return jnp.sum(g * along, axis=tuple(range(1, g.ndim)))
        if hasattr(g, "dot"):
            return g.dot(along)
        return lax.map(lambda g: jnp.sum(g.expand() * along), g)

    return sum(jax.tree.leaves(jax.tree.map(leaf, grads, direction, is_leaf=is_structured)), start=jnp.zeros(()))


def smaller(grads: Any) -> Any:
    """The same gradients, each multiplied out if that takes no more room than its factors.

    A convolution's kernel is small and its positions are many: whoever needs the norms needs one kernel for each
    example, and then has their sum, too, without another convolution.
    """
    return jax.tree.map(lambda g: g.smaller() if hasattr(g, "smaller") else g, grads, is_leaf=is_structured)


def _one_after_the_other(of_one: Any, *examples: Any) -> Array:
    """The sum over the examples of what a function makes of each, with one of them multiplied out at a time."""
    like = jax.eval_shape(of_one, *jax.tree.map(lambda x: x[0], examples))

    def add(total: Array, one: tuple) -> tuple[Array, None]:
        return total + of_one(*one), None

    return lax.scan(add, jnp.zeros(like.shape, like.dtype), examples)[0]


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
