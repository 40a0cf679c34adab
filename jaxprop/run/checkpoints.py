"""Checkpoints: where a training run stands, in a file from which it goes on as if nothing had happened.

A checkpoint is one npz of `jaxprop.files`: NumPy reads it, it describes itself, every bit of it is under a checksum,
and a rename puts it in place at once. That is why it is neither safetensors, which have no checksum and only texts
beside the arrays, nor Orbax, which writes a folder of many files for states that no single host can hold.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxprop.errors import BadInput
from jaxprop.files import Arrays, load_arrays, make_folder, save_arrays
from jaxprop.training import Data, State
from jaxprop.verify.comparison import by_path

_KIND = "checkpoint of a training run, with the layers of its network"
_OLDER_KIND = "checkpoint of a training run"
_LONGEST = 1e10  # seconds: three hundred years
_FACTS = {"step": int, "rows": list, "seconds": int | float, "config": dict, "origin": dict}


class Checkpoint(NamedTuple):
    """All that a training run needs to go on."""

    state: State
    key: PRNGKeyArray  # of the order of the examples
    step: int  # how many are done; it says which epoch, and where in it
    rows: list[dict[str, float]]  # of metrics.csv, one for each epoch done
    seconds: float  # spent in the epoch that has begun
    config: dict[str, Any]  # what decides the numbers, and whatever else is worth knowing
    origin: dict[str, Any]  # device, versions and commit, from `folders.provenance`


class Found(NamedTuple):
    """A checkpoint as it was read, before it is known to fit anything."""

    path: Path
    arrays: Arrays
    facts: dict[str, Any]
    passed_over: list[str]  # newer ones that cannot be used, each with the reason


def save_checkpoint(run: str | os.PathLike[str], checkpoint: Checkpoint, previous: int | None) -> None:
    """Writes `run/checkpoints/step-<n>.npz`, and then deletes all others but the previous good one.

    previous: the step of that one, None where there is none.

    Raises `BadInput` where it cannot be written, such as where the run's folder has vanished; what was there before is
    there still.
    """
    leaves = {f"state{name}": leaf for name, leaf in by_path(checkpoint.state).items()}
    arrays = {name: np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for name, leaf in leaves.items()}
    arrays["key"] = np.asarray(jax.random.key_data(checkpoint.key))
    facts = {name: getattr(checkpoint, name) for name in _FACTS}
    facts |= {"kind": _KIND, "key": str(jax.random.key_impl(checkpoint.key))}
    if keys := {name: str(jax.random.key_impl(leaf)) for name, leaf in leaves.items() if _is_key(leaf)}:
        facts["keys"] = keys
    folder = Path(run) / "checkpoints"
    make_folder(folder, parents=False)
    save_arrays(folder / f"step-{checkpoint.step}.npz", arrays, facts)
    for path in _all(Path(run)):
        # What only bears the name of a checkpoint, such as a folder, is not ours to delete.
        if _step(path) not in (checkpoint.step, previous) and path.is_file():
            path.unlink(missing_ok=True)


def newest_checkpoint(run: str | os.PathLike[str], check: Callable[[Found], object] = lambda found: None) -> Found:
    """The newest checkpoint of a run that is whole.

    check: raises `BadInput` where the caller could not go on from it. It is passed over then, as if it were damaged.

    Raises `BadInput` where there is none.
    """
    passed_over = []
    for path in reversed(_all(Path(run))):
        try:
            arrays, facts = load_arrays(path)
        except BadInput as error:
            passed_over.append(str(error))
            continue
        if facts.get("kind") == _OLDER_KIND:
            raise BadInput(f"{run} was begun by an older version of jaxprop: go on with that one, or begin another run")
        found = Found(path, arrays, facts, passed_over)
        if facts.get("kind") != _KIND:
            passed_over.append(f"{path} is no {_KIND}")
        elif complaint := _complaint(found):
            passed_over.append(f"{path} {complaint}")
        else:
            try:
                check(found)
                return found
            except BadInput as error:
                passed_over.append(f"{path}: {error}")
    if passed_over:
        raise BadInput(f"{run} has no checkpoint that can be used: {'; '.join(passed_over)}")
    raise BadInput(f"{run} has no checkpoint: name the folder of a run that was begun, or begin another")


def last_step(run: str | os.PathLike[str]) -> int | None:
    """The step of the newest checkpoint, by its name alone; None where there is none."""
    return max(map(_step, _all(Path(run))), default=None)


def check_unchanged(found: Found, config: Mapping[str, Any]) -> None:
    """Raises `BadInput` that names the first of these settings that is not what it was."""
    was = found.facts["config"]
    for name, value in config.items():
        if was.get(name) != value:
            raise BadInput(
                f"{name} was {was.get(name)!r} in {found.path} and is {value!r} now: a run goes on as it began, "
                "so leave it out, or begin another run"
            )


def restore(found: Found, like: State) -> Checkpoint:
    """The checkpoint, bit for bit, in a state like this one, such as that before the first step.

    Raises `BadInput` that names the first array that has another shape or type than there.
    """
    arrays: dict[str, Any] = dict(found.arrays)
    facts = found.facts
    key = _as_key(arrays.pop("key"), facts["key"])
    for name, impl in facts.get("keys", {}).items():
        arrays[name] = _as_key(arrays[name], impl)
    expected = {f"state{name}": leaf for name, leaf in by_path(like).items()}
    for name in sorted(expected.keys() | arrays.keys()):
        was, now = _describe(arrays.get(name)), _describe(expected.get(name))
        if was != now:
            raise BadInput(f"{name} was {was} in {found.path} and is {now} now: it is of another network or optimizer")
    state = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in expected])
    fields = {name: facts[name] for name in _FACTS}
    return Checkpoint(state=state, key=key, **fields)


def fingerprint(data: Data) -> str:
    """Tells data apart: by all of an array up to a megabyte, such as labels, by every hundredth row of a larger one."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(data):
        x = np.asarray(leaf)
        digest.update(f"{x.shape} {x.dtype}".encode())
        digest.update(np.ascontiguousarray(x if x.nbytes <= 2**20 else x[::100]).tobytes())
    return digest.hexdigest()


