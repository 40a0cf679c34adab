"""Drawings of digits in fourteen kinds, by strokes of our own: what people draw, scan and photograph.

`uv run tests/handwriting.py runs/train/<your run> SEED` says how a network trained on MNIST reads 140 of them, kind by
kind, and leaves runs/handwriting.png: every drawing, and beside it what the network saw.
"""

import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

import jaxprop as jp
from jaxprop.data.drawings import Picture, read_drawing
from jaxprop.files import make_folder, write_atomically
from predict import is_certain

Stroke = Float[np.ndarray, "N 2"]  # points (x, y), y downwards; a digit is about 1 high
Grey = UInt8[np.ndarray, "H W"]


def straight(*points: tuple[float, float]) -> Stroke:
    """A stroke with corners."""
    return np.array(points)


def bend(*points: tuple[float, float]) -> Stroke:
    """A stroke without corners: the cubic curve of Catmull and Rom through the points."""
    through = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(through, through[1:], through[2:], through[3:], strict=False):
        pieces.append(b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2))
    return np.concatenate([*pieces, through[-1:]])


# Three hands for each digit, as people write them in MNIST.
HANDS: dict[int, list[list[Stroke]]] = {
    0: [
        [bend((0.5, 0), (0.2, 0.2), (0.13, 0.6), (0.35, 0.97), (0.65, 0.93), (0.85, 0.5), (0.75, 0.12), (0.5, 0))],
        [bend((0.65, 0.02), (0.4, 0.15), (0.22, 0.6), (0.3, 0.97), (0.55, 0.9), (0.75, 0.45), (0.72, 0.1), (0.6, 0))],
        [
            bend(
                (0.55, 0.05), (0.2, 0.12), (0.05, 0.5), (0.25, 0.95), (0.7, 0.95), (0.95, 0.5), (0.75, 0.1), (0.4, 0.03)
            )
        ],
    ],
    1: [
        [straight((0.5, 0), (0.5, 1))],
        [straight((0.65, 0), (0.38, 1))],
        [straight((0.38, 0.15), (0.55, 0), (0.52, 1))],
    ],
    2: [
        [
            bend((0.15, 0.25), (0.35, 0.02), (0.65, 0.04), (0.78, 0.28), (0.58, 0.62), (0.15, 0.97)),
            straight((0.15, 0.97), (0.9, 0.95)),
        ],
        [
            bend(
                *((0.2, 0.2), (0.5, 0), (0.77, 0.25), (0.55, 0.65), (0.25, 0.97)),
                *((0.1, 0.88), (0.25, 0.78), (0.55, 0.93), (0.92, 0.95)),
            )
        ],
        [
            bend((0.2, 0.1), (0.5, 0), (0.8, 0.1), (0.75, 0.4), (0.45, 0.75), (0.2, 1)),
            bend((0.2, 1), (0.5, 0.93), (0.95, 0.97)),
        ],
    ],
    3: [
        [
            bend((0.2, 0.1), (0.5, 0), (0.75, 0.2), (0.62, 0.42), (0.38, 0.48)),
            bend((0.38, 0.48), (0.75, 0.58), (0.8, 0.82), (0.5, 1), (0.12, 0.9)),
        ],
        [
            straight((0.18, 0.05), (0.75, 0.05), (0.42, 0.42)),
            bend((0.42, 0.42), (0.78, 0.55), (0.78, 0.85), (0.45, 1), (0.12, 0.88)),
        ],
        [
            bend(
                *((0.15, 0.2), (0.4, 0.02), (0.72, 0.12), (0.65, 0.4), (0.4, 0.5)),
                *((0.7, 0.58), (0.75, 0.85), (0.4, 1), (0.1, 0.82)),
            )
        ],
    ],
    4: [
        [straight((0.25, 0.02), (0.15, 0.55), (0.88, 0.5)), straight((0.75, 0), (0.68, 1))],
        [bend((0.2, 0.05), (0.15, 0.4), (0.32, 0.56), (0.72, 0.46)), straight((0.8, 0.03), (0.72, 1))],
        [bend((0.3, 0), (0.12, 0.48), (0.45, 0.52), (0.92, 0.45)), straight((0.72, 0.15), (0.6, 1))],
    ],
    5: [
        [
            straight((0.78, 0.02), (0.3, 0.04), (0.25, 0.42)),
            bend((0.25, 0.42), (0.58, 0.38), (0.78, 0.62), (0.65, 0.92), (0.35, 1), (0.1, 0.88)),
        ],
        [
            bend((0.35, 0.05), (0.28, 0.38), (0.6, 0.45), (0.72, 0.72), (0.48, 0.98), (0.12, 0.92)),
            straight((0.35, 0.05), (0.9, 0.02)),
        ],
        [
            bend((0.32, 0.12), (0.26, 0.42), (0.62, 0.48), (0.74, 0.75), (0.45, 1), (0.12, 0.9)),
            straight((0.45, 0.02), (0.9, 0)),  # lifted: the bar does not touch
        ],
    ],
    6: [
        [
            bend(
                (0.65, 0),
                (0.35, 0.3),
                (0.2, 0.68),
                (0.38, 0.98),
                (0.68, 0.92),
                (0.72, 0.66),
                (0.48, 0.56),
                (0.24, 0.72),
            )
        ],
        [bend((0.5, 0), (0.25, 0.4), (0.22, 0.8), (0.45, 1), (0.72, 0.85), (0.68, 0.62), (0.42, 0.6), (0.24, 0.78))],
        [
            bend(
                (0.75, 0.03), (0.4, 0.2), (0.15, 0.62), (0.3, 0.97), (0.65, 0.95), (0.8, 0.7), (0.55, 0.55), (0.2, 0.72)
            )
        ],
    ],
    7: [
        [straight((0.12, 0.06), (0.82, 0.05), (0.45, 1))],
        [bend((0.12, 0.12), (0.45, 0.06), (0.8, 0.05)), bend((0.8, 0.05), (0.62, 0.4), (0.5, 0.72), (0.45, 1))],
        [straight((0.15, 0.22), (0.18, 0.05), (0.85, 0.03), (0.4, 1))],
    ],
    8: [
        [
            bend(
                *((0.72, 0.12), (0.5, 0), (0.27, 0.15), (0.4, 0.4), (0.68, 0.66), (0.65, 0.94)),
                *((0.4, 1), (0.22, 0.8), (0.42, 0.52), (0.7, 0.28), (0.72, 0.12)),
            )
        ],
        [
            bend(
                *((0.6, 0.02), (0.38, 0.06), (0.36, 0.3), (0.55, 0.5), (0.66, 0.78), (0.48, 1)),
                *((0.3, 0.85), (0.4, 0.58), (0.66, 0.3), (0.72, 0.08), (0.6, 0.02)),
            )
        ],
        [
            bend((0.5, 0), (0.25, 0.2), (0.45, 0.46), (0.75, 0.25), (0.5, 0)),
            bend((0.48, 0.46), (0.2, 0.75), (0.48, 1), (0.8, 0.75), (0.48, 0.46)),
        ],
    ],
    9: [
        [
            bend((0.74, 0.2), (0.5, 0.02), (0.22, 0.25), (0.38, 0.5), (0.66, 0.4), (0.74, 0.2)),
            straight((0.74, 0.2), (0.62, 1)),
        ],
        [
            bend((0.72, 0.1), (0.4, 0.02), (0.2, 0.3), (0.42, 0.5), (0.7, 0.32), (0.74, 0.08)),
            bend((0.74, 0.08), (0.72, 0.6), (0.66, 1)),
        ],
        [bend((0.75, 0.12), (0.42, 0.04), (0.25, 0.32), (0.48, 0.5), (0.74, 0.2), (0.72, 0.6), (0.5, 0.98))],
    ],
}


