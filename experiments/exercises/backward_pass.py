"""The backward pass, with five holes. Fill in one after the other, and run the command that made this file again.

The network has dense layers, each followed by a sigmoid:

    z = W a_prev + b          W is (out, in), a_prev is (in,), b and z are (out,)
    a = sigmoid(z)

The cost of one example is C = sum_j (a_j - y_j)^2, for the outputs a and the target y. `da`, `dz`, `dW` and so on name
the derivative of C by a, by z, by W. Everything is NumPy: `print` what you like.
"""

import numpy as np  # noqa: F401 - for the holes


def cost_gradient(a, y):
    """Hole 1. The outputs a and the target y of one example, both (out,), to da, (out,)."""
    raise NotImplementedError


def sigmoid_backward(z, a, da):
    """Hole 2. Of one layer and one example: z, a = sigmoid(z) and da, all (out,), to dz, (out,)."""
    raise NotImplementedError


def dense_backward(W, a_prev, dz):
    """Hole 3. W (out, in), a_prev (in,) and dz (out,), to three things: dW (out, in), db (out,), da_prev (in,)."""
    raise NotImplementedError


def walk(layers, da):
    """Hole 4. The chain rule, for one example: from the last layer to the first.

    layers: a list of (W, a_prev, z, a), one for each layer, the first layer first.
    da: the derivative of C by the outputs of the last layer.

    Returns a list of (dW, db), one for each layer, the first layer first. It uses holes 2 and 3.
    """
    raise NotImplementedError


def mean_over_examples(gradients):
    """Hole 5. The gradient of B examples, (B, ...), to that of their average cost, of the shape of one of them."""
    raise NotImplementedError
