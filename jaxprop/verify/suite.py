"""Probes: the points at which a gradient is put to the test, chosen so that a mistake has nowhere to hide.

The suite is fixed, and what it finds is measured by `experiments/proof/planted_bugs.py`: whoever changes it runs that
again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Float

from jaxprop.costs import Cost, squared_error
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from jaxprop.networks import Activation, Network, mlp

# Batches of 1, 2 and 7 hold ten examples together: every digit is a target once.
BATCHES = (1, 2, 7)


class Probe(NamedTuple):
    """One point: parameters and a batch, pytrees of float arrays that `check` casts to each dtype it tries."""

    name: str
    params: Any
    batch: Any


def probe_networks() -> dict[str, Network]:
    """The networks of the suite, by name.

    Two square layers in a row stand between oblong ones, so that a matrix not transposed, a mask, or activations off by
    one layer fit where they are wrong; one network is square throughout, one a single neuron wide, one a single layer.
    """
    shapes: list[tuple[tuple[int, ...], Activation]] = [((6, 5, 5, 5, 3), name) for name in get_args(Activation)]
    shapes += [((4, 4, 4), "relu"), ((3, 1, 2), "tanh"), ((4, 3), "sigmoid")]
    return {f"{'-'.join(map(str, sizes))} {activation}": mlp(sizes, activation) for sizes, activation in shapes}


def probes_for(network: Network, cost: Cost = squared_error) -> tuple[Probe, ...]:
    """The suite's points for one network, with targets as this cost takes them.

    Ordinary parameters, no bias 0, with batches of 1, 2 and 7, and every class as target where the outputs are a
    vector; then parameters that put exact zeros, saturation, and small activations into every layer. Zeros and
    saturation are arranged for weights (out, in) with a bias (out,), as in a dense layer; where parameters are laid out
    in another way, add probes of your own.
    """
    # RandomState is the one generator whose numbers NumPy promises never to change.
    random = np.random.RandomState(0)

    def probe(name: str, examples: int, first_class: int, change: Callable = lambda leaf: leaf) -> Probe:
        params, batch = random_point(network, random, examples, first_class, cost)
        return Probe(name, jax.tree.map(change, params), batch)

    classes = int(np.prod(network.out_shape, dtype=int))
    probes = [probe(f"batch of {n}", n, first_class) for n, first_class in zip(BATCHES, (0, 1, 3), strict=True)]
    if len(network.out_shape) == 1:
        probes += [probe(f"classes from {k}", 7, k) for k in range(10, classes, 7)]
    probes += [
        probe("zeros, batch of 1", 1, classes - 1, _with_zeros),
        probe("zeros", 7, 0, _with_zeros),
        probe("saturated", 7, 0, _saturated),
        probe("small", 7, 0, lambda leaf: leaf * 1e-3),
    ]
    return tuple(probes)


def random_point(
    network: Network, random: np.random.RandomState, examples: int, first_class: int = 0, cost: Cost = squared_error
) -> tuple[Params, Batch]:
    """Ordinary parameters and a batch, in float64, in host memory: `(params, (inputs, targets))`.

    Weights and biases keep activations of size 1 at that size, and no bias is 0. Inputs lie in (-1, 1), and a third of
    them are exactly 0. The targets are one class after the other, from `first_class` round and round: every output is
    one, whatever their shape, with 1 there and 0 elsewhere; or they are its number, for a cost that takes labels.
    """

    def leaf(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        return np.asarray(random.normal(size=shape) / (shape[-1] ** 0.5 if len(shape) > 1 else 2))

    params = jax.tree.map(lambda x: leaf(x.shape), network.params_like)
    inputs = random.uniform(-1, 1, (examples, *network.in_shape))
    inputs.reshape(-1)[::3] = 0
    classes = int(np.prod(network.out_shape, dtype=int))
    labels = np.arange(first_class, first_class + examples) % classes
    targets = labels.astype(np.int32) if cost.takes_labels else np.eye(classes)[labels]
    return params, (inputs, targets if cost.takes_labels else targets.reshape(examples, *network.out_shape))


def _with_zeros(leaf: np.ndarray) -> np.ndarray:
    """The first neuron of every layer gets no weight and no bias, so its pre-activation is exactly 0 in any dtype."""
    changed = leaf.copy()
    if leaf.ndim:
        changed[:1] = 0
    else:
        changed[...] = 0
    return changed


def _saturated(leaf: np.ndarray) -> np.ndarray:
    """The second neuron of every layer saturates high; the fourth so low that exp(-z) overflows in float64 too.

    Weak weights keep that from the others. Not a whole layer saturates: where a sigmoid is 1 to the last bit, correct
    gradients share no digit.
    """
    if leaf.ndim > 1:
        return leaf / 400
    if leaf.ndim == 0:
        return leaf
    shift = np.zeros_like(leaf)
    shift[1::4] = 20
    shift[3::4] = -800
    return leaf + shift
