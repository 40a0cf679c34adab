"""Processes meet before JAX joins them, or each of them is told why not. Here each process is a thread."""

import socket
import threading
import time

import pytest

from jaxprop.errors import BadInput
from jaxprop.run.meeting import Missing, meet


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def come(*processes: tuple[int, int], within: float = 10.0, port: int | None = None) -> list[str | None]:
    """What became of each (process, how many it thinks they are): None where it met the others, or what it was told."""
    port = port or free_port()
    found: list[str | None] = [None] * len(processes)

    def one(i: int, process: int, count: int) -> None:
        try:
            meet("127.0.0.1", port, count, process, within)
        except (BadInput, Missing) as error:
            found[i] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=one, args=(i, *process)) for i, process in enumerate(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_processes_that_count_alike_meet_in_whatever_order_they_come():
    assert come((2, 3), (0, 3), (1, 3)) == [None] * 3


@pytest.mark.parametrize(("first", "other"), [(2, 3), (3, 2)])
def test_processes_that_count_differently_are_both_told_both_numbers(first, other):
    told = f"BadInput: process 1 has JAX_NUM_PROCESSES={other} where process 0 has {first}: give all the same"
    assert come((0, first), (1, other)) == [told] * 2


def test_a_number_that_two_processes_have_is_told_to_all_of_them():
    told = "BadInput: two processes have JAX_PROCESS_ID=1: give each a number of its own"
    assert come((0, 4), (1, 4), (1, 4)) == [told] * 3


def test_a_second_first_process_finds_the_port_taken():
    (one, other) = sorted(come((0, 2), (0, 2), within=0.5), key=str)
    assert one is not None
    assert other is not None
    assert one.startswith("BadInput: process 0 cannot listen at port ")
    assert one.endswith(
        "(Address already in use): choose another port, or see whether JAX_PROCESS_ID=0 was given twice"
    )
    assert other.startswith("Missing: process 1 of 2 did not come within 0.5 seconds")


def test_who_is_missing_is_told_to_those_who_came_when_the_time_is_over():
    """The visitor has more patience than process 0, which knows who is missing."""
    told = "process 1 of 3 did not come within 0.5 seconds: start all of them, or give a smaller JAX_NUM_PROCESSES"
    assert come((0, 3), (2, 3), within=0.5) == [f"Missing: {told}"] * 2


def test_without_the_first_process_the_others_give_up_in_time():
    started = time.monotonic()
    (told,) = come((1, 2), within=0.3)
    assert told is not None
    assert told.startswith("Missing: process 0 was not met at JAX_COORDINATOR_ADDRESS=127.0.0.1:")
    assert told.endswith("within 0.3 seconds (Connection refused): start it too, or mend the address")
    assert time.monotonic() - started >= 0.3


def test_whoever_comes_when_the_meeting_is_over_is_told_so():
    """By then JAX answers at that port, in a language of its own."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            guest, _ = other.accept()
            with guest:
                guest.recv(4096)
                guest.sendall(b"\x00\x00\x12\x04\x00\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BadInput, match=r"waits for process 1: see whether JAX_PROCESS_ID=1 was given twice, or"):
            meet("127.0.0.1", other.getsockname()[1], 2, 1, within=5)
        thread.join()


def test_a_stranger_at_the_door_is_sent_away_and_disturbs_nobody():
    port = free_port()
    first = threading.Thread(target=meet, args=("127.0.0.1", port, 2, 0, 10.0))
    first.start()
    for words in (b"GET / HTTP/1.1\r\n", b'{"process": "one", "processes": 2}\n', b"[" * 4000 + b"\n"):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as stranger:
                    stranger.sendall(words)
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
    meet("127.0.0.1", port, 2, 1, within=10)
    first.join()
