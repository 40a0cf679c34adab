"""The instruments beside the plain gradient: what is measured, and that the usual way gives the same numbers."""

import jax
import numpy as np

import jaxprop as jp
from benchmarking import instruments_compared
from benchmarking.gradients_compared import perceptron

RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (20, 28, 28), np.uint8), RNG.integers(0, 10, 20, np.int32))


def test_each_instrument_has_its_ratios_and_all_do_the_same_work():
    case = perceptron((784, 4, 10), EXAMPLES, 20)
    row = instruments_compared.compare(case, seed=0, repeats=2)
    for name in instruments_compared.INSTRUMENTS:
        assert row[f"{name}_time_ratio"] > 0
        assert row[f"{name}_memory_ratio"] > 0
    params = case.network.init(jax.random.key(0))
    (_, by_factors), norms = jax.jit(jp.with_norms(case.network, case.cost))(params, case.batch)
    usual = instruments_compared.norms_by_vmap_of_grad(case.network, case.cost)
    (_, multiplied_out), lengths = jax.jit(usual)(params, case.batch)
    # float32: sums of 3,136 squares, and of 20 examples
    np.testing.assert_allclose(norms.whole, lengths, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), by_factors, multiplied_out)
