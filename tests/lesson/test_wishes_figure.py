"""The picture of one example's wishes: the numbers it shows are those that it was given."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, FancyArrow
from PIL import Image

import jaxprop as jp
from lab.figures import BLUE, VERMILION, save_figure
from lesson.neurons import Neurons
from lesson.wishes_figure import wishes_figure

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (28, 28), np.uint8)


def layer(fan_in: int, width: int, nudges) -> Neurons:
    a_prev = jnp.asarray(RNG.uniform(size=fan_in))
    a = jnp.asarray(RNG.uniform(size=width))
    requests = jnp.asarray(RNG.uniform(-0.5, 0.5, size=(width, fan_in)))
    nudge_a = jnp.asarray(nudges)
    nudge_z = nudge_a / 4
    return Neurons(
        a_prev,
        z=a,
        a=a,
        nudge_a=nudge_a,
        nudge_z=nudge_z,
        nudge=jp.Dense(jp.Outer(nudge_z, a_prev), nudge_z),
        requests=requests,
        nudge_a_prev=requests.sum(axis=0),
    )


ONE_UP = np.array([-1.0, -0.5, 0.25, -1, -1, -1, -1, -1, -1, -2])
WISHES = (layer(784, 16, RNG.normal(size=16)), layer(16, 16, RNG.normal(size=16)), layer(16, 10, ONE_UP))


def arrows():
    """Of every neuron from the outputs to hidden layer 1: how long its arrow is, and of which colour."""
    (sheet,) = wishes_figure(IMAGE, 2, WISHES).axes
    drawn = [patch for patch in sheet.patches if isinstance(patch, FancyArrow)]
    return [(patch._dy, patch.get_facecolor()) for patch in drawn]  # type: ignore[attr-defined]


def test_an_arrow_is_as_long_as_the_nudge_is_large_and_points_its_way():
    lengths = np.array([length for length, _ in arrows()])
    assert len(lengths) == 10 + 16 + 16
    for drawn, wished in zip(np.split(lengths, [10, 26]), (w.nudge_a for w in WISHES[::-1]), strict=True):
        np.testing.assert_allclose(drawn / np.abs(drawn).max(), wished / np.abs(wished).max(), rtol=1e-6)


def test_up_is_blue_and_down_is_orange():
    assert {(length > 0, colour) for length, colour in arrows()} == {(True, to_rgba(BLUE)), (False, to_rgba(VERMILION))}


def test_a_neuron_is_as_bright_as_its_activation_and_says_it():
    (sheet,) = wishes_figure(IMAGE, 2, WISHES).axes
    brightness = np.array([to_rgba(patch.get_facecolor())[0] for patch in sheet.patches if isinstance(patch, Circle)])
    np.testing.assert_allclose(brightness, np.concatenate([w.a for w in WISHES[::-1]]), rtol=1e-6)
    texts = [text.get_text() for text in sheet.texts]
    assert f"{WISHES[-1].a[2]:.2f}, wanted 1" in texts
    assert f"{WISHES[-1].a[9]:.2f}, wanted 0" in texts
    assert "wish −2.00" in texts


def test_it_is_a_png_with_something_in_it_and_changes_no_global_setting(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(tmp_path / "figure.png", wishes_figure(IMAGE, 2, WISHES))
    assert np.asarray(Image.open(tmp_path / "figure.png").convert("L")).std() > 5  # grey levels; an empty one has 0
    assert dict(matplotlib.rcParams) == before
