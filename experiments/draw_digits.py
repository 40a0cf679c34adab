"""A transformer, all of whose backward passes are written by hand, learns to draw digits.

It reads a digit of 8 x 8 pixels as a row of tokens: first the class, then one pixel after another, each of 17 grey
levels. After each token it says how likely every level is for the next pixel. Trained on scikit-learn's digits, it
draws new ones: a class goes in, a level is drawn by those likelihoods, that goes in too, and so on for 64 pixels.

How well it knows digits is measured in bits per pixel on digits that it has not seen: how many bits it would take to
tell somebody who has the network what the next pixel is. Beside it stand two simple ways to do the same: how often each
level is found at each pixel of each class, and a logistic regression of each pixel on the class and the pixels before.

    uv run experiments/draw_digits.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import math
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Int
from matplotlib.figure import Figure, SubFigure

import jaxprop as jp
from jaxprop.data.digits import is_test
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, GREEN, ORANGE, VERMILION, new_figure, styled

SIDE = 8
PIXELS = SIDE * SIDE
LEVELS = 17
CLASSES = 10
EACH = 10  # digits drawn of each class
BATCH = 50


class Settings(NamedTuple):
    """Rate, decay and epochs are the best of nine settings that were tried on 300 of the training digits, held out."""

    width: int = 64
    depth: int = 2
    epochs: int = 40
    rate: float = 8e-3
    decay: float = 0.5  # of the weights, by AdamW


Digits = tuple[Int[np.ndarray, "N 64"], Int[np.ndarray, " N"]]  # levels and classes


class Findings(NamedTuple):
    """What was trained, drawn and measured."""

    parameters: int
    curves: list[dict[str, float]]  # an epoch: bits per pixel of the training and of the unseen digits
    bits: dict[str, float]  # per pixel, of the unseen digits, by who says how likely they are
    drawn: Int[np.ndarray, "10 each 64"]
    real: Int[np.ndarray, "10 each 64"]
    read: Int[np.ndarray, "10 each"]  # what a network that was trained on real digits takes the drawn ones for
    reader_accuracy: float  # of that network, on the unseen digits
    disagreement: float  # between the two gradients of the trained transformer, in float64


def load() -> tuple[Digits, Digits]:
    """Training and unseen digits, 1,500 and 297, as scikit-learn has them."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    levels, labels = pixels.astype(np.int32), labels.astype(np.int32)
    test = is_test(labels)
    return (levels[~test], labels[~test]), (levels[test], labels[test])


def as_tokens(levels: Any, labels: Any) -> tuple[Any, Any]:
    """What the transformer is given, and what it should say: 64 tokens, and the 64 pixels that follow them.

    The tokens 0 to 16 are levels, 17 to 26 the classes. The last pixel is said and not given.
    """
    return jnp.concatenate([LEVELS + labels[:, None], levels[:, :-1]], axis=1), levels


