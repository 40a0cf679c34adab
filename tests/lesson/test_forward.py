"""The network in NumPy: every claim holds, and comes out false when what it measures is broken."""

import json

import pytest

import forward as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L1", "L2", "L8"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {"one_answer.csv", "one_answer.png"}


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


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_a_layer_that_forgets_its_bias_makes_the_run_fail(tmp_path, monkeypatch):
    right = layers.dense
    monkeypatch.setattr(layers, "dense", lambda *a, **o: right(*a, **o)._replace(forward=lambda p, a: (p.W @ a, a)))
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert {1, 2, 4, 5} <= set(false)
