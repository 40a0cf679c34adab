"""Changes of one neuron's weights: every claim holds, and comes out false when what it measures is broken."""

import numpy as np
import pytest

from lesson import bang_for_the_buck as script


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_pictures(smoke):
    assert smoke.code == 0
    assert smoke.files == {"changes.csv", "changes.png"}


def test_the_changes_are_those_that_are_named(smoke):
    output, hidden = smoke.found
    assert len(output.cosines) == len(hidden.cosines) == 3 + script.RANDOM
    # Its own direction has the cosine 1, and two vectors of positive numbers never look away from each other.
    for neuron in (output, hidden):
        assert neuron.cosines[0] == pytest.approx(1, abs=1e-12)
        alike, dimmest_first = neuron.cosines[1:3]
        assert 0 <= dimmest_first < alike < 1
        assert abs(neuron.cosines[3:].mean()) < 0.1


def changed(neurons, which, change, factor):
    drops = np.array(neurons[which].drops)
    drops[change] *= factor
    return [neuron._replace(drops=drops) if i == which else neuron for i, neuron in enumerate(neurons)]


# By the number of the claim: the drop of one change of one neuron is another.
BROKEN = {
    0: lambda neurons: changed(neurons, 0, 1, 2),
    1: lambda neurons: changed(neurons, 0, 2, 0.99),
    2: lambda neurons: changed(neurons, 1, 1, 10),
    3: lambda neurons: changed(neurons, 1, 0, 1.01),
}


def test_each_claim_comes_out_false_when_what_it_measures_is_broken(check_broken):
    check_broken(script, BROKEN)
