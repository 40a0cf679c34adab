"""Batch sizes: every claim holds, and comes out false when what it measures is broken."""

from lesson import batch_sizes as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"batch_sizes.csv", "batch_sizes.png", "speed.png"}


def test_every_batch_size_looks_at_no_more_examples_than_the_others(smoke):
    found = smoke.found
    assert [(row["batch_size"], row["steps"]) for row in found] == [(100, 600), (1500, 40)]


def test_each_batch_size_has_a_rate_of_its_own_that_lowers_the_cost(smoke):
    found = smoke.found
    for row in found:
        assert row["cost"] < row["cost_before"]
        # One at the edge could have a better one beyond it.
        assert min(script.RATES) < row["rate"] < max(script.RATES)


# By the number of the claim: as if small steps got no further.
BROKEN = {0: lambda found: [{**found[0], "cost": 0.6 * found[1]["cost"]}, found[1]]}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_no_seconds_are_among_the_results(smoke):
    """Times differ from run to run; the same seed is to leave the same results."""
    assert "seconds" not in (smoke.folder / "results.json").read_text()
