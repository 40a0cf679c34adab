"""How large a batch pays: the curve, the steps to a cost, the noise on the way, and claims that can come out false."""

import json

import numpy as np
import pytest

from instruments import batch_size_pays as script
from lab.common import Options, run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The exit code of a smoke run on the embedded digits, its folder, and what it measured."""
    out, measured = tmp_path_factory.mktemp("runs"), []

    def measure(options):
        measured.append(script.measure(options))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", script.EXPERIMENT._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--out", str(out)])
    (folder,) = (out / "batch_size_pays").iterdir()
    return code, folder, measured[0]


def test_a_smoke_run_measures_every_batch_size_and_writes_what_it_found(smoke):
    code, folder, found = smoke
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert code == (0 if all(claim["holds"] for claim in claims) else 1)
    tables = {"batch_size_pays.csv", "curve.csv", "noise_scale.csv"}
    assert {path.name for path in folder.iterdir()} == {"results.json", "batch_size_pays.png", *tables}
    assert [row["batch_size"] for row in found.rows] == list(script.SMOKE.sizes)
    for row in found.rows:
        assert row["examples"] == row["batch_size"] * row["steps"]
    # At the start all examples agree; on the plateau, where every output is near 0.1, they no longer do.
    assert found.steps[0]["cost"] > 2 > found.steps[-1]["cost"]
    assert script.noise_scale_over(found.steps[-40:]) > 10 * script.noise_scale_over(found.steps[:5])


def test_the_noise_scale_of_a_way_is_the_quotient_of_the_sums():
    steps = [{"trace": 6.0, "gradient_squared": 2.0}, {"trace": 4.0, "gradient_squared": -0.5}]
    assert script.noise_scale_over(steps) == pytest.approx(10 / 1.5)
    assert script.noise_scale_over(steps[1:]) == np.inf


def test_the_curve_is_found_from_steps_that_lie_on_it():
    sizes = [10, 100, 1000]
    curve = script.fit(sizes, [50 + 20_000 / size for size in sizes])
    assert curve.least_steps == pytest.approx(50, rel=1e-6)
    assert curve.critical == pytest.approx(400, rel=1e-6)


def test_at_the_critical_size_steps_and_examples_are_twice_their_least():
    curve = script.Curve(50, 20_000)
    S = curve.steps(curve.critical)
    assert 2 * curve.least_steps == S
    assert S * curve.critical == 2 * curve.least_examples
    sizes = np.array([3, 400, 7000])
    S, E = curve.steps(sizes), sizes * curve.steps(sizes)
    np.testing.assert_allclose((S / curve.least_steps - 1) * (E / curve.least_examples - 1), 1)


def test_a_cost_that_halves_every_ten_steps_is_crossed_where_it_was():
    before, after = np.array([0.8, 0.8, np.nan]), np.array([0.4, 0.6, np.nan])
    found = script.crossing(before, after, 0.8 / 2**0.5, done=100, between=10)
    assert found[0] == pytest.approx(105)
    assert np.isnan(found[1:]).all()


def test_a_target_that_no_rate_reaches_is_said_in_one_sentence(monkeypatch, tmp_path, capsys):
    plan = script.SMOKE._replace(sizes=(100,), rates=(1e-6,), most_steps=20, most_examples=0)
    monkeypatch.setattr(script, "SMOKE", plan)
    assert run(script.main, Options, ["--smoke", "--out", str(tmp_path)]) == 2
    assert "mini-batches of 100 do not come to a cost of 0.88 within 20 steps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


CURVE = script.Curve(50, 20_000)
GOOD = script.Findings(
    script.Plan(),
    rows=[{"batch_size": size, "steps": 1.2 * CURVE.steps(size)} for size in (10, 100)],
    curve=CURVE,
    steps=[{"trace": 300.0, "gradient_squared": 1.0}, {"trace": 100.0, "gradient_squared": 1.0}],
)


@pytest.mark.parametrize(
    ("broken", "number"),
    [
        ({"rows": [*GOOD.rows, {"batch_size": 1000, "steps": CURVE.steps(1000) / 1.6}]}, 0),
        ({"steps": [{"trace": 1300.0, "gradient_squared": 1.0}]}, 1),
        ({"steps": [{"trace": 130.0, "gradient_squared": 1.0}]}, 1),
        ({"steps": [{"trace": 1.0, "gradient_squared": 0.0}]}, 1),
    ],
)
def test_each_claim_comes_out_false_when_what_it_measures_is_broken(broken, number):
    assert all(claim.holds for claim in script.claims(GOOD))
    holds = [claim.holds for claim in script.claims(GOOD._replace(**broken))]
    assert holds == [i != number for i in range(2)]
