"""Sixty-four networks at once: the claims hold, and come out false when the networks fail."""

import json
import re

import numpy as np
import pytest

import many_seeds as script
from lab.common import run

FOUND = script.Findings(
    by_start=np.array([0.95, 0.96, 0.955]),
    by_rate=np.array([0.3, 0.9, 0.1]),
    rates=np.array([0.1, 1.0, 10.0]),
    best=np.linspace(-1, 1, 16 * 784).reshape(16, 784),
)


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(tmp_path, capsys):
    assert run(script.main, script.ManyOptions, ["--smoke", "--out", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "many_seeds").iterdir()
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [(claim["statement"], claim["holds"]) for claim in claims] == [("L19", True)] * 2
    printed = capsys.readouterr().out
    assert len(re.findall(r"epoch \d+: mean cost", printed)) <= 20
    assert re.search(r"^4 starts: mean 9\d\.\d\d%, sample s\.d\. \d\.\d\d, worst 9\d\.\d\d%", printed, re.MULTILINE)
    pictures = {"many_seeds.png", "first_layer.png"}
    assert {path.name for path in folder.iterdir()} - {"results.json"} == {"starts.csv", "rates.csv", *pictures}


# By the number of the claim: a network that reads worse than the film's, and starts that decide too much.
@pytest.mark.parametrize(
    ("number", "by_start"), [(0, np.array([0.935, 0.95, 0.945])), (1, np.array([0.94, 0.97, 0.98]))]
)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(number, by_start):
    assert all(claim.holds for claim in script.claims(FOUND))
    broken = script.claims(FOUND._replace(by_start=by_start))
    assert [claim.holds for claim in broken] == [i != number for i in range(2)]


def test_one_network_is_not_many(capsys):
    assert run(script.main, script.ManyOptions, ["--networks", "1"]) == 2
    assert "--networks is 1: expected a whole number above 1" in capsys.readouterr().err
