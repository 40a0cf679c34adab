"""What the lesson says, statement by statement. Claims name the statement that they are about."""

STATEMENTS = {
    "L1": "The network takes 784 pixels, has two hidden layers of 16 neurons and ten outputs; the brightest output is "
    "the answer.",
    "L2": "The cost of one example is the sum, over the ten outputs, of the squared difference between what the output "
    "is and what it should be.",
    "L3": "The cost of the network is the average of the costs of all training examples.",
    "L4": "The negative gradient is the direction in 13,002 dimensions in which the cost falls fastest.",
    "L5": "The size of a component of the gradient says how sensitive the cost is to that weight or bias.",
    "L6": "A picture of a 2, shown to an untrained network, wishes the output for 2 to go up and the nine others down.",
    "L7": "Each of these wishes is in proportion to how far the output is from its target.",
    "L8": "An activation is a weighted sum of those before plus a bias, passed through a sigmoid or a ReLU. So three "
    "avenues raise it: the bias, the weights, the activations before.",
    "L9": "Weights are best changed in proportion to the activations that they lead from.",
    "L10": "Loosely, what fires together wires together: the weights that grow most lead from bright neurons to the "
    "output that should be active.",
    "L11": "How the activations before should change is in proportion to the weights.",
    "L12": "What all ten outputs ask of the layer before is added up.",
    "L13": "The sums are the wishes of that layer; the same step, again and again, leads back through the network.",
    "L14": "All this is what one example wants: trained on pictures of 2 alone, it ends up calling everything a 2.",
    "L15": "So the wishes of all examples are averaged: that is the negative gradient of the cost.",
    "L16": "To use all examples at every step is slow: shuffle them, and take a step for each mini-batch of 100.",
    "L17": "A mini-batch's gradient is not the true one, but a good approximation.",
    "L18": "So training is like a drunk man who stumbles quickly down a hill, beside a careful man who works out the "
    "exact way down before each slow step.",
    "L19": "The network converges to a local minimum of the cost, and does well on the training examples.",
    "L20": "All of this needs a lot of labelled data.",
}
