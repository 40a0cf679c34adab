"""The steepest way down: every claim holds, and comes out false when what it measures is broken."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steepest_way_down as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    code, folder, _ = smoke
    assert code == 0
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["statement"] for claim in claims} == {"L4"}
    assert all(claim["holds"] for claim in claims)
    assert {path.name for path in folder.iterdir()} == {"results.json", "drops.csv", "drops.png"}


def test_a_direction_has_the_cosine_that_was_asked_for():
    unit = jnp.array([0.6, 0.0, -0.8, 0.0])
    for cosine in (0.0, 0.3, 1.0):
        direction = script.with_cosine(unit, jax.random.key(1), jnp.array(cosine))
        # float32, a dozen operations
        assert float(jnp.linalg.norm(direction)) == pytest.approx(1, abs=1e-6)
        assert float(direction @ unit) == pytest.approx(cosine, abs=1e-6)


def changed(found, direction, way, by):
    drops = np.array(found.drops)
    drops[direction, way] += by
    return found._replace(drops=drops)


# By the number of the claim: the drop along one direction is another, by so much of the steepest one.
BROKEN = {
    0: lambda found: changed(found, 3, 0, 0.003),
    1: lambda found: changed(found, 8, 1, 0.002),
    2: lambda found: changed(found, 5, 0, 0.9),
}


def test_every_claim_is_broken_below(smoke):
    *_, found = smoke
    assert len(script.claims(found)) == len(BROKEN)


@pytest.mark.parametrize("number", BROKEN)
def test_a_claim_comes_out_false_when_what_it_measures_is_broken(smoke, number):
    *_, found = smoke
    assert script.claims(found)[number].holds
    assert not script.claims(BROKEN[number](found))[number].holds
