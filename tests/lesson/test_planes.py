import numpy as np
import pytest

from lesson.planes import plane_through

RNG = np.random.default_rng(0)
START, FIRST, SECOND = RNG.normal(size=(3, 50))
PLANE = plane_through(START, FIRST, SECOND)
ROUNDING = 1e-14  # some fifty float64 roundings of numbers around 1


def test_the_three_points_lie_in_the_plane():
    points = np.stack([START, FIRST, SECOND])
    xy = PLANE.coordinates(points)
    np.testing.assert_allclose(PLANE.at(xy), points, atol=ROUNDING)
    assert PLANE.captured(points) == pytest.approx(1, abs=ROUNDING)
    np.testing.assert_allclose(xy[0], 0, atol=ROUNDING)
    assert xy[1, 0] == pytest.approx(np.linalg.norm(FIRST - START))
    assert xy[1, 1] == pytest.approx(0, abs=ROUNDING)
    assert xy[2, 1] > 0


def test_distances_on_the_plane_are_true():
    xy = PLANE.coordinates(np.stack([START, FIRST, SECOND]))
    assert np.linalg.norm(xy[1] - xy[2]) == pytest.approx(np.linalg.norm(FIRST - SECOND))


def test_a_point_beside_the_plane_is_captured_in_part():
    aside = RNG.normal(size=50)
    aside -= PLANE.coordinates(START + aside[None])[0] @ PLANE.basis
    point = FIRST + aside * np.linalg.norm(FIRST - START) / np.linalg.norm(aside)  # as far beside as along
    assert PLANE.captured(point[None]) == pytest.approx(0.5)
    np.testing.assert_allclose(PLANE.coordinates(point[None]), PLANE.coordinates(FIRST[None]), atol=ROUNDING)
