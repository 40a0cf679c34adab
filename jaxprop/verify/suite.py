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
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from jaxprop.contracts import takes_integers
from jaxprop.costs import Cost, squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import Batch
from jaxprop.layers import Attention, Params
from jaxprop.networks import Activation, Network, mlp
from jaxprop.verify.points import Probe

Targets = Literal["any", "shares", "one-hot"]

FEW = 7  # examples of most probes
# 131 is more than a block of 128, odd, and leaves a remainder in blocks of 2, 4, 8 and so on.
QUICK_SIZES = (1, FEW, 131)
# 64 is a whole number of blocks of 2 to 64; 1025 leaves one example over in blocks of 2 to 1024.
SIZES = (1, 2, FEW, 64)
LARGEST, LARGEST_OF_MANY = 1025, 33  # the second where gradients of so many examples would fill the memory
LARGEST_WIDTH = 1024  # that is a size of a batch too
MOST_WIDTHS = 8
MOST_NUMBERS = 2**28  # in the gradients of all examples, where they do not come in factors: 2 GB in float64
BLOCK = 64  # examples that walk through the network together while probes are made
ATTEMPTS = 30  # to draw examples that are away from kinks


# Layers whose outputs grow as their inputs do.
LINEAR_ABOVE_0 = {"dense", "conv2d", "relu", "leaky_relu", "identity", "max_pool", "avg_pool", "flatten", "last"}
# How far the biases of a whole layer are moved, by the activation that follows, and how far for the yardstick; 0 is not
# at all. A sigmoid of -31 is 3e-14, and right ones are off by up to 6e-16: beside the yardstick's slope of 5e-4 some
# more is tolerated. Beyond -62 they all are 1e-27 or less. A slope of tanh is so small at half of that.
SHIFTS: dict[str, tuple[tuple[float, float], ...]] = {
    "sigmoid": ((-31, -7.7), (31, 7.7), (-62, -33)),
    "tanh": ((-16, -4.6), (16, 4.6)),
    "rnn": ((-16, -4.6), (16, 4.6)),
    "relu": ((-3, 0), (3, 0)),
    "leaky_relu": ((-3, 0), (3, 0)),
    "": ((-8, 0), (8, 0)),
}


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

    quick: batches of three sizes alone, so that less is compiled: 1, 7 and 131. Otherwise 1, 2, 7, 64, 1025, and the
        widths of the inputs, the outputs and what lies between, up to eight of them.
    targets: what is legal where the cost takes no labels: "any" numbers, "shares" that are not negative and add up to
        1, or "one-hot". By default any for `squared_error`, and shares for another cost. A cost that takes labels gets
        labels by default; `targets="shares"` asks for soft targets in their place, where it takes these too.

    A cost may be infinite or NaN at outputs that are 0 or 1 to the last bit: points where it is, or its gradient, are
    left out. Inputs may be any numbers. Widths and 1025 are left out as sizes of batches where the gradients of so many
    examples would take more than 2^28 numbers; 33 is there then.

    Batches of 7, and where it is not quick of 1 and 64, are for float64 and float32, all others for float64 alone: it
    shows more of what depends on the size of a batch. So are points whose yardstick is made for its rounding.

    Zeros, kinks and saturation are arranged for weights (out, in) with a bias (out,), as in a dense layer; where
    parameters are laid out in another way, add probes of your own. No pre-activation of a layer called "relu" is so
    near to 0 that rounding decides on which side it lies.

    Where the inputs are integers, they are tokens: the first array of the first layer's parameters is taken for the
    table that they are looked up in, and each of its rows is legal. Where the outputs are (T, classes), a cost that
    takes labels gets one for each of T positions, unless what it makes of these is no number.

    Raises `BadInput` on targets that are none of the three, and on integer inputs without a table.
    """
    if targets is not None:
        cost = cost._replace(takes_labels=False)
    else:
        targets = "any" if cost.value is squared_error.value else "shares"
    if targets not in get_args(Targets):
        raise BadInput(f"targets are {targets!r}: expected one of {', '.join(get_args(Targets))}")
    states = np.random.RandomState(0), np.random.RandomState(1)
    draw = _Drawing(network, cost, targets, *states, _forward_in_blocks(network), _kinds(network), quick)
    sizes = _sizes(network, quick)
    many = QUICK_SIZES[-1] if quick else SIZES[-1]
    of_sizes = [*_of_sizes(draw, sizes)]
    # What depends on the cost is drawn last, so that all else is the same for every cost; what went before comes last.
    of_points = [probe for kind in (_of_parameters, _of_layers, _of_inputs) for probe in kind(draw, many)]
    of_calls = [*_of_calls(draw, of_sizes[sizes.index(FEW)], sizes)]
    of_all_kinds = _of_all_kinds(draw, sizes[-1])
    of_the_cost = [probe for kind in (_of_outputs, _of_targets) for probe in kind(draw, many)]
    made = [*of_sizes, *of_points, *of_the_cost, of_all_kinds, *of_calls]
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

    others: what yardsticks are drawn with, and more that not every kind of targets has, so that all else is the same.
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
    quick: bool = False

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

    def steady(self, make: Callable[[], Params], inputs: np.ndarray) -> Params:
        """Parameters for these inputs, made again while a pre-activation is too near to a kink."""
        params = make()
        for _ in range(ATTEMPTS):
            if self.forward(params, inputs)[1].all():
                break
            params = make()
        return params

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
        measured_at: Params | None = None,
        dtype: str | None = None,
    ) -> Probe:
        """A point, with these targets or with those of these classes, and its yardstick.

        The yardstick has other targets, as large as these and at least of this size. Where errors cancel by accident in
        the one, they do not in the other, and where outputs are near their targets, in the other they are not.

        measured_at: the parameters of the yardstick, where they are others: it has these targets then.
        """
        if targets is None:
            targets = self.of_classes(self.labels(len(inputs)) if labels is None else labels)
        if measured_at is not None:
            yardstick = measured_at, (inputs, targets)
        elif self.targets == "any" and not self.cost.takes_labels:
            other = self.others.normal(size=targets.shape) * max(size, np.abs(targets).max())
            yardstick = params, (inputs, other)
        else:
            other = self.of_classes(self.others.randint(self.classes, size=self.counted(len(inputs)).shape))
            yardstick = params, (inputs, other)
        in_both = len(inputs) in ((FEW,) if self.quick else (1, FEW, SIZES[-1]))
        return Probe(name, params, (inputs, targets), yardstick, dtype if in_both else "float64")

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

    def probe(name: str, change: Callable, examples: int = FEW, labels: Any = None) -> Probe:
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
    yield probe("parameters of -1, 0 and 1", partial(_whole, draw.random))
    yield probe("parameters above 0", lambda leaf: np.abs(leaf) / (leaf.shape[-1] ** 0.5 if leaf.ndim > 1 else 1))
    for name, examples in (("equal neurons", FEW), ("equal neurons, many examples", many)):
        params = _with_equal_rows(draw.params())
        yield draw.probe(name, params, draw.inputs(params, examples))


def _of_layers(draw: _Drawing, many: int) -> Iterator[Probe]:
    """What is between the layers, at both ends: numbers of every size, and one layer after the other that is closed or
    open throughout. The inputs are ordinary."""
    names = [layer.name.split("(")[0] for layer in draw.network.layers]
    with_params = [k for k, of_layer in enumerate(draw.network.params_like) if jax.tree.leaves(of_layer)]
    last = with_params[-1] if with_params else 0

    def probe(name: str, change: Callable[[Params], Params], examples: int = FEW, at: Any = None, **more: Any) -> Probe:
        ordinary = draw.params()
        params = change(ordinary)
        return draw.probe(name, params, draw.inputs(params, examples), measured_at=at and at(ordinary), **more)

    # Weights that are so small let next to nothing pass to all layers before them.
    yield probe("tiny errors on the way back", lambda params: _times(params, {last: (1e-25, 1)}))
    between = set(names[:last])
    if len(with_params) > 1 and between <= LINEAR_ABOVE_0 | {"tanh"}:
        for size in (1e-20, 1e10)[: 1 if "tanh" in between else 2]:
            first, *middle, _ = with_params
            sizes = {first: (size, size), **dict.fromkeys(middle, (1, size)), last: (1 / size, 1)}
            yield probe(f"hidden numbers of {size:g}", partial(_times, by=sizes))
    if any("norm" in layer.name for layer in draw.network.layers):
        yield probe("large before a norm", lambda params: _times(params, {with_params[0]: (1e6, 1e6)}))
    if "attention" in repr(draw.network):
        yield probe("sharp attention", lambda params: _attending(params, 8), at=lambda params: params, dtype="float64")
        yield _of_tokens_alike(draw)
    for k, after in pairwise(with_params):
        if (names[k], names[k + 1]) == ("dense", "sigmoid"):
            # What is left of these sigmoids is 1e-4, for which the next weights make up.
            change = partial(_with_large_weights, closed=k, after=after)
            yield probe(f"large weights behind layer {k}", change, dtype="float64")
    for k in with_params:
        activation = names[k] if names[k] in SHIFTS else names[k + 1] if k + 1 < len(names) else ""
        for leaf in range(sum(len(x.shape) == 1 for x in jax.tree.leaves(draw.network.params_like[k]))):
            where = f"in layer {k}" if not leaf else f"in layer {k}, {leaf}"
            for shift, measured in SHIFTS.get(activation, SHIFTS[""]):
                made = probe(
                    f"biases of {shift:+g} {where}",
                    partial(_shifted, k=k, leaf=leaf, by=shift),
                    many if shift > 0 else FEW,
                    partial(_shifted, k=k, leaf=leaf, by=measured) if measured else lambda params: params,
                    dtype="float64",
                )
                # Outputs of 0 and 1 are not for each cost.
                if k < last or k + 1 == len(names) or draw.cost.value is squared_error.value:
                    yield made


def _of_tokens_alike(draw: _Drawing) -> Probe:
    """Rows that are large and nearly equal: scores of an attention that are large, and whose differences are not."""
    params = draw.params()
    inputs = draw.inputs(params, FEW)
    if draw.kinds.tokens:
        params = _times(params, {0: (1 / 12, 1 / 12)})
        leaves, tree = jax.tree.flatten(params)
        alike = [leaves[0] + 12 * draw.random.normal(size=leaves[0].shape[-1]), *leaves[1:]]
        return draw.probe("positions nearly alike", tree.unflatten(alike), inputs, dtype="float64")
    alike = inputs / 12 + 12 * draw.random.normal(size=inputs.shape[-1])
    return draw.probe("positions nearly alike", params, alike, dtype="float64")


def _of_outputs(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Outputs of every size, where nothing limits them: a softmax in the cost is fed with them."""
    k = len(draw.network.layers) - 1
    if not draw.network.layers[k].name.startswith(("dense", "positionwise(dense")):
        return

    def probe(name: str, change: Callable[[Params], Params], examples: int = FEW, **more: Any) -> Probe:
        params = change(draw.params())
        return draw.probe(name, params, draw.inputs(params, examples), **more)

    # Of so large outputs float32 has no digit that counts.
    for size in (30, 1e8):
        yield probe(f"outputs of {size:g}", lambda params, by=size: _times(params, {k: (by, 1)}), dtype="float64")
    if draw.classes < 2:
        return
    for size in (1000, -1000):
        change = partial(_shifted, k=k, leaf=-1, by=size, spread=1)
        yield probe(f"outputs around {size}", change, dtype="float64")
    yield probe("tied outputs", partial(_with_tied_outputs, k=k))
    if draw.cost.takes_labels:
        # The errors that are left are 1e-15: whatever is added to a share, or cut off from it, is larger. The yardstick
        # has errors of 1e-3.
        params = _times(draw.params(), {k: (0.01, 1)})
        inputs = draw.inputs(params, FEW)
        sure, less = (_of_last_class(params, k, by) for by in (34.0, 7.0))
        labels = draw.of_one_class(FEW)
        yield draw.probe("all sure and right", sure, inputs, labels=labels, measured_at=less, dtype="float64")


