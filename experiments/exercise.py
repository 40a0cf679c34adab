"""Write the backward pass yourself: a file with five holes, graded hole by hole.

    uv run experiments/exercise.py my_backward_pass.py

copies the file with the holes to this name. Fill in a hole, and run the same command again: it says which holes are
right. A hole is graded by `jaxprop.check`, with the others taken from jaxprop, so that the holes can be filled in any
order. What is wrong gets the name of the mistake where it is a known one, and one hint.

The exit code is 0 when all holes are right, and 1 while one is not.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

import jaxprop as jp
from jaxprop.errors import BadInput
from jaxprop.files import read_bytes, write_atomically
from jaxprop.verify.checking import Check
from jaxprop.verify.comparison import ValueAndGrad
from jaxprop.verify.naming import name_relations
from lab.common import run
from lab.user_code import load_function
from proof.naming import naming_for, sentence

HOLES_FILE = Path(__file__).parent / "exercises" / "backward_pass.py"
LARGEST_BATCH = 7  # a learner's functions see one example at a time


@dataclass(frozen=True)
class ExerciseOptions:
    """Write the backward pass yourself: copies a file with five holes, and grades it when it is there."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.py")]
    """Your file. Where there is none it is made; one that is there is graded, and never written to."""


class Hole(NamedTuple):
    """One function that the learner writes, and what helps where it is wrong."""

    name: str
    hint: str


HOLES = (
    Hole(
        "cost_gradient",
        "C adds up (a_j - y_j)^2, so da_j is the derivative of one square by a_j. Mind its factor and its sign.",
    ),
    Hole(
        "sigmoid_backward",
        "The slope of the sigmoid at z, written with its output, is a (1 - a). dz is that slope times da.",
    ),
    Hole(
        "dense_backward",
        "z_j = sum_k W_jk a_prev_k + b_j. So dW_jk = dz_j a_prev_k, db_j = dz_j, and a_prev_k gets something from every"
        " z_j that it leads to.",
    ),
    Hole(
        "walk",
        "Go through the layers backwards. What a dense layer says of a_prev is da for the layer before. Give the"
        " list in the order of the layers.",
    ),
    Hole("mean_over_examples", "The network's cost is the mean over the B examples: axis 0, and no other."),
)


class Stumbled(Exception):  # noqa: N818 - what happened, not an error of ours
    """A learner's function did not return what it should; the message says so, for a learner."""


class Unfilled(Exception):  # noqa: N818 - what was found, not an error of ours
    """A hole is still a hole."""


Function = Callable[..., Any]
Functions = dict[str, Function]  # by the names of the holes


# The parts that are right, for the holes that are not looked at


def right_walk(functions: Functions, layers: Sequence[tuple], da: np.ndarray) -> list[tuple]:
    gradients = []
    for W, a_prev, z, a in reversed(layers):
        dW, db, da = functions["dense_backward"](W, a_prev, functions["sigmoid_backward"](z, a, da))
        gradients.append((dW, db))
    return gradients[::-1]


def right_functions() -> Functions:
    functions: Functions = {
        "cost_gradient": lambda a, y: 2 * (a - y),
        "sigmoid_backward": lambda z, a, da: a * (1 - a) * da,
        "dense_backward": lambda W, a_prev, dz: (np.outer(dz, a_prev), dz, W.T @ dz),
        "mean_over_examples": lambda gradients: np.mean(gradients, axis=0),
    }
    functions["walk"] = lambda layers, da: right_walk(functions, layers, da)
    return functions


# The whole gradient, made of five functions


