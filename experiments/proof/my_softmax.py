"""An example of somebody's own gradient: softmax regression, with one subtle mistake.

    uv run experiments/compare_gradients.py --loss experiments/proof/my_softmax.py:loss \\
        --gradient experiments/proof/my_softmax.py:gradient --inputs experiments/proof/my_softmax.py:inputs

finds it: the derivative of lambda |W|^2 is 2 lambda W, and the gradient below has lambda W. It trains all the same.
"""

import jax
import jax.numpy as jnp

DECAY = 0.01


def loss(params, batch):
    """Cross-entropy of softmax(W x + b), averaged over the examples, and a penalty on large weights."""
    inputs, labels = batch
    scores = inputs @ params["W"].T + params["b"]
    right = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], axis=1)
    return -jnp.mean(right) + DECAY * jnp.sum(params["W"] ** 2)


def gradient(params, batch):
    """What its author believes to be the gradient of `loss`."""
    inputs, labels = batch
    scores = inputs @ params["W"].T + params["b"]
    dz = (jax.nn.softmax(scores) - jax.nn.one_hot(labels, scores.shape[1], dtype=scores.dtype)) / len(labels)
    return {"W": dz.T @ inputs + DECAY * params["W"], "b": dz.sum(axis=0)}


def inputs():
    """Where to compare: parameters, and a batch of 8 examples with 5 features, in 3 classes."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"W": jax.random.normal(keys[0], (3, 5)), "b": jax.random.normal(keys[1], (3,))}
    return params, (jax.random.normal(keys[2], (8, 5)), jax.random.randint(keys[3], (8,), 0, 3))
