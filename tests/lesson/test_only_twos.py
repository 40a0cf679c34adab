"""A network that is trained on 2s alone: every claim holds, and comes out false when what it measures is broken."""

import pytest

from lesson import only_twos as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"only_twos.csv", "only_twos.png"}


def ending_with(rows, **changes):
    return [*rows[:-1], {**rows[-1], **changes}]


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {
    0: lambda found: found._replace(twos_alone=ending_with(found.twos_alone, called_2=1 - 1 / len(found.labels))),
    1: lambda found: found._replace(recovering=ending_with(found.recovering, accuracy=0.8)),
    2: lambda found: found._replace(recovering=ending_with(found.recovering, called_2=0.2)),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_the_fraction_called_2_is_counted_on_digits_of_all_kinds(smoke):
    """On an untrained network some other digit is the answer for nearly all of them."""
    found = smoke.found
    assert found.twos_alone[0]["called_2"] < 0.5
    assert found.from_start[-1]["called_2"] == pytest.approx(0.1, abs=0.03)  # as many 2s as there are, but for mistakes


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(uphill, false_claims):
    assert false_claims() == [0, 2]