def train(
    digits: Digits, unseen: Digits, chosen: Settings, key: jax.Array
) -> tuple[jp.Network, Any, list[dict[str, float]]]:
    """The trained transformer and what it cost after each epoch."""
    network = jp.transformer(LEVELS + CLASSES, PIXELS, LEVELS, chosen.width, depth=chosen.depth)
    init_key, order_key = jax.random.split(key)
    steps = chosen.epochs * jp.steps_per_epoch(len(digits[1]), BATCH)
    schedule = optax.warmup_cosine_decay_schedule(0, chosen.rate, steps // 20, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=chosen.decay))
    start = jp.init_state(network.init(init_key), optimizer)
    step = jp.make_step(jp.backprop(network, jp.softmax_cross_entropy), optimizer)
    epoch = jax.jit(jp.make_epoch(step, as_tokens))
    cost = jax.jit(lambda params, digits: jp.loss(network, jp.softmax_cross_entropy)(params, as_tokens(*digits)))
    params, curves = start.params, []
    with progress(chosen.epochs) as show:
        calls = jp.fit(epoch, start, digits, key=order_key, batch_size=BATCH, epochs=chosen.epochs)
        for state, metrics in calls:
            bits = {
                name: bits_per_pixel(partial(cost, state.params), part)
                for name, part in (("training", digits), ("unseen", unseen))
            }
            curves.append({"epoch": metrics.epoch, **bits, "seconds": metrics.seconds})
            show(f"epoch {metrics.epoch}: {bits['training']:.3f} bits per pixel, unseen {bits['unseen']:.3f}")
            params = state.params
    return network, params, curves


def bits_per_pixel(cost: Any, digits: Digits, chunk: int = 300) -> float:
    """The mean of a cost in nats, a chunk at a time since each takes memory, in bits."""
    n = len(digits[1])
    parts = [tuple(x[i : i + chunk] for x in digits) for i in range(0, n, chunk)]
    return sum(float(cost(part)) * len(part[1]) for part in parts) / n / math.log(2)


def draw(network: jp.Network, params: Any, labels: Int[np.ndarray, " N"], key: jax.Array) -> Int[np.ndarray, "N 64"]:
    """New digits of these classes, one pixel after another, each level drawn as likely as the network says it is."""

    @jax.jit
    def run_through(labels: jax.Array, key: jax.Array) -> jax.Array:
        def next_pixel(levels: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            i, key = at
            tokens, _ = as_tokens(levels, labels)
            logits = jax.vmap(network.apply, (None, 0))(params, tokens)[:, i]
            return levels.at[:, i].set(jax.random.categorical(key, logits)), None

        blank = jnp.zeros((len(labels), PIXELS), jnp.int32)
        return jax.lax.scan(next_pixel, blank, (jnp.arange(PIXELS), jax.random.split(key, PIXELS)))[0]

    return np.asarray(run_through(jnp.asarray(labels), key))


def histogram_bits(digits: Digits, unseen: Digits) -> float:
    """By how often each level is found at each pixel of each class; every level counts once more than it was found."""
    counts = np.ones((CLASSES, PIXELS, LEVELS))
    np.add.at(counts, (digits[1][:, None], np.arange(PIXELS), digits[0]), 1)
    likely = counts / counts.sum(axis=2, keepdims=True)
    return float(-np.mean(np.log2(likely[unseen[1][:, None], np.arange(PIXELS), unseen[0]])))


def regression_bits(digits: Digits, unseen: Digits, decays: Sequence[float]) -> float:
    """By a softmax regression for each pixel on the class and the pixels before it, which all start from 0.

    Trained together by Adam with decaying weights, the decay chosen among these on every fifth training digit.
    """
    mask = jnp.tril(jnp.ones((PIXELS, PIXELS)), -1)

    def inputs(digits: Digits) -> Any:
        levels, labels = (jnp.asarray(x) for x in digits)
        return levels / 16.0, jax.nn.one_hot(labels, CLASSES), levels

    def nats(params: Any, given: Any) -> jax.Array:
        before, labels, levels = given
        logits = jnp.einsum("np,qp,qpl->nql", before, mask, params["pixels"])
        logits += jnp.einsum("nc,cql->nql", labels, params["classes"])
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), levels[..., None], axis=-1))

    def fit(given: Any, decay: float) -> Any:
        params = {"pixels": jnp.zeros((PIXELS, PIXELS, LEVELS)), "classes": jnp.zeros((CLASSES, PIXELS, LEVELS))}
        optimizer = optax.adamw(optax.cosine_decay_schedule(0.03, 300), weight_decay=decay)

        @jax.jit  # given as an argument: as a constant, XLA would spend seconds on what follows from it
        def descend(state: Any, given: Any) -> Any:
            def step(state: Any, _: Any) -> tuple[Any, None]:
                params, kept = state
                updates, kept = optimizer.update(jax.grad(nats)(params, given), kept, params)
                return (optax.apply_updates(params, updates), kept), None

            return jax.lax.scan(step, state, length=300)[0][0]

        return descend((params, optimizer.init(params)), given)

    fifth = np.arange(len(digits[1])) % 5 == 0
    kept_out, rest = (inputs((digits[0][which], digits[1][which])) for which in (fifth, ~fifth))
    decay = min(decays, key=lambda decay: float(nats(fit(rest, decay), kept_out))) if len(decays) > 1 else decays[0]
    return float(nats(fit(inputs(digits), decay), inputs(unseen))) / math.log(2)


