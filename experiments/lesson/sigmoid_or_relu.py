"""L1, L8: with sigmoids or with ReLUs the network learns to read, if each gets the learning rate that suits it.

L1 and L8 say: two hidden layers of 16 neurons; the activation of each is a weighted sum of those before plus a bias,
passed through a sigmoid or a ReLU. Which of the two it is matters on the way back. A sigmoid's slope is at most 1/4, so
that two hidden layers of them shrink a wish at least 16 times, where ReLUs that are awake do not shrink it at all. So
the ReLU network wants a smaller learning rate; at the sigmoids' rate its neurons die, that is, they are 0 for every
picture, and a neuron that is 0 has no slope to learn by.

That a sigmoid network's first layer hardly moves is true of the start only. Its weights grow, and at the end the first
layer's gradient is the largest of the three.

Look at the order of the three curves at the start and at the end, and at the rates at which each kind learns best.
"""

import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.run.ensembles import init_ensemble
from jaxprop.networks import Activation
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lesson.sigmoid_or_relu_figures import gradients_figure, rates_figure
from lesson.sigmoid_or_relu_measures import GRADIENTS, make_look, make_training

ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu")
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
EPOCHS = {"digits": (70, 15)}  # and the fewest steps from look to look; (10, 100) for the others
NETWORKS = 5  # of each kind and rate, trained together
Row = dict[str, Any]


class Setting(NamedTuple):
    activation: Activation
    rate: float


Findings = dict[Setting, list[Row]]  # rows along training, means over the networks


def measure(options: Options) -> Findings:
    data = running_example.load(options)
    rates = (0.1, 3.0) if options.smoke else RATES
    epochs, unit = EPOCHS.get(options.dataset, (10, 100))
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    order = [
        jp.epoch_order(jax.random.fold_in(order_key, i), len(data.train.labels), running_example.BATCH_SIZE)
        for i in range(epochs)
    ]
    parts = np.concatenate(order).reshape(-1, unit, running_example.BATCH_SIZE)
    looks = {*np.geomspace(1, len(parts), 16).astype(int)}  # after so many parts, more and more rarely

    found: Findings = {}
    with progress(len(ACTIVATIONS) * len(rates)) as report:
        for activation in ACTIVATIONS:
            network = jp.mlp(running_example.SIZES, activation)
            train, look = make_training(network), make_look(network, activation, data)
            for rate in rates:
                states = init_ensemble(network, optax.sgd(rate), jax.random.split(init_key, NETWORKS))
                rows = [{"steps": 0, **look(states.params)}]
                for i, part in enumerate(parts, start=1):
                    states = train(rate, states, data.train, part)
                    if i in looks:
                        rows.append({"steps": i * unit, **look(states.params)})
                found[Setting(activation, rate)] = rows
                report(f"{activation}, rate {rate:g}: {rows[-1]['accuracy']:.1%} of the test digits read rightly")
    return found


def best(found: Findings, activation: Activation) -> Setting:
    """The setting that ends with the lowest cost. A cost that is no number is the worst."""
    costs = {setting: rows[-1]["cost"] for setting, rows in found.items() if setting.activation == activation}
    return min(costs, key=lambda setting: np.nan_to_num(costs[setting], nan=np.inf))


def claims(found: Findings) -> list[Claim]:
    sigmoid, relu = (best(found, activation) for activation in ACTIVATIONS)
    first, _, output = GRADIENTS
    start, end = found[sigmoid][0], found[sigmoid][-1]
    read = [
        Claim(
            "L1", f"with {setting.activation} at its best rate, {setting.rate:g}: share of the test digits whose "
            f"brightest output is the right one, mean over networks",
            found[setting][-1]["accuracy"], "at least", 0.9,
            because="nine times what guessing gives",
        )
        for setting in (sigmoid, relu)
    ]  # fmt: skip
    return [
        *read,
        Claim(
            "L8", "best learning rate of the ReLU networks as a share of that of the sigmoid networks",
            relu.rate / sigmoid.rate, "at most", 0.34,
            because="one rate of the sweep less at least, since a ReLU's slope is 1 and a sigmoid's at most 1/4",
        ),
        Claim(
            "L8", "before the first step, gradient of the first layer with ReLUs as a multiple of that with sigmoids",
            found[relu][0][first] / start[first], "at least", 4.0,
            because="at least 16 for neurons that are awake, by two slopes of 1/4; half of the ReLUs are not",
        ),
        Claim(
            "L8", "with sigmoids before the first step, gradient of the first layer as a multiple of the output "
            "layer's",
            start[first] / start[output], "at most", 0.5,
            because="two slopes of 1/4 make it smaller, more inputs larger",
        ),
        Claim(
            "L8", "the same at the end of training",
            end[first] / end[output], "at least", 1.0,
            because="weights that have grown make up for the slopes",
        ),
    ]  # fmt: skip


def tables(found: Findings) -> dict[str, list[Row]]:
    return {"sigmoid_or_relu": [{**s._asdict(), **row} for s, rows in found.items() for row in rows]}


def figures(found: Findings) -> dict[str, Figure]:
    settings = [best(found, activation) for activation in ACTIVATIONS]
    courses, rates = {s.activation: found[s] for s in settings}, {s.activation: s.rate for s in settings}
    ends = {a: {s.rate: rows[-1] for s, rows in found.items() if s.activation == a} for a in ACTIVATIONS}
    return {
        "gradients": gradients_figure(courses, rates, GRADIENTS),
        "learning_rates": rates_figure(courses, rates, ends),
    }


EXPERIMENT = Experiment("sigmoid_or_relu", measure, claims, tables, figures, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
