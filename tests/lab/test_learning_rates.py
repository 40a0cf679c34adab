"""The default learning rates: the rule, and that it leaves the default run as it was."""

from math import sqrt

import pytest

from lab.learning_rates import default_rate


def test_the_default_run_has_rate_2():
    assert default_rate("sgd", "sigmoid", (16, 16), 100) == 2.0


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        (("sgd", "sigmoid", (4,), 100), 2.0),
        (("sgd", "sigmoid", (16, 64, 16), 100), 1.0),  # a fourfold width, half the rate
        (("sgd", "sigmoid", (), 100), 0.25),
        (("sgd", "relu", (16, 16), 100), 0.25),
        (("sgd", "relu", (256, 128), 500), 0.25),
        (("sgd", "tanh", (16,), 100), 0.25),
        (("sgd", "identity", (100,), 100), 0.12),
        (("sgd", "sigmoid", (16, 16), 20), 2.0),
        (("sgd", "sigmoid", (16, 16), 5), 1.0),  # a quarter of 20, half the rate
        (("momentum", "sigmoid", (16, 16), 100), 0.08),
        (("momentum", "relu", (16, 16), 5), 0.005),
        (("adam", "sigmoid", (16, 16), 100), 0.003),
        (("adam", "relu", (), 5), 0.003),
        (("adam", "tanh", (400, 16), 100), 0.0015),
    ],
)
def test_a_rate_follows_from_activation_width_optimizer_and_batch_size(arguments, rate):
    assert default_rate(*arguments) == rate


def test_a_rate_has_two_digits():
    assert default_rate("sgd", "sigmoid", (256, 128), 100) == 0.5
    assert default_rate("sgd", "sigmoid", (100,), 100) == 0.8 == round(2 * sqrt(16 / 100), 2)
    assert default_rate("sgd", "sigmoid", (50,), 100) == 1.1
