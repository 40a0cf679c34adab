"""The name of the mistake: a wrong gradient of a multi-layer perceptron, held against every mistake that is known.

A mistake is named where the gradient equals the one with this mistake planted, to rounding, at every point; two at once
where the pair does. Nothing is guessed. Where several mistakes give one gradient, all of them are named: on a network
without two layers of one shape, or with one activation, many differ by nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import combinations, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import jaxprop as jp
from jaxprop.gradients import ValueAndGrad
from jaxprop.verify.comparison import on_host
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

    Several alternatives where it equals several. None where it is right, or where no mistake and no pair of two equals
    it at every point. What the mistakes give is kept, for the next candidate.

    network: as `jp.mlp` makes them. Of a network of other layers no mistakes are known, and nothing is named.
    probes: where to compare; by default `jp.probes_for(network, cost)`.
    """
    if not is_mlp(network):
        return lambda candidate: ()
    probes = jp.probes_for(network, cost) if probes is None else probes
    right = jax.jit(jp.autodiff(network, cost))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        at = [jax.tree.map(in_float64, (probe.params, probe.batch)) for probe in probes]
        points = [Point(params, batch, on_host(right(params, batch)[1])) for params, batch in at]

    @cache
    def known(mistakes: tuple[str, ...], i: int) -> Leaves:
        """The gradient with one mistake, or with two, at point i."""
        first, *second = (BY_NAME[name].rule for name in mistakes)
        return gradient((together(first, *second) if second else first)(network, cost), points[i])

    def name(candidate: ValueAndGrad) -> Names:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            given = [gradient(candidate, point) for point in points]
            wrong = [different(g, point.right) for g, point in zip(given, points, strict=True)]
            # Where the most leaves are wrong, and examples are many, the most mistakes are told apart.
            first, *others = sorted(range(len(points)), key=lambda i: (-len(wrong[i]), -len(points[i].batch[0])))
            if not wrong[first]:
                return ()
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
