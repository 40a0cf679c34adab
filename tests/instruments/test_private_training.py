"""Private training: where the noise goes, who is in a batch, and claims that can come out false."""

import csv
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp
from instruments import private_training as script
from lab.common import Options, run

TOTAL = {"W": np.full((200, 100), 30.0, np.float32), "b": np.arange(20_000, dtype=np.float32)}
NOISE, LIMIT, SIZE = 2.0, 0.5, 8.0  # by 8 floats are divided without rounding


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The exit code of a smoke run on the embedded digits, its folder, and what it measured."""
    out, measured = tmp_path_factory.mktemp("runs"), []

    def measure(options):
        measured.append(script.measure(options))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", script.EXPERIMENT._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--out", str(out)])
    (folder,) = (out / "private_training").iterdir()
    return code, folder, measured[0]


def test_noise_is_added_to_the_sum_and_the_sum_divided_once():
    noisy = script.noisy_mean(TOTAL, jax.random.key(0), NOISE, LIMIT, SIZE)
    for noise in jax.tree.leaves(jax.tree.map(lambda n, t: n * SIZE - t, noisy, TOTAL)):
        # The deviation of 20,000 numbers has a standard error of 0.5 % of it, their mean of 0.007: five of each.
        assert float(jnp.std(noise)) == pytest.approx(NOISE * LIMIT, rel=0.025)
        assert float(jnp.mean(noise)) == pytest.approx(0, abs=0.035)


def test_without_noise_the_sum_is_divided_and_nothing_else():
    quiet = script.noisy_mean(TOTAL, jax.random.key(0), 0.0, LIMIT, SIZE)
    jax.tree.map(lambda q, t: np.testing.assert_array_equal(q, t / SIZE), quiet, TOTAL)


def test_noise_follows_from_its_key_and_each_array_has_its_own():
    zeros = {"W": jnp.zeros(1000), "b": jnp.zeros(1000)}
    first, again, other = (script.noisy_mean(zeros, jax.random.key(seed), NOISE, LIMIT, SIZE) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["W"], again["W"])
    for one, two in ((first["W"], first["b"]), (first["W"], other["W"])):
        # Of 1,000 independent pairs the correlation has a standard deviation of 0.03: the bound is five of them.
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.16


def test_every_example_comes_into_a_poisson_sample_by_itself():
    n, sampled, steps = 40, 0.2, 5000
    samples = script.poisson_samples(np.random.default_rng(0), n, sampled, steps)
    there = np.zeros((steps, n), bool)
    for step, row in zip(there, samples, strict=True):
        chosen = row[row >= 0]
        step[chosen] = True
        assert step.sum() == len(chosen), "an example twice in a batch"
    # Standard deviations by the binomial distribution: 0.0057 of a share, 0.036 of the mean size; five of each.
    np.testing.assert_allclose(there.mean(axis=0), sampled, atol=0.029)
    sizes = there.sum(axis=1)
    assert sizes.mean() == pytest.approx(n * sampled, abs=0.18)
    # Batches of one size would have a variance of 0. That of 5,000 sizes has a standard error of 2 %.
    assert sizes.var() == pytest.approx(n * sampled * (1 - sampled), rel=0.1)


def test_a_batch_that_is_filled_up_with_blanks_has_the_sum_of_those_that_are_there():
    network = jp.Network((jp.dense(10),), (784,))
    params = network.init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
    examples = jp.Examples(jnp.asarray(images), jnp.arange(6))
    total = jax.jit(lambda rows: script.clipped_sum(network, 0.1)(params, script.with_blanks(examples, rows)))
    both, one, other = (total(np.array(rows)) for rows in ([4, 2, -1, -1], [4, -1, -1, -1], [-1, -1, -1, 2]))
    # Gradients of norm 0.1, in float32. Were a blank's not 0, there would be two in the sum and six in its parts.
    jax.tree.map(lambda b, o, t: np.testing.assert_allclose(b, o + t, atol=1e-7), both, one, other)
    assert np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(one))) == pytest.approx(0.1, rel=1e-5)


def test_a_smoke_run_leaves_a_row_for_each_noise_and_says_what_it_is_worth(smoke):
    code, folder, found = smoke
    assert code == 0
    assert {path.name for path in folder.iterdir()} == {
        *("results.json", "private_training.csv", "published.csv", "private_training.png")
    }
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [claim["holds"] for claim in claims] == [True, True]
    with (folder / "private_training.csv").open() as file:
        epsilons = [float(row["epsilon"]) for row in csv.DictReader(file)]
    assert epsilons == sorted(epsilons)
    assert [row["noise_multiplier"] for row in found.rows] == sorted(script.RATES, reverse=True)


def test_epsilon_without_sampling_is_a_little_above_that_of_one_gaussian():
    """q = 1, one step, σ = 4: Φ(1 / 2σ − εσ) − exp(ε) Φ(−1 / 2σ − εσ) is 1e-5 at ε = 0.926. Rényi's is a bound."""
    epsilon = script.accountant()
    assert 0.926 < epsilon(script.Plan(sampled=1.0, steps=1), 4.0) < 1.2
    assert epsilon(script.Plan(), 0.0) == np.inf


def test_without_the_accountant_one_sentence_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    assert run(script.main, Options, ["--smoke", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "uv sync --extra private" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


ROWS = [
    {"noise_multiplier": 4.0, "epsilon": 1.2, "accuracy": 0.94},
    {"noise_multiplier": 1.0, "epsilon": 2.9, "accuracy": 0.95},
    {"noise_multiplier": 0.0, "epsilon": np.inf, "accuracy": 0.97},
]
GOOD = script.Findings("mnist", script.Plan(), parameters=50_000, rows=ROWS, shift=1.0, deviation=1.001)


@pytest.mark.parametrize(
    ("broken", "number"),
    [
        ({"shift": 1.01}, 0),
        ({"deviation": 1.02}, 1),
        ({"rows": [{**ROWS[0], "accuracy": 0.92}, *ROWS[1:]]}, 2),
        ({"rows": [ROWS[0], {**ROWS[1], "accuracy": 0.94}, ROWS[2]]}, 3),
    ],
)
def test_each_claim_comes_out_false_when_what_it_measures_is_broken(broken, number):
    assert all(claim.holds for claim in script.claims(GOOD))
    holds = [claim.holds for claim in script.claims(GOOD._replace(**broken))]
    assert holds == [i != number for i in range(4)]
