"""Where Hebb's rule fails: every claim holds, and comes out false when what it measures is broken."""

import json

import pytest

import hebbian_limits as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L10"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {
        "hidden_layers.csv",
        "saturated.csv",
        "hebbian_limits.png",
    }


# By the number of the claim: what was measured, changed.
BROKEN = {
    0: lambda found: found._replace(cosines=found.cosines + 0.5),
    1: lambda found: found._replace(growing=found.growing + 0.3),
    2: lambda found: found._replace(wished=found.active),  # as the rule would have it
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_saturated_neurons_that_forget_their_slope_make_the_run_fail(tmp_path, monkeypatch):
    right = layers.sigmoid()
    wrong = right._replace(backward=lambda params, a, da: ((), da / 4))
    monkeypatch.setattr(layers, "sigmoid", lambda: wrong)
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert 2 in false
