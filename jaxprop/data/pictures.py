"""A picture file as grey levels: of any size, mode and orientation, in an amount of memory that is known beforehand."""

import os
import stat
import warnings
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8

from jaxprop.data.optional import optional_packages
from jaxprop.errors import BadInput
from jaxprop.files import why

with optional_packages("a picture"):
    from PIL import ExifTags, Image, ImageOps

Grey = UInt8[np.ndarray, "H W"]

SMALLEST = 8  # pixels a side, as the UCI digits have
LARGEST = 1024  # pixels a side of what comes back: more are not needed where 28 x 28 are left in the end
MEMORY = 2**28  # bytes, 268 MB: neither a file nor what it is decoded to may take more
BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # as Pillow keeps them; 4 in all other modes
STRIP = 64  # rows of the result that are converted at a time


def read_grey(path: str | os.PathLike[str]) -> Grey:
    """Black 0 to white 255, upright, at most 1024 pixels a side, on a canvas where the picture is transparent.

    Takes a PNG or a JPEG. 16 bits are cut to 8; of a file with several photographs the first is read; colours become
    grey as ITU-R 601 weighs them.

    Raises `BadInput` where that is no regular file, or damaged, animated or of another kind; where decoding it would
    take more than 268 MB; and where it has less than 8 pixels a side, as it is or shrunk to 1024.
    """
    with _open_regular(path) as file, warnings.catch_warnings():
        # Pillow warns of pictures that are large, whatever memory they take. We count that.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=("PNG", "JPEG"))
            _check(path, image)
            return _on_canvas(_upright(_shrunk(image), image))
        except Image.DecompressionBombError as error:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise BadInput(f"{path} has more than {most:,} pixels: shrink the picture first") from error
        except Image.UnidentifiedImageError as error:
            raise BadInput(f"{path} is not a picture that can be read: expected a PNG or a JPEG") from error
        # What Pillow raises on damaged files. `BadInput` is a `ValueError` too.
        except (OSError, SyntaxError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{path} is a damaged picture ({error}): save it again") from error


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Looks before it opens: a pipe or a device may have no end, or wait for ever."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"cannot read {path}: it is not a regular file; name a PNG or a JPEG")
        if status.st_size > MEMORY:
            given = f"{path} has {status.st_size:,} bytes"
            raise BadInput(f"{given}: expected a picture of at most {MEMORY:,}; shrink it first")
        return open(path, "rb")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {why(error)}; name a file that exists and can be read") from error


def _check(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Everything that can be said of a picture before it is decoded. Asks a JPEG to be shrunk while it is."""
    width, height = image.size
    size = f"{path} is {width:,} x {height:,} pixels"
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise BadInput(f"{path} is animated: expected one picture; save one of its frames")
    if min(width, height) * min(1, LARGEST / max(width, height)) < SMALLEST:
        ratio = LARGEST // SMALLEST
        raise BadInput(f"{size}: expected at least {SMALLEST} a side, and a side at most {ratio} times the other")
    # A progressive JPEG keeps the coefficients of all its pixels, 2 bytes each, until the last of them has come.
    progress = 2 * len(image.getbands()) * width * height if image.info.get("progressive") else 0
    shrink = LARGEST / max(width, height)
    image.draft(None, (max(1, round(width * shrink)), max(1, round(height * shrink))))
    needed = progress + BYTES_A_PIXEL.get(image.mode, 4) * image.width * image.height
    if needed > MEMORY:
        raise BadInput(f"{size}, which take {needed:,} bytes to decode: expected at most {MEMORY:,}; shrink it first")


def _shrunk(image: Image.Image) -> Image.Image:
    """Grey and alpha, at most 1024 pixels a side. Made in strips, so that no second copy of a large picture is made."""
    factor = max(1, max(image.size) // LARGEST)
    # Numbers of colours, and a colour that stands for nothing, have no average.
    expand = image.mode in ("1", "P", "PA") or "transparency" in image.info
    shrunk = Image.new("LA", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, shrunk.height, STRIP):
        bottom = min((top + STRIP) * factor, image.height)
        strip = image.crop((0, top * factor, image.width, bottom))
        if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255 and not scale
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        if expand:
            strip = strip.convert("RGBA")
        shrunk.paste(strip.reduce(factor).convert("RGBA").convert("LA"), (0, top))
    shrunk.thumbnail((LARGEST, LARGEST))
    return shrunk


def _upright(shrunk: Image.Image, image: Image.Image) -> Image.Image:
    """Turned as the camera says that the picture is to be shown."""
    shrunk.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return ImageOps.exif_transpose(shrunk)


def _on_canvas(image: Image.Image) -> Grey:
    grey, alpha = np.moveaxis(np.asarray(image).astype(float), -1, 0)
    canvas = _canvas(grey, alpha)
    return np.rint(canvas + (grey - canvas) * alpha / 255).astype(np.uint8)


def _canvas(grey: Float[np.ndarray, "H W"], alpha: Float[np.ndarray, "H W"]) -> float:
    """What belongs behind the transparent parts: more of the same where most is opaque, else what strokes stand on."""
    if alpha.mean() > 127:
        return float(np.median(grey[alpha > 127]))
    return 255 if np.sum((grey - 127.5) * alpha) < 0 else 0
