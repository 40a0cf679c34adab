"""Who pulls hardest: which labels are exchanged, and how the exchanged ones are looked for."""

import json

import numpy as np

from instruments import who_pulls_hardest as script
from lab.common import Options, run


def test_a_smoke_run_leaves_everything_where_people_look(tmp_path):
    run(script.main, Options, ["--smoke", "--out", str(tmp_path)])
    (folder,) = (tmp_path / "who_pulls_hardest").iterdir()
    names = {"results.json", "ranking.csv", "ranking.png", "longest.png", "hardest.png"}
    assert {path.name for path in folder.iterdir()} == names
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert all(0 <= abs(claim["measured"]) <= 1 for claim in claims)


def test_one_label_in_a_hundred_becomes_another():
    labels = np.arange(1000, dtype=np.int32) % 10
    given, exchanged = script.exchange(labels, np.random.default_rng(0))
    assert exchanged.sum() == 10
    np.testing.assert_array_equal(given != labels, exchanged)
    assert 0 <= given.min() <= given.max() <= 9


def test_the_share_that_is_found_worked_by_hand():
    scores, exchanged = np.array([0.1, 0.9, 0.5, 0.7]), np.array([False, True, True, False])
    np.testing.assert_array_equal(script.share_found(scores, exchanged), [0.5, 0.5, 1, 1])
