"""A network that hears 2s alone: every claim holds, and comes out false when what it measures is broken."""

import json

import pytest

import only_twos as script
from jaxprop import layers
from lab.common import Options, run


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L14"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {"only_twos.csv", "only_twos.png"}


def ending_with(rows, **changes):
    return [*rows[:-1], {**rows[-1], **changes}]


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {
    0: lambda found: found._replace(misled=ending_with(found.misled, called_2=1 - 1 / len(found.labels))),
    1: lambda found: found._replace(recovering=ending_with(found.recovering, accuracy=0.8)),
    2: lambda found: found._replace(recovering=ending_with(found.recovering, called_2=0.2)),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds


def test_the_share_called_2_is_counted_on_digits_of_all_kinds(smoke):
    """On an untrained network some other digit is the answer for nearly all of them."""
    *_, found = smoke
    assert found.misled[0]["called_2"] < 0.5
    assert found.sound[-1]["called_2"] == pytest.approx(0.1, abs=0.03)  # as many 2s as there are, but for mistakes


def test_a_backward_pass_that_goes_up_the_hill_makes_the_run_fail(tmp_path, monkeypatch):
    right = layers.sigmoid()
    wrong = right._replace(backward=lambda params, a, da: ((), -a * (1 - a) * da))
    monkeypatch.setattr(layers, "sigmoid", lambda: wrong)
    code = run(script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
    assert code == 1
    (results,) = tmp_path.rglob("results.json")
    false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
    assert false == [0, 2]
