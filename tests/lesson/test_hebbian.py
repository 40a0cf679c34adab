"""Hebb's rule at the outputs: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import hebbian as script
from jaxprop import layers
from jaxprop.structured import Outer
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L10"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {
        "hebbian.csv",
        "one_picture.csv",
        "hebbian.png",
        "one_picture.png",
    }


def with_row(found, number, **changes):
    rows = list(found.course)
    rows[number] = {**rows[number], **changes}
    return found._replace(course=rows)


# By the number of the claim: one measured number changed, and by how much. Row 1 is that after 30 steps.
BROKEN = {
    0: lambda found: with_row(found, 1, lowest_cosine_with_brightness=1 - 1e-9),
    1: lambda found: with_row(found, 1, share_growing=0.999),
    2: lambda found: with_row(found, 0, cosine=0.5),
    3: lambda found: with_row(found, 1, cosine=0.9),
    4: lambda found: with_row(found, 0, cosine_of_averages=-0.7),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_the_rule_grows_one_row_and_the_picture_shrinks_the_nine_others(smoke):
    *_, found = smoke
    others = np.arange(10) != script.DIGIT
    assert np.all(found.hebb[script.DIGIT] > 0)
    assert np.all(found.hebb[others] == 0)
    assert np.all(found.nudge[script.DIGIT] > 0)
    assert np.all(found.nudge[others] < 0)


def test_weights_that_grow_by_the_square_of_the_brightness_make_the_run_fail(tmp_path, monkeypatch):
    right = layers.dense

    def wrong(*arguments, **options):
        layer = right(*arguments, **options)

        def backward(params, a, dz):
            grads, da = layer.backward(params, a, dz)
            return grads._replace(W=Outer(dz, a * a)), da

        return layer._replace(backward=backward)

    monkeypatch.setattr(layers, "dense", wrong)
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert 0 in false
