"""A short meeting of all processes before JAX joins them: who is there, and whether they count alike.

JAX joins the right number of processes or none. Where one is missing, comes twice or counts the others differently, its
runtime waits for minutes and then aborts, in words about itself. So the processes meet first, with a line of JSON each,
at the address where JAX will meet afterwards. Python's own sockets are enough for that.
"""

import contextlib
import json
import os
import socket
import time
from typing import Any

from jaxprop.errors import BadInput

_LONGEST = 4096  # bytes in a line; more has been sent by somebody else
_PATIENCE = 5.0  # seconds for a line of somebody who is connected already


class Missing(RuntimeError):  # noqa: N818 - the name says what was met
    """Not all processes have come to the meeting in time."""


def meet(host: str, port: int, processes: int, process: int, within: float) -> None:
    """Returns once all of so many processes have called this. The first one, number 0, listens at that port.

    within: seconds after which this one gives up.

    Raises `BadInput`, in all processes that have come, where two have one number or where they count differently, and
    `Missing` where not all have come.
    """
    if process == 0:
        _receive(port, processes, within)
    else:
        _visit(host, port, processes, process, within)


def _receive(port: int, processes: int, within: float) -> None:
    """The part of process 0: it waits for the others, and tells all of them how it went."""
    guests: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as connections:
        try:
            with _listen(port) as door:
                _wait_for_all(door, guests, connections, processes, within)
        except (BadInput, Missing) as error:
            for guest in guests.values():
                _send(guest, {"trouble": str(error), "missing": isinstance(error, Missing)})
            raise
        # The door is closed by now, so that JAX finds the port free.
        for guest in guests.values():
            _send(guest, {"all": processes})


def _wait_for_all(
    door: socket.socket,
    guests: dict[int, socket.socket],
    connections: contextlib.ExitStack,
    processes: int,
    within: float,
) -> None:
    deadline = time.monotonic() + within
    while len(guests) < processes - 1:
        door.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            guest, _ = door.accept()
        except TimeoutError:
            raise Missing(_who_is_missing(guests, processes, within)) from None
        connections.enter_context(guest)
        said = _hear(guest, _PATIENCE)
        number, count = said.get("process"), said.get("processes")
        if not isinstance(number, int) or not isinstance(count, int):
            continue  # some other program's
        if number in guests:
            guests[-1] = guest
            raise BadInput(f"two processes have JAX_PROCESS_ID={number}: give each a number of its own")
        guests[number] = guest
        if count != processes:
            raise BadInput(
                f"process {number} has JAX_NUM_PROCESSES={count} where process 0 has {processes}: give all the same"
            )


def _visit(host: str, port: int, processes: int, process: int, within: float) -> None:
    """The part of any other process: it says who it is, and waits for the answer."""
    deadline = time.monotonic() + within
    place = f"{host}:{port}"
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=_PATIENCE)
            break
        except OSError as error:  # process 0 may not have begun, or its name may not be known yet
            if time.monotonic() > deadline:
                raise Missing(
                    f"process 0 was not met at JAX_COORDINATOR_ADDRESS={place} within {within:g} seconds "
                    f"({error.strerror or error}): start it too, or mend the address"
                ) from error
            time.sleep(0.1)
    with connection:
        _send(connection, {"process": process, "processes": processes})
        # Process 0 gives up earlier where others are missing, and says who they are.
        answer = _hear(connection, within + _PATIENCE)
    if "trouble" in answer:
        raise (Missing if answer.get("missing") else BadInput)(str(answer["trouble"]))
    if "all" not in answer:
        raise BadInput(
            f"nobody at JAX_COORDINATOR_ADDRESS={place} waits for process {process}: see whether "
            f"JAX_PROCESS_ID={process} was given twice, or whether another program uses that port"
        )


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise BadInput(
            f"process 0 cannot listen at port {port} of JAX_COORDINATOR_ADDRESS ({reason}): choose another port, or "
            "see whether JAX_PROCESS_ID=0 was given twice"
        ) from error


def _who_is_missing(guests: dict[int, socket.socket], processes: int, within: float) -> str:
    absent = [str(number) for number in range(1, processes) if number not in guests]
    them = f"process {absent[0]}" if len(absent) == 1 else f"processes {', '.join(absent)}"
    return (
        f"{them} of {processes} did not come within {within:g} seconds: start all of them, or give a smaller "
        "JAX_NUM_PROCESSES"
    )


def _send(connection: socket.socket, what: dict[str, Any]) -> None:
    # Whoever has ended meanwhile hears nothing; its absence is noticed by the reader's deadline, or by JAX.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(what).encode() + b"\n")


def _hear(connection: socket.socket, patience: float) -> dict[str, Any]:
    """A line of JSON; nothing from somebody who sends anything else, or ends."""
    connection.settimeout(patience)
    try:
        with connection.makefile("rb") as lines:
            said = json.loads(lines.readline(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
