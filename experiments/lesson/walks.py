"""Walks down the cost surface: training with several learning rates side by side, every place on the way recorded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import jaxprop as jp
from jaxprop.layers.core import Params
from lab.timing import interleave

RATES = (0.3, 1.0, 3.0, 10.0, 30.0)


class Walk(NamedTuple):
    """A way down by gradient descent, in T + 1 records of which the first is the start."""

    rate: float
    batch_size: int
    steps: np.ndarray  # (T + 1,) taken so far
    places: np.ndarray  # (T + 1, P), all parameters in a row
    costs: np.ndarray  # (T + 1,) over all examples
    length: float  # of all steps together
    seconds_per_step: float

    @property
    def straightness(self) -> float:
        """From the start to the end as the crow flies, as a share of the way that was walked: 1 for a straight line."""
        return float(np.linalg.norm(self.places[-1] - self.places[0])) / self.length

    @property
    def examples(self) -> np.ndarray:
        """How many examples have been looked at, (T + 1,)."""
        return self.steps * self.batch_size


def walk(
    network: jp.Network,
    start: Params,
    batch_at: Callable[[Any, Any], Any],
    data: Any,
    costs_at: Callable[[np.ndarray], np.ndarray],
    *,
    steps: int,
    every: int,
    report: Callable[[str], None],
) -> Walk:
    """The walk of so many steps that ends lowest among those with each of the rates.

    batch_at: `(data, i) -> batch`, what step i looks at; traceable.
    costs_at: `(places) -> costs` over all examples.
    every: steps from one record to the next. `report` is called at each tenth of the way.
    """
    place, unravel = ravel_pytree(start)
    by_hand = jp.backprop(network, jp.squared_error)

    def advance(rate: Any, place: Any, length: Any, data: Any, rows: Any) -> Any:
        optimizer = optax.sgd(rate)
        step = jp.make_step(by_hand, optimizer)

        def one(before: tuple[Any, Any], i: Any) -> tuple[tuple[Any, Any], None]:
            place, length = before
            state, _ = step(jp.init_state(unravel(place), optimizer), batch_at(data, i))
            after, _ = ravel_pytree(state.params)
            return (after, length + jnp.linalg.norm(after - place)), None

        return jax.lax.scan(one, (place, length), rows)[0]

    together = jax.jit(jax.vmap(advance, (0, 0, 0, None, None)))
    rates = jnp.array(RATES)
    now = jnp.tile(place, (len(RATES), 1)), jnp.zeros(len(RATES))
    places = [np.asarray(now[0])]
    for rows in np.arange(steps).reshape(-1, every):
        now = together(rates, *now, data, rows)
        places.append(np.asarray(now[0]))
        taken = rows[-1] + 1
        if taken % (steps // 10) == 0:
            report(f"{taken:,} of {steps:,} steps, at five rates together")
    best = int(np.argmin(costs_at(places[-1])))
    alone, few = jax.jit(advance), np.arange(min(every * 10, steps) if every > 1 else 1)
    seconds = interleave({"few": lambda: alone(rates[best], place, 0.0, data, few)}, repeats=5)["few"]
    way = np.stack([each[best] for each in places])
    return Walk(
        rate=RATES[best],
        batch_size=len(batch_at(data, 0)[0]),
        steps=np.arange(0, steps + 1, every),
        places=way,
        costs=costs_at(way),
        length=float(now[1][best]),
        seconds_per_step=float(np.median(seconds)) / len(few),
    )


def off_course(network: jp.Network, careful: Walk, unravel: Any, whole: Any) -> float:
    """How far the first, a middle and the last step are from the rate times minus JAX's gradient, at most."""
    by_jax = jax.jit(jp.autodiff(network, jp.squared_error))
    misses = []
    for i in (0, len(careful.places) // 2, len(careful.places) - 2):
        _, grads = by_jax(unravel(careful.places[i]), whole)
        wanted = -careful.rate * np.asarray(ravel_pytree(grads)[0])
        step = careful.places[i + 1] - careful.places[i]
        misses.append(np.linalg.norm(step - wanted) / np.linalg.norm(wanted))
    return float(max(misses))