def written(digit: int, rng: np.random.Generator) -> list[Stroke]:
    """One of the digit's hands, slanted, narrowed, turned by a few degrees, and shaken a little."""
    hand = HANDS[digit][rng.integers(len(HANDS[digit]))]
    slant, width, turn = rng.uniform(-0.1, 0.3), rng.uniform(0.75, 1.05), np.radians(rng.normal(0, 4))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    phase, shake = rng.uniform(0, 2 * np.pi, (2, 2)), rng.uniform(0, 0.015)
    strokes = []
    for stroke in hand:
        x, y = stroke.T - 0.5
        # Slow waves over the paper: points that are close move alike, so that strokes which meet still do.
        x = x + shake * np.sin(9 * y + 5 * x + phase[0, 0]) + shake * np.sin(4 * y - 7 * x + phase[0, 1])
        y = y + shake * np.sin(8 * x + 5 * y + phase[1, 0]) + shake * np.sin(4 * x - 7 * y + phase[1, 1])
        strokes.append(np.stack([width * x - slant * y, y], axis=1) @ rotation)
    return strokes


class Sheet(NamedTuple):
    """Paper, and where on it the digit goes: in pixels."""

    width: int = 400
    height: int = 300
    digit: float = 190  # its height
    pen: float = 17  # how wide a stroke is
    x: float = 200  # the middle of the digit
    y: float = 150


