"""What an exhibit of the museum is: a gradient as a real project shipped it, beside the loss that it was meant for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.verify.comparison import ValueAndGrad
from proof.mutants import Mutant

GITHUB = "https://github.com/"


class Exhibit(NamedTuple):
    """One backward pass, made small enough to run: written afresh after the report, with what was wrong in it.

    story: what was wrong, in one sentence; or, where nothing was, what was reported.
    links: where it was reported or mended.
    loss: `(params, batch) -> ()`, whose derivative was meant.
    shipped: `(params, batch) -> (value, grads)` as it was.
    mended: the same function with this one thing put right. For what was right all along, it is what the report asked
        for instead; None if nobody asked for anything that is a gradient.
    points: makes the points where the two are looked at.
    wrong: the leaves that are wrong somewhere, by their paths; none where the report was mistaken.
    rule: the same mistake planted in `jp.backprop`, where the network that reads digits can be trained with it.
    """

    name: str
    story: str
    links: tuple[str, ...]
    loss: Callable[[Any, Any], Any]
    shipped: ValueAndGrad
    mended: ValueAndGrad | None
    points: Callable[[], Sequence[jp.Probe]]
    wrong: frozenset[str]
    rule: Mutant | None = None
    activation: Activation = "sigmoid"


Operation = Callable[[Any], Any]  # params -> y
Backward = Callable[[Any, Any], Any]  # (params, dy) -> grads


def exhibit(
    name: str,
    story: str,
    *links: str,
    operation: Operation,
    shipped: Backward,
    mended: Backward | None,
    shapes: Mapping[str, tuple[int, ...]],
    dy: tuple[int, ...],
    wrong: Sequence[str],
    spread: float = 1.0,
    rule: Mutant | None = None,
    activation: Activation = "sigmoid",
) -> Exhibit:
    """An exhibit of one operation `y = operation(params)`, whose backward pass is given dy. The loss is 1 + Σ y dy.

    shipped, mended: `(params, dy) -> grads`, a dictionary like the parameters.
    shapes: of the parameters, which are a dictionary; at each point they are drawn from Normal(0, spread).
    dy: its shape. It is the batch.
    wrong: the names of the parameters whose derivative was wrong.
    """

    def loss(params: Any, batch: Any) -> Any:
        return 1 + jnp.sum(operation(params) * batch)  # near 0 a value that cancels would have no digits in float32

    def value_and_grad(backward: Backward) -> ValueAndGrad:
        return lambda params, batch: (loss(params, batch), backward(params, batch))

    def points() -> list[jp.Probe]:
        random = np.random.RandomState(0)
        return [
            jp.Probe(
                f"point {i}",
                {key: spread * random.normal(size=shape) for key, shape in shapes.items()},
                random.normal(size=dy),
            )
            for i in range(2)
        ]

    return Exhibit(
        name,
        story,
        tuple(link if link.startswith("https:") else GITHUB + link for link in links),
        loss,
        value_and_grad(shipped),
        value_and_grad(mended) if mended else None,
        points,
        frozenset(f"['{key}']" for key in wrong),
        rule,
        activation,
    )
