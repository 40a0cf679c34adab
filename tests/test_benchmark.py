import csv
import json
import sys

import jax
import numpy as np
import pytest

import benchmark
import jaxprop as jp
from benchmarking import bars, costs_against, curves, epoch_times, many_networks, time_to_accuracy, two_hands
from benchmarking.peers import BY_HAND, NUMPY, PEERS, TORCH
from lab.figures import save_figure
from lab.common import Options, run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways
RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (300, 28, 28), np.uint8), RNG.integers(0, 10, 300, np.int32))
WORK = benchmark.the_work(EXAMPLES, seed=0, n=None)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The run folder of one smoke run, whatever its times."""
    out = tmp_path_factory.mktemp("runs")
    assert run(benchmark.main, Options, ["--smoke", "--out", str(out)]) == 0
    (folder,) = (out / "benchmark").iterdir()
    return folder


def test_a_smoke_run_leaves_everything_where_people_look(smoke):
    tables = {"epoch", "epoch_rounds", "two_hands", "many_networks", "time_to_accuracy"}
    sweeps = {f"cost_against_{name}" for name in ("width", "batch_size", "depth", "examples")}
    pictures = {"epoch", "alone", "two_hands", "costs_against", "time_to_accuracy"}
    expected = {"results.json", *(f"{x}.csv" for x in tables | sweeps), *(f"{x}.png" for x in pictures)}
    assert {path.name for path in smoke.iterdir()} == expected


def test_ratios_come_first_and_every_peer_has_a_row(smoke):
    results = json.loads((smoke / "results.json").read_text())
    assert next(iter(results)) == "epoch_times_by_hand"
    assert results["epoch_times_by_hand"][BY_HAND] == 1
    assert results["by_hand_times_blas_reference"] == 1 / results["epoch_times_by_hand"]["BLAS reference"]
    rows = list(csv.DictReader((smoke / "epoch.csv").read_text().splitlines()))
    assert [row["peer"] for row in rows] == [*PEERS, "BLAS reference"]
    assert {row["peer"] for row in rows if row["seconds"]} == results["epoch_times_by_hand"].keys()
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
        results["hands"],
        results["many_networks"],
        {name: costs[name] for name in ("width", "batch_size", "depth")},
        costs["examples"],
        results["time_to_accuracy"],
    )
    monkeypatch.setattr(benchmark, "measure", lambda *_: found)
    assert run(benchmark.main, Options, ["--no-figures", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: NumPy does other work than jaxprop by hand: compare its steps\n"


def test_a_small_data_set_is_repeated_until_an_epoch_has_its_size():
    work = benchmark.the_work(EXAMPLES, seed=0, n=750)
    np.testing.assert_array_equal(work.images[:300], EXAMPLES.images)
    np.testing.assert_array_equal(work.images[600:], EXAMPLES.images[:150])
    np.testing.assert_array_equal(work.labels[300:600], EXAMPLES.labels)
    assert work.images.dtype == np.uint8


def test_the_reference_takes_the_threads_that_suit_it():
    seconds = {"products": np.array([3.0, 5.0]), "products on one thread": np.array([4.0, 1.0]), "gather": np.ones(2)}
    np.testing.assert_array_equal(epoch_times.reference_seconds(seconds), [5, 2])
    seconds["products"] = np.array([1.0, 2.0])
    np.testing.assert_array_equal(epoch_times.reference_seconds(seconds), [2, 3])


def test_many_networks_are_measured_against_one_after_another_and_the_largest_product():
    row = many_networks.compare("backprop", EXAMPLES, seed=0, networks=3, steps=2, side=32, repeats=1)
    throughput = 3 * row["ms_a_step_of_one"] / row["ms_a_step_of_all"]
    assert row["times_throughput"] == pytest.approx(throughput)
    # 2 additions and multiplications for each weight and example, forward and for its gradient; for what is passed back
    # there are those of the 16 x 16 and 10 x 16 weights alone.
    flops = 3 * 2 * 100 * (2 * (784 * 16 + 16 * 16 + 16 * 10) + 16 * 16 + 16 * 10)
    rate = flops / row["ms_a_step_of_all"] / 1e6
    assert row["fraction_of_peak"] == pytest.approx(rate / row["peak_gflops"])


def test_both_hands_are_compared_in_time_and_in_temporary_memory():
    batch = jp.as_batch(EXAMPLES.images[:20], EXAMPLES.labels[:20])
    row = two_hands.compare((784, 16, 10), batch, seed=0, repeats=2)
    network = jp.mlp((784, 16, 10))
    for name, hand in (("backprop", jp.backprop), ("autodiff", jp.autodiff)):
        compiled = jax.jit(hand(network, jp.squared_error)).lower(network.init(jax.random.key(0)), batch).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        assert row[f"{name}_temporary_bytes"] == memory.temp_size_in_bytes
        assert row[f"{name}_seconds"] > 0
    assert row["memory_ratio"] == row["backprop_temporary_bytes"] / row["autodiff_temporary_bytes"]


def test_the_memory_for_the_data_is_that_of_uint8():
    """784 bytes a picture, 4 for its label and 4 for its place in the order; nothing that is needed beside grows."""
    rows = costs_against.against_examples(WORK, "cpu", (300, 3000), repeats=1)
    assert [row["data_bytes"] for row in rows] == [300 * 792, 3000 * 792]
    assert rows[1]["temporary_bytes"] <= 1.1 * rows[0]["temporary_bytes"]
    assert rows[0]["times_smaller"] is None
    assert rows[1]["times_smaller"] > 0


def test_a_sweep_leaves_out_batches_that_the_data_cannot_fill():
    points = costs_against.SWEEPS["batch_size"]
    rows = costs_against.sweep([point for point in points if point.value >= 100], WORK, "cpu", 1, "batch size")
    assert {row["value"] for row in rows} == {100}
    assert {BY_HAND, NUMPY} <= {row["peer"] for row in rows}
    assert {row["multiply_adds"] for row in rows} == {784 * 16 + 16 * 16 + 16 * 10}


def test_train_is_started_with_the_options_of_the_benchmark(tmp_path):
    options = Options(dataset="mnist", archives=tmp_path)
    command = time_to_accuracy.train_command(options, seed=3, device="cpu", out=tmp_path / "runs")
    assert command[0] == sys.executable
    assert " ".join(command[2:]) == (
        f"--dataset mnist --archives {tmp_path} --device cpu --seed 3 --epochs 200 --no-figures "
        f"--out {tmp_path / 'runs'}"
    )


SCRIPT = """
import time
for line in ("backend cpu", "13,002 parameters; compiled in 0.20 s"):
    time.sleep(0.3)
    print(line, flush=True)
