"""An epoch on eight devices ends where one device ends, by either gradient.

How many devices one CPU counts as is settled when JAX starts, so the eight are those of another process.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxprop.errors import BadInput
from jaxprop.run.placement import in_one_message, make_mesh

EIGHT = """
import json, jax, numpy as np, optax
import jaxprop as jp
from jaxprop.run.placement import in_one_message, jit_over, local, make_mesh, place

rng = np.random.default_rng(0)
examples = jp.Examples(rng.integers(0, 256, (160, 28, 28), np.uint8), rng.integers(0, 10, 160).astype(np.int32))
network, sgd, furthest = jp.mlp((784, 16, 16, 10)), optax.sgd(2.0), {}
with jax.enable_x64(True):
    state = jp.init_state(network.init(jax.random.key(0)), sgd)
    order = np.concatenate([jp.epoch_order(jax.random.key(i), 160, 40) for i in range(3)])
    for name, make in {"backprop": jp.backprop, "autodiff": jp.autodiff}.items():
        gradient = make(network, jp.squared_error)
        plain = jp.make_epoch(jp.make_step(gradient, sgd), jp.as_batch)
        alone = jax.jit(plain)(state, examples, order)
        for n in (2, 8):
            mesh = make_mesh(n, 40)
            row = jp.make_epoch(jp.make_step(in_one_message(gradient, mesh), sgd), jp.as_batch)
            for how, epoch in {"placed": plain, "one message": row}.items():
                together = jit_over(mesh, epoch)(place(state, mesh), place(examples, mesh), order)
                assert len(together[1].costs.sharding.device_set) == n
                assert len(local(together)[1].costs.sharding.device_set) == 1
                differences = jax.tree.map(
                    lambda a, b: float(abs(np.asarray(a) * 1.0 - np.asarray(b)).max()), alone, together
                )
                furthest[f"{name}, {n} devices, {how}"] = max(jax.tree.leaves(differences))
    program = jit_over(mesh, plain).lower(place(state, mesh), place(examples, mesh), order).compile().as_text()
print(json.dumps([furthest, program]))
"""


def test_two_and_eight_devices_end_where_one_does():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", EIGHT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    furthest, program = json.loads(done.stdout)
    assert len(furthest) == 8
    # 12 steps in float64, in which sums of 40 terms are taken in another order: some roundings of 1e-16 each.
    assert all(difference <= 1e-12 for difference in furthest.values()), furthest
    assert "u8[5,1,28,28]" in program, "each of eight devices gathers its 5 of 40 examples"
    assert "all-reduce" in program
    assert "all-gather" not in program


@pytest.mark.parametrize(("processes", "numbers", "parts"), [(1, 10, True), (1, 10**6, False), (2, 10**6, True)])
def test_a_row_is_made_where_it_saves_time(monkeypatch, processes, numbers, parts):
    """Not of a long gradient inside one process. The result is the same."""
    seen = []

    def value_and_grad(params, batch):
        seen.append(batch[0].shape)
        return jnp.mean(batch[0]), params * jnp.mean(batch[1])

    monkeypatch.setattr(jax, "process_count", lambda: processes)
    batch = jnp.arange(8.0).reshape(4, 2), jnp.ones(4)
    mesh: Any = SimpleNamespace(size=2)  # of which nothing else is asked
    value, grad = in_one_message(value_and_grad, mesh)(jnp.ones(numbers), batch)
    assert seen[0] == ((2, 2) if parts else (4, 2))
    assert value == 3.5
    assert grad.shape == (numbers,)


def test_one_device_is_a_mesh_too():
    assert make_mesh(1, 7).devices.tolist() == jax.devices()[:1]


def test_no_device_and_more_than_there_are_are_refused():
    present = len(jax.devices())
    for n in (0, present + 1):
        with pytest.raises(BadInput, match=f"devices is {n}: expected 1 to {present}"):
            make_mesh(n, 100)


def test_a_mini_batch_that_cannot_be_shared_evenly_names_the_nearest_that_can(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda platform: [jax.local_devices(backend="cpu")[0]] * 8)
    with pytest.raises(BadInput, match="batch_size is 100: 8 devices share it evenly if it is 96 or 104"):
        make_mesh(None, 100)
    with pytest.raises(BadInput, match="batch_size is 3: 8 devices share it evenly if it is 8"):
        make_mesh(8, 3)


def test_parts_that_are_not_equal_are_refused_and_each_type_comes_back_as_it_was():
    mesh: Any = SimpleNamespace(size=2)

    def value_and_grad(params, batch):
        return jnp.mean(batch[0]), {"half": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(3)}

    params = {"half": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(3)}
    _, grads = in_one_message(value_and_grad, mesh)(params, (jnp.ones((4, 2)), jnp.ones(4)))
    assert (grads["half"].dtype, grads["single"].dtype) == (jnp.bfloat16, jnp.float32)
    with pytest.raises(BadInput, match="a mini-batch has 3 examples: expected a multiple of 2 devices"):
        in_one_message(value_and_grad, mesh)(params, (jnp.ones((3, 2)), jnp.ones(3)))