def _complaint(found: Found) -> str | None:
    """Why this is no checkpoint that anybody can go on from, though it says that it is one."""
    arrays, facts = found.arrays, found.facts
    for name, kind in _FACTS.items():
        if name not in facts:
            return f"has no {name!r}"
        if not isinstance(facts[name], kind) or isinstance(facts[name], bool):
            return f"has a {type(facts[name]).__name__} as {name!r}"
    if facts["step"] != _step(found.path):
        return "is named after another step than the one that is in it"
    if not all(isinstance(row, dict) and all(map(_is_number, row.values())) for row in facts["rows"]):
        return "has a row that is not one of numbers"
    if not all(
        0 <= seconds <= _LONGEST for seconds in (facts["seconds"], *(r.get("seconds", 0) for r in facts["rows"]))
    ):
        return f"has seconds that are not between 0 and {_LONGEST:g}"
    keys = facts.get("keys", {})
    if not isinstance(keys, dict):
        return f"has a {type(keys).__name__} as 'keys'"
    if strange := [name for name in keys if not name.startswith("state")]:
        return f"has {strange[0]!r} among the keys of its state"
    for name, impl in {"key": facts.get("key"), **keys}.items():
        if name not in arrays or not isinstance(impl, str):
            return f"has no {name!r}"
        try:
            # By its shape alone: processes join each other after this, before JAX computes anything.
            numbers = jax.ShapeDtypeStruct(arrays[name].shape, arrays[name].dtype)
            key = jax.eval_shape(partial(jax.random.wrap_key_data, impl=impl), numbers)
        except (ValueError, TypeError):
            return f"holds no key of random numbers as {name!r}"
        if name == "key" and key.shape != ():
            return f"holds many keys of random numbers as {name!r}"
    return None


def _is_number(value: Any) -> bool:
    """Whether this is a number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_key(numbers: np.ndarray, impl: str) -> PRNGKeyArray:
    return jax.random.wrap_key_data(jnp.asarray(numbers), impl=impl)


def _describe(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{leaf.dtype} of shape {leaf.shape}"


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _all(run: Path) -> list[Path]:
    """Oldest first."""
    named = (path for path in (run / "checkpoints").glob("step-*.npz") if re.fullmatch(r"step-\d+", path.stem))
    return sorted(named, key=_step)
