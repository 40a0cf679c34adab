"""The stages: what is true at each probe is known apart from whoever is judged, and what differs from it is named."""

import jax
import numpy as np

import jaxprop as jp
from proof.mutants import by_hand, in_dense, in_errors
from proof.stages import make_stage, wrong_leaves

STAGE = make_stage("4-3 sigmoid")
RIGHT = by_hand(STAGE.sizes, STAGE.activation)
HALF = by_hand(STAGE.sizes, STAGE.activation, in_errors(lambda a, y: a - y))
BIAS_TWICE = by_hand(STAGE.sizes, STAGE.activation, in_dense(db=lambda p, a, dz: 2 * dz))


def test_a_stage_knows_the_truth_at_each_of_its_probes():
    assert (STAGE.sizes, STAGE.activation) == ((4, 3), "sigmoid")
    assert [probe.name for probe in STAGE.probes] == [p.name for p in jp.probes_for(jp.mlp((4, 3)))]
    with jax.enable_x64(True):
        for probe, truth in zip(STAGE.probes, STAGE.truths, strict=True):
            W, b = jax.grad(STAGE.loss)(probe.params, probe.batch)[0]
            # Rounding, beside the largest that is added up.
            for path, leaf in (("[0].W", W), ("[0].b", b)):
                scale = float(truth.scales[path])
                np.testing.assert_allclose(truth.grads[path], leaf, rtol=0, atol=1e-15 * scale)
                assert (np.abs(truth.grads[path]) <= scale * (1 + 1e-15)).all()


def test_leaves_that_are_wrong_are_named_and_no_others():
    assert wrong_leaves(STAGE, RIGHT) == set()
    assert wrong_leaves(STAGE, BIAS_TWICE) == {"[0].b"}
    assert wrong_leaves(STAGE, HALF) == {"[0].b", "[0].W"}


def test_a_nan_is_wrong_and_so_is_what_is_more_than_rounding():
    def off_by(factor):
        return by_hand(STAGE.sizes, STAGE.activation, in_dense(db=lambda p, a, dz: factor * dz))

    assert wrong_leaves(STAGE, off_by(np.nan)) == {"[0].b"}
    assert wrong_leaves(STAGE, off_by(1 + 1e-12)) == {"[0].b"}
    assert wrong_leaves(STAGE, off_by(1 + 4e-16)) == set()
