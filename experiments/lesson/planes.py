"""A plane in the space of all parameters: what can be seen of a path of training on a flat picture."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Plane(NamedTuple):
    """The points `origin + x basis[0] + y basis[1]`; the basis is orthonormal, so distances on the plane are true."""

    origin: Float[np.ndarray, " P"]
    basis: Float[np.ndarray, "2 P"]

    def coordinates(self, points: Float[np.ndarray, "T P"]) -> Float[np.ndarray, "T 2"]:
        """Where points are seen on the plane from straight above it."""
        return (points - self.origin) @ self.basis.T

    def at(self, xy: Float[np.ndarray, "T 2"]) -> Float[np.ndarray, "T P"]:
        """The points of the plane with these coordinates."""
        return self.origin + xy @ self.basis

    def captured(self, points: Float[np.ndarray, "T P"]) -> float:
        """The fraction of the points' squared distances from the origin that lies in the plane: 1 if all of them do."""
        return float(np.sum(self.coordinates(points) ** 2) / np.sum((points - self.origin) ** 2))


def plane_through(
    origin: Float[np.ndarray, " P"], first: Float[np.ndarray, " P"], second: Float[np.ndarray, " P"]
) -> Plane:
    """The plane that holds all three points. `first` lies on its x axis, `second` above it; float64, whatever they are.

    Three points on one line leave the plane undetermined: its basis is then not finite.
    """
    origin, first, second = (np.asarray(point, np.float64) for point in (origin, first, second))
    x = (first - origin) / np.linalg.norm(first - origin)
    y = (second - origin) - ((second - origin) @ x) * x
    return Plane(origin, np.stack([x, y / np.linalg.norm(y)]))
