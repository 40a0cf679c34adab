"""The ink of one figure in a picture: what somebody drew, without the light, the paper, and what else lies on it.

In four steps: the paper's brightness is estimated everywhere, and what is darker stands out; what stands out falls into
connected parts; one part is the figure, with those that belong to it; and a thin pen is widened.
"""

from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxprop.data.optional import optional_packages
from jaxprop.errors import BadInput

with optional_packages("a drawing"):
    from scipy import ndimage

Grey = UInt8[np.ndarray, "H W"]
Levels = Float[np.ndarray, "H W"]
Mask = Bool[np.ndarray, "H W"]

FAINTEST = 20  # grey levels between paper and pen; below lies what JPEG and a camera's noise make of blank paper
# Of the pen's contrast: a pixel with less is no ink. The first that leaves one figure is taken: the lowest keeps the
# soft edges of strokes, and a higher one is needed where the paper is ruled.
SHARES = (0.2, 0.35, 0.5, 0.65)
# Of the shorter side: darker places that are narrower can be strokes, wider ones belong to the paper, such as shadows.
# The second is tried where the first finds nothing that stands out.
WINDOWS = (0.4, 0.15)
CLEAR = 0.85  # of the figure's surroundings must be nearer to the paper than to the pen
THINNEST = 1 / 11  # of the figure's longer side, as wide as the strokes of most digits of MNIST
NOISY = 2  # grey levels, standard deviation; what is below needs no smoothing
BLUR = 1  # pixel, standard deviation
DARKEST = 64  # grey level of paper: below, a camera's whole levels are too coarse for fractions of them
NEAR = 3  # pixels from the figure, or a thirtieth of it if that is more, beyond soft edges: there must be paper
NOT_CLEAR = "what is drawn cannot be told from what lies around it: draw one digit on plain paper, in even light"
ALL_AROUND = np.ones((3, 3), bool)  # a pixel has eight neighbours


class Part(NamedTuple):
    """Pixels that stand out and are connected."""

    number: int  # in the array of labels
    rows: slice
    columns: slice
    at_rim: int  # how many of the pixels on the rim of the picture it has

    @property
    def extent(self) -> int:
        return max(length(self.rows), length(self.columns))

    @property
    def lies_along_the_rim(self) -> bool:
        """As a table beside the paper does, and a stroke that only reaches the rim does not."""
        return self.at_rim >= self.extent / 2


class Found(NamedTuple):
    """What stands out in a picture from the background that one window shows."""

    levels: Levels  # of the picture: dark ink on brighter paper
    background: Levels
    contrast: Levels  # 0 for paper, 255 for black
    faintest: float  # contrast that is more than noise
    pen: float  # its contrast: not the largest, which may be that of a speck; 0 where nothing stands out


class Picture(NamedTuple):
    """Grey levels, dark ink on brighter paper, and what is known of the noise in them."""

    levels: Levels
    calm: Levels  # by a median filter, which keeps edges: without it, the brightest pixel of noise would be the paper
    noise: float  # the standard deviation, in grey levels; 0 where it is little


def find_ink(grey: Grey) -> Grey:
    """The ink of the one figure that is drawn, 0 where there is none, whichever of pen and paper is the darker.

    Uneven light, shadows, specks, rulings fainter than the pen, and what lies along the rim are left out. A pen thinner
    than an eleventh of the figure is widened to that. What comes back is cut out around the figure.

    Raises `BadInput` where nothing is drawn, or more than one figure, or what cannot be told from what lies around it.
    """
    picture = denoised(grey)
    negative = Picture(255 - picture.levels, 255 - picture.calm, picture.noise)
    dark, light = stands_out(picture, WINDOWS[0]), stands_out(negative, WINDOWS[0])
    if not dark.pen and not light.pen:
        raise BadInput(f"the picture is blank: nothing stands out from the background by {FAINTEST} of 255 grey levels")
    if likeness_to_ink(light) > likeness_to_ink(dark):
        picture, first = negative, light
    else:
        first = dark
    complaint = None
    for found in (first, *(stands_out(picture, window) for window in WINDOWS[1:])):
        for share in SHARES if found.pen else ():
            try:
                figure = one_figure(found.contrast > max(found.faintest, share * found.pen))
            except BadInput as error:
                complaint = complaint or error
                continue
            if clearness(figure, found) >= CLEAR:
                return widened(ink_of(figure, found, share, picture.noise), figure)
    raise complaint or BadInput(NOT_CLEAR)


