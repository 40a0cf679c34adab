"""Where Hebb's rule fails: every claim holds, and comes out false when what it measures is broken."""

from lesson import hebbian_limits as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"hebbian_limits.png", "hidden_layers.csv", "saturated.csv"}


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: found._replace(cosines=found.cosines + 0.5),
    1: lambda found: found._replace(growing=found.growing + 0.3),
    2: lambda found: found._replace(wished=found.active),  # as the rule would have it
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_saturated_neurons_that_forget_their_slope_make_the_run_fail(plant, false_claims):
    plant("sigmoid", lambda right: right._replace(backward=lambda params, residuals, da: ((), da / 4)))
    assert 2 in false_claims()
