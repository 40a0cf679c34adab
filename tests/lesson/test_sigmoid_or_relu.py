"""Sigmoids and ReLUs: every claim holds, and comes out false when what it measures is broken."""

from lesson import sigmoid_or_relu as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"gradients.png", "learning_rates.png", "sigmoid_or_relu.csv"}


FIRST, _, OUTPUT = script.GRADIENTS


def with_row(found, activation, row, **changes):
    """One number changed, of the network at its best rate: in its first row, or in its last."""
    setting = script.best(found, activation)
    rows = list(found[setting])
    rows[row] = {**rows[row], **changes}
    return {**found, setting: rows}


def with_rates_swapped(found):
    rates = {"sigmoid": script.best(found, "relu").rate, "relu": script.best(found, "sigmoid").rate}
    return {
        setting._replace(rate=rates[setting.activation]): rows
        for setting, rows in found.items()
        if setting == script.best(found, setting.activation)
    }


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: with_row(found, "sigmoid", -1, accuracy=0.89),
    1: lambda found: with_row(found, "relu", -1, accuracy=0.89),
    2: with_rates_swapped,
    3: lambda found: with_row(found, "relu", 0, **{FIRST: 0.1}),
    4: lambda found: with_row(found, "sigmoid", 0, **{OUTPUT: 0.1}),
    5: lambda found: with_row(found, "sigmoid", -1, **{OUTPUT: 1.0}),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_a_cost_that_is_no_number_is_never_the_best(smoke):
    found = smoke.found
    assert script.best(found, "relu").rate == 0.1
    (other,) = (setting for setting in found if setting.activation == "relu" and setting.rate != 0.1)
    assert script.best(with_row(found, "relu", -1, cost=float("nan")), "relu") == other


def test_relus_die_at_the_rate_of_the_sigmoids(smoke):
    found = smoke.found
    assert found[script.Setting("relu", 3.0)][-1]["idle"] > found[script.Setting("relu", 0.1)][-1]["idle"]


def test_a_sigmoid_that_forgets_its_slope_makes_the_run_fail(slope_forgotten, false_claims, monkeypatch):
    monkeypatch.setitem(script.CALLS, "digits", (2, 15))  # the claim is about the start
    assert 3 in false_claims()
