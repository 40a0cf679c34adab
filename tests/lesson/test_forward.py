"""The network in NumPy: every claim holds, and comes out false when what it measures is broken."""

from lesson import forward as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"one_answer.csv", "one_answer.png"}


def changed(found, activation, **changes):
    return {**found, activation: found[activation]._replace(**changes)}


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {0: lambda found: changed(found, "sigmoid", parameters=13_003)}
for number, activation in ((1, "sigmoid"), (4, "relu")):
    BROKEN |= {
        number: lambda found, a=activation: changed(found, a, outputs=found[a].outputs + 1e-9),
        number + 1: lambda found, a=activation: changed(found, a, costs=found[a].costs / 2),  # half the sum
        number + 2: lambda found, a=activation: changed(found, a, accuracy=found[a].accuracy - 0.001),
    }


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_a_layer_that_forgets_its_bias_makes_the_run_fail(plant, false_claims):
    plant("dense", lambda right: right._replace(forward=lambda params, a: (params.W @ a, a)))
    assert {1, 2, 4, 5} <= set(false_claims())
