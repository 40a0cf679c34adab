"""L19: sixty-four networks from as many random starts, trained together, all learn to read; the start decides a little.

L19 says that the network does a good job on the training examples. One run may have been lucky. So here are sixty-four,
which take the same mini-batches and differ in their random start alone. `vmap` trains them in one compiled call: the
first layers of all are one matrix product. What the start decides is the spread of their accuracies. Another sixty-four
share one start and differ in their learning rate, from far too small to far too large.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, VERMILION, first_layer, new_figure, styled
from lab.running_example import BATCH_SIZE, LEARNING_RATE, SIZES, load

SLOWEST = 0.03  # learning rates: even steps on a log scale from here
FASTEST = 30.0  # to here
FILM = 0.936  # of MNIST's test digits: what the film's own network classifies correctly, by its published weights


@dataclass(frozen=True)
class ManyOptions(Options):
    """Train many networks at once, from different starts and at different rates."""

    networks: int = 64
    """How many of either kind."""


class Findings(NamedTuple):
    by_start: Float[np.ndarray, " K"]  # accuracy on the test digits
    by_rate: Float[np.ndarray, " K"]
    rates: Float[np.ndarray, " K"]
    best: Float[np.ndarray, "16 784"]  # weights of the first layer of the best network


def measure(options: ManyOptions) -> Findings:
    if options.networks < 2:
        raise jp.BadInput(f"--networks is {options.networks}: expected a whole number above 1")
    data = load(options)
    network = jp.mlp(SIZES)
    k = 4 if options.smoke else options.networks
    epochs = 60 if options.smoke else 200 if options.dataset == "digits" else 30
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=LEARNING_RATE)
    step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
    epoch = jax.jit(make_ensemble_epoch(step, jp.as_batch))
    evaluate = jax.jit(jax.vmap(jp.make_evaluate(network, jp.squared_error, jp.as_batch), (0, None)))
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    starts = jax.random.split(init_key, k)
    rates = jnp.geomspace(SLOWEST, FASTEST, k)

    with progress(2 * epochs, lines=16) as report:

        def train(kind: str, keys: jax.Array, learning_rates: jax.Array) -> Params:
            states = init_ensemble(network, optimizer, keys, learning_rates)
            fitting = jp.fit(epoch, states, data.train, key=order_key, batch_size=BATCH_SIZE, epochs=epochs)
            for after, metrics in fitting:
                states = after
                report(f"{k} {kind}, epoch {metrics.epoch}: mean cost {metrics.costs.mean():.4f}")
            return states.params

        from_starts = train("starts", starts, jnp.full(k, LEARNING_RATE))
        at_rates = train("rates", jnp.broadcast_to(starts[0], k), rates)
    by_start = np.asarray(evaluate(from_starts, data.test).accuracy, float)
    by_rate = np.asarray(evaluate(at_rates, data.test).accuracy, float)
    spread = f"sample s.d. {100 * by_start.std(ddof=1):.2f}, worst {by_start.min():.2%}"
    print(f"{k} starts: mean {by_start.mean():.2%}, {spread} of the test digits classified correctly")
    print(f"{k} rates: best {by_rate.max():.2%} at {rates[by_rate.argmax()]:.2g}, worst {by_rate.min():.2%}")
    best = np.asarray(from_starts[0].W[by_start.argmax()])
    return Findings(by_start, by_rate, np.asarray(rates, float), best)


def claims(found: Findings) -> list[Claim]:
    return [
        Claim(
            "L19",
            f"the worst of {len(found.by_start)} starts: fraction of the test digits classified correctly",
            float(found.by_start.min()),
            "at least",
            FILM,
            because="the film's own network reaches 93.6 % of MNIST: no start ends in a minimum that does worse",
        ),
        Claim(
            "L19",
            "standard deviation of that fraction over the starts",
            float(found.by_start.std(ddof=1)),
            "at most",
            0.01,
            because="the start decides less than a digit in a hundred",
        ),
    ]


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    return {
        "starts": [{"network": i, "accuracy": a} for i, a in enumerate(found.by_start)],
        "rates": [{"rate": r, "accuracy": a} for r, a in zip(found.rates, found.by_rate, strict=True)],
    }


@styled
def distribution(found: Findings) -> Figure:
    figure = new_figure(11, 4.5)
    starts, rates = figure.subplots(1, 2, width_ratios=(1, 1.2))
    starts.hist(100 * found.by_start, bins="auto", color=BLUE, edgecolor="white")
    starts.set(xlabel="test digits classified correctly, %", ylabel="networks", title="Each from its own start")
    starts.yaxis.get_major_locator().set_params(integer=True)
    rates.plot(found.rates, 100 * found.by_rate, "o", color=BLUE)
    on_the_left = f"rate on the left: {LEARNING_RATE:g}"
    rates.axvline(LEARNING_RATE, color=VERMILION, linestyle="--", label=on_the_left)
    rates.set(xscale="log", ylim=(0, 100), xlabel="learning rate", ylabel="test digits classified correctly, %")
    rates.set_title("Each at its own rate, from one start")
    rates.xaxis.set_major_formatter("{x:g}")
    rates.legend(loc="lower left")
    title = f"{len(found.by_start)} networks: the start decides little, the rate a lot"
    figure.suptitle(title, x=0.01, ha="left", size=16)
    return figure


def figures(found: Findings) -> dict[str, Figure]:
    return {"many_seeds": distribution(found), "first_layer": first_layer(found.best)}


def finding(found: Findings) -> str:
    return (
        f"{len(found.by_start)} networks from as many starts classify {found.by_start.mean():.2%} of the test digits "
        f"correctly in the mean, with a standard deviation of {found.by_start.std(ddof=1):.2%}; the worst "
        f"{found.by_start.min():.2%}, the best {found.by_start.max():.2%}."
    )


LOOK_AT = {
    "many_seeds": "How narrow the heap on the left is, and how wide the range of good rates on the right.",
    "first_layer": "What the sixteen neurons of the best network look for.",
}
EXPERIMENT = Experiment("many_seeds", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: ManyOptions) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, ManyOptions))
