"""The picture of the three avenues: the numbers it shows are those that it was given."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image

from lab.figures import save_figure
from jaxprop.layers.core import Dense
from jaxprop.nudges import Wishes
from jaxprop.structured import Outer
from lesson.avenues_figure import avenues_figure

# Two outputs after three neurons; the second one is to go up by 0.5.
WEIGHTS = jnp.array([[1.0, 1.0, 1.0], [0.5, -0.25, 1.0]])
A_PREV, NUDGE_Z = jnp.array([0.25, 0.5, 1.0]), jnp.array([-1.0, 0.5])
REQUESTS = WEIGHTS * NUDGE_Z[:, None]
OUTPUTS = Wishes(
    A_PREV,
    NUDGE_Z,
    NUDGE_Z,
    4 * NUDGE_Z,
    NUDGE_Z,
    Dense(Outer(NUDGE_Z, A_PREV), NUDGE_Z),
    REQUESTS,
    REQUESTS.sum(axis=0),
)
DROPS = np.array([0.25, 0.3, 0.35, 0.9])


def test_each_avenue_is_drawn_against_what_it_is_in_proportion_to():
    weights, activations, bought = avenues_figure(1, OUTPUTS, WEIGHTS, DROPS, 2 * DROPS).axes
    drawn = {line.get_label(): np.array(line.get_xydata()) for line in weights.lines}
    np.testing.assert_array_equal(drawn["its 3 weights"], [[0.25, 0.125], [0.5, 0.25], [1, 0.5]])
    np.testing.assert_array_equal(drawn["its bias, as if from a 1"], [[1, 0.5]])
    np.testing.assert_array_equal(activations.lines[1].get_xydata(), [[0.5, 0.25], [-0.25, -0.125], [1, 0.5]])
    np.testing.assert_array_equal([bar.get_height() for bar in bought.patches], DROPS)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(bought.lines[0].get_ydata(), 2 * DROPS)


def test_it_is_a_png_with_something_in_it_and_changes_no_global_setting(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(tmp_path / "figure.png", avenues_figure(1, OUTPUTS, WEIGHTS, DROPS, DROPS))
    assert np.asarray(Image.open(tmp_path / "figure.png").convert("L")).std() > 5  # grey levels; an empty one has 0
    assert dict(matplotlib.rcParams) == before
