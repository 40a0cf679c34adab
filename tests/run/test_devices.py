import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxprop.errors import BadInput
from jaxprop.run.devices import describe_device, deterministic_options, select_device

PRESENT = {device.platform for device in jax.devices()} | {"cpu"}


def test_auto_is_the_choice_of_jax():
    assert select_device("auto") == jax.devices()[0]


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_a_device_that_is_absent_is_an_error_and_never_replaced(name):
    if name in PRESENT:
        assert select_device(name).platform == name
        return
    with pytest.raises(BadInput, match=f"device is '{name}': JAX sees no such device here"):
        select_device(name)


def test_an_unknown_device_is_refused():
    with pytest.raises(BadInput, match="expected one of auto, cpu, gpu, tpu"):
        select_device("abacus")  # pyright: ignore[reportArgumentType] - the mistake under test


def test_a_platform_that_is_absent_is_named_where_it_was_asked_for():
    program = "from jaxprop.run.devices import select_device; select_device()"
    env = {**os.environ, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    if done.returncode == 0:
        assert "gpu" in PRESENT
        return
    assert done.stderr.splitlines()[-1].startswith(
        "jaxprop.errors.BadInput: device is 'auto': JAX sees no such device here with JAX_PLATFORMS=cuda; "
    )


def test_the_description_names_backend_precision_and_version():
    device = jax.devices()[0]
    line = describe_device(device)
    assert line.startswith(f"backend {device.platform} ")
    assert "float32" in line
    assert jax.__version__ in line


def test_only_a_gpu_needs_an_option_to_be_deterministic_and_xla_knows_it():
    """It is taken on every backend, so that a name that XLA no longer knows is noticed without a GPU."""
    assert deterministic_options("cpu") == deterministic_options("tpu") == {}
    options = deterministic_options("gpu")
    assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_gpu_no_such_option'"):
        jax.jit(jnp.sin, compiler_options={"xla_gpu_no_such_option": True})(0.0)
    assert all(options.values())


HITS = """
import jax
from jaxprop.run.devices import keep_compiled

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
keep_compiled()
assert jax.jit(lambda x: 3 * x)(2) == 6
print(len(hits))
"""


def test_what_is_kept_compiled_is_found_by_the_next_process(empty_cache):
    def found() -> int:
        done = subprocess.run([sys.executable, "-c", HITS], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert found() == 0
    assert list((empty_cache / "compiled").iterdir())
    assert found() > 0
