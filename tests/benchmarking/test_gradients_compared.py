"""Manual backprop beside autodiff: what is measured of each."""

import jax
import numpy as np

import jaxprop as jp
from benchmarking import gradients_compared

RNG = np.random.default_rng(0)
EXAMPLES = jp.Examples(RNG.integers(0, 256, (300, 28, 28), np.uint8), RNG.integers(0, 10, 300, np.int32))


def test_both_gradients_are_compared_in_time_and_in_temporary_memory():
    case = gradients_compared.perceptron((784, 16, 10), EXAMPLES, 20)
    row = gradients_compared.compare(case, seed=0, repeats=2)
    _, network, _, batch = case
    for name, make in (("backprop", jp.backprop), ("autodiff", jp.autodiff)):
        compiled = jax.jit(make(network, jp.squared_error)).lower(network.init(jax.random.key(0)), batch).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        assert row[f"{name}_temporary_bytes"] == memory.temp_size_in_bytes
        assert row[f"{name}_seconds"] > 0
    assert row["memory_ratio"] == row["backprop_temporary_bytes"] / row["autodiff_temporary_bytes"]


def test_networks_of_today_get_batches_that_they_take():
    for name, network, cost, batch in gradients_compared.of_today(EXAMPLES):
        cost, _ = jax.eval_shape(jp.backprop(network, cost), network.params_like, batch)
        assert cost.shape == (), name
        assert len(batch[0]) == len(batch[1]) == gradients_compared.OF_TODAY, name
