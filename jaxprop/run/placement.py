"""Many devices as a placement: the program of one device, with each mini-batch shared out over all of them.

The examples and the state lie on every device; of the order of an epoch each device has its columns. From that JAX
works out the rest: every device gathers its part of a mini-batch, and the sums over examples run over all devices.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxprop.errors import BadInput
from jaxprop.training import Epoch

AXIS = "devices"


def make_mesh(devices: int | None, batch_size: int, platform: str | None = None) -> Mesh:
    """A mesh of so many devices, of all processes; None for all that there are.

    platform: whose devices, such as "cpu"; None for JAX's own choice.

    Raises `BadInput` where there are fewer, where a process would be left without one, and where a mini-batch cannot
    be shared out evenly.
    """
    present = jax.devices(platform)
    n = len(present) if devices is None else devices
    if not 1 <= n <= len(present):
        hint = "; JAX_NUM_CPU_DEVICES makes more of one CPU" if present[0].platform == "cpu" else ""
        raise BadInput(f"devices is {n}: expected 1 to {len(present)}, which JAX sees here{hint}")
    if jax.process_count() > 1 and n != len(present):
        raise BadInput(f"devices is {n}: {jax.process_count()} processes train on all of their {len(present)} devices")
    if batch_size % n:
        below = batch_size - batch_size % n
        nearest = f"{below} or {below + n}" if below else f"{n}"
        raise BadInput(f"batch_size is {batch_size}: {n} devices share it evenly if it is {nearest}")
    return jax.make_mesh((n,), (AXIS,), axis_types=(AxisType.Auto,), devices=present[:n])


def place(tree: Any, mesh: Mesh) -> Any:
    """A copy of each array on every device of the mesh. Every process calls this with the same numbers."""

    def copied(leaf: Any) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, NamedSharding(mesh, P()), lambda index: whole[index])

    return jax.tree.map(copied, tree)


def local(tree: Any) -> Any:
    """The copies on this process's first device: ordinary arrays, for whoever knows of no mesh."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def jit_over(mesh: Mesh, epoch: Epoch, compiler_options: dict[str, Any] | None = None) -> Any:
    """`jax.jit` of an epoch, with every mini-batch shared out over the mesh. State and data are placed by `place`."""
    everywhere = NamedSharding(mesh, P())
    shares = NamedSharding(mesh, P(None, AXIS))
    return jax.jit(
        epoch,
        in_shardings=(everywhere, everywhere, shares),
        out_shardings=everywhere,
        compiler_options=compiler_options,
    )
