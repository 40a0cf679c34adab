"""L1, L8: with sigmoids or with ReLUs the network learns, if each gets the learning rate that suits it.

L1 and L8 say: two hidden layers of 16 neurons; the activation of each is a weighted sum of those before plus a bias,
passed through a sigmoid or a ReLU. Which of the two it is matters on the way back. A sigmoid's slope is at most 1/4, so
that two hidden layers of them shrink a gradient at least 16 times, where ReLUs that are active do not shrink it at all.
So the ReLU network wants a smaller learning rate; at the sigmoids' rate its neurons die, that is, they are 0 for every
picture, and a neuron that is 0 has no slope to learn by. The best rate is the one of five that ends at the lowest cost
on the training examples.

That a sigmoid network's first layer hardly moves is true of the start only. Its weights grow, and at the end the first
layer's gradient is the largest of the three.

    uv run experiments/lesson/sigmoid_or_relu.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.data.datasets import Dataset
from jaxprop.layers import Params
from jaxprop.networks import Activation
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled

ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu")
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
SMOKE_RATES = (0.1, 3.0)
CALLS = {"digits": (70, 15)}  # of the compiled training, and steps in each; (60, 100) on the others
LOOKS = 16  # along training, more and more rarely
NETWORKS = 5  # of each kind and rate, trained together
WATCHED = 1000  # examples on which gradients and activations are measured
GRADIENTS = ("first layer", "second layer", "output layer")
NAMES = {"sigmoid": "sigmoids", "relu": "ReLUs"}
STYLES: dict[str, dict[str, Any]] = {
    "sigmoid": {"color": BLUE, "marker": "o"},
    "relu": {"color": ORANGE, "marker": "s", "linestyle": "--"},
}
Row = dict[str, Any]


class Setting(NamedTuple):
    activation: Activation
    rate: float


Findings = dict[Setting, list[Row]]  # rows along training, means over the networks


def measure(options: Options) -> Findings:
    data = running_example.load(options)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    calls, steps = CALLS.get(options.dataset, (60, 100))
    order = running_example.mini_batches(order_key, len(data.train.labels), calls * steps)
    looks = np.unique(np.geomspace(1, calls, LOOKS).astype(int))  # after so many calls
    rates = SMOKE_RATES if options.smoke else RATES

    found: Findings = {}
    with progress(len(ACTIVATIONS) * len(rates)) as report:
        for activation in ACTIVATIONS:
            network = jp.mlp(running_example.SIZES, activation)
            train = make_training(network)
            look = make_look(network, data)
            for rate in rates:
                states = jp.init_ensemble(network, optax.sgd(rate), jax.random.split(init_key, NETWORKS))
                rows = [{"steps": 0, **look(states.params)}]
                for call, mini_batches in enumerate(np.split(order, calls), start=1):
                    states = train(rate, states, data.train, mini_batches)
                    if call in looks:
                        rows.append({"steps": call * steps, **look(states.params)})
                found[Setting(activation, rate)] = rows
                accuracy = rows[-1]["accuracy"]
                mean = f"{accuracy:.1%} of the test digits classified correctly, mean of {NETWORKS} networks"
                report(f"{activation}, rate {rate:g}: {mean}")
    return found


def make_training(
    network: jp.Network,
) -> Callable[[float, jp.State, jp.Examples, Int[np.ndarray, "steps B"]], jp.State]:
    """`train(rate, states, examples, order) -> states`, for an ensemble: one compilation for all rates."""

    @jax.jit
    def train(rate: Array, states: jp.State, examples: jp.Examples, order: Array) -> jp.State:
        step = jp.make_step(jp.backprop(network, jp.squared_error), optax.sgd(rate))
        after, _ = jp.make_ensemble_epoch(step, jp.as_batch)(states, examples, order)
        return after

    return train


def make_look(network: jp.Network, data: Dataset) -> Callable[[Params], Row]:
    """`look(params)`: what an ensemble is worth, how long its gradients are, and how many hidden neurons are idle."""
    watched = running_example.select(data.train, slice(WATCHED))
    inputs, targets = running_example.whole(watched)
    evaluate = jp.make_evaluate(network, jp.squared_error, jp.as_batch)
    backprop = jp.backprop(network, jp.squared_error)

    @jax.jit
    @jax.vmap
    def of_each(params: Params) -> dict[str, Array]:
        cost, grads = backprop(params, (inputs, targets))
        first, second, output = (jnp.linalg.norm(dense.W) for dense in grads[::2])
        return {
            "cost": cost,
            "accuracy": evaluate(params, data.test).accuracy,
            "idle": idle(network, params, jnp.asarray(inputs)),
            **dict(zip(GRADIENTS, (first, second, output), strict=True)),
        }

    return lambda params: {name: float(jnp.mean(values)) for name, values in of_each(params).items()}


def idle(network: jp.Network, params: Params, inputs: Float[Array, "N 784"]) -> Float[Array, ""]:
    """Fraction of the hidden neurons that no gradient gets through: ReLUs dead to all inputs, sigmoids for an input."""
    a = inputs
    fractions = []
    hidden = list(zip(network.layers, params, strict=True))[:-2]
    for layer, layer_params in hidden:
        a, _ = jax.vmap(layer.forward, (None, 0))(layer_params, a)
        if layer.name == "relu":
            fractions.append(jnp.mean(jnp.all(a == 0, axis=0)))
        if layer.name == "sigmoid":
            fractions.append(jnp.mean(a * (1 - a) < 0.01))
    return jnp.mean(jnp.array(fractions))


def best(found: Findings, activation: Activation) -> Setting:
    """The setting that ends with the lowest cost. A cost that is no number is the worst."""
    costs = {setting: rows[-1]["cost"] for setting, rows in found.items() if setting.activation == activation}
    return min(costs, key=lambda setting: np.nan_to_num(costs[setting], nan=np.inf))


def claims(found: Findings) -> list[Claim]:
    sigmoid = best(found, "sigmoid")
    relu = best(found, "relu")
    first, _, output = GRADIENTS
    start, end = found[sigmoid][0], found[sigmoid][-1]
    classified = [
        Claim(
            "L1",
            f"with {setting.activation} at its best rate, {setting.rate:g}: fraction of the test digits whose "
            f"brightest output is the right one, mean of {NETWORKS} networks",
            found[setting][-1]["accuracy"],
            "at least",
            0.9,
            because="nine times what guessing gives",
        )
        for setting in (sigmoid, relu)
    ]
    return [
        *classified,
        Claim(
            "L8",
            "best learning rate of the ReLU networks, as a fraction of that of the sigmoid networks",
            relu.rate / sigmoid.rate,
            "at most",
            0.34,
            because="one rate of the sweep less at least, since a ReLU's slope is 1 and a sigmoid's at most 1/4",
        ),
        Claim(
            "L8",
            "before the first step: how many times as long the first layer's gradient is with ReLUs as with sigmoids",
            found[relu][0][first] / start[first],
            "at least",
            4.0,
            because="at least 16 for neurons that are active, by two slopes of 1/4; half of the ReLUs are not",
        ),
        Claim(
            "L8",
            "with sigmoids, before the first step: how many times as long the first layer's gradient is as the output "
            "layer's",
            start[first] / start[output],
            "at most",
            0.5,
            because="two slopes of 1/4 make it smaller, more inputs larger",
        ),
        Claim(
            "L8",
            "with sigmoids, at the end of training: how many times as long the first layer's gradient is as the output "
            "layer's",
            end[first] / end[output],
            "at least",
            1.0,
            because="weights that have grown make up for the slopes",
        ),
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    rows = [{**setting._asdict(), **row} for setting, rows in found.items() for row in rows]
    return {"sigmoid_or_relu": rows}


def figures(found: Findings) -> dict[str, Figure]:
    best_ones: dict[Activation, Setting] = {activation: best(found, activation) for activation in ACTIVATIONS}
    return {"gradients": gradients_figure(found, best_ones), "learning_rates": rates_figure(found, best_ones)}


@styled
def gradients_figure(found: Findings, best_ones: Mapping[Activation, Setting]) -> Figure:
    """The length of each layer's gradient along training, for each activation at its best rate."""
    figure = new_figure(10, 4.5)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (activation, setting) in zip((left, right), best_ones.items(), strict=True):
        rows = found[setting]
        steps = [row["steps"] for row in rows]
        for layer, colour, style in zip(GRADIENTS, (BLUE, ORANGE, VERMILION), ("o-", "^:", "s--"), strict=True):
            axes.plot(steps, [row[layer] for row in rows], style, color=colour, label=layer)
        # Linear up to the first look, which comes after many steps.
        axes.set_xscale("symlog", linthresh=steps[1])
        axes.set(yscale="log", xlim=(0, None), xlabel="steps")
        axes.set_title(f"{NAMES[activation]}, learning rate {setting.rate:g}")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
    left.set(ylabel="length of the gradient by the weights")
    right.legend()
    message = "A sigmoid network's first layer has small gradients at the start alone"
    figure.suptitle(message, x=0.01, ha="left", size=16)
    return figure


