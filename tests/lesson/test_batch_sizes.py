"""Batch sizes: every claim holds, and comes out false when what it measures is broken."""

import json

import batch_sizes as script


def test_a_smoke_run_keeps_every_claim_and_leaves_a_table_and_a_picture(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [(claim["statement"], claim["holds"]) for claim in claims] == [("L16", True)]
    assert {path.name for path in folder.iterdir()} == {"results.json", "batch_sizes.csv", "batch_sizes.png"}


def test_every_batch_size_looks_at_no_more_examples_than_the_others(smoke):
    *_, found = smoke
    assert [(row["batch_size"], row["steps"]) for row in found] == [(100, 600), (1500, 40)]


def test_each_batch_size_has_a_rate_of_its_own_that_lowers_the_cost(smoke):
    *_, found = smoke
    for row in found:
        assert row["cost"] < row["cost_before"]
        # One at the edge could have a better one beyond it.
        assert min(script.RATES) < row["rate"] < max(script.RATES)


def test_the_claim_comes_out_false_when_small_steps_get_no_further(smoke):
    *_, (hundred, whole) = smoke
    (claim,) = script.claims([{**hundred, "cost": 0.6 * whole["cost"]}, whole])
    assert not claim.holds


def test_no_seconds_are_among_the_results(smoke):
    """Times differ from run to run; the same seed is to leave the same results."""
    _, folder, _ = smoke
    assert "seconds" not in (folder / "results.json").read_text()
