"""What the desk's page has in it: parameters, digits, cases to check itself by, lines of source, paths down the hill.

All of it is one JSON document. Arrays are base64 of little-endian numbers, pictures of zlib's stream of them.
"""

import base64
import hashlib
import inspect
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxprop as jp
import jaxprop.costs
import jaxprop.layers.activations
import jaxprop.layers.core
from jaxprop.data.batches import Examples
from jaxprop.layers import Params
from lab import running_example
from lab.desk_cases import ACTIVATIONS, Bounds, Numbers, by_both, by_differences, scales
from lesson.drunk_and_careful import make_costs_at
from lesson.planes import plane_through

SCHEMA = 1
PARTS = 3  # of the work, after each of which `embed` reports
TRAIN, TEST = 1200, 300  # digits in the page, at most: of MNIST, 0.35 MB
SMALL = (6, 5, 4, 3)  # a network of every activation, small enough to have all of its numbers in the page
SAMPLED = 64  # of the numbers of an array, where it has more: only these are compared
STOCHASTIC_STEPS, FULL_STEPS = 600, 200
STOCHASTIC_RATE, FULL_RATE = 2.0, 2.0  # with 10, the first step of the full batch leaps into saturation
GRID = 21  # points of the map, each way


class Trained(NamedTuple):
    """A network to show: an `mlp` of 784 inputs and 10 outputs."""

    network: jp.Network
    sizes: tuple[int, ...]
    activation: str
    params: Params
    dataset: str
    origin: str  # where the parameters come from, a sentence for people


def numbers(array: Any, dtype: str = "float64") -> str:
    return base64.b64encode(np.asarray(array).astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def pictures(images: Any) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(images, np.uint8).tobytes(), 9)).decode()


def in_a_row(params: Params) -> np.ndarray:
    """W1 b1 W2 b2 …, each row by row."""
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(params)])


def hash_of(params: Params) -> str:
    """Tells parameters apart: SHA-256 of all of them as float64."""
    return hashlib.sha256(in_a_row(params).astype("<f8").tobytes()).hexdigest()


def embed(trained: Trained, data: Any, report: Callable[[str], object]) -> dict[str, Any]:
    """The whole document. report: called with a line after each of its `PARTS` parts."""
    train, test = (running_example.select(part, slice(most)) for part, most in ((data.train, TRAIN), (data.test, TEST)))
    dtype = str(jax.tree.leaves(trained.params)[0].dtype)
    scores = jax.jit(jp.make_evaluate(trained.network, jp.squared_error, jp.as_batch))(trained.params, data.test)
    about = {
        "sizes": trained.sizes,
        "activation": trained.activation,
        "dtype": dtype,
        "params": numbers(in_a_row(trained.params), dtype),
        "hash": hash_of(trained.params),
        "origin": trained.origin,
        "dataset": trained.dataset,
        "accuracy": float(scores.accuracy),
        "test_count": len(data.test.labels),
    }
    report(f"{about['accuracy']:.2%} of {about['test_count']:,} test digits classified correctly")
    with jax.enable_x64(True):
        cases = [*page_cases(trained, test), *small_cases()]
    report(f"{len(cases)} cases, by hand, by jax.grad and by finite differences")
    hill = walk_down(trained, train)
    report("two ways down the hill")
    return {
        "schema": SCHEMA,
        "network": about,
        "examples": {"train": embed_examples(train), "test": embed_examples(test)},
        "cases": cases,
        "bounds": Bounds()._asdict(),
        "source": source_lines(trained.activation),
        "hill": hill,
    }


def embed_examples(examples: Examples) -> dict[str, Any]:
    return {
        "count": len(examples.labels),
        "images": pictures(examples.images),
        "labels": numbers(examples.labels, "uint8"),
    }


# Cases


