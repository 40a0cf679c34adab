"""Shows a trained network one digit, somebody's own drawing or one of a test set, and prints what it answers.

Where the answer is not certain, it says "not sure". For a network of one's own, `--network FILE.py:function` names the
function that makes it, as for `train.py`.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortly
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Float
from PIL import Image
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from jaxprop.data.datasets import DatasetName, load_dataset
from jaxprop.data.drawings import Picture, read_drawing
from jaxprop.errors import BadInput
from jaxprop.files import make_folder, write_atomically
from jaxprop.layers import Params
from jaxprop.networks import Network
from jaxprop.run import folders
from jaxprop.run.devices import DeviceName
from jaxprop.run.parameters import describe_params, load_mlp, load_params
from lab.common import first_line, run
from lab.presets import PRESETS
from lab.user_code import load_function

# An answer is certain where its output is at least BRIGHT, and at least APART above the next one. Chosen on the last
# 10,000 training digits of MNIST, for a network that did not train on them (`train.py --dataset mnist --validation
# 10000`), in steps of 0.05: of all pairs that leave at most 2 % of the certain answers wrong, the one that leaves the
# fewest answers not certain, 6.7 %. On the test digits: jaxprop/data/README.md.
BRIGHT, APART = 0.75, 0.4


@dataclass(frozen=True)
class PredictOptions:
    """Ask a trained network which digit it sees."""

    params: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The folder of a training run, or its params.npz."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A drawing or photograph of one digit: PNG or JPEG, dark on light or light on dark. Needs a network of MNIST."""
    test_index: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Instead of a drawing: which digit of the test set, counted from 0."""
    network: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:f", help_behavior_hint="")] = None
    """Where the parameters are those of a network of your own: `f() -> jaxprop.Network`, which makes it."""
    dataset: Annotated[
        DatasetName | None, tyro.conf.arg(help_behavior_hint="(default: the one that the network was trained on)")
    ] = None
    """Whose test set; and what the network was trained on, where its file does not say."""
    archives: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with the four original .gz files of the dataset, instead of a download. Also: JAXPROP_ARCHIVES."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that gets predict/<name of the drawing>-seen.png: the 28 x 28 pixels that the network was shown."""
    device: DeviceName = "auto"
    """Where to compute. A device that is absent is an error and never replaced; auto is JAX's own choice."""


def load_network(options: PredictOptions, path: Path, about: dict[str, Any]) -> tuple[Network, Params]:
    """The network and its parameters: the multi-layer perceptron that the file describes, or the user's own."""
    if options.network is None:
        if about.get("preset") in PRESETS:
            network = PRESETS[about["preset"]].make()
            return network, load_params(path, network)
        if "sizes" not in about:
            raise BadInput(
                f"{path} is of {about['network']}, which only its own code can make: name the function that does with "
                "--network FILE.py:function"
            )
        return load_mlp(path)
    network = load_function("--network", options.network)()
    if not isinstance(network, Network):
        given = f"--network {options.network} returned a {type(network).__name__}"
        raise BadInput(f"{given}: expected a jaxprop.Network, such as jaxprop.Network([jaxprop.dense(10)], (784,))")
    return network, load_params(path, network)


def load_picture(options: PredictOptions, trained_on: str | None) -> tuple[Picture, int | None]:
    """What the network is shown, and the right answer where it is known."""
    image = options.image
    k = options.test_index
    if image is not None and k is None:
        return read_drawing(image), None
    if image is not None or k is None:
        raise BadInput("expected either --image FILE or --test-index K, and not both: which digit shall be read?")
    name = options.dataset or trained_on
    if name is None:
        raise BadInput("the file does not say what the network was trained on: name the test set with --dataset")
    name = cast(DatasetName, name)  # or `load_dataset` says that there is no such data set
    test = load_dataset(name, options.archives).test
    if not 0 <= k < len(test.labels):
        raise BadInput(f"--test-index is {k}: expected 0 to {len(test.labels) - 1} for {name}")
    return np.asarray(test.images[k]), int(test.labels[k])


def save_seen(folder: Path, image: Path, picture: Picture) -> Path:
    """Leaves what the network is shown as a picture of 28 x 28 pixels, whole or not at all."""
    make_folder(folder)
    path = folder / f"{image.stem}-seen.png"
    write_atomically(path, lambda file: Image.fromarray(picture).save(file, "PNG"))
    return path