def denoised(grey: Grey) -> Picture:
    """The grey levels, smoothed where they are noisy, and the noise that is left.

    The noise is measured as J. Immerkaer does ("Fast noise variance estimation", 1996), by a filter that lets neither
    slopes nor straight edges through, with a standard deviation of 6 for noise of 1; and by the median, which is 0.6745
    of a normal distribution's standard deviation and does not see strokes. Smoothing by a normal distribution of s
    pixels divides white noise by 2 s sqrt(pi).
    """
    levels = grey.astype(np.float32)
    across = np.array([1, -2, 1], np.float32)
    noise = float(np.median(np.abs(ndimage.convolve(levels, np.outer(across, across))))) / (6 * 0.6745)
    if noise < NOISY:
        return Picture(levels, ndimage.median_filter(levels, 3), 0.0)
    levels = ndimage.gaussian_filter(levels, BLUR)
    return Picture(levels, ndimage.median_filter(levels, 5), noise / (2 * BLUR * np.sqrt(np.pi)))


def stands_out(picture: Picture, window: float) -> Found:
    """What is darker than the paper and narrower than a window, which is given as a share of the shorter side.

    The paper is the morphological closing: the darkest, over all windows around a pixel, of the brightest in a window.
    So the edge of a shadow is as sharp in it as in the picture. Light multiplies what paper and pen reflect: contrast
    is the fraction that is missing, and is the same in the sun and in the shade.
    """
    size = max(3, round(window * min(picture.levels.shape)))
    background = ndimage.grey_closing(picture.calm, size)
    missing = background - picture.levels
    contrast = 255 * missing / np.maximum(background, DARKEST)
    contrast -= np.median(contrast)
    faintest = max(FAINTEST, 5 * picture.noise)
    above = contrast[(contrast > faintest) & (missing > FAINTEST)]
    pen = float(np.percentile(above, 90)) if above.size else 0.0
    return Found(picture.levels, background, contrast, faintest, pen)


def likeness_to_ink(found: Found) -> tuple[bool, bool, int]:
    """Orders what stands out as dark and as light. Ink stands out clearly, lies within the picture, and is large.

    Paper lies along the rim, or inside of a ring of ink, which is larger.
    """
    if not found.pen:
        return False, False, 0
    labels, parts = parts_of(found.contrast > max(found.faintest, SHARES[0] * found.pen))
    largest = main_part(parts, labels.shape)
    clear = clearness(labels == largest.number, found) >= CLEAR
    return clear, not largest.lies_along_the_rim, largest.extent


def parts_of(mask: Mask) -> tuple[Int[np.ndarray, "H W"], list[Part]]:
    """The connected parts, and an array that has the number of its part at each pixel, and 0 outside of all."""
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(mask, ALL_AROUND))
    rim = np.bincount(np.concatenate(rim_of(labels)), minlength=count + 1)
    boxes = ndimage.find_objects(labels)
    return labels, [Part(i, box[0], box[1], int(rim[i])) for i, box in enumerate(boxes, start=1) if box is not None]


def main_part(parts: list[Part], shape: tuple[int, ...]) -> Part:
    """The largest that does not lie along the rim; of those that do only where all others are no larger than specks."""
    inside = [part for part in parts if not part.lies_along_the_rim]
    large = max((part.extent for part in inside), default=0)
    spans_a_side = any(part.lies_along_the_rim and part.extent >= max(shape) - 1 for part in parts)
    # A small digit beside a table is larger than a speck of dust beside a digit that was cut out along its ink.
    enough = 8 if spans_a_side else 0.15 * min(shape)
    return max(inside if large >= enough else parts, key=lambda part: part.extent)


def one_figure(mask: Mask) -> Mask:
    """The main part, and those parts that are at least a quarter as large: a digit may take more than one stroke.

    Raises `BadInput` where that is no one figure.
    """
    labels, parts = parts_of(mask)
    main = main_part(parts, mask.shape)
    kept = [main]
    for part in parts:
        if part is not main and part.extent >= main.extent / 4 and not part.lies_along_the_rim:
            kept.append(part)
    # A digit that was cut out along its ink reaches the rim in six places at most, squared paper in many more.
    if len(kept) > 4 or _runs(labels == main.number) > 6:
        raise BadInput("there is structure all over the picture: expected one digit; cut the picture out around it")
    if main.at_rim > main.extent:  # no stroke, but the dark end of a slope of light, or a table and nothing else
        raise BadInput(NOT_CLEAR)
    rows, columns = _span([part.rows for part in kept]), _span([part.columns for part in kept])
    if _fall_apart(kept, length(rows)):
        raise BadInput("more than one figure is drawn: expected one digit; cut the picture out around it")
    if length(columns) > 1.6 * length(rows):
        size = f"{length(columns)} x {length(rows)} pixels"
        raise BadInput(f"what is drawn is {size}, wider than any digit: expected one digit, upright")
    return np.isin(labels, [part.number for part in kept])


