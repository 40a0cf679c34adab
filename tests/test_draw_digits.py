"""Drawing digits: what goes in and what comes out, the simple ways beside it, and claims that can come out false."""

import json
import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import draw_digits as script
from lab.common import Options, run

CLASSES = np.arange(10)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The exit code of a smoke run, its folder, and what it measured: a small transformer, trained for one epoch."""
    out, measured = tmp_path_factory.mktemp("runs"), []

    def measure(options):
        measured.append(script.measure(options))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", script.EXPERIMENT._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--out", str(out)])
    (folder,) = (out / "draw_digits").iterdir()
    return code, folder, measured[0]


def test_a_smoke_run_draws_badly_with_a_right_gradient_and_says_so(smoke):
    code, folder, found = smoke
    assert code == 1
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert [claim["holds"] for claim in claims] == [False, False, True]
    names = {"results.json", "cost.csv", "bits_per_pixel.csv", "read.csv", "drawn.png", "cost.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert found.drawn.shape == found.real.shape == (10, 10, 64)
    assert 0 <= found.drawn.min() <= found.drawn.max() <= 16
    assert found.reader_accuracy > 0.9
    # A pixel of 17 levels takes log2(17) = 4.09 bits for somebody who knows nothing of digits.
    assert found.bits["regression on the pixels before"] < found.bits["levels of each pixel and class"] < math.log2(17)


def test_after_the_class_comes_each_pixel_in_turn_and_the_last_is_only_asked_for():
    levels = np.arange(128).reshape(2, 64) % 17
    tokens, following = script.as_tokens(levels, np.array([3, 9]))
    np.testing.assert_array_equal(tokens[:, 0], [17 + 3, 17 + 9])
    np.testing.assert_array_equal(tokens[:, 1:], levels[:, :-1])
    np.testing.assert_array_equal(following, levels)


def test_what_was_drawn_goes_in_before_the_next_pixel_is_drawn():
    """By a network that is sure of one level: one more than the token before it."""

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        return 1e3 * jax.nn.one_hot((tokens + 1) % script.LEVELS, script.LEVELS)

    counting: Any = SimpleNamespace(apply=apply)
    drawn = script.draw(counting, None, CLASSES, jax.random.key(0))
    np.testing.assert_array_equal(drawn, (CLASSES[:, None] + 1 + np.arange(64)) % script.LEVELS)


def test_levels_are_drawn_as_often_as_the_network_says():
    logits = jnp.log(jnp.array([0.75, 0.25, *[0.0] * 15]))
    network: Any = SimpleNamespace(apply=lambda params, tokens: jnp.tile(logits, (64, 1)))
    drawn = script.draw(network, None, np.zeros(100, int), jax.random.key(0))
    # Of 6,400 draws the fraction has a standard deviation of 0.0054: the bound is five of them.
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.027)


def test_the_bits_of_a_histogram_worked_by_hand():
    """Three digits of a class are all level 5: the level has 4 of 20 counts there, any other 1 of 20."""
    digits = np.full((3, 64), 5), np.zeros(3, int)
    unseen = np.where(np.arange(64) < 32, 5, 6)[None], np.zeros(1, int)
    assert script.histogram_bits(digits, unseen) == pytest.approx((math.log2(5) + math.log2(20)) / 2)


def test_the_regression_sees_no_later_pixel():
    """Each second pixel repeats the one before, which is black or white at random.

    So the first of two takes a bit whatever is known before it, the second next to nothing: half a bit for each.
    Whoever sees later pixels, or the pixel itself, needs less.
    """
    coins = np.random.default_rng(0).integers(0, 2, (600, 32))
    levels = 16 * np.repeat(coins, 2, axis=1)
    digits, unseen = [(part, np.zeros(len(part), int)) for part in (levels[:300], levels[300:])]
    # Of 300 x 32 coins, nobody guesses 2 % more than half.
    assert 0.48 <= script.regression_bits(digits, unseen, (0.3,)) < 0.8


def test_bits_are_a_mean_over_digits_whatever_the_chunks():
    digits = np.arange(7 * 64).reshape(7, 64), np.arange(7)
    cost = lambda part: part[1].mean() * math.log(2)  # noqa: E731
    assert script.bits_per_pixel(cost, digits, chunk=3) == pytest.approx(3)


GOOD = script.Findings(
    parameters=1,
    curves=[{"epoch": 1, "training": 1.0, "unseen": 1.5, "seconds": 1.0}],
    bits={"levels of each pixel and class": 2.2, "regression on the pixels before": 2.0, "transformer": 1.5},
    drawn=np.zeros((10, 10, 64), int),
    real=np.zeros((10, 10, 64), int),
    read=np.tile(CLASSES[:, None], 10),
    reader_accuracy=0.97,
    disagreement=1e-15,
)


@pytest.mark.parametrize(
    ("broken", "number"),
    [
        ({"read": np.where(np.arange(10) < 2, 0, GOOD.read)}, 0),
        ({"bits": {**GOOD.bits, "transformer": 2.01}}, 1),
        ({"disagreement": 1e-11}, 2),
    ],
)
def test_each_claim_comes_out_false_when_what_it_measures_is_broken(broken, number):
    assert all(claim.holds for claim in script.claims(GOOD))
    holds = [claim.holds for claim in script.claims(GOOD._replace(**broken))]
    assert holds == [i != number for i in range(3)]
