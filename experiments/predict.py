"""Shows a trained network one digit, somebody's own drawing or one of a test set, and prints what it answers."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Float
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from jaxprop.checkpoints import load_params
from jaxprop.datasets import DatasetName, load_dataset
from jaxprop.devices import DeviceName
from jaxprop.errors import BadInput
from jaxprop.pictures import Picture, read_drawing
from lab.common import first_line, run


@dataclass(frozen=True)
class PredictOptions:
    """Ask a trained network which digit it sees."""

    params: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PARAMS")]]
    """The params.npz of a training run."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A drawing of one digit: PNG or JPEG, of any size, dark on light or light on dark."""
    test_index: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Instead of a drawing: which digit of the test set, counted from 0."""
    dataset: DatasetName = "digits"
    """Whose test set."""
    archives: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with the four original .gz files of the dataset, instead of a download. Also: JAXPROP_ARCHIVES."""
    device: DeviceName = "auto"
    """Where to compute. A device that is absent is an error and never replaced; auto is JAX's own choice."""


def load_picture(options: PredictOptions) -> tuple[Picture, int | None]:
    """What the network is shown, and the right answer where it is known."""
    image, k = options.image, options.test_index
    if image is not None and k is None:
        return read_drawing(image), None
    if image is not None or k is None:
        raise BadInput("expected either --image FILE or --test-index K, and not both: which digit shall be read?")
    test = load_dataset(options.dataset, options.archives).test
    if not 0 <= k < len(test.labels):
        raise BadInput(f"--test-index is {k}: expected 0 to {len(test.labels) - 1} for {options.dataset}")
    return np.asarray(test.images[k]), int(test.labels[k])


def print_bars(outputs: Float[np.ndarray, " 10"]) -> None:
    """The activation of each output neuron, between 0 and 1, as a bar; the brightest is bold."""
    table = Table.grid(padding=(0, 1))
    for digit, activation in enumerate(outputs):
        style = "bold" if digit == outputs.argmax() else ""
        table.add_row(str(digit), Bar(1, 0, float(activation), width=50), f"{activation:.4f}", style=style)
    Console(highlight=False).print(table)


def main(options: PredictOptions) -> int:
    first_line(options.device)
    network, params = load_params(options.params)
    picture, label = load_picture(options)
    if network.in_shape != (picture.size,):
        raise BadInput(f"{options.params} is of a network with inputs {network.in_shape}: expected ({picture.size},)")
    dtype = jnp.result_type(*jax.tree.leaves(params))
    outputs = np.asarray(network.apply(params, jnp.asarray(picture.reshape(-1), dtype) / 255))
    if outputs.shape != (10,):
        raise BadInput(f"{options.params} is of a network with outputs {outputs.shape}: expected (10,), one a digit")
    if not np.isfinite(outputs).all():
        print(f"error: the network of {options.params} answers with numbers that are not finite", file=sys.stderr)
        return 3
    print_bars(outputs)
    print(f"answer: {outputs.argmax()}")
    if label is not None:
        print(f"right answer: {label}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, PredictOptions))
