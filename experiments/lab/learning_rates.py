"""The learning rate that `train.py` takes where none is given, and how it says so."""

from collections.abc import Sequence
from math import sqrt

from jaxprop.networks import Activation

# Of plain SGD, for hidden layers of up to 16 neurons.
BY_ACTIVATION: dict[Activation, float] = {"sigmoid": 2.0, "relu": 0.25, "tanh": 0.25, "identity": 0.12}
WITHOUT_HIDDEN_LAYERS = 0.25
MOMENTUM = 1 / 25  # of the rate of plain SGD
# Of convolutions under cross-entropy. Adam's reads MNIST (see benchmarking/README.md). Half and twice the other two
# read fewer of 300 held-out training examples of digits with lenet, over seeds 0 to 2; with cnn no rate is the best for
# each seed, and these are within 1.7 points of whichever is:
# uv run experiments/train.py --network lenet --optimizer sgd --learning-rate 0.2 --epochs 10 --validation 300 --seed 0
BY_OPTIMIZER = {"sgd": 0.2, "momentum": 0.04, "adam": 0.002}
ADAM = 0.003  # its steps have a length of their own, whatever the gradient's


def default_rate(optimizer: str, activation: Activation, hidden: Sequence[int], batch_size: int) -> float:
    """The learning rate for a multi-layer perceptron with sigmoid outputs and the sum of squares as its cost.

    optimizer: "sgd", "momentum" (nine tenths of the velocity are kept) or "adam". hidden: neurons in each hidden layer.

    The rule, for plain SGD. A step is too long where the cost is steep, and it is steepest along weights that lead from
    bright neurons. Sigmoids are half bright before they have learned anything, and the more there are in a layer, the
    steeper it is: their rate falls with the square root of the widest layer, from 16 neurons on. ReLUs, tanh and the
    identity pass on larger derivatives, so their rates are lower from the start, at any width. Without hidden layers it
    is the pixels that are bright. Mini-batches of fewer than 20 have gradients so rough that the rate falls with the
    square root of their size; above, the size makes no difference. With momentum ten gradients add up in the velocity,
    and in the first steps, when all point one way, that is still too long a step: it takes a 25th of the rate.

    Adam divides a step by the size of the gradient, so one rate does for all, up to 100 neurons in a layer; above, it
    falls with the square root of the widest.

    The numbers were chosen on 300 training examples of digits that were held out, by
    `uv run experiments/default_rates.py`, which shows what half, twice and four times the rate would do.
    """
    widest = max(hidden, default=0)
    if optimizer == "adam":
        rate = ADAM * sqrt(min(1.0, 100 / max(widest, 1)))
    elif widest < 1:
        rate = WITHOUT_HIDDEN_LAYERS
    elif activation == "sigmoid":
        rate = BY_ACTIVATION[activation] * sqrt(min(1.0, 16 / widest))
    else:
        rate = BY_ACTIVATION[activation]
    if optimizer == "momentum":
        rate *= MOMENTUM
    if optimizer != "adam":
        rate *= sqrt(min(1.0, batch_size / 20))
    return float(f"{rate:.2g}")


def rate_of_logits(optimizer: str, batch_size: int) -> float:
    """The learning rate for the convolutional presets of `train.py`, whose cost is the cross-entropy of a softmax.

    One rate for each optimizer, and for small mini-batches the same rule as `default_rate`.
    """
    rate = BY_OPTIMIZER[optimizer]
    if optimizer != "adam":
        rate *= sqrt(min(1.0, batch_size / 20))
    return float(f"{rate:.2g}")
