"""What the lesson says, statement by statement, and which picture of which experiment shows it.

A new experiment about the lesson belongs into `SCRIPTS`: the gallery runs it, and finds its claims by their statement.
"""

from typing import NamedTuple

SCRIPTS = (
    "forward",
    "averaging",
    "steepest_way_down",
    "sensitivity",
    "one_example",
    "bang_for_the_buck",
    "hebbian",
    "hebbian_limits",
    "only_twos",
    "conflict",
    "mini_batches",
    "batch_sizes",
    "drunk_and_careful",
    "local_minimum",
    "how_much_data",
    "sigmoid_or_relu",
)


class Statement(NamedTuple):
    says: str
    script: str  # the one whose picture shows it; claims may come from others too
    figure: str


STATEMENTS = {
    "L1": Statement(
        "784 pixels, two hidden layers of 16 neurons, ten outputs; the brightest output is the answer.",
        "forward", "one_answer",
    ),
    "L2": Statement(
        "The cost of one example adds up the squared differences between what the outputs are and should be.",
        "forward", "one_answer",
    ),
    "L3": Statement("The cost of the network is the average over all training examples.", "averaging", "wishes"),
    "L4": Statement(
        "The negative gradient is the direction in 13,002 dimensions in which the cost falls fastest.",
        "steepest_way_down", "drops",
    ),
    "L5": Statement("The size of a component says how sensitive the cost is to that weight.", "sensitivity", "wiggles"),
    "L6": Statement(
        "A picture of a 2 on an untrained network: its output should go up, the nine others down.",
        "one_example", "wishes",
    ),
    "L7": Statement(
        "Each of these wishes is in proportion to how far the output is from its target.", "one_example", "wishes"
    ),
    "L8": Statement(
        "Three avenues raise an activation: the bias, the weights, the activations before.", "one_example", "avenues"
    ),
    "L9": Statement(
        "Weights are best changed in proportion to the activations that they lead from.", "bang_for_the_buck", "changes"
    ),
    "L10": Statement(
        "Loosely, what fires together wires together: weights from bright neurons into the wanted output grow most.",
        "hebbian", "hebbian",
    ),
    "L11": Statement(
        "How the activations before should change is in proportion to the weights.", "one_example", "avenues"
    ),
    "L12": Statement("The requests of all ten outputs for the layer before are added up.", "one_example", "wishes"),
    "L13": Statement(
        "The sums are the wishes of that layer; the same step leads backwards through the network.",
        "one_example", "wishes",
    ),
    "L14": Statement(
        "Who listens to pictures of 2 alone ends up calling everything a 2.", "only_twos", "only_twos"
    ),
    "L15": Statement(
        "So the wishes of all examples are averaged: that is the negative gradient of the cost.",
        "averaging", "settling",
    ),
    "L16": Statement(
        "All examples at every step are slow: shuffle them, and take a step for each mini-batch of 100.",
        "batch_sizes", "batch_sizes",
    ),
    "L17": Statement(
        "A mini-batch's gradient is not the true one, but a good approximation.", "mini_batches", "gradient_error"
    ),
    "L18": Statement(
        "A drunk man stumbling down quickly, against a careful man who works out each slow step.",
        "drunk_and_careful", "hill",
    ),
    "L19": Statement(
        "The network converges to a local minimum, and does well on the training examples.",
        "local_minimum", "curvatures",
    ),
    "L20": Statement("All of this needs a lot of labelled data.", "how_much_data", "how_much_data"),
}  # fmt: skip
