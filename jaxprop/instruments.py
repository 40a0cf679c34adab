"""What every example says, in the same backward pass: norms, clipping, moments, noise; and the health of the layers.

The backward pass of a batch has gone through every example. Their gradients are still there, in factors, when the mean
is taken, and the factors tell what `jax.vmap(jax.grad)` would have to multiply out: how long each gradient is, where it
points, what their sum is after the long ones were made shorter.

All of it is about each example's OWN gradient, that of its cost C_b, not of its part C_b / B in the mean cost.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxprop.costs import Cost
from jaxprop.errors import BadInput
from jaxprop.gradients import Batch, per_example
from jaxprop.layers import Grads, Params
from jaxprop.layers.core import check_number
from jaxprop.networks import Network
from jaxprop.structured import dot, norm_squared, smaller, sum_of_squares, sum_over_examples, weighted_sum
from jaxprop.training import State

CostAndGrads = tuple[Float[Array, ""], Grads]


class Norms(NamedTuple):
    """How long each example's own gradient is.

    A norm is exact to the rounding of its square, so that one that is nearly 0 beside the others has half the digits.
    """

    whole: Float[Array, " B"]  # over all parameters
    layers: Float[Array, "layers B"]  # over those of each layer of the network; 0 where it has none


class Moments(NamedTuple):
    """How the gradients of the examples scatter, parameter by parameter, in trees of the parameters' shapes."""

    second: Params  # mean over the examples of g^2
    variance: Params  # of g: unbiased, with B - 1 in the place of B


class Noise(NamedTuple):
    """The noise of a mini-batch's gradient, estimated from one batch (see `noise_scale`)."""

    trace: Float[Array, ""]  # of the covariance of the examples' gradients: the sum of all variances
    gradient_squared: Float[Array, ""]  # the squared norm of the true gradient; 0 or less where noise hides it
    scale: Float[Array, ""]  # their quotient: examples; infinite where noise hides the gradient


class Health(NamedTuple):
    """How each layer of a network fares in a step, an array of L numbers each; 0 where there is nothing to measure."""

    gradient_norm: Float[Array, " layers"]  # of the mean gradient
    update_ratio: Float[Array, " layers"]  # the norm of the update, relative to that of the parameters
    shut: Float[Array, " layers"]  # share of the activations, of all neurons and examples, whose slope is below 1 %
    dead: Float[Array, " layers"]  # share of the neurons whose slope is below 1 % for every example of the batch


SHUT = 0.01  # a slope below this: less than a hundredth of what comes back is passed on


def with_norms(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[CostAndGrads, Norms]]:
    """`value_and_grad(params, batch) -> ((cost, grads), norms)`: what `backprop` gives, and each example's norm.

    The norms are those of the examples' own gradients: B numbers, and B for each layer (Goodfellow, "Efficient
    per-example gradient computations", 2015). Raises `BadInput` as `backprop` does.
    """
    examples = _examples_of(network, cost)

    def value_and_grad(params: Params, batch: Batch) -> tuple[CostAndGrads, Norms]:
        costs, parts = examples(params, batch)
        grads = _like(params, sum_over_examples(parts))
        return (jnp.mean(costs), grads), _norms(parts)

    return value_and_grad


def clipped(
    network: Network, cost: Cost, limit: float | Sequence[float]
) -> Callable[[Params, Batch], tuple[CostAndGrads, Norms]]:
    """`value_and_grad(params, batch) -> ((cost, grads), norms)`, no example pulling with more than the limit.

    A longer gradient is shortened to it before the mean is taken: `grads = sum_b min(1, limit / |g_b|) g_b / B` (Abadi
    et al., "Deep learning with differential privacy", 2016). The norms are those before. For a training step take the
    first part, `lambda params, batch: value_and_grad(params, batch)[0]`.

    limit: of the norm over all parameters; or one for each layer of the network that has parameters, from the first to
        the last, each for the norm of that layer alone.

    Raises `BadInput` on a limit that is not a finite number above 0, on a wrong number of them, and as `backprop` does.
    """
    examples, limits = _examples_of(network, cost), _limits(network, limit)

    def value_and_grad(params: Params, batch: Batch) -> tuple[CostAndGrads, Norms]:
        costs, parts = examples(params, batch)
        norms = _norms(parts)
        if isinstance(limits, tuple):
            each = zip(parts, norms.layers, limits, strict=True)
            grads = tuple(weighted_sum(layer, _shorter(lengths, limit)) for layer, lengths, limit in each)
        else:
            grads = weighted_sum(parts, _shorter(norms.whole, limits))
        return (jnp.mean(costs), _like(params, grads)), norms

    return value_and_grad


