"""The benchmark as a whole: what a run of it leaves, and when it fails."""

import csv
import json

import numpy as np
import pytest

import benchmark
import jaxprop as jp
from benchmarking import epoch_times
from benchmarking.peers import MANUAL, NUMPY, PEERS
from lab.common import Options, run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways
RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (300, 28, 28), np.uint8), RNG.integers(0, 10, 300, np.int32))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The run folder of one smoke run, whatever its times."""
    out = tmp_path_factory.mktemp("runs")
    assert run(benchmark.main, Options, ["--smoke", "--out", str(out)]) == 0
    (folder,) = (out / "benchmark").iterdir()
    return folder


def test_a_smoke_run_leaves_everything_where_people_look(smoke):
    tables = {"epoch", "epoch_rounds", "gradients", "instruments", "lenet", "many_networks", "time_to_accuracy"}
    sweeps = {f"cost_against_{name}" for name in ("width", "batch_size", "depth", "examples")}
    pictures = {"epoch", "alone", "gradients", "costs_against", "time_to_accuracy"}
    expected = {"results.json", *(f"{x}.csv" for x in tables | sweeps), *(f"{x}.png" for x in pictures)}
    assert {path.name for path in smoke.iterdir()} == expected
    assert set(benchmark.LOOK_AT) == pictures


def test_ratios_come_first_and_every_peer_has_a_row(smoke):
    results = json.loads((smoke / "results.json").read_text())
    assert next(iter(results)) == "relative_epoch_times"
    assert results["relative_epoch_times"][MANUAL] == 1
    assert results["jaxprop_over_blas_reference"] == 1 / results["relative_epoch_times"]["BLAS reference"]
    rows = list(csv.DictReader((smoke / "epoch.csv").read_text().splitlines()))
    assert [row["peer"] for row in rows] == [*PEERS, "BLAS reference"]
    assert {row["peer"] for row in rows if row["seconds"]} == results["relative_epoch_times"].keys()
    for row in rows:
        assert bool(row["seconds"]) != (
            row["peer"] == "torch.compile" or bool(PEERS.get(row["peer"], PEERS[NUMPY]).missing("cpu"))
        )
        assert row["seconds"] or row["remark"]  # who is absent says why
        if row["difference_after_10_steps"]:
            assert float(row["difference_after_10_steps"]) <= 1e-5
    assert {"cores", "device", "versions", "peer_versions", "blas_seconds", "seconds_to_93_percent"} <= results.keys()


def test_a_peer_that_does_other_work_ends_the_benchmark_with_1(tmp_path, monkeypatch, capsys, smoke):
    """The smoke run's own rows, one of them changed, so that nothing is measured again."""
    results = json.loads((smoke / "results.json").read_text())
    rows = [dict(row) for row in results["peers"]]
    next(row for row in rows if row["peer"] == NUMPY)["difference_after_10_steps"] = 2e-5
    costs = results["costs_against"]
    found = benchmark.Measured(
        epoch_times.EpochTimes(rows, results["blas_seconds"], []),
        results["gradients"],
        results["instruments"],
        results["many_networks"],
        {name: costs[name] for name in ("width", "batch_size", "depth")},
        costs["examples"],
        results["time_to_accuracy"],
        results["lenet"],
    )
    monkeypatch.setattr(benchmark, "measure", lambda *_: found)
    assert run(benchmark.main, Options, ["--no-figures", "--out", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err == "error: NumPy does other work than jaxprop, manual backprop: compare its steps\n"
    assert f"What was found\n  An epoch takes {MANUAL} " in output.out


def test_a_small_data_set_is_repeated_until_an_epoch_has_its_size():
    work = benchmark.the_work(EXAMPLES, seed=0, n=750)
    np.testing.assert_array_equal(work.images[:300], EXAMPLES.images)
    np.testing.assert_array_equal(work.images[600:], EXAMPLES.images[:150])
    np.testing.assert_array_equal(work.labels[300:600], EXAMPLES.labels)
    assert work.images.dtype == np.uint8
