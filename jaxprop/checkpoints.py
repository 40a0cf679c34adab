"""The parameters of a trained network in one file that says which network they are of."""

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.arrays import load_arrays, save_arrays
from jaxprop.errors import BadInput
from jaxprop.layers import Params
from jaxprop.networks import Activation, Network, mlp

_FLOATS = ("float16", "float32", "float64")  # those that NumPy can name in a file


def save_params(path: str | os.PathLike[str], params: Params, sizes: Sequence[int], activation: Activation) -> None:
    """Writes the parameters of `mlp(sizes, activation)`. The same parameters give the same bytes.

    The arrays are named by their place in the tree: `np.load(path)["[0].W"]` are the weights of the first layer.

    Raises `BadInput` where these are not parameters of that network, in one float type, or the file cannot be written.
    """
    network = mlp(sizes, activation)
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    about = {
        "sizes": [int(size) for size in sizes],
        "activation": activation,
        "dtype": " and ".join(sorted({str(array.dtype) for array in arrays.values()})) or "nothing",
        "jaxprop": importlib.metadata.version("jaxprop"),
    }
    _check(arrays, network, about, "params")
    save_arrays(path, arrays, about)


def load_params(path: str | os.PathLike[str]) -> tuple[Network, Params]:
    """The network that a file of `save_params` describes, and its parameters, bit for bit.

    Raises `BadInput` where the file is missing, damaged or of another kind, where its arrays are not those of the
    network that it describes, and where they are float64 and JAX does not have it enabled.
    """
    arrays, about = load_arrays(path)
    if not {"sizes", "activation", "dtype"} <= about.keys():
        raise BadInput(f"{path} does not describe a network: name a file that jaxprop saved parameters in")
    try:
        network = mlp(about["sizes"], about["activation"])
    except BadInput as error:
        raise BadInput(f"{path} describes no network that jaxprop knows: {error}") from error
    _check(arrays, network, about, str(path))
    expected = _expected(network)
    leaves = [jnp.asarray(arrays[name]) for name in named_leaves(expected)]
    if any(leaf.dtype != about["dtype"] for leaf in leaves):
        raise BadInput(f"{path} holds {about['dtype']}, which JAX would round: load it under jax.enable_x64(True)")
    return network, jax.tree.unflatten(jax.tree.structure(expected), leaves)


def _expected(network: Network) -> Params:
    return jax.eval_shape(lambda: network.init(jax.random.key(0)))


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their place in it, such as "[0].W"."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _check(arrays: Mapping[str, np.ndarray], network: Network, about: Mapping[str, Any], given: str) -> None:
    dtype = about["dtype"]
    if dtype not in _FLOATS:
        raise BadInput(f"{given} are {dtype}: expected one of {', '.join(_FLOATS)} throughout")
    described = f"mlp({about['sizes']}, {about['activation']!r})"
    expected = {name: f"{dtype} of shape {leaf.shape}" for name, leaf in named_leaves(_expected(network)).items()}
    found = {name: f"{array.dtype} of shape {array.shape}" for name, array in arrays.items()}
    for name in sorted(expected.keys() | found.keys()):
        there, wanted = found.get(name, "nothing"), expected.get(name, "nothing")
        if there != wanted:
            raise BadInput(f"{given}: {there} at {name}, where {described} has {wanted}; give that one's parameters")
