"""The ways to compute that a machine has: every backend that is present, and the precisions that each knows."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.run.devices import Device, DeviceName, select_device
from jaxprop.errors import BadInput
from lab import running_example

HIGHEST, DEFAULT, BFLOAT16 = "float32, highest", "float32, default", "bfloat16"

# Bits that are stored of a number: in float32, and in what the default precision makes of the factors of a float32
# product. NVIDIA's GPUs since 2020 take TensorFloat-32, TPUs bfloat16 (JAX's guide "Matmul precision").
_FLOAT32 = 23
_FACTORS = {"gpu": 10, "tpu": 7}
_ROUNDINGS_OF_A_LAYER, _ROUNDINGS_OF_THE_COST = 10, 3


class Way(NamedTuple):
    """One backend in one precision."""

    device: Device
    precision: str
    dtype: str
    matmul: Literal["highest", "default"]
    bits: int  # stored of the coarsest numbers that are multiplied

    @property
    def name(self) -> str:
        return f"{self.device.platform}, {self.precision}"


def backends(name: DeviceName) -> list[Device]:
    """A device of every backend that JAX sees here; or only the one that was asked for, which must be there."""
    if name != "auto":
        return [select_device(name)]
    found = []
    for each in ("cpu", "gpu", "tpu"):
        try:
            found.append(select_device(each))
        except BadInput:
            continue  # absent
    return found


def ways(device: Device) -> list[Way]:
    """The precisions of a backend. On a CPU the default is the highest: both are float32 throughout."""
    default = _FACTORS.get(device.platform, _FLOAT32)
    return [
        Way(device, HIGHEST, "float32", "highest", _FLOAT32),
        Way(device, DEFAULT, "float32", "default", default),
        Way(device, BFLOAT16, "bfloat16", "highest", 7),
    ]


def envelope(bits: int) -> float:
    """How far rounding may take a leaf of the gradient, as a share of the size of what is added up: K u.

    u = 2^-(bits + 1) is the most by which one rounding to nearest moves a number, as a share of it. K = 33 is how many
    lie between the examples and the gradient of the lesson's network: ten in each of three dense layers with their
    sigmoids (forward the weighted sum, the bias, exp, 1 + exp, its inverse; back 1 - a, a (1 - a), its product with da,
    the weighted sum of dz, the average over the batch) and three in the cost (a - y, its square, their sum). To first
    order they add up: K u is all of them at once in one direction, between steps that make no error larger. Rounding
    is as often up as down, so that about sqrt(K) u is to be expected (Higham and Mary, "A new approach to
    probabilistic rounding error analysis", 2019). The terms of a sum do not count, for sums are kept in float32.
    """
    layers = len(running_example.SIZES) - 1
    return (_ROUNDINGS_OF_A_LAYER * layers + _ROUNDINGS_OF_THE_COST) * 2.0 ** -(bits + 1)


def compiled(function: Callable, way: Way) -> Callable:
    """The function, compiled for this way whatever precision its caller has set, and where its arguments are."""

    @jax.jit
    def own(*arguments: Any) -> Any:
        with jax.default_matmul_precision(way.matmul):
            return function(*arguments)

    return own


def cast(tree: Any, way: Way) -> Any:
    """A tree of floats in the way's type, on its device. Rounded on the host, which needs no compilation."""
    return jax.device_put(jax.tree.map(lambda x: np.asarray(x).astype(jnp.dtype(way.dtype)), tree), way.device)
