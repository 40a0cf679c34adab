"""A person's own drawing, read the way MNIST was made, so that a network trained on MNIST can answer it.

In two stages: `find_ink` takes the ink of one figure out of a picture, whatever its light and its paper; `frame` lays
ink into 28 x 28 as MNIST does. A drawing that is ink already, such as strokes on a white pad, needs only the second.
"""

import os

import numpy as np
from jaxtyping import Float, UInt8

from jaxprop.data.ink import FAINTEST, find_ink
from jaxprop.data.optional import optional_packages
from jaxprop.data.pictures import SMALLEST, Grey, read_grey
from jaxprop.errors import BadInput

with optional_packages("a drawing"):
    from PIL import Image

Picture = UInt8[np.ndarray, "28 28"]

SIDE, BOX = 28, 20
# From the upper left corner. MNIST's description says "the center", but its digits were moved by whole pixels: in all
# 70,000 the centre of mass lies anywhere from 14 to 15, so drawings go to the middle of that.
MIDDLE = 14.5

FAINTEST_SHARE = 0.2  # of the darkest ink; below lie the ringing of JPEG around strokes, and shades of the paper


def read_drawing(path: str | os.PathLike[str]) -> Picture:
    """A PNG or JPEG of one digit, drawn or photographed, dark on light or light on dark, as `as_mnist` makes it.

    Raises `BadInput` where `jaxprop.data.pictures.read_grey` cannot read it, and where `as_mnist` finds no one figure.
    """
    grey = read_grey(path)
    try:
        return as_mnist(grey)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def as_mnist(grey: Grey) -> Picture:
    """Finds the ink of the one figure that is drawn, and frames it.

    Raises `BadInput` where the picture is tiny or blank, or shows more than one figure, or none that can be told from
    what lies around it.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2 or min(grey.shape) < SMALLEST:
        raise BadInput(
            f"the picture is {grey.dtype} of shape {grey.shape}: expected uint8 grey levels (H, W), each side at least "
            f"{SMALLEST} pixels"
        )
    return frame(find_ink(grey))


def frame(ink: Grey) -> Picture:
    """The ink, 0 where there is none, as MNIST has it: in a box of 20 x 20, its centre of mass central in 28 x 28.

    Cropped, scaled by the longer side with the aspect kept, and its darkest pixel made 255: the steps of LeCun's
    description of MNIST. All in one resampling, so that a drawing is centred to a fraction of a pixel: a digit of
    MNIST itself moves by up to half a pixel.

    Raises `BadInput` where there is no ink, or hardly any, or it is tiny.
    """
    if ink.max() < FAINTEST:
        raise BadInput(f"the picture is blank: nothing stands out from the background by {FAINTEST} of 255 grey levels")
    ink = np.where(ink > FAINTEST_SHARE * ink.max(), ink, 0)
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    if max(ink.shape) < SMALLEST:
        raise BadInput(f"what is drawn is {len(ink[0])} x {len(ink)} pixels: expected a height or width of {SMALLEST}")
    pixel = max(ink.shape) / BOX  # of the result, measured in those of the drawing
    margin = int(np.ceil(SIDE * pixel))
    top, left = (margin + _first_edge(ink.sum(axis), pixel) for axis in (1, 0))
    window = (left, top, left + SIDE * pixel, top + SIDE * pixel)
    # Hamming: of Pillow's filters, the sharpest that neither overshoots nor prefers whole pixels.
    framed = Image.fromarray(np.pad(ink, margin)).resize((SIDE, SIDE), Image.Resampling.HAMMING, box=window)
    levels = np.asarray(framed)
    return np.rint(levels * (255 / levels.max())).astype(np.uint8)


def _first_edge(profile: Float[np.ndarray, " n"], pixel: float) -> float:
    """Where the frame begins along one axis: the centre of mass in the middle, or as near as keeps all ink inside."""
    mass = np.average(np.arange(len(profile)) + 0.5, weights=profile)
    return float(np.clip(mass - MIDDLE * pixel, len(profile) - SIDE * pixel, 0))
