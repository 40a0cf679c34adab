"""The picture of `backends.py`: how far each precision is from float64, leaf by leaf and step by step."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lab.figures import BLUE, ORANGE, VERMILION, new_figure, styled
from lab.precisions import BFLOAT16, DEFAULT, HIGHEST, Way, envelope

# The default is drawn first, and larger: where it is the highest, it is seen around it.
_LOOKS = {DEFAULT: (ORANGE, 10.0, 5.0), HIGHEST: (BLUE, 6.0, 2.0), BFLOAT16: (VERMILION, 6.0, 2.0)}
_STYLES = {"cpu": ("o", "-"), "gpu": ("s", "--"), "tpu": ("^", ":")}
Rows = Sequence[Mapping[str, Any]]


@styled
def backends_figure(ways: Sequence[Way], leaves: Rows, walked: Rows) -> Figure:
    """leaves: of one gradient, for each way and path its scaled difference. walked: for each way and step the drift."""
    figure = new_figure(10.5, 5.2)
    by_leaf, by_step = figure.subplots(1, 2)
    for way in sorted(ways, key=lambda way: list(_LOOKS).index(way.precision)):
        (colour, size, width), (marker, style) = _LOOKS[way.precision], _STYLES[way.device.platform]
        mine = [(row["path"], row["scaled_difference"]) for row in leaves if row["way"] == way.name]
        by_leaf.semilogy(*zip(*mine, strict=True), marker, color=colour, markersize=size, label=way.name)
        mine = [(row["step"], row["drift"]) for row in walked if row["way"] == way.name]
        by_step.semilogy(*zip(*mine, strict=True), style, color=colour, linewidth=width)
    for bits in {way.bits for way in ways}:
        by_leaf.axhline(envelope(bits), color="gray", linewidth=1)
        place = {"xy": (0, envelope(bits)), "xytext": (0, 3), "textcoords": "offset points"}
        by_leaf.annotate(f"what {bits} stored bits allow", **place, xycoords=("axes fraction", "data"), fontsize=10)
    by_leaf.margins(y=0.1)
    by_leaf.set(title="One gradient of the trained network, by hand", ylabel="off by, as a share of what is added up")
    by_step.set(title="The parameters drift", ylabel="off by, as a share of the way they came")
    by_step.set(xlabel="steps on the same mini-batches")
    figure.legend(loc="outside lower center", ncols=3)
    return figure
