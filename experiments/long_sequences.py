"""Long sequences: what of the gradient comes back through many steps, predicted and measured, in an RNN and an LSTM.

A recurrent network reads a picture row by row, 28 numbers at a time, and then D blank rows. Only then is it asked for
the digit, so the gradient has D steps to go before it meets the first row with ink. Each step multiplies it by a
Jacobian. Where the state is at rest, which blank rows lead to, that is, with o, i and f for the gates there,

    RNN     h[t] = tanh(U h[t-1])          J = U                   U = gain Q
    LSTM    c[t] = f c[t-1] + i tanh(z)    J = f 1 + i o U_g       U_g = Q, i = o = 1/2, f = sigmoid(forget bias)

with an orthogonal Q. Both are normal matrices: of a gradient that points anywhere, k steps keep sqrt(mean |λ|^2k), λ
being the eigenvalues (Bengio et al., "Learning long-term dependencies with gradient descent is difficult", 1994;
Pascanu et al., "On the difficulty of training recurrent neural networks", 2013). For the RNN that is gain^k.

Rest is where blank rows lead only if no |λ| is above 1. An RNN with a gain of 1 comes to rest slowly, its mean square
as s / (1 + 2 s k), since tanh(h) is about h - h^3/3 and a Gaussian h^4 has a mean of 3 s^2. Each step takes 1 - h^2 of
the gradient, so k steps keep 1 / sqrt(1 + 2 s k): a power of k, no exponential. With a gain above 1 the state never
rests. A step then multiplies the gradient by sqrt(gain^2 E[tanh'(z)^2]), z being Gaussian with the variance q that
q = gain^2 E[tanh(z)^2] says (Sompolinsky et al., "Chaos in random neural networks", 1988; Poole et al., "Exponential
expressivity in deep neural networks through transient chaos", 2016).

The gradient by hand has what is to be measured: it keeps the derivative by z[t] of every position, because the weights'
gradient is a sum of products with it (`OuterSum`). Then each network is trained, without blank rows and with many.

    uv run experiments/long_sequences.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, new_figure, styled

ROWS = 28  # of a picture, and numbers in each
WIDTH = 64
BLANK = 112  # rows, where the gradient is measured
BLANKS = (0, 112)  # where networks are trained
EXAMPLES = 100  # whose gradients are measured
TESTED = 1000  # examples at most
BATCH_SIZE = 50
STEPS = 400
RATE = 3e-3
CHANCE = 0.1  # of ten digits
ARITHMETIC = 0.01  # of a rate at rest: what is left of the way to rest after the ink


class Kind(NamedTuple):
    """A recurrent network before it is trained, and how it is drawn."""

    layer: str
    number: float  # the gain of an RNN's U, or the bias of an LSTM's forget gate
    colour: str

    @property
    def name(self) -> str:
        return f"{self.layer.upper()}, {'gain' if self.layer == 'rnn' else 'forget bias'} {self.number:g}"


KINDS = (
    Kind("rnn", 0.5, VERMILION),
    Kind("rnn", 1.0, BLUE),
    Kind("rnn", 1.5, GREEN),
    Kind("lstm", 0.0, ORANGE),
    Kind("lstm", 1.0, SKY),
    Kind("lstm", 3.0, PURPLE),
)
LAYERS = ("rnn", "lstm")
VANISHING, RESTING, CHAOTIC, FORGETTING, USUAL, KEEPING = (kind.name for kind in KINDS)


def of_layer(layer: str) -> list[Kind]:
    return [kind for kind in KINDS if kind.layer == layer]


class Findings(NamedTuple):
    """By the name of a network: what of its gradient is kept, predicted and measured, and what it learns."""

    kept: dict[str, Float[np.ndarray, " T"]]  # k steps back from the last row, of the gradient there
    predicted: dict[str, Float[np.ndarray, " T"]]  # the same for the blank rows; empty where there is no formula
    accuracy: list[dict[str, Any]]  # a row for each network and number of blank rows


def make(layer: str, blank: int) -> jp.Network:
    """Reads a picture of 28 rows and so many blank ones, then says the digit."""
    return jp.Network((getattr(jp, layer)(WIDTH), jp.last(), jp.dense(10)), (ROWS + blank, ROWS))


def draw(kind: Kind, network: jp.Network, key: PRNGKeyArray) -> Params:
    """First parameters whose square matrices are orthogonal: by the gain in an RNN, one for each gate in an LSTM."""
    init_key, *keys = jax.random.split(key, 5)
    first, *others = network.init(init_key)
    square = partial(jax.random.orthogonal, n=WIDTH, dtype=first.U.dtype)
    if kind.layer == "rnn":
        return (first._replace(U=kind.number * square(keys[0])), *others)
    U = jnp.concatenate([square(key) for key in keys])
    b = jnp.zeros((4, WIDTH), first.b.dtype).at[1].set(kind.number).reshape(-1)
    return (first._replace(U=U, b=b), *others)


def as_rows(blank: int, images: Any, labels: Any) -> tuple[Array, Array]:
    """Rows with ink and so many without, in JAX's own float type, and the labels."""
    inputs, labels = jp.as_batch(images, labels, in_shape=(ROWS, ROWS), one_hot=False)
    return jnp.pad(inputs, ((0, 0), (0, blank), (0, 0))), labels


