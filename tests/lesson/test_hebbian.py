"""Hebb's rule at the outputs: every claim holds, and comes out false when what it measures is broken."""

import numpy as np

import jaxprop as jp
from lesson import hebbian as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"hebbian.csv", "hebbian.png", "one_picture.csv", "one_picture.png"}


def with_row(found, number, **changes):
    rows = list(found.course)
    rows[number] = {**rows[number], **changes}
    return found._replace(course=rows)


# By the number of the claim: one measured number changed, and by how much. Row 1 is that after 30 steps.
BROKEN = {
    0: lambda found: with_row(found, 1, lowest_cosine_with_brightness=1 - 1e-9),
    1: lambda found: with_row(found, 1, fraction_growing=0.999),
    2: lambda found: with_row(found, 0, cosine=0.5),
    3: lambda found: with_row(found, 1, cosine=0.9),
    4: lambda found: with_row(found, 0, cosine_of_averages=-0.7),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_the_rule_grows_one_row_and_the_picture_shrinks_the_nine_others(smoke):
    found = smoke.found
    others = np.arange(10) != script.DIGIT
    assert np.all(found.hebb[script.DIGIT] > 0)
    assert np.all(found.hebb[others] == 0)
    assert np.all(found.nudge[script.DIGIT] > 0)
    assert np.all(found.nudge[others] < 0)


def test_weights_that_grow_by_the_square_of_the_brightness_make_the_run_fail(plant, false_claims):
    def wrong(right):
        def backward(params, a, dz):
            grads, da = right.backward(params, a, dz)
            return grads._replace(W=jp.Outer(dz, a * a)), da

        return right._replace(backward=backward)

    plant("dense", wrong)
    assert 0 in false_claims()
