"""L1, L2, L8: what the network answers and what that costs, worked out once more in NumPy.

L1 says: 784 pixel values, two hidden layers of 16 neurons and 10 outputs, one a digit, of which the brightest is the
answer. L8: an activation is the sum of the previous activations, each times its weight, plus a bias, passed through a
sigmoid or a ReLU. L2: the cost of one example is the sum over the outputs of (a - y)^2, y being 1 at the right digit
and 0 elsewhere. That is all: it takes five lines of NumPy, which share nothing with the layers that they check.

    uv run experiments/lesson/forward.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

import jaxprop as jp
from jaxprop.layers import Params
from jaxprop.networks import Activation
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, run
from lab.figures import BLUE, VERMILION, new_figure, styled

RATES: dict[Activation, float] = {"sigmoid": running_example.LEARNING_RATE, "relu": 0.1}
STEPS = 300  # of training, so that there are answers worth the name
PICTURES = 1000


class Answers(NamedTuple):
    """What a network makes of the first test pictures."""

    parameters: int
    outputs: Float[np.ndarray, "N 10"]
    costs: Float[np.ndarray, " N"]
    accuracy: float
    outputs_in_numpy: Float[np.ndarray, "N 10"]
    targets: Float[np.ndarray, "N 10"]
    image: UInt8[np.ndarray, "28 28"]  # the first one


def measure(options: Options) -> dict[str, Answers]:
    data = running_example.load(options)
    tested = running_example.select(data.test, slice(PICTURES))
    inputs, targets = running_example.whole(tested)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    answers = {}
    for activation, rate in RATES.items():
        network = jp.mlp(running_example.SIZES, activation)
        start = network.init(init_key)
        (params,) = running_example.snapshots(network, start, data.train, [STEPS], key=order_key, rate=rate)
        scores = jax.jit(jp.make_evaluate(network, jp.squared_error, jp.as_batch))(params, tested)
        costs, _ = jp.per_example(network, jp.squared_error)(params, (inputs, targets))
        answers[activation] = Answers(
            parameters=jp.count_parameters(params),
            outputs=np.asarray(scores.outputs),
            costs=np.asarray(costs),
            accuracy=float(scores.accuracy),
            outputs_in_numpy=outputs_in_numpy(params, np.asarray(inputs), activation),
            targets=np.asarray(targets),
            image=np.asarray(tested.images[0]),
        )
    return answers


def outputs_in_numpy(params: Params, inputs: Float[np.ndarray, "N 784"], activation: str) -> Float[np.ndarray, "N 10"]:
    first, second, output = ((np.asarray(dense.W), np.asarray(dense.b)) for dense in params[::2])
    a = inputs
    for W, b in (first, second):
        z = a @ W.T + b
        a = np.maximum(z, 0) if activation == "relu" else 1 / (1 + np.exp(-z))
    W, b = output
    return 1 / (1 + np.exp(-(a @ W.T + b)))


def claims(answers: dict[str, Answers]) -> list[Claim]:
    found = [
        Claim(
            "L1",
            "weights and biases of the network",
            answers["sigmoid"].parameters,
            "within",
            13_002,
            because="784*16 + 16, 16*16 + 16 and 16*10 + 10",
        )
    ]
    for activation, answer in answers.items():
        in_numpy = answer.outputs_in_numpy
        correct_in_numpy = np.argmax(in_numpy, axis=1) == np.argmax(answer.targets, axis=1)
        costs_in_numpy = np.sum((in_numpy - answer.targets) ** 2, axis=1)
        found += [
            Claim(
                "L8",
                f"with {activation}, the largest difference between an output and NumPy's",
                float(np.abs(answer.outputs - in_numpy).max()),
                "at most",
                1e-12,
                because="sums of up to 785 float64 numbers in another order: some 1e-15",
            ),
            Claim(
                "L2",
                f"with {activation}, the largest difference between the cost of a picture and NumPy's",
                float(np.abs(answer.costs - costs_in_numpy).max()),
                "at most",
                1e-12,
                because="the same sums, and ten numbers of at most 1 more",
            ),
            Claim(
                "L1",
                f"with {activation}, fraction classified correctly, beside what NumPy's brightest outputs get right",
                answer.accuracy,
                "within",
                float(np.mean(correct_in_numpy)),
                tolerance=1e-6,
                because="the same answers; the mean of yes and no is a float32",
            ),
        ]
    return found


def tables(answers: dict[str, Answers]) -> dict[str, list[dict[str, Any]]]:
    first = answers["sigmoid"]
    rows = [
        {"output": j, "activation": a, "target": y, "cost": (a - y) ** 2}
        for j, (a, y) in enumerate(zip(first.outputs[0], first.targets[0], strict=True))
    ]
    return {"one_answer": rows}


@styled
def figures(answers: dict[str, Answers]) -> dict[str, Figure]:
    digits = range(10)
    first = answers["sigmoid"]
    outputs, targets = first.outputs[0], first.targets[0]
    figure = new_figure(10, 4.2)
    picture, answer, cost = figure.subplots(1, 3)
    picture.imshow(first.image, cmap="gray")
    picture.axis("off")
    answer.bar(digits, outputs, color=BLUE, label="output a")
    answer.plot(digits, targets, "_", color=VERMILION, markersize=16, markeredgewidth=2.5, label="target y")
    answer.set(ylim=(-0.02, 1.2), ylabel="activation", title="The brightest output is the answer")
    answer.legend(ncols=2, loc="upper center")
    cost.bar(digits, (outputs - targets) ** 2, color=BLUE)
    cost.set(ylabel="(a − y)²", title=f"The cost is their sum: {first.costs[0]:.3f}")
    for axes in (answer, cost):
        axes.set(xticks=digits, xlabel="output")
    message = f"The network's answer is {np.argmax(outputs)}; the picture is a {np.argmax(targets)}"
    figure.suptitle(message, x=0.01, ha="left", size=18)
    return {"one_answer": figure}


def finding(answers: dict[str, Answers]) -> str:
    apart = max(float(np.abs(answer.outputs - answer.outputs_in_numpy).max()) for answer in answers.values())
    kinds = {"sigmoid": "sigmoids", "relu": "ReLUs"}
    correct = " and ".join(f"{answer.accuracy:.1%} with {kinds[name]}" for name, answer in answers.items())
    return (
        f"Five lines of NumPy give the outputs of all {len(answers['sigmoid'].outputs):,} pictures that the network "
        f"gives, to within {apart:.0e}; the brightest of the ten is the right digit for {correct}, after {STEPS} steps "
        "of training."
    )


LOOK_AT = {
    "one_answer": "One picture. The tallest bar in the middle is the answer of the network; each bar on the right is "
    "the square of how far an output is from its target (red marks in the middle), and together they are the cost."
}
EXPERIMENT = Experiment("forward", measure, claims, tables, figures, finding, LOOK_AT)


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))