# The gradient through time.


def through_time(
    kinds: Sequence[Kind], images: Any, labels: Any, key: PRNGKeyArray
) -> Iterator[tuple[Kind, np.ndarray, np.ndarray]]:
    """Each kind of one layer, with what of the gradient k = 0 ... T - 1 steps keep, measured and predicted, in float64.

    Measured: |dC/dz[T-1-k]| as a fraction of |dC/dz[T-1]|, the geometric mean over the examples.
    """
    with jax.enable_x64(True):
        network = make(kinds[0].layer, BLANK)
        batch = as_rows(BLANK, images, labels)

        @jax.jit
        def walk(params: Params) -> tuple[Array, Array]:
            _, grads = jp.per_example(network, jp.softmax_cross_entropy)(params, batch)
            states, _ = jax.vmap(network.layers[0].forward, (None, 0))(params[0], batch[0])
            return jnp.linalg.norm(grads[0].W.dz, axis=-1), jnp.mean(states**2, axis=(0, 2))

        for kind in kinds:
            params = draw(kind, network, key)
            norms, squares = map(np.asarray, walk(params))
            kept = np.exp(np.mean(np.log(norms / norms[:, -1:]), axis=0))[::-1]
            yield kind, kept, prediction(kind, np.asarray(params[0].U), float(squares[ROWS - 1]))


def prediction(kind: Kind, U: Float[np.ndarray, "out width"], s: float) -> np.ndarray:
    """What k steps through blank rows keep by the formulas above; none for an LSTM that does not come to rest.

    s: the mean square of the state where the ink ends, which the RNN with a gain of 1 needs.
    """
    k = np.arange(BLANK + 1)
    if kind.layer == "rnn" and kind.number == 1:
        # The gradient starts at the end, where the state is smallest: what is kept of the whole way, over what is kept
        # of the part before the last k steps.
        return np.sqrt((1 + 2 * s * (BLANK - k)) / (1 + 2 * s * BLANK))
    if kind.layer == "rnn" and kind.number > 1:
        return chaos_rate(kind.number) ** k
    J = U
    if kind.layer == "lstm":
        J = np.eye(WIDTH) / (1 + np.exp(-kind.number)) + U[2 * WIDTH : 3 * WIDTH] / 4
    sizes = np.abs(np.linalg.eigvals(J))
    if sizes.max() > 1:
        return np.empty(0)
    return np.sqrt(np.mean(sizes ** (2 * k[:, None]), axis=1))


def chaos_rate(gain: float) -> float:
    """By what a step multiplies the gradient of a wide RNN whose gain is above 1: see the top of this file."""
    z, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()
    q = 1.0
    for _ in range(1000):
        q = gain**2 * weights @ np.tanh(np.sqrt(q) * z) ** 2
    return float(gain * np.sqrt(weights @ (1 - np.tanh(np.sqrt(q) * z) ** 2) ** 2))


def rate(kept: np.ndarray, begin: int, end: int) -> float:
    """What a step multiplies the gradient by, between two numbers of steps."""
    return float((kept[end] / kept[begin]) ** (1 / (end - begin)))


# What the networks learn.


