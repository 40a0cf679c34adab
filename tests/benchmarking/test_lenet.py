"""LeNet-5: that all peers take the same steps, that other steps are found, and what is said of who is absent."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxprop as jp
from benchmarking import lenet
from benchmarking.peers import AUTODIFF, MANUAL, PEERS, TORCH
from jaxprop.data.datasets import Dataset

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways
RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (1000, 28, 28), np.uint8), RNG.integers(0, 10, 1000, np.int32))
PARAMS = lenet.network().init(jax.random.key(0))
ORDER = np.arange(1000).reshape(10, 100)
IMAGES = EXAMPLES.images[:100]


@pytest.fixture(scope="module")
def by_hand() -> lenet.Learner:
    return lenet.in_jax(jp.backprop, EXAMPLES, PARAMS, "cpu")


def test_the_network_is_the_one_of_which_a_time_was_published():
    assert jp.count_parameters(PARAMS) == 44_426


def test_both_gradients_take_the_same_steps(by_hand):
    learners = {MANUAL: by_hand, AUTODIFF: lenet.in_jax(jp.autodiff, EXAMPLES, PARAMS, "cpu")}
    assert lenet.differences(learners, ORDER, IMAGES)[AUTODIFF] <= lenet.TOLERANCE


def test_pytorch_takes_them_too(by_hand):
    torch = pytest.importorskip("torch")
    assert torch is not None
    from benchmarking.lenet_in_torch import in_torch

    learners = {MANUAL: by_hand, TORCH: in_torch(EXAMPLES, PARAMS, lenet.RATE, "cpu")}
    assert lenet.differences(learners, ORDER, IMAGES)[TORCH] <= lenet.TOLERANCE


def test_a_peer_that_goes_on_from_where_it_was_ends_where_one_call_does(by_hand):
    once = by_hand.train(by_hand.start(), ORDER[:4])
    twice = by_hand.train(by_hand.train(by_hand.start(), ORDER[:2]), ORDER[2:4])
    np.testing.assert_array_equal(by_hand.outputs(once, IMAGES), by_hand.outputs(twice, IMAGES))


def test_a_peer_with_another_order_is_found(by_hand):
    learners = {
        MANUAL: by_hand,
        "backwards": by_hand._replace(train=lambda state, order: by_hand.train(state, order[::-1])),
    }
    apart = lenet.differences(learners, ORDER, IMAGES)
    rows = [{"peer": name, "difference_after_10_steps": difference} for name, difference in apart.items()]
    rows += [{"peer": "broken", "difference_after_10_steps": np.nan}, lenet.PUBLISHED]
    assert lenet.who_differs(rows) == ["backwards", "broken"]


def test_who_is_absent_has_a_row_that_says_why(monkeypatch):
    """With learners that know the labels by heart, so that nothing is compiled or waited for."""

    def knows(make_gradient: Any, train: jp.Examples, params: Any, device: str) -> lenet.Learner:
        return lenet.Learner(
            lambda: 0, lambda state, order: state + len(order), lambda state, images: np.eye(10)[images[:, 0, 0]]
        )

    test = jp.Examples(np.zeros((40, 28, 28), np.uint8), np.repeat(np.arange(2, dtype=np.int32), [30, 10]))
    monkeypatch.setattr(lenet, "in_jax", knows)
    monkeypatch.setattr(type(PEERS[TORCH]), "missing", lambda peer, device: "torch is not installed")
    rows = lenet.measure(Dataset("noise", EXAMPLES, test), 0, "cpu", smoke=False)
    assert [row["peer"] for row in rows] == [MANUAL, AUTODIFF, TORCH, "SimpleChains.jl"]
    assert [row["test_accuracy"] for row in rows] == [0.75, 0.75, None, 0.9689]
    assert (rows[2]["seconds"], rows[2]["remark"]) == (None, "torch is not installed")
    assert lenet.table(rows).row_count == 4
