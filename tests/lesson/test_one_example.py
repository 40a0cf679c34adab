"""What one picture of a 2 wishes for: every claim holds, and comes out false when what it measures is broken."""

import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from lesson import one_example as script
from lesson.neurons import Neurons


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"avenues.png", "outputs.csv", "requests.csv", "steps.csv", "wishes.png"}


def test_the_example_is_a_2_on_an_untrained_network(smoke):
    found = smoke.found
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


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)


def test_each_avenue_is_drawn_against_what_it_is_in_proportion_to():
    """Two outputs after three neurons; the second one is to go up by 0.5."""
    weights = jnp.array([[1.0, 1.0, 1.0], [0.5, -0.25, 1.0]])
    a_prev = jnp.array([0.25, 0.5, 1.0])
    nudge_z = jnp.array([-1.0, 0.5])
    requests = weights * nudge_z[:, None]
    outputs = Neurons(
        a_prev,
        z=nudge_z,
        a=nudge_z,
        nudge_a=4 * nudge_z,
        nudge_z=nudge_z,
        nudge=jp.Dense(jp.Outer(nudge_z, a_prev), nudge_z),
        requests=requests,
        nudge_a_prev=requests.sum(axis=0),
    )
    drops = np.array([0.25, 0.3, 0.35, 0.9])
    by_activation, by_weight, achieved = script.avenues_figure(1, outputs, weights, drops, 2 * drops).axes
    drawn = {line.get_label(): np.array(line.get_xydata()) for line in by_activation.lines}
    np.testing.assert_array_equal(drawn["its 3 weights"], [[0.25, 0.125], [0.5, 0.25], [1, 0.5]])
    np.testing.assert_array_equal(drawn["its bias, as if from a 1"], [[1, 0.5]])
    np.testing.assert_array_equal(by_weight.lines[1].get_xydata(), [[0.5, 0.25], [-0.25, -0.125], [1, 0.5]])
    np.testing.assert_array_equal([bar.get_height() for bar in achieved.patches], drops)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(achieved.lines[0].get_ydata(), 2 * drops)