def _of_inputs(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Inputs of every kind; ordinary parameters."""
    if draw.kinds.tokens:
        yield from _of_tokens(draw, many)
        return
    params = draw.params()

    def probe(name: str, kind: Callable, examples: int = FEW, change: Callable = lambda inputs: inputs) -> Probe:
        return draw.probe(name, params, change(draw.inputs(params, examples, kind)))

    yield probe("pixels", _pixels, many)
    yield probe("black and white inputs", lambda random, shape: random.randint(0, 2, shape).astype(float))
    yield probe("negative inputs", lambda random, shape: -random.uniform(0.1, 1, shape))
    # Of the first weights' gradient float32 may lose digits below its smallest numbers: the yardstick's is larger.
    tiny = draw.inputs(params, FEW, lambda random, shape: 1e-31 * _ordinary(random, shape))
    tiny = draw.probe("tiny inputs", params, tiny)
    yield tiny._replace(yardstick=(params, (1e5 * tiny.batch[0], tiny.batch[1])))
    yield probe("inputs of every size", _of_every_size, many)
    yield probe("constant inputs", _constant)
    yield probe("blank example", _ordinary, change=lambda inputs: _with_blank(inputs, [1, 6]))
    yield probe("blank example, batch of 1", _ordinary, 1, lambda inputs: inputs * 0)
    yield probe("blank batch", _ordinary, change=lambda inputs: inputs * 0)
    # Each example twice, with two targets.
    yield probe("repeated examples", _ordinary, many, lambda inputs: inputs[np.arange(many) // 2])
    yield _one_example_repeated(draw, params)
    special = _special((FEW, *draw.network.in_shape))
    yield draw.probe("special examples", draw.steady(draw.params, special), special)
    # The first weights make up for the size of the inputs, or everything would be saturated.
    params = _with_first_matrices_divided(params, 255)
    yield probe("large inputs", lambda random, shape: random.randint(0, 256, shape).astype(float))
    params = _with_first_matrices_divided(draw.params(), 1e12)
    yield probe("huge inputs", lambda random, shape: 1e12 * _ordinary(random, shape))
    if len(draw.network.in_shape) > 2:
        yield from _of_pictures(draw)


def _one_example_repeated(draw: _Drawing, params: Params) -> Probe:
    once = draw.inputs(params, 1)
    labels = np.repeat(draw.counted(1), FEW, axis=0)
    return draw.probe("one example repeated", params, np.repeat(once, FEW, axis=0), labels=labels)


def _of_pictures(draw: _Drawing) -> Iterator[Probe]:
    """For windows that are moved over a picture: which of several equal numbers is the largest, and what lies at the
    edge, where a stride may leave rows and columns over."""
    for name, sign in (("window ties", 1), ("window ties below 0", -1), ("window ties at 0", 0)):
        params = jax.tree.map(partial(_with_equal_windows, sign), draw.params())
        inputs = draw.inputs(params, FEW, lambda random, shape: random.randint(0, 2, shape) / 1.0)
        # Two chessboards: in each window the largest are those of a diagonal, of which one comes first by rows and
        # another one by columns.
        inputs[:2] = np.indices(inputs.shape).sum(axis=0)[:2, :, :, :1] % 2
        yield draw.probe(name, params, inputs)
    params = draw.params()
    inside = (slice(None), slice(1, -1), slice(1, -1))

    def edges(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        inputs = random.uniform(0.1, 1, shape)
        inputs[inside] = 0
        return inputs

    yield draw.probe("edges alone", params, draw.inputs(params, FEW, edges))


def _of_tokens(draw: _Drawing, many: int) -> Iterator[Probe]:
    """Tokens that a table is looked up with: whoever adds up what comes back for one row, must add up all of it."""
    params, tokens = draw.params(), draw.kinds.tokens

    def probe(name: str, kind: Kind, examples: int = FEW) -> Probe:
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
    few_inputs, many_inputs = draw.inputs(params, FEW, pixels), draw.inputs(params, many, pixels)
    yield draw.probe("one class", params, few_inputs, labels=draw.of_one_class(FEW))
    yield draw.probe("one class, many examples", params, many_inputs, labels=draw.of_one_class(many))
    labels = draw.labels(many)
    in_order = np.sort(labels % draw.classes, axis=None).reshape(labels.shape)
    yield draw.probe("classes in order", params, many_inputs, labels=in_order)
    if draw.cost.takes_labels or draw.targets == "one-hot":
        return
    few, all_of_many = (FEW, *draw.network.out_shape), (many, *draw.network.out_shape)
    shares = draw.random.dirichlet(np.ones(draw.classes), FEW).reshape(few)
    yield draw.probe("soft targets", params, few_inputs, shares)
    if draw.targets != "any":
        return
    yield draw.probe("targets of any sign", params, few_inputs, 30 * draw.random.normal(size=few))
    yield draw.probe("tiny targets", params, few_inputs, 1e-4 * draw.random.normal(size=few))
    for number in (0.0, 0.5, 1.0, -1.0):
        yield draw.probe(f"all targets {number}", params, few_inputs, np.full(few, number))
    # Outputs between 0 and 1 all lie on the same side of these.
    yield draw.probe("all targets 0.0, many examples", params, many_inputs, np.zeros(all_of_many))
    # What stands for a target that is missing, or for a class, in one program or the other.
    special = np.resize([-1.0, -100.0, 255.0, 1.0, 0.0, 2.0, -0.5, 10.0, -2.0], few)
    yield draw.probe("special targets", params, few_inputs, special)

    def signs(shape: tuple[int, ...]) -> np.ndarray:
        return draw.random.uniform(0.5, 1.5, shape) * draw.random.choice([-1, 1], shape)

    yield draw.probe("huge errors", params, few_inputs, 1e12 * signs(few))
    # Of these gradients only what is above the rounding of the outputs is a digit: so a yardstick that is ample.
    outputs, _ = draw.forward(params, few_inputs)
    for size in (1e-2, 1e-4, 1e-8):
        yield draw.probe(f"errors of {size:g}", params, few_inputs, outputs + size * signs(few), size=10)
    # In float64 the outputs are known to 1e-15, and the yardstick's errors of 0.01 allow for 1e-13.
    nearest = draw.probe("errors of 1e-12", params, few_inputs, outputs + 1e-12 * signs(few), dtype="float64")
    yield nearest._replace(yardstick=(params, (few_inputs, outputs + 1e-2 * signs(few))))
    # Without parameters the outputs are known to the last bit, and two examples have no error at all.
    nothing = jax.tree.map(np.zeros_like, params)
    known, _ = draw.forward(nothing, few_inputs)
    met = draw.of_classes(draw.labels(FEW))
    met[[1, 4]] = known[[1, 4]]
    yield draw.probe("two targets met", nothing, few_inputs, met)
    yield draw.probe("cost of 0", params, few_inputs, outputs, size=10)
    errors = signs(few).reshape(FEW, -1)
    cancelling = (errors - errors.mean(axis=1, keepdims=True)).reshape(few)
    yield draw.probe("errors that add up to 0", params, few_inputs, outputs + cancelling, size=10)
    outputs, _ = draw.forward(params, many_inputs)
    sizes = np.geomspace(1e-6, 1e2, many)[draw.random.permutation(many)]
    errors = signs(all_of_many) * sizes.reshape(-1, *[1] * len(draw.network.out_shape))
    yield draw.probe("errors of every size", params, many_inputs, outputs + errors)


def _of_all_kinds(draw: _Drawing, examples: int) -> Probe:
    """The largest batch, and in it examples of every kind: blank ones, some that come twice, errors of every size."""
    params = draw.params()
    inputs = draw.inputs(params, examples)[np.arange(examples) * 3 // 4]
    if not draw.kinds.tokens:
        inputs = _with_blank(inputs, [examples // 5, examples // 2])
    labels = draw.labels(examples)
    if draw.targets != "any" or draw.cost.takes_labels:
        return draw.probe("examples of all kinds", params, inputs, labels=labels)
    outputs, _ = draw.forward(params, inputs)
    sizes = np.geomspace(1e-3, 1e1, examples)[draw.others.permutation(examples)]
    errors = draw.others.choice([-1.0, 1.0], outputs.shape) * sizes.reshape(-1, *[1] * (outputs.ndim - 1))
    return draw.probe("examples of all kinds", params, inputs, outputs + errors)


def _of_calls(draw: _Drawing, first: Probe, sizes: tuple[int, ...]) -> Iterator[Probe]:
    """A point that was there before, after others that differ from it in one thing: whatever a gradient is known again
    by, without that thing it is taken for another one. Then fewer examples than before."""
    params, (inputs, targets) = first.params, first.batch

    def probe(name: str, p: Params, x: np.ndarray, y: np.ndarray = targets) -> Probe:
        return draw.probe(name, p, x, y)

    def with_last_other(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.concatenate([mine[:-1], others[-1:]])

    yield probe("other parameters", draw.steady(draw.params, inputs), inputs)
    leaves, tree = jax.tree.flatten(params)
    for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params)):

        def with_one_other(i: int = i) -> Params:
            return tree.unflatten([*leaves[:i], jax.tree.leaves(draw.params())[i], *leaves[i + 1 :]])

        name = f"other {jax.tree_util.keystr(path)} alone"
        yield probe(name, draw.steady(with_one_other, inputs), inputs)
    others = draw.inputs(params, len(inputs))
    yield probe("other inputs", params, others)
    yield probe("other inputs after the first", params, np.concatenate([inputs[:1], others[1:]]))
    yield probe("another last input", params, with_last_other(inputs, others))
    yield probe("inputs in another order", params, inputs[::-1].copy())
    if not draw.kinds.tokens:
        yield probe("inputs that are 1e-9 larger", params, inputs + 1e-9)
    other_targets = np.roll(targets, 1, axis=0)
    yield probe("other targets", params, inputs, other_targets)
    yield probe("another last target", params, inputs, with_last_other(targets, other_targets))
    for name in ("again", "and once more"):
        yield first._replace(name=f"{first.name}, {name}")
    for examples in sizes[sizes.index(FEW) - 1 :: -1]:
        yield probe(f"the first {examples} of them", params, inputs[:examples], targets[:examples])


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


def _with_equal_windows(sign: int, leaf: np.ndarray) -> np.ndarray:
    """What a pooling sees is equal, above 0, below or at it: of every other channel everywhere, since that sees
    nothing; of the others, which see one place of a picture that is black and white, here and there."""
    changed = leaf.copy()
    if leaf.ndim > 2:
        changed[...] = 0
        changed[(leaf.shape[0] - 1) // 2, (leaf.shape[1] - 1) // 2, -1, 1::2] = sign or -1
    if leaf.ndim == 1:
        changed = sign * np.abs(changed)
    return changed


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


def _with_first_matrices_divided(params: Params, by: float) -> Params:
    """Of the first layer that has some."""
    first = next((k for k, layer in enumerate(params) if any(x.ndim > 1 for x in jax.tree.leaves(layer))), None)
    return params if first is None else _times(params, {first: (1 / by, 1)})


def _times(params: Params, by: dict[int, tuple[float, float]]) -> Params:
    """The weights of some layers, and their biases, multiplied by a number each."""

    def of_layer(k: int, layer: Any) -> Any:
        of_weights, of_biases = by.get(k, (1, 1))
        return jax.tree.map(lambda leaf: leaf * (of_weights if leaf.ndim > 1 else of_biases), layer)

    return tuple(of_layer(k, layer) for k, layer in enumerate(params))


def _shifted(params: Params, k: int, leaf: int, by: float, spread: float = 0.01) -> Params:
    """One of the biases of layer k moved, and its weights made weaker, so that what it makes lies close together."""
    leaves, tree = jax.tree.flatten(_times(params, {k: (spread, 1)})[k])
    biases = [i for i, x in enumerate(leaves) if x.ndim == 1]
    moved = [x + by if i == biases[leaf] else x for i, x in enumerate(leaves)]
    return (*params[:k], tree.unflatten(moved), *params[k + 1 :])


def _with_large_weights(params: Params, closed: int, after: int) -> Params:
    """A layer whose sigmoids are nearly 0, read by weights that are as much larger."""
    return _times(_shifted(params, closed, -1, -9), {after: (8000, 1)})


def _with_tied_outputs(params: Params, k: int) -> Params:
    """The first two outputs have no weights and one bias, above all others."""

    def leaf(x: np.ndarray) -> np.ndarray:
        changed = x.copy()
        if x.ndim == 1:
            changed[:2] = 5
        elif x.ndim:
            changed[:2] = 0
        return changed

    return (*params[:k], jax.tree.map(leaf, params[k]), *params[k + 1 :])


def _of_last_class(params: Params, k: int, by: float) -> Params:
    def leaf(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:-1], x[-1:] + by]) if x.ndim == 1 else x

    return (*params[:k], jax.tree.map(leaf, params[k]), *params[k + 1 :])


def _attending(params: Params, by: float) -> Params:
    """Queries and keys that are so much larger, in every attention, wherever it is."""

    def attention(x: Any) -> Any:
        return x._replace(Wq=x.Wq * by, Wk=x.Wk * by) if isinstance(x, Attention) else x

    return jax.tree.map(attention, params, is_leaf=lambda x: isinstance(x, Attention))


def _whole(random: np.random.RandomState, leaf: np.ndarray) -> np.ndarray:
    """Of each row of weights some four are 1 or -1, and all others 0; of biases most."""
    few = min(1.0, 4 / leaf.shape[-1]) if leaf.ndim > 1 else 0.8
    return random.choice([-1.0, 1.0], leaf.shape) * (random.uniform(size=leaf.shape) < few)


def _special(shape: tuple[int, ...]) -> np.ndarray:
    """Examples that stand out, one after the other: numbers that add up to exactly 0; all of them 1; all of them -1;
    the first one alone; the last one alone; ones and zeros in turn; and all of them 0, below it."""
    examples = np.zeros((shape[0], _size(shape[1:])))
    some, n = np.arange(examples.shape[1] // 2), examples.shape[1]
    examples[0, some], examples[0, n - 1 - some] = 0.25 + some % 8 / 8, -0.25 - some % 8 / 8
    examples[1], examples[2] = 1, -1
    examples[3, 0], examples[4, -1] = 1, 1
    examples[5, ::2] = 1
    examples[6] = -0.0
    return examples.reshape(shape)


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
    if quick:
        return QUICK_SIZES
    leaves = jax.tree.leaves(network.params_like)
    numbers = sum(_size(leaf.shape) for leaf in leaves)
    axes = (n for shape in (network.in_shape, network.out_shape, *(leaf.shape for leaf in leaves)) for n in shape)
    widths = dict.fromkeys((_size(network.in_shape), _size(network.out_shape), *axes))
    others = [n for n in widths if 1 <= n <= LARGEST_WIDTH and n not in SIZES][:MOST_WIDTHS]
    fitting = [n for n in (*others, LARGEST) if n * numbers <= MOST_NUMBERS]
    if LARGEST not in fitting:
        fitting.append(LARGEST_OF_MANY)
    return tuple(sorted({*SIZES, *fitting}))


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