def train_reader(digits: Digits, key: jax.Array) -> Any:
    """`read(levels) -> classes`: a network that was trained on the real training digits alone."""
    network = jp.mlp((PIXELS, 64, CLASSES))
    optimizer = optax.sgd(2.0)
    init_key, order_key = jax.random.split(key)

    def to_batch(levels: Any, labels: Any) -> Any:
        return levels / 16.0, jax.nn.one_hot(labels, CLASSES)

    epoch = jax.jit(jp.make_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer), to_batch))
    start = jp.init_state(network.init(init_key), optimizer)
    *_, (trained, _) = jp.fit(epoch, start, digits, key=order_key, batch_size=BATCH, epochs=100)
    outputs = jax.jit(jax.vmap(partial(network.apply, trained.params)))
    return lambda levels: np.argmax(outputs(np.asarray(levels, np.float32) / 16), axis=-1)


def disagreement(network: jp.Network, params: Any, digits: Digits) -> float:
    """The largest difference between the two gradients of five digits, of the per-example scale, in float64."""
    cost = jp.softmax_cross_entropy
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        batch = as_tokens(*(jnp.asarray(x[:5]) for x in digits))
        scale = jp.per_example_scale(jax.jit(jp.per_example(network, cost)), params, batch)
        by_jax, by_hand = (jax.jit(rule(network, cost)) for rule in (jp.autodiff, jp.backprop))
        found = jp.compare(by_jax, by_hand, params, batch, scale=scale)
    return max(np.inf if leaf.scaled_difference is None else leaf.scaled_difference for leaf in found.leaves)


def measure(options: Options) -> Findings:
    digits, unseen = load()
    chosen = Settings(width=16, depth=1, epochs=1) if options.smoke else Settings()
    train_key, draw_key, reader_key = jax.random.split(jax.random.key(options.seed), 3)
    network, params, curves = train(digits, unseen, chosen, train_key)
    labels = np.repeat(np.arange(CLASSES), EACH)
    drawn = draw(network, params, labels, draw_key)
    read = train_reader(digits, reader_key)
    real = np.stack([unseen[0][unseen[1] == label][:EACH] for label in range(CLASSES)])
    return Findings(
        parameters=jp.count_parameters(params),
        curves=curves,
        bits={
            "levels of each pixel and class": histogram_bits(digits, unseen),
            "regression on the pixels before": regression_bits(
                digits, unseen, (0.1,) if options.smoke else (0.03, 0.1, 0.3)
            ),
            "transformer": curves[-1]["unseen"],
        },
        drawn=drawn.reshape(CLASSES, EACH, PIXELS),
        real=real,
        read=read(drawn).reshape(CLASSES, EACH),
        reader_accuracy=float(np.mean(read(unseen[0]) == unseen[1])),
        disagreement=disagreement(network, params, unseen),
    )


