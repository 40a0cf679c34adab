"""Shows a trained network one digit, somebody's own drawing or one of a test set, and prints what it answers.

For a network of one's own, `--network FILE.py:function` names the function that makes it, as for `train.py`.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import math
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

from jaxprop.data.datasets import DatasetName, load_dataset
from jaxprop.data.drawings import Picture, read_drawing
from jaxprop.errors import BadInput
from jaxprop.files import load_arrays
from jaxprop.layers import Params
from jaxprop.networks import Network
from jaxprop.run.devices import DeviceName
from jaxprop.run.parameters import load_mlp, load_params
from lab.common import first_line, run
from lab.user_code import load_function


@dataclass(frozen=True)
class PredictOptions:
    """Ask a trained network which digit it sees."""

    params: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PARAMS")]]
    """The params.npz of a training run."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A drawing of one digit: PNG or JPEG, of any size, dark on light or light on dark."""
    test_index: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Instead of a drawing: which digit of the test set, counted from 0."""
    network: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:f", help_behavior_hint="")] = None
    """Where the parameters are those of a network of your own: `f() -> jaxprop.Network`, which makes it."""
    dataset: DatasetName = "digits"
    """Whose test set."""
    archives: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with the four original .gz files of the dataset, instead of a download. Also: JAXPROP_ARCHIVES."""
    device: DeviceName = "auto"
    """Where to compute. A device that is absent is an error and never replaced; auto is JAX's own choice."""


def load_network(options: PredictOptions) -> tuple[Network, Params]:
    """The network and its parameters: the multi-layer perceptron that the file describes, or the user's own."""
    if options.network is None:
        _, about = load_arrays(options.params)
        if "network" in about and "sizes" not in about:
            raise BadInput(
                f"{options.params} is of {about['network']}, which only its own code can make: name the function that "
                "does with --network FILE.py:function"
            )
        return load_mlp(options.params)
    network = load_function("--network", options.network)()
    if not isinstance(network, Network):
        given = f"--network {options.network} returned a {type(network).__name__}"
        raise BadInput(f"{given}: expected a jaxprop.Network, such as jaxprop.Network([jaxprop.dense(10)], (784,))")
    return network, load_params(options.params, network)


def load_picture(options: PredictOptions) -> tuple[Picture, int | None]:
    """What the network is shown, and the right answer where it is known."""
    image = options.image
    k = options.test_index
    if image is not None and k is None:
        return read_drawing(image), None
    if image is not None or k is None:
        raise BadInput("expected either --image FILE or --test-index K, and not both: which digit shall be read?")
    test = load_dataset(options.dataset, options.archives).test
    if not 0 <= k < len(test.labels):
        raise BadInput(f"--test-index is {k}: expected 0 to {len(test.labels) - 1} for {options.dataset}")
    return np.asarray(test.images[k]), int(test.labels[k])


def check_fits(options: PredictOptions, network: Network, picture: Picture) -> None:
    """Raises `BadInput` unless the network takes as many numbers as the picture has pixels, and has ten outputs."""
    if math.prod(network.in_shape) != picture.size:
        given = f"{options.params} is of a network with inputs {network.in_shape}"
        raise BadInput(
            f"{given}: expected inputs for the {picture.size} pixels of a picture, such as ({picture.size},)"
        )
    if network.out_shape != (10,):
        raise BadInput(
            f"{options.params} is of a network with outputs {network.out_shape}: expected (10,), one a digit"
        )


def print_bars(outputs: Float[np.ndarray, " 10"]) -> None:
    """The ten outputs as bars from 0; the largest is bold. The scale is 0 to 1, or wider if an output lies outside."""
    lowest = min(0.0, float(outputs.min()))
    highest = max(1.0, float(outputs.max()))
    table = Table.grid(padding=(0, 1))
    for digit, output in enumerate(map(float, outputs)):
        bar = Bar(highest - lowest, min(output, 0.0) - lowest, max(output, 0.0) - lowest, width=50)
        table.add_row(str(digit), bar, f"{output:.4f}", style="bold" if digit == outputs.argmax() else "")
    Console(highlight=False).print(table)


def main(options: PredictOptions) -> int:
    first_line(options.device)
    network, params = load_network(options)
    picture, label = load_picture(options)
    check_fits(options, network, picture)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    inputs = jnp.asarray(picture, dtype).reshape(network.in_shape) / 255
    outputs = np.asarray(network.apply(params, inputs))
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