def with_moments(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[CostAndGrads, Moments]]:
    """`value_and_grad(params, batch) -> ((cost, grads), moments)`: what `backprop` gives, and its scatter.

    The square of an outer product is one of squares, so that for a dense layer the second moment is one more matrix
    product. The variance is `(second - mean^2) B / (B - 1)`: where it is far smaller than the squared mean, its digits
    cancel, and what is left below 0 is set to 0.

    Raises `BadInput` on a batch of one example, which has no variance, and as `backprop` does.
    """
    examples = _examples_of(network, cost)

    def value_and_grad(params: Params, batch: Batch) -> tuple[CostAndGrads, Moments]:
        costs, parts = examples(params, batch)
        n = _at_least_two(len(costs), "a variance")
        grads = _like(params, sum_over_examples(parts))
        # Each part is a B-th of an example's gradient, so that the squares are B^2 too small, and their mean B.
        second = jax.tree.map(lambda total: n * total, _like(params, sum_of_squares(parts)))
        variance = jax.tree.map(lambda m, g: jnp.maximum(m - g * g, 0) * (n / (n - 1)), second, grads)
        return (jnp.mean(costs), grads), Moments(second, variance)

    return value_and_grad


def with_cosines(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[CostAndGrads, Float[Array, " B"]]]:
    """`value_and_grad(params, batch) -> ((cost, grads), cosines)`: how far each example agrees with the mean.

    The cosine of the angle between an example's gradient and the mean of all, itself among them: 1 for the same
    direction, below 0 where the mean makes the example worse. Where one of the two is 0, so is the cosine.
    Raises `BadInput` as `backprop` does.
    """
    examples = _examples_of(network, cost)

    def value_and_grad(params: Params, batch: Batch) -> tuple[CostAndGrads, Float[Array, " B"]]:
        costs, parts = examples(params, batch)
        grads = _like(params, sum_over_examples(parts))
        lengths = _norms(parts).whole * jnp.sqrt(norm_squared(grads))
        along = dot(parts, grads) * len(costs)
        return (jnp.mean(costs), grads), jnp.where(lengths == 0, 0, along / jnp.where(lengths == 0, 1, lengths))

    return value_and_grad


def noise_scale(norms: Float[Array, " B"], grads: Grads) -> Noise:
    """The simple noise scale: the size of a batch beyond which more examples hardly make the gradient better.

    norms: of each example's own gradient, (B,), as in `Norms.whole`. grads: the mean of these gradients, not clipped.

    With S the mean of the squared norms and M the squared norm of the mean, over B examples,

        trace = B (S - M) / (B - 1)        gradient_squared = (B M - S) / (B - 1)

    are unbiased estimates of the trace of the covariance and of the true gradient's squared norm. The scale is their
    quotient (McCandlish et al., "An empirical model of large-batch training", 2018). A quotient is not unbiased: for a
    steady number, average trace and gradient_squared over many batches, and divide then.

    Raises `BadInput` on norms of another shape than (B,), and on fewer than two.
    """
    if jnp.ndim(norms) != 1:
        raise BadInput(f"norms have shape {jnp.shape(norms)}: expected (B,), one for each example")
    n = _at_least_two(len(norms), "a noise scale")
    S, M = jnp.mean(jnp.asarray(norms) ** 2), norm_squared(grads)
    trace, squared = n * (S - M) / (n - 1), (n * M - S) / (n - 1)
    hidden = squared <= 0
    return Noise(trace, squared, jnp.where(hidden, jnp.inf, trace / jnp.where(hidden, 1, squared)))


def with_health(
    network: Network, cost: Cost, optimizer: optax.GradientTransformation
) -> Callable[[State, Batch], tuple[CostAndGrads, Norms, Health]]:
    """`look(state, batch) -> ((cost, grads), norms, health)`: the instrument panel of the step that would come next.

    The step is not taken. Neurons are looked at in the layers that work on each number by itself, such as `relu`, also
    inside a `chain`, a `residual` or a `positionwise`, whose share is that of all neurons in it. What counts as shut or
    dead is the derivative, which for a sigmoid is small at both ends, and for a ReLU 0 on the left.

    Raises `BadInput` as `backprop` does.
    """
    shown = with_norms(network, cost)

    def look(state: State, batch: Batch) -> tuple[CostAndGrads, Norms, Health]:
        (value, grads), norms = shown(state.params, batch)
        updates, _ = optimizer.update(grads, state.opt_state, state.params)
        lengths, sizes, steps = map(_lengths, (grads, state.params, updates))
        ratio = jnp.where(sizes == 0, 0, steps / jnp.where(sizes == 0, 1, sizes))
        return (value, grads), norms, Health(lengths, ratio, *_slopes(network, state.params, batch[0]))

    return look


