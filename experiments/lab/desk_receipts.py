"""Receipts of the desk's page: every number of one example's two passes, derived again by both gradients.

A receipt brings its parameters along, so that it can be checked by whoever has nothing else. Its last line is a seal,
SHA-256 of all the text before: a change that is too small to be told from rounding is noticed too.
"""

import base64
import binascii
import hashlib
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from jaxprop.errors import BadInput
from jaxprop.files import read_bytes
from jaxprop.layers import Dense, Params
from lab.desk_cases import ACTIVATIONS, Bounds, Numbers, by_both, scales

FORM = "jaxprop desk receipt 1"
STEP = 2.0**-10  # of the page's finite difference, and half of it
PIXELS, CLASSES = 784, 10


class Receipt(NamedTuple):
    """What a receipt says, in the right form; whether it is true is another question."""

    network: jp.Network
    params: Params  # float64, in NumPy
    hash: str  # that the receipt names
    pixels: np.ndarray  # 784 grey levels
    label: int
    numbers: Numbers
    place: tuple[int, int, int | None]  # layer from 0, j, and k or None for the bias
    value: float
    derivative: float
    finite_difference: float
    sealed: bool


class Verdict(NamedTuple):
    """What came of deriving a receipt again."""

    complaint: str | None  # a sentence that names the first number that is off
    derived: int  # so many numbers
    largest: dict[str, float]  # scaled difference of the receipt from each gradient


# Reading


def read_receipt(path: Path) -> Receipt:
    """Raises `BadInput` where the file is missing, is no receipt, or lacks what a receipt has."""
    text = read_bytes(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # also where it is no UTF-8
        raise BadInput(f"{path} is no receipt, or a damaged one ({error}): save it again from the page") from error
    if not isinstance(content, dict) or content.get("form") != FORM:
        given = content.get("form") if isinstance(content, dict) else type(content).__name__
        raise BadInput(f"{path} has the form {given!r}: expected {FORM!r}; save it again from the page of this version")
    try:
        return _read(content, text)
    except (LookupError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise BadInput(f"{path} is a damaged receipt ({reason}): save it again from the page") from error


def _read(content: dict[str, Any], text: bytes) -> Receipt:
    given = content["network"]
    sizes, activation = given["sizes"], given["activation"]
    _expect(isinstance(sizes, list) and all(map(_is_whole, sizes)), "sizes are no whole numbers")
    _expect(len(sizes) >= 2 and min(sizes) > 0 and sizes[0] == PIXELS, f"sizes do not begin with {PIXELS}")
    _expect(sizes[-1] == CLASSES and max(sizes) <= PIXELS, f"sizes do not end with {CLASSES}")
    _expect(activation in ACTIVATIONS, f"the activation is {activation!r}")
    row = np.frombuffer(base64.b64decode(given["params"], validate=True), "<f8")
    count = sum(out * (into + 1) for into, out in itertools.pairwise(sizes))
    _expect(len(row) == count, f"there are {len(row):,} parameters instead of {count:,}")
    _expect(bool(np.isfinite(row).all()), "a parameter is not finite")
    pixels, label = content["pixels"], content["label"]
    _expect(isinstance(pixels, list) and len(pixels) == PIXELS, f"there are not {PIXELS} pixels")
    _expect(all(_is_whole(pixel) and 0 <= pixel <= 255 for pixel in pixels), "a pixel is not from 0 to 255")
    _expect(_is_whole(label) and 0 <= label < CLASSES, "the label is not from 0 to 9")
    weight = content["weight"]
    place = weight["layer"], weight["j"], weight["k"]
    _check_place(place, sizes)
    return Receipt(
        network=jp.mlp(sizes, activation),
        params=_unravel(row, sizes),
        hash=given["hash"],
        pixels=np.array(pixels, np.uint8),
        label=label,
        numbers=_read_numbers(content["numbers"], sizes),
        place=place,
        **{name: _number(weight[name]) for name in ("value", "derivative", "finite_difference")},
        sealed=_seal_holds(text, content["seal"]),
    )


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _number(given: Any) -> float:
    _expect(isinstance(given, int | float) and not isinstance(given, bool), f"{given!r} is no number")
    _expect(math.isfinite(given), f"{given!r} is not finite")
    return float(given)


def _check_place(place: tuple[Any, Any, Any], sizes: list[int]) -> None:
    layer, j, k = place
    _expect(_is_whole(layer) and 0 <= layer < len(sizes) - 1, "the weight is in no layer")
    _expect(_is_whole(j) and 0 <= j < sizes[layer + 1], "the weight leads to no neuron")
    _expect(k is None or (_is_whole(k) and 0 <= k < sizes[layer]), "the weight comes from no neuron")


def _read_numbers(given: dict[str, Any], sizes: list[int]) -> Numbers:
    """All arrays that a receipt has, each of its length."""
    lengths = {"cost": 1, "dx": sizes[0]}
    for layer, width in enumerate(sizes[1:], start=1):
        lengths |= dict.fromkeys((f"z{layer}", f"a{layer}", f"da{layer}", f"dz{layer}"), width)
    _expect(given.keys() == lengths.keys(), f"the numbers are {', '.join(given)}, expected {', '.join(lengths)}")
    for name, length in lengths.items():
        _expect(isinstance(given[name], list) and len(given[name]) == length, f"{name} are not {length} numbers")
    return {name: np.array([_number(number) for number in given[name]]) for name in lengths}


def _unravel(row: np.ndarray, sizes: list[int]) -> Params:
    layers, start = [], 0
    for into, out in itertools.pairwise(sizes):
        W = row[start : (start := start + out * into)].reshape(out, into)
        layers += [Dense(W, cast(Any, row[start : (start := start + out)])), ()]
    return tuple(layers)


def _seal_holds(text: bytes, seal: Any) -> bool:
    body, mark, rest = text.rpartition(b' "seal": ')
    return bool(mark) and rest == b'"%s"\n}\n' % hashlib.sha256(body).hexdigest().encode() and isinstance(seal, str)


# Deriving it again


def derive_again(receipt: Receipt) -> Verdict:
    """Compares every number with both gradients, in float64."""
    with jax.enable_x64(True):
        network, label = receipt.network, receipt.label
        params = jax.tree.map(jnp.asarray, receipt.params)
        x = jnp.asarray(receipt.pixels, jnp.float64) / 255
        y = jax.nn.one_hot(label, CLASSES, dtype=jnp.float64)
        hand, auto = by_both(network)(params, x, y)
        ways = {"by hand": (hand, Bounds().by_hand), "by jax.grad": (auto, Bounds().autodiff)}
        scale = scales(network, receipt.params, x, y)
        measured = finite_difference(
            receipt, lambda params: float(jp.loss(network, jp.squared_error)(params, (x[None], y[None])))
        )
    complaints = [_wrong_hash(receipt)]
    largest = {}
    for way, (found, bound) in ways.items():
        found = {name: np.asarray(array) for name, array in found.items()}
        differences = {name: _scaled(receipt.numbers[name], found[name], scale[name]) for name in receipt.numbers}
        complaints += [
            _name_the_worst(name, receipt.numbers[name], np.atleast_1d(found[name]), way)
            for name, apart in differences.items()
            if apart > bound
        ]
        largest[way] = max(differences.values())
        complaints.append(_wrong_derivative(receipt, found, scale, way, bound))
    complaints += [_wrong_value(receipt), _wrong_difference(receipt, measured, scale["cost"])]
    if not receipt.sealed:
        complaints.append("every number agrees, but the text was changed after it was saved: its seal does not match")
    count = sum(array.size for array in receipt.numbers.values()) + 3
    return Verdict(next(filter(None, complaints), None), count, largest)


def _scaled(given: np.ndarray, right: np.ndarray, scale: float) -> float:
    worst = float(np.max(np.abs(given - right)))
    return worst / scale if worst else 0.0


def _name_the_worst(name: str, given: np.ndarray, right: np.ndarray, way: str) -> str:
    worst = int(np.argmax(np.abs(given - right)))
    which = name if len(given) == 1 else f"{name}[{worst}]"
    return f"{which} is {float(given[worst])!r} in the receipt and {float(right[worst])!r} {way}"


def _wrong_hash(receipt: Receipt) -> str | None:
    row = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(receipt.params)])
    right = hashlib.sha256(row.astype("<f8").tobytes()).hexdigest()
    return None if receipt.hash == right else f"the hash of the parameters is {receipt.hash!r}, and they have {right}"


