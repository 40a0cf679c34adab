"""Many networks at once: against what their throughput is measured."""

import numpy as np
import pytest

import jaxprop as jp
from benchmarking import many_networks

RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (300, 28, 28), np.uint8), RNG.integers(0, 10, 300, np.int32))


def test_many_networks_are_measured_against_one_after_another_and_the_largest_product():
    row = many_networks.compare("backprop", EXAMPLES, 0, many_networks.Extent(networks=3, steps=2, side=32, repeats=1))
    throughput = 3 * row["ms_a_step_of_one"] / row["ms_a_step_of_all"]
    assert row["times_throughput"] == pytest.approx(throughput)
    # 2 additions and multiplications for each weight and example, forward and for its gradient; for what is passed back
    # there are those of the 16 x 16 and 10 x 16 weights alone.
    flops = 3 * 2 * 100 * (2 * (784 * 16 + 16 * 16 + 16 * 10) + 16 * 16 + 16 * 10)
    rate = flops / row["ms_a_step_of_all"] / 1e6
    assert row["fraction_of_peak"] == pytest.approx(rate / row["peak_gflops"])
