"""The suite: the points at which the gradient of a network is put to the test, so that a mistake has nowhere to hide.

A mistake shows where what it gets wrong occurs. So the points span what legal input can be, one dimension after the
other, and go to both ends of each; the reason stands beside it:

    size of the batch       means, blocks and their remainders, shapes that fit by accident
    classes                 labels in order, one class alone, a class that never comes
    targets                 what is right for 0 and 1 alone, or for a single 1
    errors                  clipping, thresholds and epsilons of costs and gradients; a division by 0
    examples                a mean that is none; an example that is lost, or weighs too much
    inputs                  what is right for small ones alone, or for pictures
    tokens                  rows of a table that come twice, alone, or never; the first one and the last
    windows                 ties of a pooling; rows and columns at the edge, which a stride may leave over
    pre-activations         both flat ends of a sigmoid; exactly at a kink, and beside it
    parameters              clipping and rounding of weights; a division by their size
    what went before        something that was kept from an earlier call

Which probe is for which of them, the chapter `README.md` beside this file says. Each point is legal, and so conditioned
that a right gradient, however it is written, agrees within the tolerances of `compare`; where terms may cancel, the
probe's yardstick says how large they are. The suite is fixed, and what it finds is measured by
`experiments/proof/planted_bugs.py`: whoever changes it runs that again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from jaxprop.contracts import takes_integers
from jaxprop.costs import Cost, squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import Batch
from jaxprop.layers import Params
from jaxprop.networks import Activation, Network, mlp
from jaxprop.verify.points import Probe

Targets = Literal["any", "shares", "one-hot"]

# 131 is more than a block of 128, odd, and leaves a remainder in blocks of 2, 4, 8 and so on; so does 301, for 256 too.
QUICK_SIZES = (1, 7, 131)
SIZES = (1, 2, 7, 33)
LARGE, LARGEST = 128, 301  # where no width is above the first, the second is one more size
LARGEST_WIDTH = 1024  # that is a size of a batch too
MOST_NUMBERS = 2**28  # in the gradients of all examples, where they do not come in factors: 2 GB in float64
BLOCK = 64  # examples that walk through the network together while probes are made
ATTEMPTS = 30  # to draw examples that are away from kinks


def probe_networks() -> dict[str, Network]:
    """The networks of the suite, by name.

    Two square layers in a row stand between oblong ones, so that a matrix not transposed, a mask, or activations off by
    one layer fit where they are wrong; one network is square throughout, one a single neuron wide, one a single layer.
    """
    shapes: list[tuple[tuple[int, ...], Activation]] = [((6, 5, 5, 5, 3), name) for name in get_args(Activation)]
    shapes += [((4, 4, 4), "relu"), ((3, 1, 2), "tanh"), ((4, 3), "sigmoid")]
    return {f"{'-'.join(map(str, sizes))} {activation}": mlp(sizes, activation) for sizes, activation in shapes}


def probes_for(
    network: Network, cost: Cost = squared_error, quick: bool = False, targets: Targets | None = None
) -> tuple[Probe, ...]:
    """The suite's points for one network, with targets as this cost takes them, in float64, in host memory.

    quick: batches of three sizes alone, so that less is compiled: 1, 7 and 131. Otherwise 1, 2, 7, 33, the width of the
        inputs, of the first layer and of the outputs, and one size above 128: 301, or one of those widths.
    targets: what is legal where the cost takes no labels: "any" numbers, "shares" that are not negative and add up to
        1, or "one-hot". By default any for `squared_error`, and shares for another cost.

    A cost may be infinite or NaN at outputs that are 0 or 1 to the last bit: points where it is, or its gradient, are
    left out. Inputs may be any numbers. Widths and 301 are left out as sizes of batches where the gradients of so many
    examples would take more than 2^28 numbers.

    Zeros, kinks and saturation are arranged for weights (out, in) with a bias (out,), as in a dense layer; where
    parameters are laid out in another way, add probes of your own. No pre-activation of a layer called "relu" is so
    near to 0 that rounding decides on which side it lies.

    Where the inputs are integers, they are tokens: the first array of the first layer's parameters is taken for the
    table that they are looked up in, and each of its rows is legal. Where the outputs are (T, classes), a cost that
    takes labels gets one for each of T positions, unless what it makes of these is no number.

    Raises `BadInput` on targets that are none of the three, and on integer inputs without a table.
    """
    if targets is None:
        targets = "any" if cost.value is squared_error.value else "shares"
    if targets not in get_args(Targets):
        raise BadInput(f"targets are {targets!r}: expected one of {', '.join(get_args(Targets))}")
    states = np.random.RandomState(0), np.random.RandomState(1)
    draw = _Drawing(network, cost, targets, *states, _forward_in_blocks(network), _kinds(network))
    sizes = _sizes(network, quick)
    many = QUICK_SIZES[-1] if quick else SIZES[-1]
    made = [*_of_sizes(draw, sizes)]
    of_calls = _of_calls(draw, made[sizes.index(7)])
    made += [*_of_parameters(draw, many), *_of_inputs(draw, many), *_of_targets(draw, many), *of_calls]
    is_finite = _finite_in_blocks(draw)
    return tuple(probe for probe in made if is_finite(probe))


def random_point(
    network: Network, random: np.random.RandomState, examples: int, first_class: int = 0, cost: Cost = squared_error
) -> tuple[Params, Batch]:
    """Ordinary parameters and a batch, in float64, in host memory: `(params, (inputs, targets))`.

    Weights and biases keep activations of size 1 at that size, and no bias is 0. Inputs lie in (-1, 1), and a third of
    them are exactly 0; or they are any tokens, as `probes_for` knows them. The targets are one class after the other,
    from `first_class` round and round: every output is one, whatever their shape, with 1 there and 0 elsewhere; or they
    are its number, for a cost that takes labels, position by position where it takes so many.

    Raises `BadInput` as `probes_for` does.
    """
    params = _ordinary_params(network, random)
    inputs = _kinds(network).ordinary(random, (examples, *network.in_shape))
    return params, (inputs, _as_targets(network, cost, _counted(network, cost, examples, first_class)))


Kind = Callable[[np.random.RandomState, tuple[int, ...]], np.ndarray]  # of inputs: those of many examples, of a shape


class _Kinds(NamedTuple):
    """What inputs a network takes.

    tokens: how many different ones; 0 where inputs are floats.
    ordinary, pixels: the two kinds that most probes have. Tokens are of one kind.
    """

    tokens: int
    ordinary: Kind
    pixels: Kind


def _kinds(network: Network) -> _Kinds:
    if not takes_integers(network.layers):
        return _Kinds(0, _ordinary, _pixels)
    tables = jax.tree.leaves(network.params_like[:1])
    if not tables or not tables[0].shape:
        raise BadInput(
            f"the inputs of {network.layers[0]} are integers, and its parameters hold no table of rows, which would "
            "say how many are legal: make probes around a point of yours, jaxprop.probes(params, batch)"
        )
    tokens = tables[0].shape[0]

    def any_tokens(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        return random.randint(0, tokens, shape, np.int32)

    return _Kinds(tokens, any_tokens, any_tokens)


class _Drawing(NamedTuple):
    """What every probe of one network is drawn with.

    others: what yardsticks are drawn with, so that all else is the same for every kind of targets.
    forward: see `_forward_in_blocks`.
    kinds: of inputs.
    """

    network: Network
    cost: Cost
    targets: Targets
    random: np.random.RandomState
    others: np.random.RandomState
    forward: Callable[[Params, np.ndarray], tuple[np.ndarray, np.ndarray]]
    kinds: _Kinds

    def params(self) -> Params:
        return _ordinary_params(self.network, self.random)

    def inputs(self, params: Params, examples: int, kind: Kind | None = None) -> Shaped[np.ndarray, "B *in"]:
        """Examples of one kind, by default ordinary ones, each drawn again while it has a pre-activation too near to a
        kink."""
        kind = kind or self.kinds.ordinary
        inputs = kind(self.random, (examples, *self.network.in_shape))
        for _ in range(ATTEMPTS):
            _, steady = self.forward(params, inputs)
            if steady.all():
                break
            inputs[~steady] = kind(self.random, ((~steady).sum(), *self.network.in_shape))
        return inputs

    def counted(self, examples: int, first: int = 0) -> np.ndarray:
        """One class after the other."""
        return _counted(self.network, self.cost, examples, first)

    def labels(self, examples: int) -> np.ndarray:
        """One class after the other, in no order."""
        counted = self.counted(examples)
        return self.random.permutation(counted.size).reshape(counted.shape)

    def of_one_class(self, examples: int) -> np.ndarray:
        """The last class for all."""
        return np.full(self.counted(examples).shape, self.classes - 1)

    def probe(
        self,
        name: str,
        params: Params,
        inputs: np.ndarray,
        targets: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        size: float = 1.0,
    ) -> Probe:
        """A point, with these targets or with those of these classes, and its yardstick.

        The yardstick has other targets, as large as these and at least of this size. Where errors cancel by accident in
        the one, they do not in the other, and where outputs are near their targets, in the other they are not.
        """
        if targets is None:
            targets = self.of_classes(self.labels(len(inputs)) if labels is None else labels)
        if self.targets == "any" and not self.cost.takes_labels:
            other = self.others.normal(size=targets.shape) * max(size, np.abs(targets).max())
        else:
            other = self.of_classes(self.others.randint(self.classes, size=self.counted(len(inputs)).shape))
        return Probe(name, params, (inputs, targets), (params, (inputs, other)))

    def of_classes(self, labels: np.ndarray) -> np.ndarray:
        return _as_targets(self.network, self.cost, labels)

    @property
    def classes(self) -> int:
        return _classes(self.network, self.cost)


def _of_sizes(draw: _Drawing, sizes: tuple[int, ...]) -> Iterator[Probe]:
    """Ordinary parameters and inputs, a batch of each size. Batches of 1, 2 and 7 hold each of ten classes once."""
    first_class = {1: 0, 2: 1, 7: 3}
    for examples in sizes:
        params = draw.params()
        inputs = draw.inputs(params, examples)
        counts = examples in first_class
        labels = draw.counted(examples, first_class[examples]) if counts else draw.labels(examples)
        if examples == draw.classes:  # as a square, which is not its own transpose from three classes on
            labels = draw.counted(examples, 1)
        yield draw.probe(f"batch of {examples}", params, inputs, labels=labels)
    for k in range(max(10, sizes[-1]), draw.classes, sizes[-1]):
        params = draw.params()
        inputs = draw.inputs(params, sizes[-1])
        yield draw.probe(f"classes from {k}", params, inputs, labels=k + draw.labels(sizes[-1]))


def _of_parameters(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Parameters of every kind, which put pre-activations where they can be; ordinary inputs."""

    def probe(name: str, change: Callable, examples: int = 7, labels: Any = None) -> Probe:
        params = jax.tree.map(change, draw.params())
        return draw.probe(name, params, draw.inputs(params, examples), labels=labels)

    matrices = sum(len(leaf.shape) > 1 for leaf in jax.tree.leaves(draw.network.params_like))
    yield probe("zeros, batch of 1", _with_zeros, 1, draw.of_one_class(1))
    yield probe("zeros", _with_zeros)
    yield probe("near kinks", _near_kinks)
    saturated = probe("saturated", _saturated)
    if "softmax" in repr(draw.network):
        # There one saturated output is 1, and all others are 0. Of what comes back, which is near 0, other parameters
        # say what was subtracted from what.
        saturated = saturated._replace(yardstick=(draw.params(), saturated.batch))
    yield saturated
    yield probe("large rows", _with_large_rows, many)
    yield probe("small", lambda leaf: leaf * 1e-3)
    yield probe("tiny weights", lambda leaf: leaf * 1e-12 ** (1 / matrices) if leaf.ndim > 1 else leaf)
    yield probe("small weights", lambda leaf: leaf * 1e-3 if leaf.ndim > 1 else leaf)
    yield probe("small biases", lambda leaf: leaf if leaf.ndim > 1 else leaf * 1e-3)
    yield probe("biases of 0", lambda leaf: leaf if leaf.ndim > 1 else leaf * 0)
    yield probe("parameters of 0", lambda leaf: leaf * 0)
    params = _with_equal_rows(draw.params())
    yield draw.probe("equal neurons", params, draw.inputs(params, 7))


