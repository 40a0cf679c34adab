# %% [markdown]
# # A layer of your own, and training with it
#
# A layer here is a name and three functions for one example: `init` makes its parameters, `forward` computes its
# output, `backward` turns the derivative by its output into those by its parameters and by its input. Write the
# three, and all else works with it: batches, checks, training, saving.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jaxprop as jp

# %% [markdown]
# ## The layer
#
# Each number is squared, and multiplied by a weight of its own: `y = s x²`. By the chain rule,
#
#     ds = dy x²          since y changes with s by x²
#     dx = dy 2 s x       since y changes with x by 2 s x
#
# What `backward` needs of the forward pass are its `residuals`: here the input.


# %%
def square() -> jp.Layer:
    """y = s x^2, number by number, with a weight s of each input's own: (n,) to (n,)."""

    def init(key, in_shape):
        return jnp.ones(in_shape), in_shape

    def forward(s, x):
        return s * x**2, x

    def backward(s, x, dy):
        return dy * x**2, dy * 2 * s * x

    return jp.Layer("square()", init, forward, backward)


# %% [markdown]
# ## In a network, and judged
#
# It stands between two dense layers like any other. `check` compares backprop, which uses your `backward`, with
# autodiff, which does not: at points that are chosen so that mistakes show.

# %%
network = jp.Network((jp.dense(24), square(), jp.dense(10), jp.sigmoid()), in_shape=(784,))
print(network)
autodiff, backprop = jp.autodiff(network, jp.squared_error), jp.backprop(network, jp.squared_error)

# %%
small = jp.Network((jp.dense(4), square(), jp.dense(3), jp.sigmoid()), in_shape=(5,))
reference, candidate = (jax.jit(rule(small, jp.squared_error)) for rule in (jp.autodiff, jp.backprop))
found = jp.check(reference, candidate, jp.probes_for(small, quick=True))
print(found)
assert found.agree

# %% [markdown]
# ## Trained, with your rule
#
# A step is made of a gradient and an optimiser of optax, an epoch of many steps, and `fit` goes on for as many epochs
# as you like. It hands out the state after each.

# %%
data = jp.load_dataset("digits")
optimizer = optax.sgd(0.05)
epoch = jax.jit(jp.make_epoch(jp.make_step(backprop, optimizer), jp.as_batch))
evaluate = jax.jit(jp.make_evaluate(network, jp.squared_error, jp.as_batch))

key_of_params, key_of_order = jax.random.split(jax.random.key(0))
state = jp.init_state(network.init(key_of_params), optimizer)
costs, accuracies = [], []
for trained, metrics in jp.fit(epoch, state, data.train, key=key_of_order, batch_size=50, epochs=20):
    costs.extend(metrics.costs)
    accuracies.append(evaluate(trained.params, data.test).accuracy)
print(f"{accuracies[-1]:.0%} of {len(data.test.labels)} test digits classified correctly")
assert accuracies[-1] > 0.9

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(costs, linewidth=0.8)
axes.set(xlabel="step", ylabel="cost of the mini-batch", yscale="log")
plt.show()

# %% [markdown]
# ## What a mistake looks like
#
# Leave the 2 out. The network still learns, and only `check` complains: of the arrays before the layer, whose
# gradient came through `dx`.


# %%
forgetful = square()._replace(backward=lambda s, x, dy: (dy * x**2, dy * s * x))
wrong = jp.Network((jp.dense(4), forgetful, jp.dense(3), jp.sigmoid()), in_shape=(5,))
found = jp.check(reference, jax.jit(jp.backprop(wrong, jp.squared_error)), jp.probes_for(small, quick=True))
print(found)
assert set(found.failing_leaves) == {"[0].W", "[0].b"}

# %% [markdown]
# The layers of the library are written in the same way, each with its derivation: [reading the backward
# passes](../../jaxprop/layers/README.md).
