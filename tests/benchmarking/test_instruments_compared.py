"""The instruments beside the plain gradient: what is measured, and that the usual way gives the same numbers."""

import jax
import numpy as np
import pytest

import jaxprop as jp
from benchmarking import instruments_compared
from benchmarking.gradients_compared import perceptron

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own ways
EXAMPLES = jp.Examples(RNG.integers(0, 256, (20, 28, 28), np.uint8), RNG.integers(0, 10, 20, np.int32))


def test_each_instrument_has_its_ratios_and_all_do_the_same_work():
    case = perceptron((784, 4, 10), EXAMPLES, 20)
    row = instruments_compared.compare(case, seed=0, repeats=2)
    for name in instruments_compared.INSTRUMENTS:
        assert row[f"{name}_time_ratio"] > 0
        assert row[f"{name}_memory_ratio"] > 0
    assert row["clipped_memory_ratio"] < 3.5  # 2.9; and 4.2 where each dz stays beside what clipping leaves of it
    params = case.network.init(jax.random.key(0))
    (_, by_factors), norms = jax.jit(jp.with_norms(case.network, case.cost))(params, case.batch)
    usual = instruments_compared.norms_by_vmap_of_grad(case.network, case.cost)
    (_, multiplied_out), lengths = jax.jit(usual)(params, case.batch)
    # float32: sums of 3,136 squares, and of 20 examples
    np.testing.assert_allclose(norms.whole, lengths, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), by_factors, multiplied_out)


def test_opacus_gives_the_same_clipped_gradient():
    pytest.importorskip("opacus")
    row = instruments_compared.compare_with_opacus(perceptron((784, 4, 10), EXAMPLES, 20), seed=0, repeats=1)
    assert row["opacus_difference"] <= instruments_compared.TOLERANCE
    assert row["opacus_over_jaxprop"] > 0


def test_who_gives_another_gradient_is_found():
    rows = [
        {"network": name, "batch_size": 100, "opacus_difference": difference}
        for name, difference in (("same", 1e-6), ("absent", None), ("other", 2e-5), ("broken", np.nan))
    ]
    expected = ["Opacus, other, batch of 100", "Opacus, broken, batch of 100"]
    assert instruments_compared.who_differs(rows) == expected


def test_who_is_absent_is_said(monkeypatch, capsys):
    monkeypatch.setattr(instruments_compared.importlib.util, "find_spec", lambda name: None if name == "opacus" else 1)
    assert instruments_compared.opacus_missing("cpu") == "opacus is not installed"
    assert instruments_compared.opacus_missing("gpu") == "compared on a CPU only"
    monkeypatch.setattr(
        instruments_compared,
        "compare",
        lambda case, seed, repeats: {
            "batch_size": 20,
            **{f"{name}_time_ratio": 1.0 for name in instruments_compared.INSTRUMENTS},
        },
    )
    monkeypatch.setattr(instruments_compared, "PERCEPTRONS", ((784, 4, 10),))
    monkeypatch.setattr(instruments_compared, "of_today", lambda examples: [])
    rows = instruments_compared.measure(EXAMPLES, 0, "cpu", smoke=False)
    assert {row["remark"] for row in rows} == {"opacus is not installed"}
    assert "no clipped gradient of Opacus beside jaxprop's: opacus is not installed" in capsys.readouterr().out