def _of_inputs(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Inputs of every kind; ordinary parameters."""
    if draw.kinds.tokens:
        yield from _of_tokens(draw, many)
        return
    params = draw.params()

    def probe(name: str, kind: Callable, examples: int = 7, change: Callable = lambda inputs: inputs) -> Probe:
        return draw.probe(name, params, change(draw.inputs(params, examples, kind)))

    yield probe("pixels", _pixels, many)
    yield probe("negative inputs", lambda random, shape: -random.uniform(0.1, 1, shape))
    yield probe("tiny inputs", lambda random, shape: 1e-6 * _ordinary(random, shape))
    yield probe("inputs of every size", _of_every_size, many)
    yield probe("constant inputs", _constant)
    yield probe("blank example", _ordinary, change=lambda inputs: _with_blank(inputs, [1, 6]))
    yield probe("blank example, batch of 1", _ordinary, 1, lambda inputs: inputs * 0)
    yield probe("blank batch", _ordinary, change=lambda inputs: inputs * 0)
    # Each example twice, with two targets.
    yield probe("repeated examples", _ordinary, many, lambda inputs: inputs[np.arange(many) // 2])
    yield _one_example_repeated(draw, params)
    # The first weights make up for the size of the inputs, or everything would be saturated.
    params = _with_first_matrix_divided(params, 255)
    yield probe("large inputs", lambda random, shape: random.randint(0, 256, shape).astype(float))
    if len(draw.network.in_shape) > 2:
        yield from _of_pictures(draw)


def _one_example_repeated(draw: _Drawing, params: Params) -> Probe:
    once = draw.inputs(params, 1)
    labels = np.repeat(draw.counted(1), 7, axis=0)
    return draw.probe("one example repeated", params, np.repeat(once, 7, axis=0), labels=labels)


def _of_pictures(draw: _Drawing) -> Iterator[Probe]:
    """For windows that are moved over a picture: which of several equal numbers is the largest, and what lies at the
    edge, where a stride may leave rows and columns over."""
    params = jax.tree.map(_with_equal_windows, draw.params())
    yield draw.probe(
        "window ties", params, draw.inputs(params, 7, lambda random, shape: random.randint(0, 2, shape) / 1.0)
    )
    params = draw.params()
    inside = (slice(None), slice(1, -1), slice(1, -1))

    def edges(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        inputs = random.uniform(0.1, 1, shape)
        inputs[inside] = 0
        return inputs

    yield draw.probe("edges alone", params, draw.inputs(params, 7, edges))


def _of_tokens(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Tokens that a table is looked up with: whoever adds up what comes back for one row, must add up all of it."""
    params, tokens = draw.params(), draw.kinds.tokens

    def probe(name: str, kind: Kind, examples: int = 7) -> Probe:
        return draw.probe(name, params, draw.inputs(params, examples, lambda *drawn: kind(*drawn).astype(np.int32)))

    def as_rows(of_examples: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(of_examples.reshape(-1, *[1] * (len(shape) - 1)), shape)

    yield probe("every token", lambda random, shape: random.permutation(_size(shape)).reshape(shape) % tokens, many)
    yield probe("first and last tokens", lambda random, shape: random.choice([0, tokens - 1], shape))
    yield probe("one token in each example", lambda random, shape: as_rows(np.arange(shape[0]) % tokens, shape))
    yield probe("one token", lambda random, shape: np.full(shape, tokens - 1))
    yield probe("one token, batch of 1", lambda random, shape: np.full(shape, tokens // 2), 1)
    yield probe("each token twice", lambda random, shape: (np.arange(_size(shape)) // 2).reshape(shape) % tokens)
    # Each example twice, with two targets.
    inputs = draw.inputs(params, many)[np.arange(many) // 2]
    yield draw.probe("repeated examples", params, inputs)
    yield _one_example_repeated(draw, params)


def _of_targets(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Targets of every kind that is legal; ordinary parameters, and inputs as of pictures."""
    params = draw.params()
    pixels = draw.kinds.pixels
    few_inputs, many_inputs = draw.inputs(params, 7, pixels), draw.inputs(params, many, pixels)
    yield draw.probe("one class", params, few_inputs, labels=draw.of_one_class(7))
    labels = draw.labels(many)
    in_order = np.sort(labels % draw.classes, axis=None).reshape(labels.shape)
    yield draw.probe("classes in order", params, many_inputs, labels=in_order)
    if draw.cost.takes_labels or draw.targets == "one-hot":
        return
    few, all_of_many = (7, *draw.network.out_shape), (many, *draw.network.out_shape)
    shares = draw.random.dirichlet(np.ones(draw.classes), 7).reshape(few)
    yield draw.probe("soft targets", params, few_inputs, shares)
    if draw.targets != "any":
        return
    yield draw.probe("targets of any sign", params, few_inputs, 30 * draw.random.normal(size=few))
    yield draw.probe("tiny targets", params, few_inputs, 1e-4 * draw.random.normal(size=few))
    for number in (0.0, 0.5, 1.0):
        yield draw.probe(f"all targets {number}", params, few_inputs, np.full(few, number))

    def signs(shape: tuple[int, ...]) -> np.ndarray:
        return draw.random.uniform(0.5, 1.5, shape) * draw.random.choice([-1, 1], shape)

    yield draw.probe("huge errors", params, few_inputs, 1e5 * signs(few))
    # Of these gradients only what is above the rounding of the outputs is a digit: so a yardstick that is ample.
    outputs, _ = draw.forward(params, few_inputs)
    for size in (1e-2, 1e-4, 1e-8):
        yield draw.probe(f"errors of {size:g}", params, few_inputs, outputs + size * signs(few), size=10)
    yield draw.probe("cost of 0", params, few_inputs, outputs, size=10)
    errors = signs(few).reshape(7, -1)
    cancelling = (errors - errors.mean(axis=1, keepdims=True)).reshape(few)
    yield draw.probe("errors that add up to 0", params, few_inputs, outputs + cancelling, size=10)
    outputs, _ = draw.forward(params, many_inputs)
    sizes = np.geomspace(1e-6, 1e2, many)[draw.random.permutation(many)]
    errors = signs(all_of_many) * sizes.reshape(-1, *[1] * len(draw.network.out_shape))
    yield draw.probe("errors of every size", params, many_inputs, outputs + errors)


def _of_calls(draw: _Drawing, first: Probe) -> list[Probe]:
    """A point that was there before, with other parameters, inputs and targets in between."""
    inputs, targets = first.batch
    params = draw.params()
    other_inputs = draw.inputs(first.params, len(inputs))
    return [
        draw.probe("other parameters", params, draw.inputs(params, len(inputs)), targets),
        draw.probe("other inputs", first.params, other_inputs, targets),
        draw.probe("other targets", first.params, inputs, np.roll(targets, 1, axis=0)),
        first._replace(name=f"{first.name}, again"),
    ]


# What is drawn: shape -> numbers, or leaf -> leaf.


def _ordinary_params(network: Network, random: np.random.RandomState) -> Params:
    def leaf(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        return np.asarray(random.normal(size=shape) / (shape[-1] ** 0.5 if len(shape) > 1 else 2))

    return jax.tree.map(lambda x: leaf(x.shape), network.params_like)


def _ordinary(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """In (-1, 1), and a third of them exactly 0."""
    inputs = random.uniform(-1, 1, shape)
    inputs.reshape(-1)[::3] = 0
    return inputs


def _pixels(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """In [0, 1], with many that are exactly 0 or 1."""
    return np.clip(random.uniform(-0.3, 1.1, shape), 0, 1)


def _of_every_size(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Examples that are 1 to 1e-6 in size."""
    return _ordinary(random, shape) * 10 ** random.uniform(-6, 0, (shape[0], *[1] * (len(shape) - 1)))


def _constant(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Every example holds one number, everywhere."""
    return np.broadcast_to(random.uniform(-1, 1, (shape[0], *[1] * (len(shape) - 1))), shape).copy()


def _with_blank(inputs: np.ndarray, rows: list[int]) -> np.ndarray:
    changed = inputs.copy()
    changed[rows] = 0
    return changed


def _with_zeros(leaf: np.ndarray) -> np.ndarray:
    """The first neuron of every layer gets no weight and no bias, so its pre-activation is exactly 0 in any dtype."""
    changed = leaf.copy()
    if leaf.ndim:
        changed[:1] = 0
    else:
        changed[...] = 0
    return changed


def _near_kinks(leaf: np.ndarray) -> np.ndarray:
    """Every other neuron has a pre-activation of some 1e-5, on either side of 0."""
    changed = leaf.copy()
    if leaf.ndim:
        changed[::2] *= 1e-5
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


def _with_equal_windows(leaf: np.ndarray) -> np.ndarray:
    """Every other channel of a convolution sees nothing, and is above 0: all numbers of it are equal."""
    changed = leaf.copy()
    if leaf.ndim > 2:
        changed[..., ::2] = 0
    return np.abs(changed) if leaf.ndim == 1 else changed


def _with_large_rows(leaf: np.ndarray) -> np.ndarray:
    """Some neurons have weights and a bias that are 100 times as large, and are read by weights that are as small."""
    changed = leaf.copy()
    if leaf.ndim:
        changed[1::4] *= 100
    if leaf.ndim > 1:
        changed[:, 1::4] /= 100
    return changed


def _with_equal_rows(params: Params) -> Params:
    """All neurons of a layer are equal, but for the last one: there a softmax would cancel all that comes back."""
    leaves, tree = jax.tree.flatten(params)
    last = max((i for i, leaf in enumerate(leaves) if leaf.ndim > 1), default=len(leaves))
    equal = [np.broadcast_to(leaf[:1], leaf.shape).copy() if leaf.ndim else leaf for leaf in leaves[:last]]
    return tree.unflatten([*equal, *leaves[last:]])


def _with_first_matrix_divided(params: Params, by: float) -> Params:
    leaves, tree = jax.tree.flatten(params)
    first = next((i for i, leaf in enumerate(leaves) if leaf.ndim > 1), None)
    return tree.unflatten([leaf / by if i == first else leaf for i, leaf in enumerate(leaves)])


# What the network is asked.


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))


def _by_position(network: Network, cost: Cost) -> bool:
    """Whether the target of an example is a label for each of many positions, found out from shapes."""
    if not cost.takes_labels or len(network.out_shape) < 2:
        return False
    outputs = jax.ShapeDtypeStruct(network.out_shape, jnp.float32)
    labels = jax.ShapeDtypeStruct(network.out_shape[:-1], jnp.int32)
    try:
        return jax.eval_shape(cost.value, outputs, labels).shape == ()
    except Exception:  # of somebody's own cost, which takes one label for all outputs and may say so in any words
        return False


def _classes(network: Network, cost: Cost) -> int:
    return network.out_shape[-1] if _by_position(network, cost) else _size(network.out_shape)


def _counted(network: Network, cost: Cost, examples: int, first: int) -> Shaped[np.ndarray, "B *T"]:
    """A label for each example, or for each of its positions: one number after the other."""
    shape = (examples, *network.out_shape[:-1]) if _by_position(network, cost) else (examples,)
    return first + np.arange(_size(shape)).reshape(shape)


def _as_targets(network: Network, cost: Cost, labels: np.ndarray) -> np.ndarray:
    """Of classes, counted round and round: as whole numbers where the cost takes labels, otherwise one-hot."""
    classes = _classes(network, cost)
    labels = labels % classes
    if cost.takes_labels:
        return labels.astype(np.int32)
    return np.eye(classes)[labels].reshape(len(labels), *network.out_shape)


def _sizes(network: Network, quick: bool) -> tuple[int, ...]:
    """Of the batches, from the smallest to the largest."""
    leaves = jax.tree.leaves(network.params_like)
    if quick:
        sizes = {*QUICK_SIZES}
    else:
        first = next((len(leaf.shape) and leaf.shape[0] for leaf in leaves), 1)
        widths = {_size(network.in_shape), first, _size(network.out_shape)}
        sizes = {*SIZES, *(width for width in widths if 1 <= width <= LARGEST_WIDTH)}
        if max(sizes) <= LARGE:
            sizes.add(LARGEST)
    numbers = sum(_size(leaf.shape) for leaf in leaves)
    return tuple(sorted(n for n in sizes if n in QUICK_SIZES + SIZES or n * numbers <= MOST_NUMBERS))


def _forward_in_blocks(network: Network) -> Callable[[Params, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`forward(params, inputs) -> (outputs, steady)` in float64, compiled once, for whatever number of examples.

    steady: (B,), whether each example has all its ReLU on the same sides of 0 when every parameter changes by 1e-5 of
        its size: some 100 times what rounding in float32 does.
    """

    @jax.jit
    def block(params: Params, inputs: Any) -> tuple[Any, list]:
        def one(x: Any) -> tuple[Any, list]:
            sides = []
            for layer, layer_params in zip(network.layers, params, strict=True):
                if layer.name == "relu":
                    sides.append(x > 0)
                x, _ = layer.forward(layer_params, x)
            return x, sides

        return jax.vmap(one)(inputs)

    def forward(params: Params, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            outputs, sides = _in_blocks(partial(block, params), inputs)
            steady = np.ones(len(inputs), bool)
            random = np.random.RandomState(0)
            for _ in range(4) if sides else ():
                nudged = jax.tree.map(lambda p: p * (1 + 1e-5 * random.normal(size=p.shape)), params)
                _, others = _in_blocks(partial(block, nudged), inputs)
                for side, other in zip(sides, others, strict=True):
                    steady &= (side == other).reshape(len(inputs), -1).all(axis=1)
        return outputs, steady

    return forward


def _finite_in_blocks(draw: _Drawing) -> Callable[[Probe], bool]:
    """Whether the cost and its derivative are finite at a probe and at its yardstick, in float32 too.

    Of the squared error they always are.
    """
    each = jax.jit(jax.vmap(jax.value_and_grad(draw.cost.value)))

    def is_finite(probe: Probe) -> bool:
        if draw.cost.value is squared_error.value:
            return True
        outputs, _ = draw.forward(probe.params, probe.batch[0])
        assert probe.yardstick is not None
        with jax.enable_x64(False):
            found = [_in_blocks(each, outputs, batch[1]) for batch in (probe.batch, probe.yardstick[1])]
        return all(np.isfinite(x).all() for x in jax.tree.leaves(found))

    return is_finite


def _in_blocks(function: Callable, *arrays: np.ndarray) -> Any:
    """`function(*arrays)`, which works on rows, called with so many rows at once that it is compiled once.

    Under JAX's switch for float64 as it is: where it is off, floats are cast to float32.
    """
    rows = len(arrays[0])
    results = []
    for start in range(0, rows, BLOCK):
        block = np.arange(start, start + BLOCK).clip(max=rows - 1)  # the last row fills up
        results.append(jax.tree.map(np.asarray, function(*(x[block] for x in arrays))))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:rows], *results)
