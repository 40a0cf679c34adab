"""Many processes that train one network: joined where the environment says so, and ended together.

The engine is JAX's: `jax.distributed`, which finds by itself what Slurm, Open MPI 4 and Cloud TPU have started.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxprop.errors import BadInput

# What Kubeflow Trainer sets, and a person can. JAX by itself reads the first one only.
_VARIABLES = {
    "coordinator_address": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}


class LostProcess(RuntimeError):  # noqa: N818 - the name says what was met
    """Another process of this run has ended or cannot be reached, and without it there is no going on."""


def join(timeout: int) -> None:
    """Joins the other processes of this run, if the environment names any. To be called before JAX is used.

    timeout: seconds without a sign of life after which a process counts as lost. Before they have met, it is JAX's
        five minutes.

    All but the first process fall silent: their standard output goes nowhere.

    Raises `BadInput` where the environment names others, but not all that is needed to join them, and `LostProcess`
    where they cannot be reached.
    """
    jax.config.update(
        "jax_enable_preemption_service", False
    )  # it would take SIGTERM, which here ends all in good order
    said = {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}
    try:
        # At the end the others wait for the first one, which has figures to draw.
        jax.distributed.initialize(
            **_as_arguments(said), heartbeat_timeout_seconds=timeout, shutdown_timeout_seconds=max(timeout, 60)
        )
    except (ValueError, TypeError) as error:
        if not said and "coordinator_address" in str(error):
            return  # JAX knows of no cluster here
        named = _in_words(said) or "a cluster"
        raise BadInput(f"the processes that the environment names ({named}) cannot be joined: {error}") from error
    except jax.errors.JaxRuntimeError as error:
        raise LostProcess(f"the processes of this run did not all come together: {_first_line(error)}") from error
    if not leads():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays so until the end of the process


def leads() -> bool:
    """Whether this process is the one that speaks and writes files."""
    return jax.process_index() == 0


def largest(number: int) -> int:
    """The largest of the numbers with which all processes call this, each the same number of times."""
    if jax.process_count() == 1:
        return number
    try:
        return int(multihost_utils.process_allgather(np.int32(number)).max())
    except ValueError as error:  # what becomes of JAX's own where NumPy is the one that waits for the result
        raise jax.errors.JaxRuntimeError(str(error)) from error


def all_equal(number: int) -> bool:
    """Whether all processes call this with the same number."""
    highest = largest(number)
    lowest = -largest(-number)
    return highest == lowest


@contextmanager
def together() -> Iterator[None]:
    """Where there are others, what JAX raises inside is a `LostProcess`: a failed message looks like any error."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        who = f"process {jax.process_index()} of {jax.process_count()}"
        raise LostProcess(
            f"{who} cannot go on ({_first_line(error)}): where another process has ended, begin all of them again, "
            "with --resume and the run folder"
        ) from error


def leave(code: int) -> int:
    """Returns the exit code. With code 2 or 4, a process with others ends at once instead, so that they notice.

    JAX's own way out would wait for them, and they for this process.
    """
    if code in (2, 4) and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _as_arguments(said: dict[str, str]) -> dict[str, Any]:
    """Of `jax.distributed.initialize`; nothing where the environment leaves the numbers to JAX."""
    if said.keys() <= {"coordinator_address"}:
        return {}
    if missing := [variable for name, variable in _VARIABLES.items() if name not in said]:
        raise ValueError(f"expected {' and '.join(missing)} too")
    return {name: value if name == "coordinator_address" else int(value) for name, value in said.items()}


def _in_words(said: dict[str, str]) -> str:
    return " ".join(f"{_VARIABLES[name]}={value}" for name, value in said.items())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
