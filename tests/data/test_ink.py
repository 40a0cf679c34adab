"""The ink of one figure, whatever else is in the picture. Drawings of every kind are in test_drawings."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxprop.data.ink import denoised, find_ink
from jaxprop.errors import BadInput

H, W = 240, 320


def paper(level: int = 255) -> np.ndarray:
    return np.full((H, W), level, np.uint8)


def with_a_seven(grey: np.ndarray, pen: int = 0, left: int = 120, width: int = 16) -> np.ndarray:
    """A 7 of 90 x 140 pixels, drawn over what is there."""
    image = Image.fromarray(grey)
    ImageDraw.Draw(image).line([(left, 50), (left + 80, 50), (left + 30, 180)], fill=pen, width=width, joint="curve")
    return np.asarray(image)


SEVEN = find_ink(with_a_seven(paper()))


def overlap(ink: np.ndarray) -> float:
    """Of the pixels of this ink and of the seven on plain paper, the fraction that both have. 1: the same shape.

    The one that fits best of those in which the one lies up to three pixels beside the other.
    """
    room = 20
    canvas = np.zeros((H, W), bool)
    canvas[room : room + ink.shape[0], room : room + ink.shape[1]] = ink > 100
    fits = []
    for top in range(room - 3, room + 4):
        for left in range(room - 3, room + 4):
            seven = np.zeros((H, W), bool)
            seven[top : top + SEVEN.shape[0], left : left + SEVEN.shape[1]] = SEVEN > 100
            fits.append((canvas & seven).sum() / (canvas | seven).sum())
    return float(max(fits))


def test_plain_ink_comes_back_as_it_is_with_one_empty_pixel_around_it_or_two():
    grey = with_a_seven(paper())
    rows, columns = np.flatnonzero((grey == 0).any(1)), np.flatnonzero((grey == 0).any(0))
    cut = 255 - grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(SEVEN, np.pad(cut, 2))


def shadow() -> np.ndarray:
    grey = paper()
    grey[:, :150] = 120  # its edge crosses the seven's bar
    return np.minimum(grey, with_a_seven(paper(), pen=20))


def shadow_on_ink() -> np.ndarray:
    """Light multiplies: the pen is darker in the shade as well."""
    light = np.where(np.arange(W) < 150, 0.5, 1.0)
    return np.rint(with_a_seven(paper(240), pen=40) * light).astype(np.uint8)


def shadow_of_a_stick() -> np.ndarray:
    """From side to side, and narrower than the first window, so that the paper in it is ink there."""
    y = np.arange(H)[:, None]
    light = np.where(abs(y - 115) < 30, 0.5, 1.0)
    return np.rint(with_a_seven(paper(240), pen=40) * light).astype(np.uint8)


def table() -> np.ndarray:
    grey = paper()
    grey[:, :12] = 60
    grey[:10] = 60
    return with_a_seven(grey)


def squared() -> np.ndarray:
    grey = paper()
    grey[::24] = grey[:, ::24] = 150
    return with_a_seven(grey)


def specks() -> np.ndarray:
    grey = with_a_seven(paper())
    for y, x in ((10, 10), (200, 300), (30, 250), (230, 15)):
        grey = grey.copy()
        grey[y : y + 6, x : x + 6] = 0
    return grey


def noisy() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 15, (H, W))
    return np.clip(with_a_seven(paper(220), pen=40) + noise, 0, 255).astype(np.uint8)


# Shadows do not fall on paper that is black.
COLOURS = [
    (shadow_on_ink, 0),
    (shadow_of_a_stick, 0),
    *((make, invert) for make in (shadow, table, squared, specks, noisy) for invert in (0, 1)),
]


@pytest.mark.parametrize(("picture", "invert"), COLOURS)
def test_what_lies_around_the_figure_is_left_out(picture, invert):
    """Nine tenths of the shape at least: the edges of strokes may move by half a pixel of 16."""
    grey = picture()
    assert overlap(find_ink(255 - grey if invert else grey)) > 0.9


def test_a_ring_is_ink_and_its_hole_is_paper_in_either_colour():
    image = Image.new("L", (W, H), 255)
    ImageDraw.Draw(image).ellipse((90, 40, 210, 200), outline=0, width=12)
    dark = find_ink(np.asarray(image))
    np.testing.assert_array_equal(find_ink(255 - np.asarray(image)), dark)
    assert dark[dark.shape[0] // 2, dark.shape[1] // 2] == 0


def test_a_figure_that_fills_the_picture_is_ink():
    grey = with_a_seven(paper())
    rows, columns = np.flatnonzero((grey == 0).any(1)), np.flatnonzero((grey == 0).any(0))
    assert overlap(find_ink(grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])) > 0.9


def test_a_bar_that_does_not_touch_belongs_to_the_figure():
    grey = paper().copy()
    grey[100:200, 100:116] = 0
    grey[184:200, 100:180] = 0
    grey[70:86, 110:180] = 0  # 14 pixels above
    assert np.count_nonzero(find_ink(grey)) == np.count_nonzero(grey == 0)


def test_a_thin_pen_is_widened_and_a_thick_one_is_not():
    """To an eleventh of 130 pixels and the pen's own width, 12: the seven's stem is cut across, far from its ends."""

    def across(width: int) -> float:
        ink = find_ink(with_a_seven(paper(), width=width))
        return float((ink[ink.shape[0] // 2] / 255).sum() * np.cos(np.arctan(50 / 130)))

    assert across(2) == pytest.approx(12, abs=1.5)
    assert across(4) == pytest.approx(12, abs=1.5)
    assert across(24) == pytest.approx(24, abs=1.5)


def test_noise_is_measured_and_clean_pictures_are_not_smoothed():
    """To a tenth: the median of 76,800 pixels is sharper, but levels are whole numbers. Smoothing leaves 0.282."""
    clean = with_a_seven(paper())
    np.testing.assert_array_equal(denoised(clean).levels, clean)
    assert denoised(clean).noise == 0
    grey = np.random.default_rng(1).normal(128, 12, (H, W)).astype(np.uint8)
    assert denoised(grey).noise == pytest.approx(12 * 0.282, rel=0.1)
    assert denoised(grey).levels[5:-5, 5:-5].std() == pytest.approx(12 * 0.282, rel=0.1)


def two() -> np.ndarray:
    return with_a_seven(with_a_seven(paper(), left=30), left=180)


def one_above_the_other() -> np.ndarray:
    return np.concatenate([with_a_seven(paper()), with_a_seven(paper())])


def a_word() -> np.ndarray:
    grey = paper().copy()
    for i in range(6):
        grey[80:130, 20 + 50 * i : 30 + 50 * i] = 0
    return grey


def a_line() -> np.ndarray:
    grey = paper().copy()
    grey[100:110, 50:250] = 0
    return grey


def dark_squares() -> np.ndarray:
    grey = paper().copy()
    for i in range(2):
        grey[i::20] = grey[:, i::20] = 0
    return grey


def nothing_but_noise() -> np.ndarray:
    return np.random.default_rng(0).normal(128, 25, (H, W)).astype(np.uint8)


def half_in_the_shade() -> np.ndarray:
    return np.where(np.arange(W) + 0.3 * np.arange(H)[:, None] < 180, 90, 220).astype(np.uint8)


def slope_of_light() -> np.ndarray:
    return np.tile(np.linspace(0, 255, W), (H, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        (paper, "the picture is blank"),
        (nothing_but_noise, "blank|structure all over|cannot be told"),
        (half_in_the_shade, "blank|cannot be told|wider than any digit"),
        (slope_of_light, "cannot be told"),
        (two, "more than one figure is drawn"),
        (one_above_the_other, "more than one figure is drawn"),
        (a_word, "there is structure all over the picture"),
        (a_line, "what is drawn is 200 x 10 pixels, wider than any digit"),
        (dark_squares, "there is structure all over the picture"),
    ],
)
def test_what_is_no_single_figure_is_refused(picture, complaint):
    with pytest.raises(BadInput, match=complaint):
        find_ink(picture())
