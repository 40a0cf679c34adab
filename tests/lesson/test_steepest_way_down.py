"""The steepest way down: every claim holds, and comes out false when what it measures is broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lesson import steepest_way_down as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"drops.csv", "drops.png"}


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


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)
