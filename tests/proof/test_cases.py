"""The cases: what is true at each probe is known apart from whoever is judged, and what differs from it is named."""

import jax
import numpy as np

import jaxprop as jp
from proof.cases import make_case, wrong_leaves
from proof.mutants import in_cost, in_dense

CASE = make_case("4-3 sigmoid")
RIGHT = jp.backprop(CASE.network, jp.squared_error)
HALF = in_cost(lambda a, y: a - y)(CASE.network, jp.squared_error)


def bias_times(factor):
    return in_dense(db=lambda p, a, dz: factor * dz)(CASE.network, jp.squared_error)


def test_a_case_knows_the_truth_at_each_of_its_probes():
    assert repr(CASE.network) == repr(jp.mlp((4, 3)))
    assert [probe.name for probe in CASE.probes] == [p.name for p in jp.probes_for(jp.mlp((4, 3)), quick=True)]
    with jax.enable_x64(True):
        for probe, truth in zip(CASE.probes, CASE.truths, strict=True):
            W, b = jax.grad(CASE.loss)(probe.params, probe.batch)[0]
            # Rounding, beside the largest that is added up.
            for path, leaf in (("[0].W", W), ("[0].b", b)):
                scale = float(truth.scales[path])
                np.testing.assert_allclose(truth.grads[path], leaf, rtol=0, atol=1e-15 * scale)
                assert (np.abs(truth.grads[path]) <= scale * (1 + 1e-15)).all()


def test_leaves_that_are_wrong_are_named_and_no_others():
    assert wrong_leaves(CASE, RIGHT) == set()
    assert wrong_leaves(CASE, bias_times(2)) == {"[0].b"}
    assert wrong_leaves(CASE, HALF) == {"[0].b", "[0].W"}


def test_a_nan_is_wrong_and_so_is_what_is_more_than_rounding():
    assert wrong_leaves(CASE, bias_times(np.nan)) == {"[0].b"}
    assert wrong_leaves(CASE, bias_times(1 + 1e-11)) == {"[0].b"}
    assert wrong_leaves(CASE, bias_times(1 + 4e-16)) == set()
