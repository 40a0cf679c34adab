"""The hill that two walks lead down: the true cost on the one plane that holds their start and both ends."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from lesson.planes import Plane, plane_through
from lesson.walks import Walk


class Hill(NamedTuple):
    """A map of the true cost, G by G."""

    plane: Plane
    x: np.ndarray  # (G,)
    y: np.ndarray  # (G,)
    costs: np.ndarray  # (G, G), at y, x
    beneath: dict[str, np.ndarray]  # the plane's own cost below every tenth record of each walk


def survey(
    men: Mapping[str, Walk],
    costs_at: Callable[[np.ndarray], np.ndarray],
    grid: int,
    report: Callable[[str], None],
) -> Hill:
    """Maps the plane through both ends and the start, as far as the walks go. `report` is called for each row."""
    drunk, careful = men["drunk"], men["careful"]
    plane = plane_through(drunk.places[0], drunk.places[-1], careful.places[-1])
    xy = np.concatenate([plane.coordinates(man.places) for man in men.values()])
    room = 0.15 * (xy.max(axis=0) - xy.min(axis=0))
    x, y = np.linspace(xy.min(axis=0) - room, xy.max(axis=0) + room, grid).T
    costs = []
    for height in y:
        costs.append(costs_at(plane.at(np.stack([x, np.full(grid, height)], axis=1))))
        report(f"the hill: row {len(costs)} of {grid}")
    beneath = {name: costs_at(plane.at(plane.coordinates(man.places[::10]))) for name, man in men.items()}
    return Hill(plane, x, y, np.stack(costs), beneath)
