"""Who joins whom, by what the environment says. `test_train_processes.py` starts real processes."""

import itertools
import json
import re
from types import SimpleNamespace

import jax
import pytest

from jaxprop.errors import BadInput
from jaxprop.run import processes
from jaxprop.run.meeting import Missing
from jaxprop.run.processes import LostProcess, agree, join, largest, leads, leave, together, until_all_agree

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
    monkeypatch.setattr(processes, "meet", lambda *arguments: calls.append(arguments))
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
    assert asked == [("10.0.0.1", 1234, 3, 0, 300.0), {**expected, **PATIENCE}], "they meet, and then JAX joins them"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({NUMBER: "2"}, f"JAX_NUM_PROCESSES=2.* cannot be joined: expected {ADDRESS} and {WHICH} too"),
        ({ADDRESS: "a:1", WHICH: "0"}, f"JAX_PROCESS_ID=0.* cannot be joined: expected {NUMBER} too"),
        (
            {ADDRESS: "a:1", NUMBER: "two", WHICH: "0"},
            "JAX_NUM_PROCESSES=two JAX_PROCESS_ID=0.* cannot be joined: invalid literal",
        ),
        ({ADDRESS: "a:1", NUMBER: "2", WHICH: "2"}, f"cannot be joined: expected a {WHICH} of 0 to 1"),
        ({ADDRESS: "a:1", NUMBER: "2", WHICH: "-1"}, f"cannot be joined: expected a {WHICH} of 0 to 1"),
        *(
            ({ADDRESS: address, NUMBER: "2", WHICH: "0"}, f"={address} .* joined: expected HOST:PORT as {ADDRESS}")
            for address in ("nonsense", "a:", ":1", "a:b", "a:0", "a:65536", "a:-1")
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


def test_others_who_do_not_come_to_the_meeting_are_lost(monkeypatch, asked):
    def meet(*arguments):
        raise Missing("process 2 of 3 did not come within 300 seconds")

    say(monkeypatch, **{ADDRESS: "10.0.0.1:1234", NUMBER: "3", WHICH: "0"})
    monkeypatch.setattr(processes, "meet", meet)
    with pytest.raises(
        LostProcess, match=r"did not all come together: process 2 of 3 did not come within 300 seconds$"
    ):
        join(7)
    assert not asked, "JAX would wait for minutes and abort"


# What decides the numbers


class Store(dict):
    """What JAX's processes share: texts by name."""

    key_value_set = dict.__setitem__

    def key_value_dir_get(self, folder):
        return [(name, text) for name, text in self.items() if name.startswith(folder)]


@pytest.fixture
def store(monkeypatch) -> Store:
    """Of three processes, of which this one is number 1. `leave` of each is an entry `left`."""
    store = Store()
    state = SimpleNamespace(client=store, num_processes=3, process_id=1)
    monkeypatch.setattr(processes.distributed, "global_state", state)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: store.update(left=True))
    monkeypatch.setattr(processes, "_meetings", itertools.count())
    return store


FACTS = {"--seed": 0, "--hidden": [16, 16], "--learning-rate": 0.1, "--network": None}


def others_say(store: Store, meeting: int, zero: dict, two: dict) -> None:
    store.update({f"jaxprop/facts/{meeting}/{i}": json.dumps(facts) for i, facts in ((0, zero), (2, two))})


def test_processes_that_say_the_same_agree_as_often_as_they_like(store):
    others_say(store, 0, FACTS, FACTS)
    others_say(store, 1, {"step": 3}, {"step": 3})
    agree({**FACTS, "--hidden": (16, 16)})
    agree({"step": 3})
    assert json.loads(store["jaxprop/facts/0/1"]) == FACTS
    assert "left" not in store


@pytest.mark.parametrize(
    ("zero", "two", "said"),
    [
        ({**FACTS, "--seed": 5}, FACTS, "process 1 of 3 differs from process 0 in --seed: it has 0, process 0 has 5;"),
        (
            FACTS,
            {**FACTS, "--hidden": [8]},
            "process 2 of 3 .* in --hidden: it has \\[8\\], process 0 has \\[16, 16\\];",
        ),
        (FACTS, {**FACTS, "--new": 1}, "process 2 of 3 .* in --new: it has 1, process 0 has nothing;"),
        ({"--seed": 0}, FACTS, "process 1 of 3 .* in --hidden: it has \\[16, 16\\], process 0 has nothing;"),
    ],
)
def test_whoever_differs_is_named_with_the_option_and_both_values(store, zero, two, said):
    others_say(store, 0, zero, two)
    with pytest.raises(BadInput, match=f"^{said} start all processes of a run alike$"):
        agree(FACTS)
    assert store["left"], "all of them find it, and go in good order"


def test_a_process_that_says_nothing_is_lost_after_a_while(store):
    others_say(store, 0, FACTS, FACTS)
    del store["jaxprop/facts/0/2"]
    with pytest.raises(LostProcess, match=r"process 2 has not said within 0.1 seconds what it is about to do"):
        agree(FACTS, within=0.1)


def test_what_ends_one_process_is_told_to_the_others_at_their_next_agreement(store):
    with pytest.raises(BadInput, match=r"^the file is damaged$"), until_all_agree():
        raise BadInput("the file is damaged")
    assert (store["jaxprop/trouble/1"], store["left"]) == ("the file is damaged", True)
    with pytest.raises(BadInput, match=re.escape("process 1 cannot take part: the file is damaged")):
        agree(FACTS)


def test_trouble_that_another_has_after_a_meeting_is_no_matter_of_that_meeting(store, monkeypatch):
    """Even where both its facts and its trouble come while this process is looking."""

    def look(folder):
        found = Store.key_value_dir_get(store, folder)
        store.update({f"jaxprop/facts/0/{process}": json.dumps(FACTS) for process in (0, 2)})
        store["jaxprop/trouble/2"] = "batch_size is 99"
        return found

    monkeypatch.setattr(store, "key_value_dir_get", look, raising=False)
    agree(FACTS)
    with pytest.raises(BadInput, match="process 2 cannot take part: batch_size is 99"):
        agree(FACTS)


def test_a_process_alone_agrees_with_itself_and_tells_nobody():
    agree({"--seed": 0})
    with pytest.raises(BadInput, match="damaged"), until_all_agree():
        raise BadInput("damaged")


# Together


def test_a_process_alone_leads_and_its_errors_are_its_own():
    assert leads()
    assert largest(3) == 3
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"), together():
        raise jax.errors.JaxRuntimeError("out of memory")
    assert [leave(code) for code in (0, 1, 2, 4, 143)] == [0, 1, 2, 4, 143]


def test_of_many_processes_one_with_an_error_ends_at_once_and_any_other_in_jax_s_own_way(monkeypatch):
    ended = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    assert [leave(code) for code in (0, 1, 2, 3, 4, 143)] == [0, 1, 2, 3, 4, 143]
    assert ended == [2, 4]


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