def gradient_with(functions: Functions) -> ValueAndGrad:
    """`(params, batch) -> (value, grads)` of a perceptron of sigmoids, in NumPy, one example after the other."""

    def value_and_grad(params: Any, batch: Any) -> tuple[Any, Any]:
        dense = [(np.asarray(layer.W), np.asarray(layer.b)) for layer in params[::2]]
        costs, gradients = [], []
        for x, y in zip(*map(np.asarray, batch), strict=True):
            layers, a = [], x
            for W, b in dense:
                z = W @ a + b
                a_prev, a = a, np.asarray(jax.nn.sigmoid(z))
                layers.append((W, a_prev, z, a))
            costs.append(np.sum((a - y) ** 2))
            gradients.append(functions["walk"](layers, functions["cost_gradient"](a, y)))
        grads = []
        for i, (W, b) in enumerate(dense):
            of_weights, of_biases = (np.stack([each[i][k] for each in gradients]) for k in (0, 1))
            mean = functions["mean_over_examples"]
            grads += [jp.Dense(mean(of_weights).astype(W.dtype), mean(of_biases).astype(b.dtype)), ()]
        return np.mean(costs), tuple(grads)

    return value_and_grad


# What a learner's function may do wrong before its numbers are looked at


def guarded(function: Function, name: str) -> Function:
    """The learner's function, given copies that it cannot change; what it returns has the right shapes, or it stumbles.

    Raises `Unfilled` for a hole, and `Stumbled` with words for a learner.
    """

    def call(*arguments: Any) -> Any:
        given = jax.tree.map(locked, arguments)
        try:
            result = function(*given)
        except BadInput as error:  # as `load_function` hands on whatever a user's function raises
            cause = error.__cause__
            if isinstance(cause, NotImplementedError):
                raise Unfilled from error
            raise Stumbled(explained(name, cause or error)) from error
        return checked_shapes(name, arguments, result)

    return call


def locked(x: Any) -> np.ndarray:
    copy = np.array(x)
    copy.flags.writeable = False
    return copy


def explained(name: str, error: BaseException) -> str:
    """Which error, and in which line of the learner's file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [frame for frame in frames if "site-packages" not in frame.filename and "user_code" not in frame.filename]
    where = f" in line {own[-1].lineno}: {own[-1].line}" if own else ""
    said = next(iter(str(error).splitlines()), "")
    if "read-only" in said:
        said = "it changes an array that it was given; make a new one instead"
    return f"{name} raised {type(error).__name__}{where} ({said})"


def checked_shapes(name: str, arguments: tuple, result: Any) -> Any:
    """The result as arrays. Raises `Stumbled` where something else was returned than was asked for."""
    if result is None:
        raise Stumbled(f"{name} returned None: is its `return` missing?")
    if name == "dense_backward":
        W, a_prev, dz = arguments
        return as_arrays(name, result, {"dW": W.shape, "db": dz.shape, "da_prev": a_prev.shape})
    if name == "walk":
        layers, _ = arguments
        if not isinstance(result, list | tuple) or len(result) != len(layers):
            raise Stumbled(f"{name} returned {described(result)}: expected a list of {len(layers)}, one for each layer")
        return [
            as_arrays(f"{name}, layer {i},", pair, {"dW": W.shape, "db": a.shape})
            for i, (pair, (W, _, _, a)) in enumerate(zip(result, layers, strict=True))
        ]
    expected = arguments[0].shape[1:] if name == "mean_over_examples" else arguments[0].shape
    (array,) = as_arrays(name, (result,), {"its result": expected})
    return array


def as_arrays(name: str, results: Any, expected: dict[str, tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    if not isinstance(results, list | tuple) or len(results) != len(expected):
        raise Stumbled(f"{name} returned {described(results)}: expected {len(expected)} things, {', '.join(expected)}")
    arrays = []
    for (what, shape), x in zip(expected.items(), results, strict=True):
        if x is None:
            raise Stumbled(f"{name} returned None for {what}: expected an array of shape {shape}")
        array = np.asarray(x)
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise Stumbled(f"{name} returned {described(x)} for {what}: expected an array of numbers")
        if array.shape != shape:
            raise Stumbled(f"{name} returned {what} of shape {array.shape}: expected {shape}")
        if np.isnan(array).any():
            raise Stumbled(
                f"{name} returned {what} with NaN in it: is something divided by 0, or infinity by infinity?"
            )
        arrays.append(array)
    return tuple(arrays)


def described(x: Any) -> str:
    return f"a {type(x).__name__}" + (f" of {len(x)}" if isinstance(x, list | tuple) else "")


# Grading


class Grade(NamedTuple):
    """right: True or False, and None for a hole that is not filled in. said: what is wrong, and what helps."""

    hole: Hole
    right: bool | None
    said: tuple[str, ...] = ()


class Grader(NamedTuple):
    """What all holes are graded with: made once, since something is compiled for it."""

    network: jp.Network
    probes: tuple[jp.Probe, ...]
    by_jax: ValueAndGrad
    name: Callable[[ValueAndGrad], Any]


def make_grader() -> Grader:
    network = jp.mlp((6, 5, 5, 5, 3))
    probes = tuple(p for p in jp.probes_for(network, quick=True) if len(p.batch[0]) <= LARGEST_BATCH)
    by_jax = jax.jit(jp.autodiff(network, jp.squared_error))
    return Grader(network, probes, by_jax, naming_for(network, jp.squared_error, probes))


def grade_all(functions: Functions, grader: Grader) -> list[Grade]:
    """Each hole by itself, with the others taken from jaxprop."""
    return [grade(hole, functions[hole.name], grader) for hole in HOLES]


def grade(hole: Hole, function: Function, grader: Grader) -> Grade:
    functions = right_functions()
    functions[hole.name] = guarded(function, hole.name)
    candidate = gradient_with(functions)
    try:
        with right_parts_around(function):
            found = jp.check(grader.by_jax, candidate, grader.probes)
            if found.agree:
                return Grade(hole, True)
            return Grade(hole, False, (*what_is_wrong(found, candidate, grader), f"Hint: {hole.hint}"))
    except BadInput as error:  # as `check` hands on whatever a candidate raises
        if isinstance(error.__cause__, Unfilled):
            return Grade(hole, None)
        if isinstance(error.__cause__, Stumbled):
            return Grade(hole, False, (str(error.__cause__), f"Hint: {hole.hint}"))
        raise


@contextmanager
def right_parts_around(function: Function) -> Iterator[None]:
    """While it lasts, the learner's function finds the right ones where it calls the other holes of its file."""
    names = inspect.unwrap(function).__globals__
    mine = {name: names[name] for name in right_functions() if name in names}
    names.update(right_functions())
    try:
        yield
    finally:
        names.update(mine)