def claims(found: Findings) -> list[Claim]:
    drawn = CLASSES * EACH
    best = min(bits for name, bits in found.bits.items() if name != "transformer")
    return [
        Claim(
            "drawing",
            f"of {drawn} drawn digits, the fraction that a network trained on real ones reads as what was asked for",
            float(np.mean(found.read == np.arange(CLASSES)[:, None])),
            "at least",
            0.9,
            because=f"that network reads {found.reader_accuracy:.1%} of the unseen real digits rightly",
        ),
        Claim(
            "drawing",
            "bits per pixel of unseen digits; expected is less than the better of the two simple ways needs",
            found.bits["transformer"],
            "at most",
            best,
            because="it sees the pixels before together, where the regression adds them up one by one",
        ),
        Claim(
            "backprop",
            "scaled difference between the gradient derived by hand and autodiff's, worst array, float64",
            found.disagreement,
            "at most",
            1e-12,
            because="sums of some thousand terms, a few ulps each; through attention, differences of near numbers",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    read = [
        {"class": label, "drawn": i, "read_as": int(found.read[label, i])}
        for label in range(CLASSES)
        for i in range(EACH)
    ]
    return {
        "cost": found.curves,
        "bits_per_pixel": [{"by": name, "bits": bits} for name, bits in found.bits.items()],
        "read": read,
    }


@styled
def figures(found: Findings) -> dict[str, Figure]:
    return {"drawn": sheet(found), "cost": curves(found)}


def sheet(found: Findings) -> Figure:
    """Real digits on the left, drawn ones on the right, a class a row; one that is read as another is framed."""
    figure = new_figure(10, 5.4)
    right = float(np.mean(found.read == np.arange(CLASSES)[:, None]))
    halves = figure.add_gridspec(1, 2)
    left_half, right_half = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    show(left_half, found.real, "Real digits", None)
    show(right_half, found.drawn, f"Drawn by the transformer: {right:.0%} are read as asked for", found.read)
    return figure


def show(half: SubFigure, digits: Int[np.ndarray, "10 each 64"], title: str, read: np.ndarray | None) -> None:
    """A class a row. read: what each is taken for, if anybody has read them."""
    half.suptitle(title, x=0.02, ha="left", fontsize=12)
    for (label, i), axes in np.ndenumerate(half.subplots(CLASSES, EACH)):
        axes.set(xticks=[], yticks=[])
        axes.imshow(digits[label, i].reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16)
        axes.spines[:].set(visible=True, color="lightgray", linewidth=0.5)
        if read is not None and read[label, i] != label:
            axes.spines[:].set(color=VERMILION, linewidth=2)
            # Inside of the frame, so that the rows of both halves stay level.
            behind = {"facecolor": VERMILION, "edgecolor": "none", "pad": 1.5}
            axes.text(7.3, 7.3, f"{read[label, i]}", fontsize=8, color="white", ha="right", va="bottom", bbox=behind)


def curves(found: Findings) -> Figure:
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    epochs = [row["epoch"] for row in found.curves]
    axes.plot(epochs, [row["training"] for row in found.curves], color=BLUE, label="transformer, training digits")
    axes.plot(
        epochs, [row["unseen"] for row in found.curves], "--", color=VERMILION, label="transformer, unseen digits"
    )
    for (name, bits), colour in zip(list(found.bits.items())[:2], (GREEN, ORANGE), strict=True):
        axes.axhline(bits, color=colour, linestyle=":", label=f"{name}, unseen digits")
    axes.set(xlabel="epoch", ylabel="bits per pixel", title="What it costs to say the next pixel")
    axes.legend()
    return figure


def finding(found: Findings) -> str:
    right = float(np.mean(found.read == np.arange(CLASSES)[:, None]))
    others = ", ".join(f"{bits:.2f} by the {name}" for name, bits in list(found.bits.items())[:2])
    return (
        f"{right:.0%} of the drawn digits are read as what was asked for; the transformer needs "
        f"{found.bits['transformer']:.2f} bits for a pixel of a digit that it has not seen, where it takes {others}."
    )


LOOK_AT = {
    "drawn": "Real digits on the left, drawn ones on the right, a class a row. One that is read as another is framed, "
    "with what it is read as in the corner.",
    "cost": "Where the two curves part, the transformer learns its training digits by heart. The dotted lines are what "
    "the two simple ways reach.",
}
EXPERIMENT = Experiment("draw_digits", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