def train_all(options: Options, blanks: Sequence[int], steps: int, key: PRNGKeyArray) -> Iterator[dict[str, Any]]:
    """The test accuracy of each network with each number of blank rows; those of one layer are trained together."""
    dataset = running_example.load(options)
    test = running_example.select(dataset.test, slice(TESTED))
    order = running_example.mini_batches(key, len(dataset.train.labels), steps, BATCH_SIZE)
    # The gradient of a chaotic network is too long for any rate, so each is cut to a length of 1.
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))
    for blank in blanks:
        for layer in LAYERS:
            network = make(layer, blank)
            to_batch = partial(as_rows, blank)
            backprop = jp.backprop(network, jp.softmax_cross_entropy)
            epoch = jp.make_epoch(jp.make_step(backprop, optimizer), to_batch)

            def learn(params: Params, train: Any, network=network, to_batch=to_batch, epoch=epoch) -> Any:
                state, _ = epoch(jp.init_state(params, optimizer), train, order)
                inputs, labels = to_batch(*test)
                answers = jnp.argmax(jax.vmap(network.apply, (None, 0))(state.params, inputs), axis=-1)
                return jnp.mean(answers == labels)

            kinds = of_layer(layer)
            drawn = [draw(kind, network, key) for kind in kinds]
            together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
            found = jax.jit(jax.vmap(learn, (0, None)))(together, dataset.train)
            for kind, accuracy in zip(kinds, np.asarray(found), strict=True):
                yield {"network": kind.name, "blank_rows": blank, "accuracy": float(accuracy)}


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    images, labels = (np.asarray(x)[:EXAMPLES] for x in examples)
    draw_key, train_key = jax.random.split(jax.random.key(options.seed))
    blanks = (BLANK,) if options.smoke else BLANKS
    kept, predicted, accuracy = {}, {}, []
    with progress(len(KINDS) * (1 + len(blanks))) as show:
        for layer in LAYERS:
            for kind, measured, expected in through_time(of_layer(layer), images, labels, draw_key):
                kept[kind.name], predicted[kind.name] = measured, expected
                show(f"{kind.name}: {BLANK} blank rows keep {measured[BLANK]:.2g} of the gradient")
        for row in train_all(options, blanks, 4 if options.smoke else STEPS, train_key):
            accuracy.append(row)
            show(f"{row['network']}: {row['accuracy']:.1%} with {row['blank_rows']} blank rows")
    return Findings(kept, predicted, accuracy)


