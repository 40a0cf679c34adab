"""Long sequences: the predictions worked by hand, what a smoke run leaves, and claims that can come out false."""

import json
import math

import jax
import numpy as np
import pytest

import long_sequences as script
from lab.common import Options, run
from long_sequences import BLANK, CHAOTIC, FORGETTING, KEEPING, KINDS, RESTING, USUAL, VANISHING, WIDTH, Kind

GRADIENT = ("vanishing", "exploding", "neither")  # what claims about the gradient are of
EYES = np.tile(np.eye(WIDTH), (4, 1))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The exit code of a smoke run, its folder, and what it measured: networks that are hardly trained."""
    out, measured = tmp_path_factory.mktemp("runs"), []

    def measure(options):
        measured.append(script.measure(options))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", script.EXPERIMENT._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--out", str(out)])
    (folder,) = (out / "long_sequences").iterdir()
    return code, folder, measured[0]


def test_a_smoke_run_finds_each_gradient_where_it_is_predicted_and_has_learned_nothing(smoke):
    code, folder, found = smoke
    assert code == 1
    claims = json.loads((folder / "results.json").read_text())["claims"]
    statements = (*GRADIENT, "learning")
    holds = {name: [claim["holds"] for claim in claims if claim["statement"] == name] for name in statements}
    assert all(all(holds[statement]) for statement in GRADIENT)
    assert holds["learning"] == [True, True, False]  # two are to guess, one is not
    assert {path.name for path in folder.iterdir()} == {
        *("results.json", "gradient.csv", "accuracy.csv"),
        *("gradient.png", "accuracy.png"),
    }
    assert [(row["network"], row["blank_rows"]) for row in found.accuracy] == [(kind.name, BLANK) for kind in KINDS]
    for kept in found.kept.values():
        assert kept.shape == (BLANK + script.ROWS,)
        assert kept[0] == 1


def test_at_rest_an_rnn_keeps_its_gain_at_every_step():
    """The eigenvalues of an orthogonal matrix have a size of 1."""
    Q = np.asarray(jax.random.orthogonal(jax.random.key(0), WIDTH))
    np.testing.assert_allclose(script.prediction(Kind("rnn", 0.5, ""), 0.5 * Q, 1.0), 0.5 ** np.arange(BLANK + 1), 1e-4)


def test_at_rest_an_lstm_keeps_its_forget_gate_and_a_quarter_of_what_goes_through_the_state():
    kept = script.prediction(Kind("lstm", 0.0, ""), EYES, 1.0)
    np.testing.assert_allclose(kept, (1 / 2 + 1 / 4) ** np.arange(BLANK + 1), 1e-12)
    turned = np.concatenate([EYES[: 2 * WIDTH], -EYES[: 2 * WIDTH]])
    np.testing.assert_allclose(
        script.prediction(Kind("lstm", 0.0, ""), turned, 1.0), 0.25 ** np.arange(BLANK + 1), 1e-12
    )


def test_an_lstm_that_does_not_come_to_rest_has_no_prediction():
    """sigmoid(3) + 1/4 is 1.2."""
    assert len(script.prediction(Kind("lstm", 3.0, ""), EYES, 1.0)) == 0


def test_with_a_gain_of_1_the_steps_before_count_for_less_than_those_after():
    """The state decays, and takes the less of the gradient the smaller it is: the last of the way is the dearest."""
    kept = script.prediction(Kind("rnn", 1.0, ""), np.eye(WIDTH), 0.1)
    assert kept[0] == 1
    assert kept[BLANK] == pytest.approx((1 + 0.2 * BLANK) ** -0.5)
    assert np.all(np.diff(kept[1:] / kept[:-1]) < 0)


def test_the_rate_of_chaos_by_another_integral():
    """A sum over a fine grid: q = gain^2 E[tanh^2], then gain^2 E[tanh'^2], as the fixed point is stepped to."""
    z = np.linspace(-8, 8, 20_001)
    density = np.exp(-z * z / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    q = 0.1
    for _ in range(200):
        q = 1.5**2 * np.sum(density * np.tanh(math.sqrt(q) * z) ** 2)
    expected = 1.5 * math.sqrt(np.sum(density / np.cosh(math.sqrt(q) * z) ** 4))
    assert script.chaos_rate(1.5) == pytest.approx(expected, rel=1e-6)
    assert 1 < expected < 1.5


def test_blank_rows_come_after_the_picture():
    images = np.full((2, 28, 28), 255, np.uint8)
    inputs, labels = script.as_rows(3, images, np.array([4, 5]))
    assert inputs.shape == (2, 31, 28)
    assert np.all(inputs[:, :28] == 1)
    assert np.all(inputs[:, 28:] == 0)
    np.testing.assert_array_equal(labels, [4, 5])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_network_is_drawn_as_its_name_says(kind):
    network = script.make(kind.layer, 0)
    first, *_ = script.draw(kind, network, jax.random.key(0))
    for square in np.split(np.asarray(first.U), len(first.U) // WIDTH):
        size = kind.number if kind.layer == "rnn" else 1
        np.testing.assert_allclose(square @ square.T, size**2 * np.eye(WIDTH), atol=1e-5)
    expected = [0, kind.number, 0, 0] if kind.layer == "lstm" else [0]
    np.testing.assert_array_equal(first.b, np.repeat(expected, WIDTH))


def exactly_as_predicted() -> script.Findings:
    k = np.arange(BLANK + script.ROWS)
    rates = {VANISHING: 0.5, RESTING: 0.99, CHAOTIC: 1.07, FORGETTING: 0.75, USUAL: 0.97, KEEPING: 1.0}
    kept = {name: rate**k for name, rate in rates.items()}
    learned = {VANISHING: 0.1, RESTING: 0.6, CHAOTIC: 0.1, FORGETTING: 0.1, USUAL: 0.9, KEEPING: 0.9}
    return script.Findings(
        kept,
        {name: np.empty(0) if name == KEEPING else kept[name][: BLANK + 1] for name in kept},
        [{"network": name, "blank_rows": BLANK, "accuracy": accuracy} for name, accuracy in learned.items()],
    )


GOOD = exactly_as_predicted()
STEPS_BACK = np.arange(BLANK + script.ROWS)


def another_rate(name: str, times: float) -> script.Findings:
    return GOOD._replace(kept={**GOOD.kept, name: GOOD.kept[name] * times**STEPS_BACK})


def another_accuracy(name: str, accuracy: float) -> script.Findings:
    return GOOD._replace(
        accuracy=[{**row, "accuracy": accuracy if row["network"] == name else row["accuracy"]} for row in GOOD.accuracy]
    )


BROKEN = [
    another_rate(VANISHING, 1.02),
    another_rate(FORGETTING, 0.98),
    another_rate(USUAL, 1.02),
    another_rate(CHAOTIC, 0.96),
    another_rate(RESTING, 0.99),
    another_rate(KEEPING, 0.94),
    another_accuracy(VANISHING, 0.25),
    another_accuracy(FORGETTING, 0.25),
    another_accuracy(KEEPING, 0.25)._replace(
        accuracy=[{**row, "accuracy": min(row["accuracy"], 0.25)} for row in GOOD.accuracy]
    ),
]


def test_each_claim_comes_out_false_when_what_it_measures_is_broken():
    assert all(claim.holds for claim in script.claims(GOOD))
    for number, broken in enumerate(BROKEN):
        holds = [claim.holds for claim in script.claims(broken)]
        assert holds == [i != number for i in range(len(BROKEN))]
