"""The parameters of a network in one file that says which network they are of."""

import importlib.metadata
import json
import os
from reprlib import repr as shortly
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.errors import BadInput
from jaxprop.files import Arrays, load_arrays, save_arrays
from jaxprop.layers import Params
from jaxprop.networks import Network, mlp
from jaxprop.verify.comparison import by_path

SAVED_TYPES = ("float16", "float32", "float64")  # those that NumPy can name in a file


def save_params(path: str | os.PathLike[str], network: Network, params: Params, **facts: Any) -> None:
    """Writes the parameters of a network. The same content gives the same bytes.

    The arrays are named by their place in the tree: `np.load(path)["[0].W"]` are the weights of the first layer. The
    network itself is code and is not saved, but its `repr` is, by which `load_params` knows it again.

    facts: anything else that the file shall say, as JSON holds it. With `sizes` and `activation`, those of an `mlp`,
        `load_mlp` rebuilds the network from the file.

    Raises `BadInput` where these are not parameters of that network, in one float type; where the facts describe
    another network, or JSON cannot hold them; and where the file cannot be written.
    """
    _check_facts(facts, network)
    arrays = {name: np.asarray(leaf) for name, leaf in by_path(params).items()}
    about = {
        **facts,
        "network": repr(network),
        "dtype": " and ".join(sorted({str(array.dtype) for array in arrays.values()})) or "nothing",
        "jaxprop": importlib.metadata.version("jaxprop"),
    }
    _check(arrays, network, about["dtype"], "params")
    save_arrays(path, arrays, about)


def load_params(path: str | os.PathLike[str], network: Network) -> Params:
    """The parameters that `save_params` wrote for this network, bit for bit.

    Raises `BadInput` where the file is missing, damaged or of another kind, where it is of a network with another
    `repr` or its arrays are of other shapes, and where they are float64 and JAX does not have it enabled.
    """
    arrays, about = _read(path)
    if about["network"] != repr(network):
        given = about["network"]
        raise BadInput(f"{path} is of {given}: expected parameters of {network}; name another file or network")
    _check(arrays, network, about["dtype"], str(path))
    leaves = [jnp.asarray(arrays[name]) for name in by_path(network.params_like)]
    if any(leaf.dtype != about["dtype"] for leaf in leaves):
        needed = "load it under jax.enable_x64(True), or run a script with JAX_ENABLE_X64=1"
        raise BadInput(f"{path} holds {about['dtype']}, which JAX would round: {needed}")
    return jax.tree.unflatten(jax.tree.structure(network.params_like), leaves)


def describe_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the file says of itself, before anything is made of it: `network`, `dtype`, `jaxprop`, and its facts.

    For whoever must know first: parameters in float64 need `jax.enable_x64(True)` before they are loaded.

    Raises `BadInput` where the file is missing, damaged or of another kind.
    """
    return _read(path)[1]


def load_mlp(path: str | os.PathLike[str]) -> tuple[Network, Params]:
    """The multi-layer perceptron that a file describes, such as `train.py` leaves, and its parameters.

    Raises `BadInput` as `load_params` does, and where the file is of another kind of network.
    """
    _, about = _read(path)
    if not {"sizes", "activation"} <= about.keys():
        raise BadInput(f"{path} is of {about['network']}, which is code: give that network to jaxprop.load_params")
    try:
        network = mlp(about["sizes"], about["activation"])
    except BadInput as error:
        raise BadInput(f"{path} describes no network that jaxprop knows: {error}") from error
    return network, load_params(path, network)


def _read(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    arrays, about = load_arrays(path)
    if not {"network", "dtype"} <= about.keys():
        older = " (it has those of an older version)" if {"sizes", "activation"} <= about.keys() else ""
        raise BadInput(f"{path} does not name its network{older}: name a file of jaxprop.save_params, or train again")
    for name in ("network", "dtype", "jaxprop"):
        if not isinstance(about.get(name, ""), str):
            given = f"{path} has {shortly(about[name])} as {name!r}"
            raise BadInput(f"{given}: expected a text; name a file of jaxprop.save_params, or train again")
    return arrays, about


def _check_facts(facts: dict[str, Any], network: Network) -> None:
    """Raises `BadInput` where a fact cannot stand in the file, or is not true of the network."""
    for name, fact in facts.items():
        if name in ("dtype", "jaxprop"):
            raise BadInput(f"{name} is given as a fact: the file says that by itself, so choose another name")
        try:
            json.dumps(fact, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            expected = "expected what JSON holds: text, finite numbers of Python's own, lists, dicts, True, False, None"
            raise BadInput(f"the fact {name} is a {type(fact).__name__} ({error}): {expected}") from error
    described = facts.keys() & {"sizes", "activation"}
    if len(described) == 1:
        raise BadInput(
            f"{described.pop()} is given alone: an mlp is described by sizes and activation, give both or none"
        )
    if described:
        given = f"sizes {facts['sizes']} and activation {facts['activation']!r}"
        meant = mlp(facts["sizes"], facts["activation"])
        if repr(meant) != repr(network):
            raise BadInput(f"{given} describe {meant}, and this is {network}: leave them out, and use load_params")


def _check(arrays: Arrays, network: Network, dtype: str, given: str) -> None:
    if dtype not in SAVED_TYPES:
        raise BadInput(f"{given} are {dtype}: expected one of {', '.join(SAVED_TYPES)} throughout")
    expected = {name: f"{dtype} of shape {leaf.shape}" for name, leaf in by_path(network.params_like).items()}
    found = {name: f"{array.dtype} of shape {array.shape}" for name, array in arrays.items()}
    for name in sorted(expected.keys() | found.keys()):
        there, wanted = found.get(name, "nothing"), expected.get(name, "nothing")
        if there != wanted:
            raise BadInput(f"{given}: {there} at {name}, where {network} has {wanted}; give that one's parameters")
