# %% [markdown]
# # Both gradients in five minutes
#
# The gradient says how the cost of a network changes with each of its numbers. Here it is computed twice for one
# network and one batch: by `jax.grad`, and by rules that were derived by hand. Then you compare them, number by
# number.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxprop as jp

# %% [markdown]
# ## A network, and digits to read
#
# 784 inputs, one for each pixel; two layers of 16 sigmoids; ten outputs, one for each digit. `init` draws the weights
# at random.

# %%
network = jp.mlp((784, 16, 16, 10))
params = network.init(jax.random.key(0))
print(network)
print(f"{jp.count_parameters(params):,} parameters")

# %%
digits = jp.load_dataset("digits").train
figure, places = plt.subplots(1, 8, figsize=(8, 1.3))
for place, image, label in zip(places, digits.images, digits.labels, strict=False):
    place.imshow(image, cmap="gray_r")
    place.set(title=str(label), xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A batch is a pair: pixels in [0, 1], and for each example the ten outputs that are wanted, 1 for the right digit and
# 0 for the others.

# %%
inputs, targets = batch = jp.as_batch(digits.images[:100], digits.labels[:100])
print(inputs.shape, targets.shape)
print("the first target:", targets[0])

# %% [markdown]
# ## The same gradient, twice
#
# Both functions have the same signature, `(params, batch) -> (cost, gradient)`. The gradient has the shape of the
# parameters: a number for each weight and each bias.

# %%
autodiff = jax.jit(jp.autodiff(network, jp.squared_error))  # jax.grad of the cost
backprop = jax.jit(jp.backprop(network, jp.squared_error))  # a walk through rules by hand, from the last layer back
cost, by_jax = autodiff(params, batch)
cost_too, by_hand = backprop(params, batch)
print(f"cost: {cost:.4f} and {cost_too:.4f}")
print("derivative of the cost by the first bias of the last layer:")
print(f"{by_jax[4].b[0]:.6f} and {by_hand[4].b[0]:.6f}")

# %% [markdown]
# One part of the gradient makes a picture: the derivatives by the weights from all pixels to one neuron. The darker,
# the larger; the two colours are the two signs.

# %%
figure, places = plt.subplots(1, 2, figsize=(6, 3))
limit = float(np.abs(by_jax[0].W[0]).max())
for place, gradient, name in zip(places, (by_jax, by_hand), ("jax.grad", "by hand"), strict=True):
    place.imshow(np.reshape(gradient[0].W[0], (28, 28)), cmap="PuOr", vmin=-limit, vmax=limit)
    place.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Do they agree?
#
# A person sees no difference, but a person looks at two pictures of 13,002 numbers. `compare` looks at all of them,
# and judges each array by its own size and by the rounding of its type.

# %%
found = jp.compare(autodiff, backprop, params, batch)
print(found)
assert found.agree

# %% [markdown]
# ## And if one is wrong?
#
# Forget the slope of the sigmoids, as nearly everybody does once: then the backward pass of each sigmoid hands on
# what it gets. The table names the arrays that are wrong.

# %%
forgetful = [
    layer._replace(backward=lambda params, residuals, da: ((), da)) if layer.name == "sigmoid" else layer
    for layer in network.layers
]
wrong = jp.backprop(jp.Network(tuple(forgetful), network.in_shape), jp.squared_error)
found = jp.compare(autodiff, jax.jit(wrong), params, batch)
print(found)
assert not found.agree

# %% [markdown]
# The cost itself agrees: the forward pass is right, and that network would even learn something. Only a comparison
# tells.
#
# Next: [judge your own gradient](judge_your_own.ipynb). How the rules are derived, line by line: [from the chain rule
# to the code](../../jaxprop/README.md).
