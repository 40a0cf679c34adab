"""Which device does the work: the one that was asked for, or an error."""

import os
from typing import Any, Literal, TypeAlias, get_args

import jax

from jaxprop.errors import BadInput
from jaxprop.files import cache_folder

DeviceName = Literal["auto", "cpu", "gpu", "tpu"]
Device: TypeAlias = Any  # a `jax.Device`, which type checkers take for a variable


def select_device(name: DeviceName = "auto") -> Device:
    """This process's first device of that kind. "auto" is JAX's choice: an accelerator if there is one, else the CPU.

    `JAX_PLATFORMS` decides what JAX may see at all. Raises `BadInput` where there is no such device: there is no
    falling back.
    """
    if name not in get_args(DeviceName):
        raise BadInput(f"device is {name!r}: expected one of {', '.join(get_args(DeviceName))}")
    try:
        return jax.local_devices(backend=None if name == "auto" else name)[0]
    # JAX asserts that a platform is left, which is not so where JAX_PLATFORMS names only one that is not there.
    except (RuntimeError, AssertionError) as error:
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(name)
        remedy = f"uv sync --extra {extra}" if extra else "leave JAX_PLATFORMS unset, or name it there"
        platforms = os.environ.get("JAX_PLATFORMS")
        here = f"here with JAX_PLATFORMS={platforms}" if platforms else "here"
        raise BadInput(f"device is {name!r}: JAX sees no such device {here}; choose another, or {remedy}") from error


def describe_device(device: Device, dtype: str = "float32") -> str:
    """One line for people: the backend, the device, the precision and the version of JAX."""
    return f"backend {device.platform} · device {device.device_kind} · {dtype} · JAX {jax.__version__}"


def deterministic_options(platform: str) -> dict[str, bool]:
    """Options with which a program that `jax.jit(..., compiler_options=...)` compiles gives the same bits every time.

    None are needed but on a GPU. There XLA takes the kernels that are fastest when it tries them, others perhaps next
    time, and some of them add up in whatever order their threads end (OpenXLA's page "Determinism").
    """
    return {"xla_gpu_deterministic_ops": True} if platform == "gpu" else {}


def keep_compiled() -> None:
    """Has JAX keep every program that it compiles in the user's cache folder, and look there first from now on.

    By itself JAX would keep only those that take a second to compile, which none of the running example does.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