@styled
def rates_figure(found: Findings, best_ones: Mapping[Activation, Setting]) -> Figure:
    """Accuracy along training at the best rates; accuracy and fraction of idle neurons at the end, for every rate."""
    figure = new_figure(12, 4.2)
    along, at_end, idle = figure.subplots(1, 3)
    for activation, setting in best_ones.items():
        style = STYLES[activation]
        rows = found[setting]
        ends = {setting.rate: rows[-1] for setting, rows in found.items() if setting.activation == activation}
        rates = list(ends)
        label = f"{NAMES[activation]}, best rate {setting.rate:g}"
        along.plot([row["steps"] for row in rows], [100 * row["accuracy"] for row in rows], **style)
        at_end.plot(rates, [100 * end["accuracy"] for end in ends.values()], **style)
        idle.plot(rates, [100 * end["idle"] for end in ends.values()], **style, label=label)
        for axes in (at_end, idle):
            axes.set(xscale="log", xlabel="learning rate", xticks=rates)
            axes.minorticks_off()
            axes.xaxis.set_major_formatter("{x:g}")
    for axes in (along, at_end, idle):
        axes.set_ylim(0, 103)
    along.set(ylabel="% of the test digits classified correctly", xlabel="steps")
    along.set(title="Along training, at the best rates")
    along.xaxis.set_major_formatter("{x:,.0f}")
    at_end.set(ylabel="% of the test digits classified correctly", title="At the end")
    idle.set(ylabel="% of hidden neurons", title="Saturated sigmoids, dead ReLUs")
    idle.legend(loc="upper left")
    message = "ReLUs learn by small steps, and die of those that suit sigmoids"
    figure.suptitle(message, x=0.01, ha="left", size=16)
    return figure


def finding(found: Findings) -> str:
    kinds = []
    for activation in ACTIVATIONS:
        rates = sorted(setting.rate for setting in found if setting.activation == activation)
        setting = best(found, activation)
        accuracy = found[setting][-1]["accuracy"]
        kinds.append(f"{accuracy:.1%} with {NAMES[activation]} ({running_example.best_rate(setting.rate, rates)})")
    dead = found[Setting("relu", best(found, "sigmoid").rate)][-1]
    return (
        f"Of the test digits {' and '.join(kinds)} are classified correctly; at the sigmoids' best rate ReLU networks "
        f"end at {dead['accuracy']:.1%}, with {dead['idle']:.0%} of their hidden neurons dead."
    )


LOOK_AT = {
    "gradients": "With sigmoids the blue curve, the first layer, begins at the bottom and ends at the top; with ReLUs "
    "it is at the top from the start.",
    "learning_rates": "In the middle the two curves, which are highest at different rates. On the right why the ReLUs "
    "fail at the rates that suit sigmoids: their neurons die.",
}
EXPERIMENT = Experiment("sigmoid_or_relu", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