def claims(found: Findings) -> list[Claim]:
    learned = {row["network"]: row["accuracy"] for row in found.accuracy if row["blank_rows"] == BLANK}
    half = BLANK // 2
    by_formula = {
        name: rate(found.kept[name], 0, half) / rate(found.predicted[name], 0, half)
        for name in (VANISHING, CHAOTIC, FORGETTING, USUAL)
    }
    return [
        *(
            Claim(
                "vanishing",
                f"{name}: what a step back through blank rows multiplies the gradient by, as a multiple of what the "
                "eigenvalues of its Jacobian at rest say",
                by_formula[name],
                "within",
                1,
                because="the state is nearly at rest there",
                tolerance=ARITHMETIC,
            )
            for name in (VANISHING, FORGETTING, USUAL)
        ),
        Claim(
            "exploding",
            f"{CHAOTIC}: the same, as a multiple of what the theory of infinitely wide chaotic networks says",
            by_formula[CHAOTIC],
            "within",
            1,
            because=f"a width of {WIDTH} is not infinite",
            tolerance=0.03,
        ),
        Claim(
            "neither",
            f"{RESTING}: what {BLANK} blank rows keep of the gradient, as a multiple of 1 / sqrt(1 + 2 s {BLANK})",
            float(found.kept[RESTING][BLANK] / found.predicted[RESTING][BLANK]),
            "within",
            1,
            because="the formula takes the state for Gaussian and as large in every direction",
            tolerance=0.3,
        ),
        Claim(
            "neither",
            f"{KEEPING}: what {BLANK} blank rows keep of the gradient; expected is what its forget gate alone keeps",
            float(found.kept[KEEPING][BLANK]),
            "at least",
            float((1 + np.exp(-3)) ** -BLANK),
            because="what comes back by the other gates is added to it",
        ),
        *(
            Claim(
                "learning",
                f"{name}: test accuracy when {BLANK} blank rows follow the picture",
                learned[name],
                "at most",
                2 * CHANCE,
                because=f"nothing of the picture is left, so it guesses one of ten; {TESTED} pictures of uneven counts",
            )
            for name in (VANISHING, FORGETTING)
        ),
        Claim(
            "learning",
            f"the best of {RESTING}, {USUAL} and {KEEPING}, of whose gradients more than 1 % comes back: the same",
            max(learned[name] for name in (RESTING, USUAL, KEEPING)),
            "at least",
            3 * CHANCE,
            because=f"a gradient that comes back is needed and is not enough: with {STEPS} steps and seeds 0, 1 and 2 "
            "the best, an LSTM each time, had 0.43, 0.48 and 0.61, and the others from 0.11 to 0.31",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    kept = [
        {
            "network": name,
            "steps_back": k,
            "kept": float(kept[k]),
            "predicted": float(found.predicted[name][k]) if k < len(found.predicted[name]) else None,
        }
        for name, kept in found.kept.items()
        for k in range(len(kept))
    ]
    return {"gradient": kept, "accuracy": found.accuracy}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    return {"gradient": gradient_figure(found), "accuracy": accuracy_figure(found)}


def gradient_figure(found: Findings) -> Figure:
    """What of the gradient is kept, going back in time: RNNs on the left, LSTMs on the right."""
    figure = new_figure(11, 4.8)
    for axes, layer in zip(figure.subplots(1, 2, sharey=True), LAYERS, strict=True):
        for kind in of_layer(layer):
            kept, predicted = found.kept[kind.name], found.predicted[kind.name]
            label = kind.name.partition(", ")[2]
            axes.plot(kept, color=kind.colour, linewidth=2, label=label)
            axes.plot(predicted, color="black", linestyle=":", linewidth=1.2)
        axes.plot([], [], color="black", linestyle=":", label="predicted")
        axes.axvspan(BLANK, BLANK + ROWS - 1, color="0.92", zorder=0)
        axes.text(BLANK + ROWS / 2, 1e9, "rows\nwith ink", ha="center", va="top", fontsize=10, color="0.35")
        axes.set(
            yscale="log",
            yticks=[10.0**i for i in range(-30, 11, 10)],
            ylim=(1e-36, 1e11),
            xlim=(0, BLANK + ROWS - 1),
            title=layer.upper(),
        )
        axes.set(xlabel="steps back from the last row")
        axes.legend(loc="lower left")
    figure.axes[0].set(ylabel="|dC/dz|, as a fraction of that at the last row")
    return figure


def accuracy_figure(found: Findings) -> Figure:
    figure = new_figure(9, 4.2)
    axes = figure.subplots()
    blanks = list(dict.fromkeys(row["blank_rows"] for row in found.accuracy))
    each = 0.8 / len(KINDS)
    for i, kind in enumerate(KINDS):
        rows = [row for row in found.accuracy if row["network"] == kind.name]
        places = [blanks.index(row["blank_rows"]) + (i - (len(KINDS) - 1) / 2) * each for row in rows]
        bars = axes.bar(places, [row["accuracy"] for row in rows], each, color=kind.colour, label=kind.name)
        axes.bar_label(bars, [f"{row['accuracy']:.0%}" for row in rows], fontsize=8, padding=1)
    axes.axhline(CHANCE, color="black", linestyle=":", linewidth=1, label="guessing")
    axes.set(xticks=range(len(blanks)), xticklabels=[f"{blank} blank rows" for blank in blanks], ylim=(0, 1.05))
    axes.set(ylabel="fraction of test digits read", title="A picture, then blank rows, then the question")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def finding(found: Findings) -> str:
    kept = {name: found.kept[name][BLANK] for name in found.kept}
    learned = {row["network"]: row["accuracy"] for row in found.accuracy if row["blank_rows"] == BLANK}
    story = "; ".join(f"{name}: {kept[name]:.1g}, and {learned[name]:.0%} are read" for name in kept)
    return f"What {BLANK} blank rows keep of the gradient, and the test digits that are read after training. {story}."


LOOK_AT = {
    "gradient": "Dotted lines are predicted, and end where the ink begins. On this scale a straight line is a constant "
    "factor a step. A gain of 1 is no straight line: its gradient falls as a power of the steps. An LSTM whose forget "
    "gate is open does not come to rest, so it has no dotted line.",
    "accuracy": "On the left all learn. With many blank rows those whose gradient vanished only guess. A gradient that "
    "comes back is needed, and is not enough: of the others, which ones learn in so few steps depends on the seed.",
}
EXPERIMENT = Experiment("long_sequences", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