def page_cases(trained: Trained, test: Examples) -> list[dict[str, Any]]:
    """Three on the network of the page: a digit, a digit with another label, and nothing at all."""
    network = trained.network
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), trained.params)
    inputs, targets = jp.as_batch(test.images[:2], test.labels[:2])
    wrong = jnp.roll(targets[1], 1)
    examples = {
        "the first test digit": (inputs[0], targets[0]),
        "the second, under another label": (inputs[1], wrong),
        "a blank pad": (jnp.zeros(784), targets[0]),
    }
    both = by_both(network)
    places = sampled_places(trained.sizes)
    differences = measured_differences(network, params, places)
    return [
        {
            "what": what,
            **case(*both(params, x, y), scales(network, params, x, y), x, y, places),
            "differences": differences(x, y),
        }
        for what, (x, y) in examples.items()
    ]


def small_cases() -> list[dict[str, Any]]:
    """One on a network of each activation, drawn at random, with every one of its numbers."""
    rng = np.random.default_rng(0)
    cases = []
    for i, activation in enumerate(ACTIVATIONS):
        network = jp.mlp(SMALL, activation)
        params = jax.tree.map(lambda like: rng.normal(0, 0.5, like.shape), network.params_like)
        x, y = rng.uniform(0, 1, SMALL[0]), np.eye(SMALL[-1])[i % SMALL[-1]]
        cases.append(
            {
                "what": f"a network of {'-'.join(map(str, SMALL))}, {activation}",
                "network": {"sizes": SMALL, "activation": activation, "params": numbers(in_a_row(params))},
                **case(*by_both(network)(params, x, y), scales(network, params, x, y), x, y, {}),
            }
        )
    return cases