def name_of_place(receipt: Receipt) -> str:
    """The name of the chosen weight in the lesson: W1[3, 400], or b3[7]."""
    layer, j, k = receipt.place
    return f"b{layer + 1}[{j}]" if k is None else f"W{layer + 1}[{j}, {k}]"


def _of_place(receipt: Receipt, weights: Any, biases: Any) -> float:
    _, j, k = receipt.place
    return float(biases[j] if k is None else weights[j, k])


def _wrong_value(receipt: Receipt) -> str | None:
    right = _of_place(receipt, *receipt.params[2 * receipt.place[0]])
    given = receipt.value
    return (
        None
        if given == right
        else f"{name_of_place(receipt)} is {given!r} in the receipt and {right!r} in its parameters"
    )


def _wrong_derivative(receipt: Receipt, found: Numbers, scale: dict[str, float], way: str, bound: float) -> str | None:
    names = tuple(f"{kind}{receipt.place[0] + 1}" for kind in ("dW", "db"))
    right = _of_place(receipt, *(found[name] for name in names))
    given = receipt.derivative
    if abs(given - right) <= bound * scale[names[receipt.place[2] is None]]:
        return None
    return f"dC/d{name_of_place(receipt)} is {given!r} in the receipt and {right!r} {way}"


def finite_difference(receipt: Receipt, cost: Callable[[Params], float]) -> float:
    """As the page measures it: central differences over two steps, and Richardson's extrapolation."""
    layer, j, k = receipt.place

    def at(step: float) -> float:
        W, b = (np.array(array) for array in receipt.params[2 * layer])
        if k is None:
            b[j] += step
        else:
            W[j, k] += step
        return cost((*receipt.params[: 2 * layer], Dense(W, cast(Any, b)), *receipt.params[2 * layer + 1 :]))

    def central(h: float) -> float:
        return (at(h) - at(-h)) / (2 * h)

    return (4 * central(STEP / 2) - central(STEP)) / 3


def _wrong_difference(receipt: Receipt, right: float, cost_scale: float) -> str | None:
    given = receipt.finite_difference
    # Each of the four costs is rounded by some ulps, and their difference divided by the step.
    rounding = 64 * np.finfo(np.float64).eps * cost_scale / STEP
    if abs(given - right) <= rounding:
        return None
    name = name_of_place(receipt)
    return f"the finite difference along {name} is {given!r} in the receipt, and measured again {right!r}"
