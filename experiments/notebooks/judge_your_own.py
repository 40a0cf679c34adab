# %% [markdown]
# # Judge your own gradient
#
# You have written a function with a backward pass of its own: a `jax.custom_vjp`, a kernel, a formula from a paper.
# Is it right? Here is a layer norm whose author made two mistakes that many have made. You will find them, and learn
# the name of one.

# %%
import jax
import jax.numpy as jnp

import jaxprop as jp
from jaxprop.testing import assert_gradients_agree
from jaxprop.verify.naming import name_relations

# %% [markdown]
# ## The function, and its rule by hand
#
# The inputs are shifted to mean 0 and scaled to variance 1. Then each number is multiplied by its `gain`, and its
# `shift` is added.


# %%
@jax.custom_vjp
def layer_norm(x, gain, shift):
    """x: (batch, features); gain, shift: (features,). Returns (batch, features)."""
    return normalised(x)[0] * gain + shift


def normalised(x):
    centred = x - jnp.mean(x, axis=1, keepdims=True)
    scale = 1 / jnp.sqrt(jnp.mean(centred**2, axis=1, keepdims=True) + 1e-5)
    return centred * scale, scale


def forward(x, gain, shift):
    h, scale = normalised(x)
    return h * gain + shift, (h, scale, gain)


def backward(residuals, dy):
    h, scale, gain = residuals
    dh = dy * gain
    dx = scale * (dh - h * jnp.mean(h * dh, axis=1, keepdims=True))
    return dx, jnp.sum(dy * h, axis=0), jnp.mean(dy, axis=0)


layer_norm.defvjp(forward, backward)

# %% [markdown]
# ## A loss that asks for all of it
#
# A gradient belongs to a single number, so a loss is made of the result: its sum, weighted by random numbers. What is
# differentiated are the `params`.

# %%
keys = jax.random.split(jax.random.key(0), 4)
params = {
    "x": jax.random.normal(keys[0], (6, 5)),
    "gain": 1 + jax.random.uniform(keys[1], (5,)),
    "shift": jax.random.normal(keys[2], (5,)),
}
weights = jax.random.normal(keys[3], (6, 5))


def loss(params, batch):
    return jnp.sum(layer_norm(params["x"], params["gain"], params["shift"]) * batch)


# %% [markdown]
# ## The verdict
#
# A rule by hand is followed by `jax.grad`, so `jax.grad` is no judge of it. Finite differences are: they ask for
# nothing but the loss. Given the loss twice, `assert_gradients_agree` compares the two, in float64. In a test it is
# this one line.

# %%
try:
    assert_gradients_agree(loss, loss, params, weights)
except AssertionError as error:
    print(error)
else:
    raise SystemExit("the mistakes were not found")

# %% [markdown]
# The table says which arrays are wrong, and where most. `gain` is right.
#
# ## The name of the mistake
#
# Where a wrong array stands in a simple relation to the right one, at all points, that relation has a name. For a
# judge that is exact, the same function is written without a rule, and differentiated by JAX.


# %%
def plain_loss(params, batch):
    return jnp.sum((normalised(params["x"])[0] * params["gain"] + params["shift"]) * batch)


reference, candidate = (jax.jit(jax.value_and_grad(function)) for function in (plain_loss, loss))
probes = [jp.Probe("my point", params, weights), jp.Probe("twice as large", params, 2 * weights)]
named = name_relations(reference, candidate, probes)
for path, relations in named.items():
    print(path, "-", "; or ".join(relations))
assert "['shift']" in named

# %% [markdown]
# The derivative by `shift` is a mean over the batch where it should be a sum: every example's `dy` arrives there, and
# what arrives is added up. For `x` there is no such simple relation. A whole term is missing: `x` also moves the
# mean, which is taken from every number of its row.
#
# ## Mended


# %%
def mended(residuals, dy):
    h, scale, gain = residuals
    dh = dy * gain
    dx = scale * (dh - jnp.mean(dh, axis=1, keepdims=True) - h * jnp.mean(h * dh, axis=1, keepdims=True))
    return dx, jnp.sum(dy * h, axis=0), jnp.sum(dy, axis=0)


layer_norm.defvjp(forward, mended)
assert_gradients_agree(loss, loss, params, weights)
found = jp.check(reference, jax.jit(jax.value_and_grad(loss)), probes)
print(found)
assert found.agree

# %% [markdown]
# Your own function goes the same way. From the command line, without a line of Python around it:
#
#     uv run experiments/compare_gradients.py --loss my_file.py:loss --inputs my_file.py:inputs
#
# The points at which mistakes hide, and what was found with them: [is your gradient
# right?](../../jaxprop/verify/README.md)
#
# Next: [a layer of your own](a_layer_of_your_own.ipynb).
