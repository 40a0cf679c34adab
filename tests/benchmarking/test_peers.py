"""The peers: that they do the same work, what they cost alone, and how they take turns."""

import importlib.util
import itertools
import json
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarking import epoch_times
from benchmarking.alone import environment, in_own_process, load_work, save_work
from benchmarking.on_host import blas_reference
from benchmarking.peers import MANUAL, NUMPY, PEERS
from benchmarking.rounds import median_ratio, take_turns
from benchmarking.work import Work, draw_start, shuffler

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 300, np.int32)
WORK = Work(IMAGES, LABELS, draw_start((784, 16, 16, 10), seed=0), batch_size=20)
ORDER = shuffler(WORK)()[:10]

HERE = [name for name, peer in PEERS.items() if not peer.missing("cpu")]  # PyTorch is nobody's duty
SAME_WORK = [name for name in HERE if PEERS[name].same_work]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways


def each(names: list[str]) -> list:
    """Compiling with PyTorch takes half a minute."""
    return [pytest.param(name, marks=pytest.mark.slow) if name == "torch.compile" else name for name in names]


def after_ten_steps(name: str, work: Work = WORK) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in PEERS[name].make(work, "cpu").train(work.start, ORDER)]


@pytest.fixture(scope="module")
def by_jaxprop() -> list[np.ndarray]:
    return after_ten_steps(MANUAL)


@pytest.mark.parametrize("name", each(SAME_WORK))
def test_from_one_start_and_order_every_peer_arrives_where_jaxprop_does(name, by_jaxprop):
    """1e-5 of the largest number in each array: float32 sums in another order part by some 1e-6 in ten steps."""
    assert epoch_times.scaled_difference(after_ten_steps(name), by_jaxprop) <= 1e-5


@pytest.mark.parametrize("name", each(SAME_WORK))
def test_a_peer_goes_on_from_the_parameters_that_it_is_given(name, by_jaxprop):
    train, _ = PEERS[name].make(WORK, "cpu")
    halfway = train(WORK.start, ORDER[:5])
    assert epoch_times.scaled_difference(train(halfway, ORDER[5:]), by_jaxprop) <= 1e-5


@pytest.mark.parametrize(
    "other",
    [
        WORK._replace(rate=2.002),
        WORK._replace(labels=(LABELS + (np.arange(300) == ORDER[3, 0])) % 10),
        WORK._replace(rate=np.nan),
    ],
    ids=["a rate off by a thousandth", "one other label", "not a number"],
)
def test_a_peer_that_does_other_work_is_found(other, by_jaxprop):
    difference = epoch_times.scaled_difference(after_ten_steps(NUMPY, other), by_jaxprop)
    rows = [
        {"peer": MANUAL, "difference_after_10_steps": 0.0},
        {"peer": NUMPY, "difference_after_10_steps": difference},
    ]
    assert epoch_times.who_differs(rows) == [NUMPY]


def test_scikit_learn_has_its_own_way_and_is_marked():
    assert not PEERS["scikit-learn"].same_work
    assert PEERS["scikit-learn"].remark == "other cost, own start and order"
    trainer = PEERS["scikit-learn"].make(WORK, "cpu")
    shapes = [np.shape(x) for x in trainer.train(WORK.start, trainer.shuffle())]
    assert shapes == [x.shape for x in WORK.start]


@pytest.mark.parametrize("name", each(HERE))
def test_an_epoch_has_every_example_once(name):
    order = PEERS[name].make(WORK, "cpu").shuffle()
    assert order.shape == (15, 20)
    np.testing.assert_array_equal(np.sort(order, axis=None), np.arange(300))


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    assert PEERS["PyTorch eager"].missing("cpu") == "torch is not installed"


def test_a_compiler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: package)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert PEERS["torch.compile"].missing("cpu") == "no C++ compiler here (no-such-compiler)"
    assert PEERS["PyTorch eager"].missing("cpu") == ""


def test_peers_without_an_accelerator_stay_on_the_cpu():
    assert [PEERS[name].where("gpu") for name in (MANUAL, NUMPY, "PyTorch eager")] == ["gpu", "cpu", "gpu"]
    assert PEERS["PyTorch eager"].where("tpu") == "cpu"


def test_the_blas_reference_holds_the_products_of_the_first_layer_and_the_gather(monkeypatch):
    done = []
    monkeypatch.setattr(np, "matmul", lambda a, b, out: done.append((a.shape, b.shape, out.dtype)))
    monkeypatch.setattr(np, "take", lambda a, rows, out, **options: done.append((a.dtype, out.shape)))
    parts = blas_reference(WORK)
    parts["products"]()
    assert done == [((20, 784), (784, 16), np.float32), ((784, 20), (20, 16), np.float32)] * 15
    done.clear()
    parts["gather"]()
    assert done == [(np.uint8, (20, 784))] * 15


def test_work_survives_a_file(tmp_path):
    save_work(tmp_path / "work.npz", WORK)
    again = load_work(tmp_path / "work.npz")
    jax.tree.map(np.testing.assert_array_equal, again, WORK)
    assert again.sizes == (784, 16, 16, 10)


def test_a_peer_in_its_own_process_tells_what_it_costs(tmp_path):
    save_work(tmp_path / "work.npz", WORK)
    costs = in_own_process(NUMPY, tmp_path / "work.npz", "cpu")
    assert costs.keys() == {"import_seconds", "compile_seconds", "import_megabytes", "peak_megabytes"}
    # Python alone takes some 10 MB, and its own memory is meant: this process, which started it, holds more.
    assert 10 < costs["import_megabytes"] <= costs["peak_megabytes"] < 150


@pytest.mark.parametrize("module", ["benchmarking.alone", "benchmarking.on_host"])
def test_numpy_alone_pays_for_no_other_library(module):
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True).stdout
    assert not {"jax", "torch", "sklearn", "jaxprop"} & set(json.loads(printed))


def test_calls_take_turns_after_a_warm_one_of_their_own():
    calls = []
    lines = []
    seconds = take_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2, lines.append, "cost")
    assert calls == list("aabb") * 3  # the first round is not counted
    assert lines == [f"cost: round {i} of 2" for i in range(3)]
    assert {name: times.shape for name, times in seconds.items()} == {"a": (2,), "b": (2,)}


def test_the_second_call_of_a_turn_is_the_one_that_counts():
    """Every other call sleeps, and a sleep is never shorter than asked for."""
    turn = itertools.cycle((0, 0.02))
    seconds = take_turns({"a": lambda: time.sleep(next(turn))}, 2, print, "cost")
    assert (seconds["a"] >= 0.02).all()


def test_a_ratio_is_taken_within_each_round():
    """The second round was ten times slower for both; one of three rounds disturbed the first call alone."""
    assert median_ratio(np.array([2.0, 20.0, 9.0]), np.array([1.0, 10.0, 1.0])) == 2.0
