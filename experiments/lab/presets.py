"""The networks that `train.py --network` knows by a name, beside the multi-layer perceptron, and the cost of each."""

from collections.abc import Callable
from typing import NamedTuple

import jaxprop as jp

MLP = "mlp"  # which `--hidden` and `--activation` describe


class Preset(NamedTuple):
    """A network, and the cost that its outputs are made for."""

    make: Callable[[], jp.Network]
    cost: jp.Cost
    cost_name: str


def cnn() -> jp.Network:
    """A convolutional network that is small enough for two cores, 28 x 28 pixels to the logits of ten digits.

    Two convolutions of 5 x 5 with 16 and 32 channels, each with ReLU and the largest number of 2 x 2, then a dense
    layer of 128 neurons: 215,370 parameters.
    """
    he = 2**0.5
    return jp.Network(
        (
            *(jp.conv2d(16, 5, gain=he), jp.relu(), jp.max_pool(2)),
            *(jp.conv2d(32, 5, gain=he), jp.relu(), jp.max_pool(2)),
            jp.flatten(),
            *(jp.dense(128, gain=he), jp.relu()),
            jp.dense(10),
        ),
        (28, 28, 1),
    )


PRESETS = {
    "cnn": Preset(cnn, jp.softmax_cross_entropy, "softmax_cross_entropy"),
    "lenet": Preset(jp.lenet, jp.softmax_cross_entropy, "softmax_cross_entropy"),
}


def is_own(network: str) -> bool:
    """Whether the value of `--network` names a file of the user's, and not a network that is known here."""
    return network != MLP and network not in PRESETS