def _examples_of(network: Network, cost: Cost) -> Callable[[Params, Batch], tuple[Float[Array, " B"], Grads]]:
    """The costs of the examples, and of each gradient the B-th part that it has in the mean: their sum is the mean.

    The part is taken at the outputs, as in `backprop`, so that each dz is needed in one size only.
    """

    def costs_and_parts(params: Params, batch: Batch) -> tuple[Float[Array, " B"], Grads]:
        averaged = cost._replace(gradient=lambda a, y: cost.gradient(a, y) / len(batch[0]))
        costs, parts = per_example(network, averaged)(params, batch)
        return costs, smaller(parts)

    return costs_and_parts


def _norms(parts: Grads) -> Norms:
    """The norms of the examples' own gradients, from the B-th parts of them."""
    n = len(jax.tree.leaves(parts)[0])
    squares = jnp.stack([jax.vmap(norm_squared, axis_size=n)(layer) for layer in parts])
    return Norms(n * jnp.sqrt(jnp.sum(squares, axis=0)), n * jnp.sqrt(squares))


def _lengths(tree: Any) -> Float[Array, " layers"]:
    return jnp.stack([jnp.sqrt(norm_squared(layer)) for layer in tree])


def _like(params: Params, grads: Grads) -> Grads:
    """Of the parameters' types, as autodiff's gradients are."""
    return jax.tree.map(lambda g, p: g.astype(jnp.result_type(p)), grads, params)


def _shorter(norms: Float[Array, " B"], limit: float) -> Float[Array, " B"]:
    """What to multiply each gradient by. A norm of 0 is under every limit, and never divided by."""
    return jnp.where(norms > limit, limit / jnp.where(norms > limit, norms, 1), 1)


def _limits(network: Network, limit: float | Sequence[float]) -> float | tuple[float, ...]:
    """The limit; or one for each layer of the network, those without parameters too, where it does nothing."""
    if isinstance(limit, str) or not isinstance(limit, Sequence):
        check_number("the limit of a norm is", limit, above_zero=True)
        return float(limit)
    for one in limit:
        check_number("the limit of a layer's norm is", one, above_zero=True)
    learns = [bool(jax.tree.leaves(layer)) for layer in network.params_like]
    if len(limit) != sum(learns):
        raise BadInput(f"{len(limit)} limits were given: this network has {sum(learns)} layers with parameters")
    left = iter(limit)
    return tuple(next(left) if has else 1.0 for has in learns)


def _at_least_two(n: int, what: str) -> int:
    if n < 2:
        raise BadInput(f"the batch has {n} example: {what} takes two at least")
    return n


def _slopes(network: Network, params: Params, inputs: Any) -> tuple[Float[Array, " layers"], Float[Array, " layers"]]:
    """For each layer the share of shut answers, and of dead neurons, from one more forward pass."""

    def of_one(x: Array) -> tuple[Any, ...]:
        found = []
        for layer, layer_params in zip(network.layers, params, strict=True):
            x, residuals = layer.forward(layer_params, x)
            slopes = layer.slopes(layer_params, residuals) if layer.slopes else ()
            found.append([jnp.abs(slope).ravel() < SHUT for slope in slopes])
        return tuple(found)

    kind = jnp.result_type(float)

    def share(shut: list[Array], of: Callable[[Array], Array]) -> Array:
        """0 where a layer has no neurons to look at."""
        return jnp.mean(of(jnp.concatenate(shut, axis=1)), dtype=kind) if shut else jnp.zeros((), kind)

    layers = jax.vmap(of_one)(jnp.asarray(inputs))
    shut = [share(found, lambda all_of_them: all_of_them) for found in layers]
    dead = [share(found, lambda all_of_them: jnp.all(all_of_them, axis=0)) for found in layers]
    return jnp.stack(shut), jnp.stack(dead)
