"""The picture of what labelled examples buy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from lab.figures import BLUE, VERMILION, new_figure, styled


@styled
def draw_price(
    n: Int[np.ndarray, " sizes"],
    accuracies: Float[np.ndarray, "sizes networks"],
    by_heart: Float[np.ndarray, "sizes networks"],
    prices: Sequence[Mapping[str, Any]],
    power_law: tuple[float, float],
) -> Figure:
    """Accuracy against the number of examples, and what a point of it costs; `power_law` is c and α of c n^-α."""
    mean, spread = 100 * accuracies.mean(axis=1), 100 * accuracies.std(axis=1)
    figure = new_figure(10, 4.5)
    accuracy, price = figure.subplots(1, 2)
    accuracy.plot(n, 100 * by_heart.mean(axis=1), "s--", color=VERMILION, label="100 examples it learned from")
    accuracy.errorbar(n, mean, spread, fmt="o-", color=BLUE, capsize=3, label="test digits (bar: standard deviation)")
    accuracy.set(ylabel="% read rightly", title="More examples, fewer mistakes", ylim=(None, 101))
    accuracy.legend(loc="lower right")

    c, alpha = power_law
    per_point = n ** (1 + alpha) / (100 * alpha * c)
    price.plot(n, per_point, color=BLUE, label=f"if mistakes fall as n to the power of −{alpha:.2f}")
    paid = [row for row in prices if row["examples_per_point"]]
    middles = [(row["from"] * row["to"]) ** 0.5 for row in paid]
    price.plot(
        middles, [row["examples_per_point"] for row in paid], "o", color=BLUE, label="from dot to dot on the left"
    )
    price.set(yscale="log", ylabel="examples for one more point of accuracy", title="The price of a point")
    price.yaxis.set_major_formatter("{x:,.0f}")
    price.legend(loc="lower right")
    for axes in (accuracy, price):
        axes.set(xscale="log", xlabel="labelled examples")
        axes.xaxis.set_major_formatter("{x:,.0f}")
    message = f"A point of accuracy costs {per_point[0]:,.0f} examples at first, {per_point[-1]:,.0f} at the end"
    figure.suptitle(message, x=0.01, ha="left", size=16)
    return figure