def ink(strokes: list[Stroke], sheet: Sheet) -> Float[np.ndarray, "H W"]:
    """From 0, bare paper, to 1, fully inked; with soft edges, drawn in four times the size."""
    fine = 4
    image = Image.new("L", (fine * sheet.width, fine * sheet.height))
    draw = ImageDraw.Draw(image)
    radius = fine * sheet.pen / 2
    for stroke in strokes:
        points = [tuple(point) for point in fine * (stroke * sheet.digit + (sheet.x, sheet.y))]
        draw.line(points, fill=255, width=round(2 * radius), joint="curve")
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image.resize((sheet.width, sheet.height), Image.Resampling.BOX)) / 255


def on_paper(amount: Float[np.ndarray, "H W"], paper: float = 245, pen: float = 35) -> Float[np.ndarray, "H W"]:
    return paper + (pen - paper) * amount


def picture(levels: Float[np.ndarray, "H W"]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(levels, 0, 255)).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """What is left of the image after it was saved as a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def somewhere(rng: np.random.Generator) -> Sheet:
    """An ordinary drawing: about two thirds of the height, roughly in the middle, with a felt pen."""
    size = rng.uniform(150, 220)
    x, y = 200 + rng.uniform(-40, 40), 150 + rng.uniform(-20, 20)
    return Sheet(digit=size, pen=size * rng.uniform(0.07, 0.12), x=x, y=y)


def slope_of_light(sheet: Sheet, rng: np.random.Generator, darkest: float) -> Float[np.ndarray, "H W"]:
    """Light that falls off evenly, in some direction, from 1 to `darkest`."""
    y, x = np.mgrid[-1 : 1 : sheet.height * 1j, -1 : 1 : sheet.width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    return (1 + darkest) / 2 + (1 - darkest) / 2 * along


# The kinds


def thin(digit: int, rng: np.random.Generator) -> Image.Image:
    sheet = somewhere(rng)
    return picture(on_paper(ink(written(digit, rng), sheet._replace(pen=rng.uniform(1.5, 4)))))


def thick(digit: int, rng: np.random.Generator) -> Image.Image:
    sheet = somewhere(rng)
    return picture(on_paper(ink(written(digit, rng), sheet._replace(pen=sheet.digit * rng.uniform(0.14, 0.18)))))


def inverted(digit: int, rng: np.random.Generator) -> Image.Image:
    return picture(on_paper(ink(written(digit, rng), somewhere(rng)), paper=rng.uniform(0, 50), pen=240))


def off_centre(digit: int, rng: np.random.Generator) -> Image.Image:
    sheet = somewhere(rng)._replace(digit=120, pen=rng.uniform(9, 14))
    x, y = rng.choice([80, 320]), rng.choice([75, 225])
    return picture(on_paper(ink(written(digit, rng), sheet._replace(x=x, y=y))))


def small(digit: int, rng: np.random.Generator) -> Image.Image:
    size = rng.uniform(28, 45)
    sheet = Sheet(640, 480, size, size * rng.uniform(0.08, 0.12), rng.uniform(100, 540), rng.uniform(100, 380))
    return picture(on_paper(ink(written(digit, rng), sheet)))


def photographed(digit: int, rng: np.random.Generator) -> Image.Image:
    """Uneven light, a little out of focus, the noise of a camera, tilted, and a poor JPEG."""
    sheet = somewhere(rng)
    levels = on_paper(ink(written(digit, rng), sheet), paper=rng.uniform(180, 230), pen=rng.uniform(30, 70))
    levels = levels * slope_of_light(sheet, rng, darkest=rng.uniform(0.45, 0.7))
    blurred = np.asarray(picture(levels).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2))), float)
    noisy = picture(blurred + rng.normal(0, rng.uniform(3, 6), levels.shape))
    return jpeg(noisy, int(rng.integers(30, 60)))


def shadowed(digit: int, rng: np.random.Generator) -> Image.Image:
    """The shadow of a hand or a head lies over a part of the paper, with an edge more or less hard."""
    sheet = somewhere(rng)
    y, x = np.mgrid[: sheet.height, : sheet.width]
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * (x - 200) + np.sin(angle) * (y - 150) - rng.uniform(-90, 90)
    distance = distance + rng.uniform(0, 25) * np.sin((np.sin(angle) * x - np.cos(angle) * y) / rng.uniform(20, 60))
    shade = 1 - rng.uniform(0.3, 0.55) / (1 + np.exp(-distance / rng.uniform(1, 12)))
    levels = on_paper(ink(written(digit, rng), sheet), paper=230, pen=45) * shade
    return jpeg(picture(levels + rng.normal(0, 2, levels.shape)), 70)


def transparent(digit: int, rng: np.random.Generator) -> Image.Image:
    """Strokes on nothing: black or white ones."""
    amount = picture(255 * ink(written(digit, rng), somewhere(rng)))
    return Image.merge("LA", [Image.new("L", amount.size, int(rng.choice([0, 255]))), amount])


def filling_the_frame(digit: int, rng: np.random.Generator) -> Image.Image:
    """Cut out along the ink, with hardly any paper around it."""
    sheet = somewhere(rng)
    amount = ink(written(digit, rng), sheet)
    rows, columns = np.flatnonzero(amount.any(1)), np.flatnonzero(amount.any(0))
    margin = int(rng.integers(0, 8))
    cut = amount[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture(on_paper(np.pad(cut, margin)))


def dust(digit: int, rng: np.random.Generator) -> Image.Image:
    """A few dark specks, of 2 to 7 pixels, anywhere on the paper."""
    sheet = somewhere(rng)
    levels = on_paper(ink(written(digit, rng), sheet))
    for _ in range(rng.integers(1, 7)):
        size = rng.integers(2, 8)
        top, left = rng.integers(0, sheet.height - size), rng.integers(0, sheet.width - size)
        levels[top : top + size, left : left + size] = rng.uniform(20, 90)
    return picture(levels)


def table_edge(digit: int, rng: np.random.Generator) -> Image.Image:
    """The paper ends before the picture does: a dark table shows along one side or in two, not quite straight."""
    sheet = somewhere(rng)._replace(x=200, y=150)
    sheet = sheet._replace(digit=min(sheet.digit, 180), pen=15)
    levels = on_paper(ink(written(digit, rng), sheet))
    y, x = np.mgrid[: sheet.height, : sheet.width]
    tilt, wide = rng.uniform(-0.08, 0.08), rng.uniform(8, 45)
    sides = [x + tilt * (y - 150), 399 - x + tilt * (y - 150), y + tilt * (x - 200), 299 - y + tilt * (x - 200)]
    for side in rng.choice(4, size=rng.integers(1, 3), replace=False):
        levels = np.where(sides[side] < (wide if side < 2 else wide * 0.6), rng.uniform(20, 110), levels)
    return jpeg(picture(levels + rng.normal(0, 2, levels.shape)), 80)


def squared_paper(digit: int, rng: np.random.Generator) -> Image.Image:
    """Squares of a school's exercise book, up to half as dark as the pen."""
    sheet = somewhere(rng)
    paper = np.full((sheet.height, sheet.width), 240.0)
    step, thickness, level = rng.uniform(18, 40), int(rng.integers(1, 3)), rng.uniform(140, 210)
    for i in range(25):
        at = int(step * i + 5)
        paper[at : at + thickness] = level
        paper[:, at : at + thickness] = level
    amount = ink(written(digit, rng), sheet)
    return picture(paper + (35 - paper) * amount)