def _fall_apart(parts: list[Part], height: int) -> bool:
    """Whether a straight line, down or across, parts them into two that are both at least 0.3 of the whole height."""
    for spans in ([part.columns for part in parts], [part.rows for part in parts]):
        order = sorted(range(len(parts)), key=lambda i: spans[i].start)
        for i in range(1, len(parts)):
            before, after = order[:i], order[i:]
            if max(spans[j].stop for j in before) <= spans[after[0]].start:
                heights = [length(_span([parts[j].rows for j in side])) for side in (before, after)]
                if min(heights) >= 0.3 * height:
                    return True
    return False


def clearness(figure: Mask, found: Found) -> float:
    """Which fraction of a ring around the figure is brighter than halfway from the pen nearby to the paper there.

    Strokes have paper on both sides. The edge of a shadow has it on one.
    """
    longer = max(np.count_nonzero(figure.any(axis)) for axis in (0, 1))
    away = max(NEAR, round(longer / 30))
    box = around(figure, away)
    figure, levels, background = figure[box], found.levels[box], found.background[box]
    distance, nearest = cast(
        tuple[np.ndarray, np.ndarray], ndimage.distance_transform_edt(~figure, return_indices=True)
    )
    ring = (distance > away - 1) & (distance <= away)
    row, column = (index[ring] for index in nearest)
    halfway = (levels[row, column] + background[row, column]) / 2
    return float(np.mean(levels[ring] > halfway)) if ring.any() else 0.0


def around(figure: Mask, margin: int) -> tuple[slice, slice]:
    """The rectangle that holds the figure and so many pixels around it, as far as there are any."""
    (rows, columns), *_ = ndimage.find_objects(figure.astype(np.uint8))
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    return slice(top, rows.stop + margin), slice(left, columns.stop + margin)


def ink_of(figure: Mask, found: Found, share: float, noise: float) -> Levels:
    """The contrast of the figure; with a pixel around it where a high share has cut off its soft edges."""
    if share > SHARES[0]:
        figure = ndimage.binary_dilation(figure)
    # With noise, the darkest pixel is not the pen but the noise.
    return np.where(figure, np.clip(found.contrast, 0, found.pen if noise else 255), 0)


def widened(ink: Levels, figure: Mask) -> Grey:
    """The ink, cut out, with strokes that are as wide as `THINNEST` at least.

    In a stroke of width w the mean distance to its edge is w / 4.
    """
    box = around(figure, 1)
    figure, ink = np.pad(figure[box], 1), np.pad(ink[box], 1)
    inside = cast(np.ndarray, ndimage.distance_transform_edt(figure))
    width = 4 * inside[figure].mean() - 1  # in pixels: the distance of the outermost one is 1, and not 1/2
    longer = max(np.count_nonzero(figure.any(axis)) for axis in (0, 1))
    missing = (THINNEST * longer - width) / 2
    if missing > 0:
        room = int(np.ceil(missing))
        figure, ink = np.pad(figure, room), np.pad(ink, room)
        away = cast(np.ndarray, ndimage.distance_transform_edt(~figure))
        ink = np.maximum(ink, ink.max() * np.clip(missing + 1 - away, 0, 1))
    return np.rint(ink).astype(np.uint8)


def rim_of(array: np.ndarray) -> list[np.ndarray]:
    """The outermost pixels, clockwise from the upper left corner."""
    return [array[0], array[1:, -1], array[-1, -2::-1], array[-2:0:-1, 0]]


def _runs(mask: Mask) -> int:
    """In how many places it reaches the rim."""
    around = np.concatenate(rim_of(mask))
    return int(np.sum(around & ~np.roll(around, 1)))


def length(span: slice) -> int:
    return span.stop - span.start


def _span(spans: list[slice]) -> slice:
    return slice(min(span.start for span in spans), max(span.stop for span in spans))
