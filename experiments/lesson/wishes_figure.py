"""The picture of backpropagation, with true numbers: what one example wishes, from the outputs back to the pixels."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrow, Rectangle

from jaxprop.data.batches import NDArray
from lab.figures import BLUE, VERMILION, styled
from lesson.neurons import Neurons

UP_AND_DOWN = LinearSegmentedColormap.from_list("up and down", [VERMILION, "white", BLUE])

# Everything is placed on one sheet of 36 x 20.25 units, each 27 points long. The layers reach from TOP to BOTTOM.
WIDTH, HEIGHT, UNIT = 36.0, 20.25, 27
TOP, BOTTOM = 16.2, 2.7
GREY = "0.4"


@styled
def wishes_figure(image: UInt8[np.ndarray, "28 28"], label: int, wishes: Sequence[Neurons]) -> Figure:
    """One example's wishes, to be read from right to left.

    image, label: the picture, and what it shows. wishes: as `lesson.neurons.wishes_of_neurons` gives them for the
    network of the lesson, 784-16-16-10.
    """
    hidden_1, hidden_2, outputs = jax.tree.map(np.asarray, tuple(wishes))
    figure = Figure(figsize=(WIDTH * UNIT / 72, HEIGHT * UNIT / 72))
    sheet = figure.add_axes((0, 0, 1, 1))
    _write(sheet, 0.8, 18.9, f"One picture of a {label} tells every neuron which way to go, and how much", 23)

    _head(sheet, 28.5, "outputs", "① wish = 2 (target − activation)")
    _neurons(sheet, 29.7, outputs.a, outputs.nudge_a)
    for j, y in enumerate(_rows(10)):
        weight = "bold" if j == label else "normal"
        _write(sheet, 28.5, y, str(j), 17, va="center", weight=weight)
        _write(sheet, 31.9, y + 0.08, f"{outputs.a[j]:.2f}, wanted {int(j == label)}", weight=weight)
        _write(sheet, 31.9, y - 0.08, f"wish {outputs.nudge_a[j]:+.2f}".replace("-", "−"), va="top", color=GREY)

    _head(sheet, 20.8, "asked of hidden 2", "② its wish × slope × weight")
    _requests(sheet, 20.8, 27.6, outputs.requests, range(10))
    sheet.add_patch(Rectangle((20.8 + 0.68 * label, BOTTOM), 0.68, TOP - BOTTOM, fill=False, linewidth=2))

    _head(sheet, 17.9, "hidden 2", "③ row sums")
    _neurons(sheet, 18.7, hidden_2.a, hidden_2.nudge_a)
    for k, y in enumerate(_rows(16)):
        _write(sheet, 18.1, y, str(k), 9, ha="right", va="center", color=GREY)
    _head(sheet, 10.9, "asked of hidden 1", "④ its wish × slope × weight")
    _requests(sheet, 10.9, 16.9, hidden_2.requests, range(16))

    _head(sheet, 7.95, "hidden 1", "⑤ row sums")
    _neurons(sheet, 8.6, hidden_1.a, hidden_1.nudge_a)

    _head(sheet, 0.8, "pixels", "⑥ and so on, down to them")
    _picture(sheet, TOP, image, "gray", 0, 255)
    strongest = np.abs(hidden_1.nudge_a_prev).max()
    _picture(sheet, BOTTOM + 6.4, hidden_1.nudge_a_prev.reshape(28, 28), UP_AND_DOWN, -strongest, strongest)
    _write(sheet, 0.8, BOTTOM - 0.3, f"deepest colour: {strongest:.1g}", 10, va="top", color=GREY)

    _write(sheet, 0.8, 0.6, "▲ should go up", weight="bold", color=BLUE)
    _write(sheet, 5.0, 0.6, "▼ should go down", weight="bold", color=VERMILION)
    _write(sheet, 10.9, 0.6, "A neuron is as bright as its activation. Each block has its own scale, written below it.")
    sheet.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    sheet.axis("off")
    return figure


def _write(sheet: Axes, x: float, y: float, text: str, size: float = 11.5, **style) -> None:
    sheet.text(x, y, text, size=size, **style)


def _head(sheet: Axes, x: float, what: str, how: str) -> None:
    _write(sheet, x, 17.8, what, 12, weight="bold")
    _write(sheet, x, 17.1, how)


def _rows(n: int) -> Float[np.ndarray, " n"]:
    """The middles of n rows, from the top."""
    return TOP - (TOP - BOTTOM) * (np.arange(n) + 0.5) / n


def _neurons(sheet: Axes, x: float, a: Float[NDArray, " n"], nudges: Float[NDArray, " n"]) -> None:
    """A column of neurons, each as bright as it is, with an arrow up or down that is as long as its nudge is large."""
    strongest = np.abs(nudges).max()
    longest = min(0.9 * (TOP - BOTTOM) / len(a), 1.2)
    for y, brightness, nudge in zip(_rows(len(a)), a, nudges, strict=True):
        sheet.add_patch(Circle((x, y), 0.4, facecolor=str(float(brightness)), edgecolor="0.3"))
        ink = "black" if brightness > 0.5 else "white"
        _write(sheet, x, y, f"{brightness:.2f}".lstrip("0"), 9, ha="center", va="center", color=ink)
        up = longest * nudge / strongest
        arrow = FancyArrow(
            x + 1,
            y - up / 2,
            0,
            up,
            width=0.3 * abs(up),
            head_width=0.75 * abs(up),
            head_length=0.5 * abs(up),
            length_includes_head=True,
            color=BLUE if nudge > 0 else VERMILION,
            linewidth=0,
        )
        sheet.add_patch(arrow)
    _write(sheet, x + 0.4, BOTTOM - 0.3, f"longest: {strongest:.2g}", 10, ha="center", va="top", color=GREY)


def _requests(sheet: Axes, left: float, right: float, requests: Float[NDArray, "out in"], names: Sequence[int]) -> None:
    """A column for each neuron that asks; a row for each that is asked, level with it."""
    asking, asked = requests.shape
    strongest = np.abs(requests).max()
    columns = np.linspace(left, right, asking + 1)
    rows = np.linspace(TOP, BOTTOM, asked + 1)
    sheet.pcolormesh(
        columns,
        rows,
        requests.T,
        edgecolor="0.9",
        linewidth=0.6,
        cmap=UP_AND_DOWN,
        vmin=-strongest,
        vmax=strongest,
    )
    size = 8 if asking <= 10 else 6.5  # so that numbers of two digits stay apart
    for name, column in zip(names, columns[:-1], strict=True):
        _write(sheet, column + (right - left) / asking / 2, TOP + 0.15, str(name), size, ha="center", color=GREY)
    _write(sheet, left, BOTTOM - 0.3, f"deepest colour: {strongest:.2g}", 10, va="top", color=GREY)


def _picture(sheet: Axes, top: float, pixels: NDArray, cmap, vmin: float, vmax: float) -> None:
    columns = np.linspace(0.8, 7.2, 29)
    rows = np.linspace(top, top - 6.4, 29)
    sheet.pcolormesh(columns, rows, pixels, cmap=cmap, vmin=vmin, vmax=vmax)