def noise(digit: int, rng: np.random.Generator) -> Image.Image:
    levels = on_paper(ink(written(digit, rng), somewhere(rng)), paper=220, pen=45)
    return picture(levels + rng.normal(0, rng.uniform(10, 20), levels.shape))


def two_digits(digit: int, rng: np.random.Generator) -> Image.Image:
    """Side by side: there is no right answer."""
    sheet = somewhere(rng)._replace(digit=170, pen=14)
    other = int(rng.integers(10))
    apart = rng.uniform(65, 90)
    first = ink(written(digit, rng), sheet._replace(x=200 - apart))
    return picture(on_paper(np.maximum(first, ink(written(other, rng), sheet._replace(x=200 + apart)))))


KINDS: tuple[Callable[[int, np.random.Generator], Image.Image], ...] = (
    *(thin, thick, inverted, off_centre, small, photographed, shadowed, transparent, filling_the_frame),
    *(dust, table_edge, squared_paper, noise, two_digits),
)


# How they are read

Outcome = Literal["right", "not sure", "wrong"]
Outputs = Callable[[Picture], Float[np.ndarray, " 10"]]  # of a network


class Reading(NamedTuple):
    """What became of one drawing."""

    kind: str
    drawing: Image.Image
    seen: Picture | None  # None where it was refused with a sentence
    outcome: Outcome


