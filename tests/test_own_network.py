"""A network as a user writes it: a convolution, an activation and a cost of their own, on pictures of 8 x 8."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.nn import logsumexp, one_hot, sigmoid, softmax
from sklearn.datasets import load_digits

import jaxprop as jp

same_bits = partial(jax.tree.map, np.testing.assert_array_equal)


def conv_forward(K, x):
    return jnp.stack([x[i : i + 6, j : j + 6] @ K[i, j] for i, j in np.ndindex(3, 3)]).sum(0), x


def conv_backward(K, x, dy):
    dK = [jnp.einsum("hwi,hwo->io", x[i : i + 6, j : j + 6], dy) for i, j in np.ndindex(3, 3)]
    dx = [jnp.pad(dy @ K[i, j].T, ((i, 2 - i), (j, 2 - j), (0, 0))) for i, j in np.ndindex(3, 3)]
    return jnp.stack(dK).reshape(K.shape), jnp.stack(dx).sum(0)


conv = jp.Layer("conv", lambda k, _: (jax.random.normal(k, (3, 3, 1, 16)) / 3, (6, 6, 16)), conv_forward, conv_backward)
swish = jp.elementwise("swish", lambda z: z * sigmoid(z), lambda z, a: a + sigmoid(z) * (1 - a))
cost = jp.Cost(lambda z, k: logsumexp(z) - z[k], lambda z, k: softmax(z) - one_hot(k, 10), takes_labels=True)
network = jp.Network((conv, swish, jp.flatten(), jp.dense(10)), in_shape=(8, 8, 1))
rule, optimizer, key = jp.backprop(network, cost), optax.inject_hyperparams(optax.sgd)(0.3), jax.random.key(0)
step, start = jp.make_step(rule, optimizer), jp.init_state(network.init(key), optimizer)
pixels, digits = load_digits(return_X_y=True)
train, test = ((pixels[k::2].reshape(-1, 8, 8, 1) / 16, digits[k::2]) for k in (0, 1))
epoch, fit = jp.make_epoch(step), partial(jp.fit, key=key, batch_size=20, epochs=40)
fitting = partial(fit, jax.jit(epoch), data=train)


def test_it_learns_is_saved_and_goes_on_to_the_same_bits(tmp_path):
    (early, metrics), *_, (state, _) = list(fitting(start))[3:]
    assert jax.jit(jp.make_evaluate(network, cost))(state.params, test).accuracy > 0.95
    jp.save_checkpoint(tmp_path, jp.Checkpoint(early, key, metrics.step, [], 0.0, {}, {}), previous=None)
    here = jp.restore(jp.newest_checkpoint(tmp_path), like=start)
    same_bits(list(fitting(here.state, begin=here.step))[-1][0], state)
    jp.save_params(tmp_path / "params.npz", network, state.params)
    same_bits(jp.load_params(tmp_path / "params.npz", network), state.params)


def test_its_gradient_is_right_and_every_layer_has_wishes():
    assert jp.check(jax.jit(jp.autodiff(network, cost)), jax.jit(rule), jp.probes_for(network, cost, quick=True)).agree
    wishes = jp.wishes(network, cost)(start.params, train[0][0], train[1][0])
    same_bits(wishes[-1].nudge_y, one_hot(train[1][0], 10) - softmax(wishes[-1].y))


def test_a_rate_that_is_far_too_large_is_diagnosed():
    with pytest.raises(jp.NonFinite) as failure:
        list(fitting(start._replace(opt_state=optax.tree.set(start.opt_state, learning_rate=1e30))))
    _, found = jp.diagnose(failure.value, jp.follow(None, 0, failure.value.before), fitting, rule, network, cost, train)
    assert (found.step, found.quantity, found.layer_name) == (2, "activation", "dense(10)")


@pytest.mark.slow  # tests/run/test_ensembles.py has other networks
def test_four_train_together_each_at_its_own_rate():
    states = jp.init_ensemble(network, optimizer, jax.random.split(key, 4), jnp.array([1e-4, 0.03, 0.1, 0.3]))
    *_, (_, metrics) = fit(jax.jit(jp.make_ensemble_epoch(step)), states, train)
    assert (np.diff(metrics.costs.mean(axis=1)) < 0).all(), "the larger of these rates, the lower the cost"


@pytest.mark.slow  # tests/run/test_placement.py has other networks
def test_four_devices_end_where_one_ends():
    subprocess.run([sys.executable, __file__], env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"}, check=True)


if __name__ == "__main__":
    mesh = jp.make_mesh(4, batch_size=20, platform="cpu")
    *_, (shared, _) = fit(jp.jit_over(mesh, epoch), jp.place(start, mesh), jp.place(train, mesh), epochs=3)
    # 132 steps in float32, of which each adds some roundings of 6e-8.
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), shared, list(fitting(start, epochs=3))[-1][0])