def what_is_wrong(found: Check, candidate: ValueAndGrad, grader: Grader) -> list[str]:
    """The name of the mistake; where it has none, how the leaves are wrong; where nothing is known, which are."""
    if named := sentence(grader.name(candidate)):
        return [named]
    relations = name_relations(grader.by_jax, candidate, grader.probes)
    said = [f"{path}: {'; or '.join(told)}" for path, told in relations.items()]
    return said or [f"The derivatives by {', '.join(found.failing_leaves)} differ from those of jax.grad."]


def show(grades: Sequence[Grade]) -> None:
    marks = {True: "right", False: "not right yet", None: "not filled in"}
    for number, grade in enumerate(grades, start=1):
        print(f"{number}. {grade.hole.name}: {marks[grade.right]}")
        for line in grade.said:
            print(f"   {line}")


# The command


def load_holes(file: Path) -> Functions:
    """The learner's five functions. Raises `BadInput` where the file cannot be run, or one is missing."""
    return {hole.name: load_function("the file", f"{file}:{hole.name}") for hole in HOLES}


def main(options: ExerciseOptions) -> int:
    file = options.file
    if file.suffix != ".py":
        raise BadInput(f"the file is {str(file)!r}: expected a name that ends in .py, such as my_backward_pass.py")
    if not file.exists():
        content = read_bytes(HOLES_FILE)
        write_atomically(file, lambda opened: opened.write(content))
        print(f"{file} is yours now: fill in a hole, then run the same command again")
        return 0
    functions = load_holes(file)
    print(f"grading {file}, which takes some seconds", flush=True)
    grades = grade_all(functions, make_grader())
    show(grades)
    right = sum(grade.right is True for grade in grades)
    if right == len(HOLES):
        print("All five holes are right: this is backpropagation. Next: uv run experiments/compare_gradients.py")
    else:
        print(f"{right} of {len(HOLES)} holes are right")
    return 0 if right == len(HOLES) else 1


if __name__ == "__main__":
    sys.exit(run(main, ExerciseOptions))