def read_all(outputs: Outputs, seed: int) -> Iterator[Reading]:
    """One drawing of each digit in each kind, and how a network reads them from files, as `predict.py` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, number])
            for digit in range(10):
                drawing = kind(digit, rng)
                drawing.save(path, compress_level=1)
                right = None if kind is two_digits else digit
                yield Reading(kind.__name__, drawing, *_read(path, outputs, right))


def _read(path: Path, outputs: Outputs, right: int | None) -> tuple[Picture | None, Outcome]:
    try:
        seen = read_drawing(path)
    except jp.BadInput:
        return None, "not sure"
    answer = outputs(seen)
    if not is_certain(answer):
        return seen, "not sure"
    return seen, "right" if answer.argmax() == right else "wrong"


def contact_sheet(readings: list[Reading]) -> Image.Image:
    """Every drawing, ten to a row, and beside it what the network saw; nothing where it was refused."""
    wide, high = 220, 110
    sheet = Image.new("RGB", (10 * wide, len(readings) // 10 * high), (90, 90, 140))
    for i, reading in enumerate(readings):
        x, y = i % 10 * wide, i // 10 * high
        small = reading.drawing.convert("RGBA")
        small.thumbnail((120, high - 4))
        sheet.paste(small, (x, y), small)
        if reading.seen is not None:
            sheet.paste(Image.fromarray(reading.seen).resize((84, 84), Image.Resampling.NEAREST), (x + 126, y + 12))
    return sheet


def main(run: str, seed: str = "0") -> None:
    network, params = jp.load_mlp(Path(run) / "params.npz")
    readings = list(
        read_all(lambda seen: np.asarray(network.apply(params, jnp.asarray(seen.reshape(-1) / 255))), int(seed))
    )
    for kind in KINDS:
        outcomes = Counter(reading.outcome for reading in readings if reading.kind == kind.__name__)
        shown = ", ".join(f"{outcome} {outcomes[outcome]}" for outcome in ("right", "not sure", "wrong"))
        print(f"{kind.__name__.replace('_', ' '):18} {shown}")
    make_folder("runs")
    write_atomically("runs/handwriting.png", lambda file: contact_sheet(readings).save(file, "PNG"))
    print("drawings and what the network saw: runs/handwriting.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
