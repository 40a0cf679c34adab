"""The peers: ways to train one network, all on the same work but scikit-learn.

A step gathers a mini-batch from uint8 images, makes numbers in [0, 1] of the grey levels, and goes down the gradient of
the average of sum (a - y)^2 by plain SGD. Each peer lives in a module that is imported when it is made, so that whoever
runs one alone pays for no other.
"""

import importlib
import importlib.util
import os
import shutil
from typing import NamedTuple

from benchmarking.work import Trainer, Work


class Peer(NamedTuple):
    """One way to train."""

    module: str  # under `benchmarking`
    function: str  # there: `(work, device) -> Trainer`
    needs: tuple[str, ...]  # what it imports
    devices: tuple[str, ...]  # where it can compute
    compiler: bool = False  # whether it needs a C++ compiler on a CPU
    same_work: bool = True  # whether it takes the same steps from the start and in the order that it is given
    remark: str = ""

    def make(self, work: Work, device: str) -> Trainer:
        return getattr(importlib.import_module(f"benchmarking.{self.module}"), self.function)(work, device)

    def where(self, device: str) -> str:
        """The device that was asked for if the peer can compute there, else the CPU."""
        return device if device in self.devices else "cpu"

    def missing(self, device: str) -> str:
        """What this machine lacks for the peer, or nothing."""
        for package in (module.partition(".")[0] for module in self.needs):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed"
        compiler = os.environ.get("CXX", "g++")
        if self.compiler and self.where(device) == "cpu" and not shutil.which(compiler):
            return f"no C++ compiler here ({compiler})"
        if self.module == "in_torch" and self.where(device) == "gpu":
            import torch  # pyright: ignore[reportMissingImports] - optional

            if not torch.cuda.is_available():
                return "this torch sees no GPU"
        return ""


_JAX = ("optax", "jaxprop")
_TORCH = ("torch", "torch._dynamo")  # the first optimiser made imports the second one too
_ANYWHERE = ("cpu", "gpu", "tpu")

MANUAL = "jaxprop, manual backprop"  # the baseline of all ratios
AUTODIFF = "jaxprop, autodiff"
NUMPY = "NumPy"
TORCH = "PyTorch eager"
PEERS = {
    MANUAL: Peer("in_jax", "manual_backprop", _JAX, _ANYWHERE),
    AUTODIFF: Peer("in_jax", "autodiff", _JAX, _ANYWHERE),
    "JAX, step by step": Peer("in_jax", "step_by_step", _JAX, _ANYWHERE),
    NUMPY: Peer("on_host", "numpy_backprop", ("numpy",), ("cpu",)),
    "NumPy, one thread": Peer("on_host", "numpy_on_one_thread", ("numpy",), ("cpu",)),
    "scikit-learn": Peer(
        "on_host",
        "scikit_learn",
        ("sklearn.neural_network",),
        ("cpu",),
        same_work=False,
        remark="other cost, own start and order",
    ),
    TORCH: Peer("in_torch", "eager", _TORCH, ("cpu", "gpu")),
    "torch.compile": Peer("in_torch", "compiled", _TORCH, ("cpu", "gpu"), compiler=True),
}
