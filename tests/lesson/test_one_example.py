"""What one picture of a 2 wishes for: every claim holds, and comes out false when what it measures is broken."""

import json

import numpy as np
import pytest

import one_example as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L6", "L7", "L8", "L11", "L12", "L13"}
    assert all(claim["holds"] for claim in claims)
    files = {path.name for path in folder.iterdir()} - {"results.json"}
    assert files == {"outputs.csv", "requests.csv", "steps.csv", "wishes.png", "avenues.png"}


def test_the_example_is_a_2_on_an_untrained_network(smoke):
    *_, found = smoke
    assert found.image.shape == (28, 28)
    assert found.image.max() > 200
    assert found.wishes[-1].a.shape == (10,)
    assert np.all(np.abs(found.wishes[-1].a - 0.5) < 0.45)


def outputs(found, **changes):
    return found._replace(wishes=(*found.wishes[:-1], found.wishes[-1]._replace(**changes)))


def scaled(array, index, factor):
    changed = np.array(array)
    changed[index] *= factor
    return changed


# By the number of the claim: one measured number changed, and by how much.
BROKEN = {
    0: lambda found: outputs(found, nudge_a=scaled(found.wishes[-1].nudge_a, 7, -1)),
    1: lambda found: outputs(found, nudge_a=scaled(found.wishes[-1].nudge_a, 7, 1.001)),
    2: lambda found: found._replace(avenue_drops=scaled(found.avenue_drops, 1, 1.002)),
    3: lambda found: found._replace(avenue_drops=scaled(found.avenue_drops, 3, 0.998)),
    4: lambda found: outputs(found, requests=scaled(found.wishes[-1].requests, (3, 5), -1)),
    5: lambda found: outputs(found, requests=scaled(found.wishes[-1].requests, (2, 5), 1.001)),
    6: lambda found: outputs(found, requests=scaled(found.wishes[-1].requests, (8, 0), 1.001)),
    7: lambda found: found._replace(derived=(*found.derived[:2], scaled(found.derived[2], 4, 1.001), found.derived[3])),
    8: lambda found: found._replace(derived=(scaled(found.derived[0], 400, 1.001), *found.derived[1:])),
    9: lambda found: found._replace(level_drops=scaled(found.level_drops, 0, 1.002)),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds
