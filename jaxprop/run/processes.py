"""Many processes that train one network: joined where the environment says so, and ended together.

The engine is JAX's: `jax.distributed`, which finds by itself what Slurm, Open MPI 4 and Cloud TPU have started.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # the store of texts has no public name
from jax.experimental import multihost_utils

from jaxprop.errors import BadInput
from jaxprop.run.meeting import Missing, meet

# What Kubeflow Trainer sets, and a person can. JAX by itself reads the first one only.
_VARIABLES = {
    "coordinator_address": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}
MEETING = 300.0  # seconds that all processes have to come together, and to get as far as the others
_ROOM, _TROUBLE = "jaxprop/facts", "jaxprop/trouble"
_meetings = itertools.count()  # all processes call `agree` as often, so the same number means the same call


class LostProcess(RuntimeError):  # noqa: N818 - the name says what was met
    """Another process of this run has ended or cannot be reached, and without it there is no going on."""


def join(timeout: int, meeting: float = MEETING) -> None:
    """Joins the other processes of this run, if the environment names any. To be called before JAX is used.

    timeout: seconds without a sign of life after which a process counts as lost.
    meeting: seconds that all have to come together.

    All but the first process fall silent: their standard output goes nowhere.

    Raises `BadInput` where the environment names others, but not all that is needed to join them, or where they do not
    agree about who they are; and `LostProcess` where they cannot be reached.
    """
    jax.config.update(
        "jax_enable_preemption_service", False
    )  # it would take SIGTERM, which here ends all in good order
    said = {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}
    try:
        arguments = _as_arguments(said)
        if arguments.get("num_processes", 1) > 1:
            host, port = _host_and_port(arguments["coordinator_address"])
            meet(host, port, arguments["num_processes"], arguments["process_id"], meeting)
        # At the end the others wait for the first one, which has figures to draw.
        jax.distributed.initialize(
            **arguments, heartbeat_timeout_seconds=timeout, shutdown_timeout_seconds=max(timeout, 60)
        )
    except BadInput:
        raise
    except (ValueError, TypeError) as error:
        if not said and "coordinator_address" in str(error):
            return  # JAX knows of no cluster here
        named = _in_words(said) or "a cluster"
        raise BadInput(f"the processes that the environment names ({named}) cannot be joined: {error}") from error
    except (Missing, jax.errors.JaxRuntimeError) as error:
        raise LostProcess(f"the processes of this run did not all come together: {_first_line(error)}") from error
    if distributed.global_state.process_id != 0:  # `leads` would have JAX meet already, also those that disagree
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays so until the end of the process


def agree(facts: Mapping[str, Any], within: float = MEETING) -> None:
    """Returns where all processes call this with the same facts, which JSON can hold. To be called by all in turn.

    within: seconds that this one waits for the others.

    The facts go through the store of texts that JAX's processes share, and not through a computation, which would hang
    or abort where the processes do not compute alike. Raises `BadInput` in all processes, with one sentence about the
    first difference, and `LostProcess` where another one does not come.
    """
    client = distributed.global_state.client
    if client is None:
        return
    processes, me = distributed.global_state.num_processes, distributed.global_state.process_id
    room = f"{_ROOM}/{next(_meetings)}"
    client.key_value_set(f"{room}/{me}", json.dumps(dict(facts)))
    first = _facts_of(client, room, 0, within)
    for process in range(1, processes):
        theirs = _facts_of(client, room, process, within)
        for name in [*first, *theirs]:
            one, other = (_value(of, name) for of in (first, theirs))
            if one != other:
                jax.distributed.shutdown()  # all find this, so all can go in good order
                raise BadInput(
                    f"process {process} of {processes} differs from process 0 in {name}: it has {other}, process 0 "
                    f"has {one}; start all processes of a run alike"
                )


@contextmanager
def until_all_agree() -> Iterator[None]:
    """A `BadInput` that ends this process ends the others too, at their next `agree`, which tells them why."""
    try:
        yield
    except BadInput as error:
        state = distributed.global_state
        if state.client is not None:
            state.client.key_value_set(f"{_TROUBLE}/{state.process_id}", str(error))
            jax.distributed.shutdown()
        raise


def _facts_of(client: Any, room: str, process: int, within: float) -> dict[str, Any]:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        # Looked up before the facts: who has trouble after this meeting has left its facts here first.
        trouble = client.key_value_dir_get(f"{_TROUBLE}/")
        for place, text in client.key_value_dir_get(f"{room}/"):
            if place == f"{room}/{process}":
                return json.loads(text)
        for place, text in trouble:
            raise BadInput(f"process {place.rpartition('/')[2]} cannot take part: {text}")
        time.sleep(0.02)
    raise LostProcess(f"process {process} has not said within {within:g} seconds what it is about to do")


def _value(facts: Mapping[str, Any], name: str) -> str:
    return json.dumps(facts[name]) if name in facts else "nothing"


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
    _host_and_port(said["coordinator_address"])
    processes, process = (int(said[name]) for name in ("num_processes", "process_id"))
    if not 0 <= process < processes:
        raise ValueError(f"expected a JAX_PROCESS_ID of 0 to {processes - 1}")
    return {"coordinator_address": said["coordinator_address"], "num_processes": processes, "process_id": process}


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError("expected HOST:PORT as JAX_COORDINATOR_ADDRESS, such as 10.0.0.1:1234")
    return host.strip("[]"), int(port)


def _in_words(said: dict[str, str]) -> str:
    return " ".join(f"{_VARIABLES[name]}={value}" for name, value in said.items())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
