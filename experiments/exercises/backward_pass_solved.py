"""The backward pass, with its five holes filled in. Try the holes yourself first."""

import numpy as np


def cost_gradient(a, y):
    return 2 * (a - y)


def sigmoid_backward(z, a, da):
    return a * (1 - a) * da


def dense_backward(W, a_prev, dz):
    dW = np.outer(dz, a_prev)
    db = dz
    da_prev = W.T @ dz
    return dW, db, da_prev


def walk(layers, da):
    gradients = []
    for W, a_prev, z, a in reversed(layers):
        dz = sigmoid_backward(z, a, da)
        dW, db, da = dense_backward(W, a_prev, dz)
        gradients.append((dW, db))
    gradients.reverse()
    return gradients


def mean_over_examples(gradients):
    return np.mean(gradients, axis=0)