def check_fits(path: Path, network: Network, picture: Picture) -> None:
    """Raises `BadInput` unless the network takes as many numbers as the picture has pixels, and has ten outputs."""
    if math.prod(network.in_shape) != picture.size:
        given = f"{path} is of a network with inputs {network.in_shape}"
        raise BadInput(
            f"{given}: expected inputs for the {picture.size} pixels of a picture, such as ({picture.size},)"
        )
    if network.out_shape != (10,):
        raise BadInput(f"{path} is of a network with outputs {network.out_shape}: expected (10,), one a digit")


def print_bars(outputs: Float[np.ndarray, " 10"]) -> None:
    """The ten outputs as bars from 0; the largest is bold. The scale is 0 to 1, or wider if an output lies outside."""
    lowest = min(0.0, float(outputs.min()))
    highest = max(1.0, float(outputs.max()))
    table = Table.grid(padding=(0, 1))
    for digit, output in enumerate(map(float, outputs)):
        bar = Bar(highest - lowest, min(output, 0.0) - lowest, max(output, 0.0) - lowest, width=50)
        table.add_row(str(digit), bar, f"{output:.4f}", style="bold" if digit == outputs.argmax() else "")
    Console(highlight=False).print(table)


def is_certain(outputs: Float[np.ndarray, " 10"]) -> bool:
    """Whether the brightest output is bright, and the next one far from it. For outputs from 0 to 1."""
    *_, second, first = np.sort(outputs)
    return bool(first >= BRIGHT and first - second >= APART)


def verdict(outputs: Float[np.ndarray, " 10"], known: bool) -> str:
    """The answer in words: a digit, or "not sure" with the two brightest.

    known: whether the network was trained on such pictures. If not, nothing that it answers is certain.
    """
    *_, second, first = np.argsort(outputs, kind="stable")
    if outputs.min() < 0 or outputs.max() > 1:
        return f"answer: {first} (how certain, these outputs do not say: they are not from 0 to 1)"
    if known and is_certain(outputs):
        return f"answer: {first}"
    return (
        f"answer: not sure; {first} is brightest, at {outputs[first]:.2f}, and {second} next, at {outputs[second]:.2f}"
    )


def why_not_certain(trained_on: str | None) -> str:
    """Of drawings, for a network that was trained on something else than MNIST."""
    if trained_on is None:
        return (
            "drawings need a network trained on MNIST, and the file does not say what this one was trained on: if it "
            "was MNIST, say so with --dataset mnist"
        )
    return (
        f"drawings need a network trained on MNIST, and this one was trained on {trained_on}, which has other "
        "pictures: train one with experiments/train.py --dataset mnist"
    )


def main(options: PredictOptions) -> int:
    path = folders.parameters_of(options.params)
    about = describe_params(path)
    for name in ("preset", "dataset"):
        if not isinstance(about.get(name, ""), str):
            raise BadInput(f"{path} has {shortly(about[name])} as {name!r}: expected a text, as train.py writes there")
    dtype = about["dtype"]
    # A run under JAX_ENABLE_X64=1 left float64, and reading that must not need the variable again.
    with jax.enable_x64(dtype == "float64"):
        return predict(options, path, about, dtype)


def predict(options: PredictOptions, path: Path, about: dict[str, Any], dtype: str) -> int:
    """All that `main` does once the type of the numbers is known."""
    first_line(options.device, dtype)
    network, params = load_network(options, path, about)
    trained_on = about.get("dataset", options.dataset)
    print(f"trained on: {trained_on or 'unknown'}")
    picture, label = load_picture(options, trained_on)
    check_fits(path, network, picture)
    known = options.image is None or trained_on == "mnist"
    if options.image is not None:
        print(f"what the network sees: {save_seen(options.out / 'predict', options.image, picture)}")
        if not known:
            print(f"note: {why_not_certain(trained_on)}", file=sys.stderr)
    inputs = jnp.asarray(picture, dtype).reshape(network.in_shape) / 255
    outputs = np.asarray(network.apply(params, inputs))
    if about.get("preset") in PRESETS:
        outputs = np.asarray(jax.nn.softmax(outputs))  # what the cross-entropy that it was trained on makes of them
    if not np.isfinite(outputs).all():
        print(f"error: the network of {path} answers with numbers that are not finite", file=sys.stderr)
        return 3
    print_bars(outputs)
    print(verdict(outputs, known))
    if label is not None:
        print(f"right answer: {label}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, PredictOptions))
