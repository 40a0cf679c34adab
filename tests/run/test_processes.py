"""Who joins whom, by what the environment says. `test_train_processes.py` starts real processes."""

import jax
import pytest

from jaxprop.errors import BadInput
from jaxprop.run import processes
from jaxprop.run.processes import LostProcess, join, largest, leads, leave, together

ADDRESS, NUMBER, WHICH = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


PATIENCE = {"heartbeat_timeout_seconds": 7, "shutdown_timeout_seconds": 60}


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What `jax.distributed.initialize` is asked for, which finds no cluster by itself, as JAX says it."""
    calls = []

    def initialize(**arguments):
        calls.append(arguments)
        if "num_processes" not in arguments:
            raise ValueError("coordinator_address should be defined.")

    for variable in (ADDRESS, NUMBER, WHICH):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


def say(monkeypatch, **variables):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)


def test_where_nothing_is_said_jax_looks_for_a_cluster_and_the_process_may_be_alone(asked):
    join(7)
    assert asked == [PATIENCE]


def test_what_is_said_is_passed_on(asked, monkeypatch):
    say(monkeypatch, **{ADDRESS: "10.0.0.1:1234", NUMBER: "3", WHICH: "0"})
    join(7)
    expected = {"coordinator_address": "10.0.0.1:1234", "num_processes": 3, "process_id": 0}
    assert asked == [{**expected, **PATIENCE}]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({NUMBER: "2"}, f"JAX_NUM_PROCESSES=2.* cannot be joined: expected {ADDRESS} and {WHICH} too"),
        ({ADDRESS: "a:1", WHICH: "0"}, f"JAX_PROCESS_ID=0.* cannot be joined: expected {NUMBER} too"),
        (
            {ADDRESS: "a:1", NUMBER: "two", WHICH: "0"},
            "JAX_NUM_PROCESSES=two JAX_PROCESS_ID=0.* cannot be joined: invalid literal",
        ),
        ({ADDRESS: "a:1"}, "JAX_COORDINATOR_ADDRESS=a:1.* cannot be joined: coordinator_address should be defined"),
    ],
)
def test_an_environment_that_says_half_of_it_is_refused(asked, monkeypatch, said, complaint):
    """Never taken for an environment that says nothing: the others would wait for this process."""
    say(monkeypatch, **said)
    with pytest.raises(BadInput, match=complaint):
        join(7)


def test_a_cluster_that_jax_finds_and_cannot_read_is_no_process_alone(asked, monkeypatch):
    def initialize(**arguments):
        raise ValueError("invalid literal for int() with base 10: '0,x'")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(BadInput, match=r"names \(a cluster\) cannot be joined: invalid literal"):
        join(7)


def test_others_who_do_not_come_are_lost(monkeypatch, asked):
    def nobody(**arguments):
        raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out.\nwith a long explanation")

    monkeypatch.setattr(jax.distributed, "initialize", nobody)
    with pytest.raises(LostProcess, match=r"did not all come together: DEADLINE_EXCEEDED: Barrier timed out\.$"):
        join(7)


def test_a_process_alone_leads_and_its_errors_are_its_own():
    assert leads()
    assert largest(3) == 3
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"), together():
        raise jax.errors.JaxRuntimeError("out of memory")
    assert [leave(code) for code in (0, 1, 2, 4, 143)] == [0, 1, 2, 4, 143]


def test_of_many_processes_an_error_of_the_runtime_is_a_lost_process_and_another_is_not(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with (
        pytest.raises(LostProcess, match=r"process 0 of 3 cannot go on \(reset by peer\): where another"),
        together(),
    ):
        raise jax.errors.JaxRuntimeError("reset by peer\nat some place")
    with pytest.raises(BadInput), together():
        raise BadInput("a mistake of the person who asks")


def test_numpy_waiting_for_a_lost_process_says_the_same_as_jax(monkeypatch):
    def gather(number):
        raise ValueError("UNKNOWN: Connection reset by peer")

    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", gather)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Connection reset by peer"):
        largest(0)
