"""What the lesson says, statement by statement; and the scripts that measure it, with the pictures that show it.

A new experiment about the lesson belongs into `SCRIPTS`: the gallery runs it, and makes a section of the page of it.
"""

STATEMENTS = {
    "L1": "784 pixels, two hidden layers of 16 neurons, ten outputs; the brightest output is the answer.",
    "L2": "The cost of one example adds up the squared differences between what the outputs are and should be.",
    "L3": "The cost of the network is the average over all training examples.",
    "L4": "The negative gradient is the direction in 13,002 dimensions in which the cost falls fastest.",
    "L5": "The size of a component says how sensitive the cost is to that weight.",
    "L6": "A picture of a 2 on an untrained network: its output should go up, the nine others down.",
    "L7": "Each of these wishes is in proportion to how far the output is from its target.",
    "L8": "An activation is a weighted sum plus a bias, passed through a sigmoid or a ReLU. So three avenues raise it: "
    "the bias, the weights, the activations before.",
    "L9": "Weights are best changed in proportion to the activations that they lead from.",
    "L10": "Loosely, what fires together wires together: the weights that grow most lead from bright neurons to the "
    "output that should be active.",
    "L11": "How the activations before should change is in proportion to the weights.",
    "L12": "The requests of all ten outputs for the layer before are added up.",
    "L13": "The sums are the wishes of that layer; the same step leads backwards through the network.",
    "L14": "All this is what one example wants: training on pictures of 2 alone ends with everything called a 2.",
    "L15": "So the wishes of all examples are averaged: that is the negative gradient of the cost.",
    "L16": "All examples at every step are slow: shuffle them, and take a step for each mini-batch of 100.",
    "L17": "A mini-batch's gradient is not the true one, but a good approximation.",
    "L18": "A drunk man stumbling down quickly, against a careful man who works out each slow step.",
    "L19": "The network converges to a local minimum, and does well on the training examples.",
    "L20": "All of this needs a lot of labelled data.",
}

# In the order of the page. Of each script, the names of the pictures that the page shows.
SCRIPTS = {
    "forward": ("one_answer",),
    "averaging": ("wishes", "settling"),
    "steepest_way_down": ("drops",),
    "sensitivity": ("wiggles",),
    "one_example": ("wishes", "avenues"),
    "bang_for_the_buck": ("changes",),
    "hebbian": ("hebbian",),
    "hebbian_limits": ("hebbian_limits",),
    "only_twos": ("only_twos",),
    "conflict": ("conflict",),
    "mini_batches": ("gradient_error",),
    "batch_sizes": ("batch_sizes",),
    "drunk_and_careful": ("hill",),
    "local_minimum": ("curvatures",),
    "how_much_data": ("how_much_data",),
    "sigmoid_or_relu": ("learning_rates",),
}
