"""Data parallelism: every device takes its share of each mini-batch, and what they wish for is averaged once more.

The engine is JAX's: a mesh of one axis, `jax.shard_map`, and a mean over that axis. It makes no difference whether the
devices belong to one process or to many.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import Batch, Examples
from jaxprop.errors import BadInput
from jaxprop.layers import Grads, Params
from jaxprop.training import Epoch, Order, State

AXIS = "devices"


def average_over_devices(value_and_grad: ValueAndGrad) -> ValueAndGrad:
    """`value_and_grad` of the whole mini-batch, of which each device along `AXIS` holds an equal share.

    The mean of the shares' means is the mean over all examples, since the shares are equal. To be called under
    `shard_map`, as `make_parallel_epoch` does.
    """

    def averaged(params: Params, batch: Batch) -> tuple[Float[Array, ""], Grads]:
        # Parameters that all devices share would make `jax.grad` add up the gradients of all devices by itself, and
        # the mean below would do it again. A device's own copy has a gradient of its own, by either hand.
        own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), params)
        # All in one row, which goes around once, and not once for each array: over the loopback of one machine two
        # processes took 2.5 s for an epoch of MNIST so, instead of 16 s.
        row, as_tree = ravel_pytree(value_and_grad(own, batch))
        return as_tree(jax.lax.pmean(row, AXIS))

    return averaged


class ParallelEpoch(NamedTuple):
    """An epoch over the devices of a mesh: to be called, or lowered and compiled, like a `jax.jit` of `make_epoch`.

    The examples stay in the memory of the host, and a process gathers those of its own devices alone. The state and the
    costs that come back are ordinary arrays on the first of these, so that nobody else needs to know of the mesh.
    """

    mesh: Mesh
    program: Any  # (state, images (steps, B, 28, 28), labels (steps, B)) -> (state, costs), compiled once for a shape

    def __call__(self, state: State, examples: Examples, order: Order) -> tuple[State, Float[Array, " steps"]]:
        everywhere = self.program(*self._place(state, examples, order))
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), everywhere)

    def lower(self, state: State, examples: Examples, order: Order) -> Any:
        return self.program.lower(*self._place(state, examples, order))

    def _place(self, state: State, examples: Examples, order: Order) -> tuple[State, jax.Array, jax.Array]:
        everywhere, shares = NamedSharding(self.mesh, P()), NamedSharding(self.mesh, P(None, AXIS))

        def copied(leaf: Array) -> jax.Array:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(whole.shape, everywhere, lambda index: whole[index])

        def shared_out(rows: np.ndarray) -> jax.Array:
            def share(index: Any) -> np.ndarray:  # of one device: its slices of the steps and of the mini-batches
                return rows[order[index[:2]]]

            return jax.make_array_from_callback((*order.shape, *rows.shape[1:]), shares, share)

        images, labels = (shared_out(np.asarray(rows)) for rows in examples)
        return jax.tree.map(copied, state), images, labels


def make_parallel_epoch(epoch: Epoch, mesh: Mesh, compiler_options: dict[str, Any] | None = None) -> ParallelEpoch:
    """What `epoch` does, with every mini-batch shared out over the devices of a mesh whose one axis is `AXIS`.

    epoch: from `make_epoch`, of a step whose gradient went through `average_over_devices`.
    compiler_options: as `jax.jit` takes them.

    The mini-batches are those of a single device, whatever the mesh.
    """

    def on_one_device(state: State, images: Array, labels: Array) -> tuple[State, Float[Array, " steps"]]:
        share = Examples(images.reshape(-1, *images.shape[2:]), labels.ravel())
        return epoch(state, share, np.arange(labels.size).reshape(labels.shape))

    shares = P(None, AXIS)
    on_all = jax.shard_map(on_one_device, mesh=mesh, in_specs=(P(), shares, shares), out_specs=P())
    return ParallelEpoch(mesh, jax.jit(on_all, compiler_options=compiler_options))


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
        below, above = batch_size - batch_size % n, batch_size + n - batch_size % n
        nearest = f"{below} or {above}" if below else above
        raise BadInput(f"batch_size is {batch_size}: {n} devices share it evenly if it is {nearest}")
    return jax.make_mesh((n,), (AXIS,), devices=present[:n])
