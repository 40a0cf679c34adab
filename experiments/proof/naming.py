"""The name of the mistake: a wrong gradient of a multi-layer perceptron, held against every mistake that is known.

A mistake is named where the gradient equals the one with this mistake planted, to rounding, at every point; two at once
where the pair does. Nothing is guessed. Where several mistakes give one gradient, all of them are named: on a network
without two layers of one shape, or with one activation, many differ by nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import combinations, product
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import jaxprop as jp
from jaxprop.contracts import like
from jaxprop.gradients import ValueAndGrad
from jaxprop.networks import Activation
from jaxprop.verify.comparison import on_host
from jaxprop.verify.naming import has_digits, name_relations
from jaxprop.verify.suite import random_point
from proof.mistakes import ACTIVATIONS, AVERAGE, COST, DENSE, MISTAKES, WALK, Mistake
from proof.mutants import together

Leaves = dict[str, np.ndarray]
Names = tuple[tuple[Mistake, ...], ...]  # alternatives, of one mistake or of two that were made together

# Of a leaf's largest number. Two ways to compute one wrong gradient differ by rounding, which weighs more where a sum
# cancels: the tolerance of `jaxprop.compare` in float64, and for the same reason.
ROUNDING = 1e-11

# Mistakes of two parts can be made at once. In the order of the backward pass, as `together` asks.
PARTS = (COST, ACTIVATIONS, DENSE, WALK, AVERAGE)
BY_NAME = {mistake.name: mistake for mistake in MISTAKES}


class Point(NamedTuple):
    """A point in float64, and the right gradient there."""

    params: Any
    batch: Any
    right: Leaves


def naming_for(
    network: jp.Network, cost: jp.Cost = jp.squared_error, probes: Iterable[jp.Probe] | None = None
) -> Callable[[ValueAndGrad], Names]:
    """`name(candidate)`: the known mistakes that a gradient `(params, batch) -> (value, grads)` equals.

    Each mistake is planted in the same network with every part differentiated by JAX, so that `jp.backprop` itself can
    be given a name too, where a layer or the cost is wrong in it.

    Several alternatives where it equals several. None where it is right, or where no mistake and no pair of two equals
    it at every point. What the mistakes give is kept, for the next candidate.

    network: as `jp.mlp` makes them. Of a network of other layers no mistakes are known, and nothing is named.
    probes: where to compare; by default those of `jp.probes_for(network, cost, quick=True)`, whose batches are all odd,
        and one of four examples.
    """
    if not is_mlp(network):
        return lambda candidate: ()
    if probes is None:
        even = jp.Probe("four examples", *random_point(network, np.random.RandomState(2), 4, cost=cost))
        probes = (*jp.probes_for(network, cost, quick=True), even)
    by_jax, cost_by_jax = differentiated_by_jax(network, cost)
    right = jax.jit(jp.autodiff(network, cost))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        telling = [probe for probe in probes if has_digits(right, probe)]
        at = [jax.tree.map(in_float64, (probe.params, probe.batch)) for probe in telling]
        points = [Point(params, batch, on_host(right(params, batch)[1])) for params, batch in at]

    @cache
    def known(mistakes: tuple[str, ...], i: int) -> Leaves:
        """The gradient with one mistake, or with two, at point i."""
        first, *second = (BY_NAME[name].rule for name in mistakes)
        return gradient((together(first, *second) if second else first)(by_jax, cost_by_jax), points[i])

    def name(candidate: ValueAndGrad) -> Names:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            given = [gradient(candidate, point) for point in points]
            wrong = [different(g, point.right) for g, point in zip(given, points, strict=True)]
            # Where the most leaves are wrong, and examples are many, the most mistakes are told apart.
            first, *others = sorted(range(len(points)), key=lambda i: (-len(wrong[i]), -len(points[i].batch[0])))
            unchanged = gradient(jp.backprop(by_jax, cost_by_jax), points[first])
            if not wrong[first] or not equal(unchanged, points[first].right):
                return ()  # right; or wrong in the walk or the sum of `jp.backprop`, in which mistakes are planted
            alone = {mistake.name: known((mistake.name,), first) for mistake in MISTAKES}

            def agreeing(groups: Iterable[tuple[str, ...]]) -> Names:
                found = [group for group in groups if all(equal(known(group, i), given[i]) for i in (first, *others))]
                return tuple(tuple(BY_NAME[name] for name in group) for group in found)

            singles = ((name,) for name in alone)
            return agreeing(singles) or agreeing(likely_pairs(alone, points[first].right, given[first]))

    return name


def is_mlp(network: jp.Network) -> bool:
    """Whether dense layers stand at even places and activations that are known at odd ones."""
    names = [layer.name for layer in network.layers]
    dense = all(name.startswith("dense") for name in names[::2])
    return dense and len(names) % 2 == 0 and set(names[1::2]) <= {"sigmoid", "relu", "tanh", "identity"}


def differentiated_by_jax(network: jp.Network, cost: jp.Cost) -> tuple[jp.Network, jp.Cost]:
    """The same perceptron and cost with backward passes that owe nothing to those that are shipped, and their names."""

    def backward(layer: jp.Layer, params: Any, residuals: Any, dy: Array) -> tuple[Any, Array]:
        if layer.name.startswith("dense"):
            return jp.Dense(jp.Outer(dy, residuals), dy), dy @ params.W
        z, _ = residuals
        _, derivative = jax.vjp(lambda z: layer.forward((), z)[0], z)
        return (), derivative(dy)[0]

    layers = tuple(layer._replace(backward=partial(backward, layer)) for layer in network.layers)
    return jp.Network(layers, network.in_shape), cost._replace(gradient=jax.grad(cost.value))


def in_float64(x: Any) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def gradient(value_and_grad: ValueAndGrad, point: Point) -> Leaves:
    return on_host(value_and_grad(point.params, point.batch)[1])


def likely_pairs(alone: Mapping[str, Leaves], right: Leaves, candidate: Leaves) -> Iterator[tuple[str, str]]:
    """Two mistakes of different parts, which together may give the candidate.

    Most pairs need not be tried: a leaf that only one of the two changes when it is made alone should be that one's.

    alone: the gradient with each mistake.
    """
    changed = {name: different(leaves, right) for name, leaves in alone.items()}
    matching = {name: leaves.keys() - different(leaves, candidate) for name, leaves in alone.items()}
    wrong = different(candidate, right)
    for one_part, other_part in combinations(PARTS, 2):
        for a, b in product(one_part, other_part):
            if a.name in NOT_SUMMED_BY_FACTORS and other_part is AVERAGE:
                continue
            by_a, by_b = changed[a.name], changed[b.name]
            fits = by_a - by_b <= matching[a.name] and by_b - by_a <= matching[b.name]
            if by_a and by_b and by_a | by_b == wrong and fits:
                yield a.name, b.name


# Its gradient of the weights is no outer product, which is what the mistakes of the average exchange.
NOT_SUMMED_BY_FACTORS = {"weight decay slipped in"}


def different(given: Leaves, expected: Leaves) -> frozenset[str]:
    """The leaves that are not equal to rounding. A leaf with NaNs or infinities is equal to one with the same ones."""
    return frozenset(path for path in expected if not same(given.get(path), expected[path]))


def equal(given: Leaves, expected: Leaves) -> bool:
    return not different(given, expected)


def same(given: np.ndarray | None, expected: np.ndarray) -> bool:
    if given is None or given.shape != expected.shape:
        return False
    finite = np.isfinite(expected)
    if not np.array_equal(given[~finite], expected[~finite], equal_nan=True):
        return False
    a, b = given[finite], expected[finite]
    with np.errstate(invalid="ignore"):  # infinity where the other is finite: false, as it should be
        return bool(np.all(np.abs(a - b) <= ROUNDING * np.max(np.abs(b), initial=0)))


def sentence(names: Names) -> str:
    """What the names say, for people; nothing for no names."""
    if not names:
        return ""
    told = [" together with ".join(f"“{mistake.name}” ({mistake.story})" for mistake in group) for group in names]
    if len(told) == 1:
        return f"It equals a known mistake, to rounding: {told[0]}."
    return f"It equals known mistakes, to rounding, which are one and the same on this network: {'; or '.join(told)}."


def network_of(loss: Callable[[Any, Any], Any], params: Any, batch: Any) -> jp.Network | None:
    """The multi-layer perceptron whose cost a loss computes, told by what it gives at one point; None for another loss.

    params: those of `jp.mlp`, as it lays them out.
    """
    dense = params[::2] if isinstance(params, tuple | list) else ()
    if not dense or not all(isinstance(layer, jp.Dense) and np.ndim(layer.W) == 2 for layer in dense):
        return None
    sizes = (np.shape(dense[0].W)[1], *(len(layer.b) for layer in dense))
    with jax.enable_x64(True):
        params, batch = jax.tree.map(in_float64, (tuple(params), batch))
        for activation in get_args(Activation):
            network = jp.mlp(sizes, activation)
            if not like(params, network.params_like):
                return None
            value = jp.loss(network, jp.squared_error)(params, batch)
            if np.isclose(loss(params, batch), value, rtol=ROUNDING, atol=0):
                return network
    return None


def say_what_is_wrong(
    loss: Callable[[Any, Any], Any], own_gradient: Callable[[Any, Any], Any], point: tuple
) -> list[str]:
    """What is known of anybody's wrong gradient: its name, and how its leaves follow from the right ones."""

    def by_user(params: Any, batch: Any) -> tuple[Any, Any]:
        return loss(params, batch), own_gradient(params, batch)

    params, batch = point
    network = network_of(loss, params, batch)
    named = sentence(naming_for(network)(by_user)) if network else ""
    relations = name_relations(jax.value_and_grad(loss), by_user, [jp.Probe("a point", params, batch)])
    return [named] * bool(named) + [f"{path}: {'; or '.join(said)}" for path, said in relations.items()]
