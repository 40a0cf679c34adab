"""A drawing on the pad becomes the 28 x 28 bytes that `predict.py` makes of the same strokes."""

import base64

import numpy as np
from PIL import Image

from jaxprop.data.drawings import read_drawing
from jaxprop.errors import BadInput
from tests.handwriting import written

SIDE = 224
DRAWN = 50


def lines(rng: np.random.Generator, digit: int) -> list[list[list[float]]]:
    """A digit's strokes as points on the pad, of any size that fits, anywhere on it."""
    height = rng.uniform(70, 185)
    strokes = [height * stroke for stroke in written(digit, rng)]
    everything = np.concatenate(strokes)
    low, high = everything.min(axis=0), everything.max(axis=0)
    at = rng.uniform(12 - low, np.maximum(13 - low, SIDE - 12 - high))
    return [(stroke + at).tolist() for stroke in strokes]


DRAW = """({strokes, pen}) => {
    const pad = ink.blank();
    for (const points of strokes) {
        points.forEach(([x, y], i) => {
            const [before_x, before_y] = points[Math.max(0, i - 1)];
            ink.stroke(pad, {x: before_x, y: before_y}, {x, y}, pen);
        });
    }
    const text = (bytes) => btoa(String.fromCharCode(...bytes));
    let seen;
    try { seen = text(ink.as_mnist(pad)); }
    catch (error) { if (!(error instanceof engine.BadInput)) throw error; seen = {refused: error.message}; }
    const rows = Array.from({length: ink.SIDE}, (_, row) => text(pad.subarray(row * ink.SIDE, (row + 1) * ink.SIDE)));
    return {seen, rows};
}"""


def as_array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def draw(evaluate, strokes, pen):
    """What the page sees in these strokes, or the sentence with which it refuses; and the pad, paper white."""
    found = evaluate(DRAW, {"strokes": strokes, "pen": pen})
    pad = 255 - np.stack([as_array(row) for row in found["rows"]])
    seen = found["seen"]
    return (seen["refused"] if isinstance(seen, dict) else as_array(seen).reshape(28, 28)), pad


def predicted(pad: np.ndarray, folder) -> np.ndarray | str:
    """What `predict.py` makes of the same pad, or its sentence."""
    path = folder / "pad.png"
    Image.fromarray(pad).save(path)
    try:
        return read_drawing(path)
    except BadInput as error:
        return str(error)


def test_the_same_bytes_as_predict(evaluate, tmp_path):
    rng = np.random.default_rng(0)
    off = []
    for i in range(DRAWN):
        pen = rng.choice([5, 9, 14, 18, 24])
        seen, pad = draw(evaluate, lines(rng, i % 10), float(pen))
        expected = predicted(pad, tmp_path)
        assert isinstance(seen, str) == isinstance(expected, str), (i, seen, expected)
        if not isinstance(seen, str):
            off.append(int(np.abs(seen.astype(int) - expected).max()))
    print(off)
    assert len(off) > 40
    assert max(off) <= 1, off
