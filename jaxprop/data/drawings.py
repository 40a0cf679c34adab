"""A person's own drawing, read the way MNIST was made, so that a network trained on MNIST's framing can answer it."""

import io
import os
import warnings

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from jaxprop.errors import BadInput
from jaxprop.files import read_bytes

Grey = UInt8[np.ndarray, "H W"]
Picture = UInt8[np.ndarray, "28 28"]

SIDE, BOX = 28, 20
# From the upper left corner. MNIST's description says "the center", but its digits were moved by whole pixels: in all
# 70,000 the centre of mass lies anywhere from 14 to 15, so drawings go to the middle of that.
MIDDLE = 14.5

FAINTEST = 20  # grey levels between paper and pen; below lies what JPEG and a camera's noise make of blank paper
FAINTEST_SHARE = 0.2  # of the darkest ink; below lie the ringing of JPEG around strokes, and shades of the paper
SMALLEST = 8  # pixels a side, as the UCI digits have
LARGEST = 1024  # pixels a side; larger pictures are shrunk first, because 28 x 28 are left in the end


def read_drawing(path: str | os.PathLike[str]) -> Picture:
    """A PNG or JPEG of any size and mode, dark on light or light on dark, as `as_mnist` makes it.

    Raises `BadInput` where the file is missing, damaged, of another kind, or so large that decoding it would exhaust
    the memory (Pillow's limit, 89 million pixels); where the picture is tiny, or blank.
    """
    data = read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        upright = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadInput(f"{path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: shrink the picture first") from error
    except Image.UnidentifiedImageError as error:
        raise BadInput(f"{path} is not a picture that can be read: expected a PNG or a JPEG") from error
    # What Pillow raises on damaged files.
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path} is a damaged picture ({error}): save it again") from error
    try:
        return as_mnist(_grey_levels(upright))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def as_mnist(grey: Grey) -> Picture:
    """Finds the ink, whichever of pen and paper is the darker, and frames it.

    The paper is what the rim of the picture shows, and may be unevenly lit as far as a slope of light goes. It does not
    cope with hard shadows, ruled paper, or anything else on it: all that stands out counts as ink. Strokes keep their
    width, so that a very thin pen gives thinner strokes than those that networks learn from.

    Raises `BadInput` where the picture is tiny or blank.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2 or min(grey.shape) < SMALLEST:
        raise BadInput(
            f"the picture is {grey.dtype} of shape {grey.shape}: expected uint8 grey levels (H, W), each side at least "
            f"{SMALLEST} pixels"
        )
    contrast = grey - paper(grey)
    # The square gives the ink its due against the noise, whose two signs cancel.
    if np.sum(contrast * np.abs(contrast)) < 0:
        contrast = -contrast
    return frame(np.rint(np.clip(contrast, 0, 255)).astype(np.uint8))


def paper(grey: Grey) -> Float[np.ndarray, "H W"]:
    """The grey level of the paper, as a plane through the rim of the picture, a fiftieth wide.

    The plane with the least sum of absolute differences, by reweighted least squares, so that strokes which reach the
    rim do not tilt it.
    """
    height, width = grey.shape
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    thickness = max(1, min(grey.shape) // 50)
    rim = np.ones(grey.shape, bool)
    rim[thickness:-thickness, thickness:-thickness] = False
    levels = grey[rim].astype(float)
    at_rim = np.stack([np.broadcast_to(term, grey.shape)[rim] for term in (1.0, x, y)])
    plane = np.array([np.median(levels), 0, 0])
    for _ in range(10):
        weighted = at_rim / (np.abs(levels - plane @ at_rim) + 1)
        plane = np.linalg.solve(weighted @ at_rim.T, weighted @ levels)
    return plane[0] + plane[1] * x + plane[2] * y


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


def _grey_levels(image: Image.Image) -> Grey:
    """Black 0 to white 255, at most 1024 pixels a side, laid on a canvas where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255 and not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    image.thumbnail((LARGEST, LARGEST))
    grey, alpha = np.moveaxis(np.asarray(image.convert("LA")).astype(float), -1, 0)
    canvas = _canvas(grey, alpha)
    return np.rint(canvas + (grey - canvas) * alpha / 255).astype(np.uint8)


def _canvas(grey: Float[np.ndarray, "H W"], alpha: Float[np.ndarray, "H W"]) -> float:
    """What belongs behind the transparent parts: more of the same where most is opaque, else what strokes stand on."""
    if alpha.mean() > 127:
        return float(np.median(grey[alpha > 127]))
    return 255 if np.sum((grey - 127.5) * alpha) < 0 else 0
