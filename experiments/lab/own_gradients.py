"""Anybody's gradients: functions from a user's own files, compared with autodiff, or judged by finite differences."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxprop.run import folders as runs
from jaxprop.verify.checking import Check, check
from jaxprop.verify.comparison import compare
from jaxprop.run.devices import Device
from jaxprop.verify.oracles import finite_differences
from jaxprop.errors import BadInput
from jaxprop.verify.suite import Probe
from jaxprop.verify.oracles import in_float64
from lab.common import print_wide

# Extrapolated differences of a smooth loss in float64 keep nine digits or more; a mistake leaves none or two.
DIFFERENCES = 1e-6


def load_function(option: str, place: str) -> Callable:
    """The function that `FILE.py:name` names. Raises `BadInput` where there is none."""
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise BadInput(f"{option} is {place!r}: expected FILE.py:function with a file that exists")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{option} is {place!r}: expected a file of Python, named FILE.py")
    module = importlib.util.module_from_spec(spec)
    of_user(option, place, spec.loader.exec_module)(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"{option} is {place!r}: {file} has no function {name!r}")
    return of_user(option, place, function)


def of_user(option: str, place: str, function: Callable) -> Callable:
    """The same function; whatever it raises becomes a `BadInput` that says whose function it is."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # anything at all may come out of somebody else's code
            said = next(iter(str(error).splitlines()), "nothing")
            raise BadInput(f"{option} {place} raised {type(error).__name__}, which says: {said}") from error

    return call


def own_point(place: str) -> tuple[Any, Any]:
    """Where to compare: what the user's `h()` gives."""
    point = load_function("--inputs", place)()
    if not isinstance(point, tuple) or len(point) != 2:
        raise BadInput(f"--inputs {place} returned a {type(point).__name__}: expected a pair (params, batch)")
    return point


def against_autodiff(loss: Callable, gradient: Callable, params: Any, batch: Any) -> Check:
    """The user's gradient against autodiff of the user's loss, in float64 and in float32."""

    def by_user(params: Any, batch: Any) -> tuple[Any, Any]:
        return loss(params, batch), gradient(params, batch)

    return check(jax.value_and_grad(loss), by_user, [Probe("your inputs", params, batch)])


def against_differences(loss: Callable, params: Any, batch: Any) -> Check:
    """Autodiff of the user's loss, with whatever rule of the user's is inside it, against finite differences."""
    truth = in_float64(finite_differences(loss))
    with jax.enable_x64(True):
        point = jax.tree.map(lambda x: jax.numpy.asarray(x, float), params), batch
        comparison = compare(truth, jax.value_and_grad(loss), *point, tolerance=DIFFERENCES)
    return Check((("your inputs", comparison),))


def compare_own(device: Device, options: Any) -> int:
    """Compares what --loss, --gradient and --inputs name, prints it, leaves a run folder; 1 if they do not agree."""
    if options.loss is None or options.inputs is None:
        raise BadInput(
            "comparing your own needs --loss FILE.py:f and --inputs FILE.py:h, and mostly --gradient FILE.py:g"
        )
    loss = load_function("--loss", options.loss)
    params, batch = own_point(options.inputs)
    if options.gradient is not None:
        gradient = load_function("--gradient", options.gradient)
        judges, found = ["autodiff"], against_autodiff(loss, gradient, params, batch)
    else:
        judges, found = ["finite differences"], against_differences(loss, params, batch)
        print("autodiff of your loss is what is judged here, so autodiff and forward mode could not judge it")
    folder = runs.new_run_folder(options.out, "compare_gradients", options.seed)
    record = {"loss": options.loss, "gradient": options.gradient or "autodiff", "inputs": options.inputs}
    runs.write_json(folder / "results.json", {**record, "judges": judges, **found.to_dict(), **runs.provenance(device)})
    print_wide("Your gradient, in float64 and in float32", found)
    print_wide("Leaf by leaf, in float64", found.results[0][1])
    print(f"run folder: {folder}")
    return 0 if found.agree else 1