for epoch in range(1, 201):
    time.sleep(0.05)
    print(f"epoch {epoch}: cost 0.1, test accuracy {LIST[min(epoch, len(LIST)) - 1]:.2%}", flush=True)
if LAST: time.sleep(600)
"""


def run_script(accuracies, waits=True):
    script = SCRIPT.replace("LIST", repr(accuracies)).replace("LAST", repr(waits))
    return time_to_accuracy.itemised(time_to_accuracy.timed_lines([sys.executable, "-c", script]))


def test_the_time_to_93_percent_is_itemised_and_the_script_stopped():
    row = run_script([0.5, 0.9299, 0.9301])
    assert row["reached"]
    assert row["epochs"] == 3
    assert row["accuracy"] == 0.9301
    assert row["seconds"] == pytest.approx(sum(row[stage] for stage in time_to_accuracy.STAGES))
    # Sleeps are never shorter than asked for.
    assert row["imports"] >= 0.3
    assert row["compilation"] == 0.2
    assert row["training"] >= 0.15


def test_a_script_that_never_gets_there_is_told_apart(monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "EPOCHS", 4)
    row = run_script([0.5])
    assert not row["reached"]
    assert (row["epochs"], row["accuracy"]) == (4, 0.5)


def test_a_script_that_fails_is_our_bug():
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(time_to_accuracy.timed_lines([sys.executable, "-c", "print('backend'); raise SystemExit(3)"]))


def test_a_script_that_ends_early_is_our_bug():
    code = "print('backend cpu'); print('compiled in 0.1 s'); print('epoch 1: test accuracy 50.00%')"
    with pytest.raises(RuntimeError, match="ended before its last epoch"):
        time_to_accuracy.itemised(time_to_accuracy.timed_lines([sys.executable, "-c", code]))


def peer_rows():
    costs = {"compile_seconds": 0.5, "import_megabytes": 100, "peak_megabytes": 200}
    here = {"times_by_hand": 2.0, "seconds": 0.1, "remark": "", **costs}
    absent = {**dict.fromkeys(here), "peer": TORCH, "remark": "torch is not installed"}
    return [{"peer": BY_HAND, **here, "times_by_hand": 1.0}, {"peer": NUMPY, **here}, absent]


def test_bars_show_those_who_are_here(tmp_path):
    save_figure(tmp_path / "epoch.png", figure := bars.epoch(peer_rows()))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [BY_HAND, NUMPY]
    assert figure.axes[0].get_title(loc="left") == "One epoch: NumPy takes 2.0 times as long as jaxprop by hand"
    save_figure(tmp_path / "alone.png", figure := bars.alone(peer_rows()))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [BY_HAND, NUMPY]


def test_a_bar_for_each_run_says_whether_it_got_there(tmp_path):
    stages = dict.fromkeys(time_to_accuracy.STAGES, 0.5)
    rows = [
        {
            "script": script,
            "seed": seed,
            "seconds": 2.0 + seed,
            "epochs": 5,
            "reached": script == TORCH or seed == 0,
            **stages,
        }
        for seed in (0, 1)
        for script in ("train.py", TORCH)
    ]
    assert time_to_accuracy.median_seconds(rows) == {"train.py": None, TORCH: 2.5}
    save_figure(tmp_path / "time_to_accuracy.png", figure := bars.time_to_accuracy(rows))
    assert figure.get_suptitle() == "To 93 % of the test digits: train.py never; PyTorch eager 2.5 s"
    assert [text.get_text().strip() for text in figure.axes[0].texts] == [
        "2.0 s, 5 epochs",
        "3.0 s, 5 epochs: not reached",
        "2.0 s, 5 epochs",
        "3.0 s, 5 epochs",
    ]


def test_curves_say_how_the_time_grew(tmp_path):
    def rows(what, quantity, values, times):
        return [
            {"peer": BY_HAND, "value": v, quantity: t, "multiply_adds": 1 if what == "batch_size" else v}
            for v, t in zip(values, times, strict=True)
        ]

    sweeps = {what: rows(what, "seconds_per_example", (1, 10), (1e-6, 5e-6)) for what in ("width", "depth")}
    sweeps["batch_size"] = rows("batch_size", "seconds_per_example", (1, 1000), (5e-5, 1e-6))
    examples = rows("examples", "seconds", (100, 1000, 10_000), (0.1, 1, 10))
    save_figure(tmp_path / "costs.png", figure := curves.costs(sweeps, examples))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "10 × as wide: 10 × the work, 5.0 × the time",
        "10 × as deep: 10 × the work, 5.0 × the time",
        "Batches 1,000 × as large: 50 × as fast",
        "100 × the examples: 100 × the time",
    ]