def case(
    hand: Numbers, auto: Numbers, scale: dict[str, float], x: Any, y: Any, places: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """One case. places: of which arrays only these numbers are kept, counted row by row."""

    def kept(found: Numbers) -> dict[str, Any]:
        return {name: embed_array(array, places.get(name)) for name, array in found.items()}

    return {"x": numbers(x), "y": numbers(y), "scales": scale, "by_hand": kept(hand), "autodiff": kept(auto)}


def embed_array(array: Any, at: np.ndarray | None) -> dict[str, str]:
    flat = np.ravel(np.asarray(array))
    return {"numbers": numbers(flat)} if at is None else {"numbers": numbers(flat[at]), "at": numbers(at, "int32")}


def sampled_places(sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Of the arrays that have many numbers: which ones are kept, drawn once and for all."""
    rng = np.random.default_rng(0)
    of = {f"dW{layer}": sizes[layer - 1] * sizes[layer] for layer in range(1, len(sizes))} | {"dx": sizes[0]}
    return {name: np.sort(rng.choice(count, min(SAMPLED, count), replace=False)) for name, count in of.items()}


def measured_differences(
    network: jp.Network, params: Params, places: Mapping[str, np.ndarray]
) -> Callable[[Any, Any], dict[str, Any]]:
    """`differences(x, y)`: the derivatives by the kept parameters, measured. Where the cost bends, none."""
    flat, unravel = ravel_pytree(params)
    numbered = unravel(jnp.arange(flat.size, dtype=flat.dtype))
    which = {}
    for layer, (W, b) in enumerate(numbered[::2], start=1):
        at = places.get(f"dW{layer}", np.arange(W.size))
        which |= {f"dW{layer}": (at, np.ravel(W)[at]), f"db{layer}": (np.arange(b.size), np.ravel(b))}
    slopes_along = by_differences(network)
    together = np.concatenate([rows for _, rows in which.values()]).astype(int)

    def differences(x: Any, y: Any) -> dict[str, Any]:
        slopes, bends = slopes_along(params, x, y, together)
        found, start = {}, 0
        for name, (at, rows) in which.items():
            here = slice(start, start := start + len(rows))
            smooth = ~bends[here]
            found[name] = {"numbers": numbers(slopes[here][smooth]), "at": numbers(at[smooth], "int32")}
        return found

    return differences


# Source

SOURCES: dict[str, tuple[ModuleType, str]] = {
    "z": (jaxprop.layers.core, "return params.W @ a + params.b, a"),
    "a": (jaxprop.layers.activations, "a = function(z)"),
    "dz": (jaxprop.layers.activations, "return (), derivative(*residuals) * da"),
    "db": (jaxprop.layers.core, "db = dz"),
    "dW": (jaxprop.layers.core, "dW = Outer(dz, a)"),
    "da": (jaxprop.layers.core, "da = dz @ params.W"),
    "cost": (jaxprop.costs, "return jnp.sum((a - y) ** 2)"),
    "cost_gradient": (jaxprop.costs, "return 2 * (a - y)"),
}


def source_lines(activation: str) -> dict[str, dict[str, Any]]:
    """The lines of jaxprop that make the numbers, as they stand in its files now."""
    slopes = {"slope": activation, "slope_output": "sigmoid"}
    wanted = SOURCES | {
        name: (jaxprop.layers.activations, f'return elementwise("{kind}",') for name, kind in slopes.items()
    }
    return {name: find_line(*where) for name, where in wanted.items()}


def find_line(module: ModuleType, beginning: str) -> dict[str, Any]:
    """The one line of a module that begins so. `ValueError` where there is none, or more than one."""
    lines = inspect.getsource(module).splitlines()
    places = [i for i, line in enumerate(lines) if line.strip().startswith(beginning)]
    if len(places) != 1:
        raise ValueError(f"{module.__name__} has {len(places)} lines that begin with {beginning!r}: expected one")
    (at,) = places
    root = Path(jp.__file__).parents[1]
    text = lines[at].partition("  #")[0].strip()
    return {"file": Path(module.__file__ or "").relative_to(root).as_posix(), "line": at + 1, "text": text}


# Two ways down the hill


def walk_down(trained: Trained, train: Examples) -> dict[str, Any]:
    """The stochastic and the full-batch path from one untrained network, on the plane through it and both ends."""
    network, count = trained.network, len(train.labels)
    init_key, order_key = jax.random.split(jax.random.key(0))
    start = network.init(init_key)
    ways = {
        "stochastic": (STOCHASTIC_RATE, running_example.BATCH_SIZE, range(0, STOCHASTIC_STEPS + 1, 5)),
        "full": (FULL_RATE, count, range(0, FULL_STEPS + 1, 2)),
    }
    places = {}
    for name, (rate, batch_size, steps) in ways.items():
        found = running_example.snapshots(network, start, train, steps, key=order_key, rate=rate, batch_size=batch_size)
        places[name] = np.stack([in_a_row(params) for params in found])
    plane = plane_through(places["stochastic"][0], places["full"][-1], places["stochastic"][-1])
    seen = {name: plane.coordinates(way) for name, way in places.items()}
    costs_at = make_costs_at(network, start, train, at_a_time=GRID)
    corners = np.concatenate(list(seen.values()))
    margin = 0.15 * (corners.max(axis=0) - corners.min(axis=0))
    x, y = np.linspace(corners.min(axis=0) - margin, corners.max(axis=0) + margin, GRID).T
    on_the_plane = np.stack([plane.at(np.column_stack([x, np.full(GRID, height)])) for height in y])
    paths = {
        name: {
            "rate": rate,
            "batch_size": batch_size,
            "examples": [step * batch_size for step in steps],
            "steps": list(steps),
            "xy": np.round(seen[name], 4).tolist(),
            "costs": rounded(costs_at(places[name])),
            "share": plane.captured(places[name]),
        }
        for name, (rate, batch_size, steps) in ways.items()
    }
    return {
        "origin": f"an untrained network, trained twice on the {count:,} training digits of this page",
        "paths": paths,
        "map": {"x": x.tolist(), "y": y.tolist(), "costs": [rounded(costs_at(row)) for row in on_the_plane]},
    }


def rounded(costs: Any) -> list[float]:
    return [round(float(cost), 5) for cost in costs]
