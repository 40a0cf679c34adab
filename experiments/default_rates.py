"""Where the default learning rates of `train.py` come from: what other rates would do, on digits that were held out.

Networks with five choices of hidden layers and four activations are trained with three optimizers, on mini-batches of
three sizes, each at its default rate and at a quarter, half, twice and four times of it. All five train in one compiled
call, on the training digits without the last 300, which they are scored on; no test digit is looked at.

Look at `rates.csv`, or at the rows that are printed: the default should stand well inside the rates that learn. A rate
that is four times too small only takes longer, and one that is twice too large may learn nothing. 156 rows take about
twenty minutes on two cores.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

import jaxprop as jp
from jaxprop.networks import Activation
from jaxprop.run import folders
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from lab.claims import as_table
from lab.common import Options, first_line, print_wide, progress, run, settings
from lab.learning_rates import default_rate
from lab.train_options import TrainOptions, make_optimizer, usual_epochs
from lab.train_task import load_examples

HIDDEN = ((), (16,), (16, 16), (100,), (256, 128))
BATCH_SIZES = (20, 100, 500)
OPTIMIZERS = ("sgd", "momentum", "adam")
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the default rate
HELD_OUT = 300


class Choice(NamedTuple):
    """What a default rate follows from."""

    hidden: tuple[int, ...]
    activation: Activation
    optimizer: str
    batch_size: int

    @property
    def rate(self) -> float:
        return default_rate(self.optimizer, self.activation, self.hidden, self.batch_size)


def choices() -> Iterator[Choice]:
    """All of them. Without hidden layers there is nothing that the activation is of, so one stands for all."""
    for choice in product(HIDDEN, get_args(Activation), OPTIMIZERS, BATCH_SIZES):
        if choice[0] or choice[1] == "sigmoid":
            yield Choice(*choice)


def accuracies(choice: Choice, options: TrainOptions, epochs: int) -> Float[np.ndarray, " rates"]:
    """The fraction of the held-out digits that is classified correctly after training at each of the rates."""
    network = jp.mlp((784, *choice.hidden, 10), choice.activation)
    train, held_out = load_examples(options, network)
    optimizer = optax.inject_hyperparams(lambda learning_rate: make_optimizer(options, learning_rate, 0))(1.0)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    starts = jnp.broadcast_to(init_key, len(FACTORS))
    states = init_ensemble(network, optimizer, starts, choice.rate * jnp.array(FACTORS))
    epoch = jax.jit(make_ensemble_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer), jp.as_batch))
    params = states.params
    try:
        for state, _ in jp.fit(
            epoch, states, jax.device_put(train), key=order_key, batch_size=choice.batch_size, epochs=epochs
        ):
            params = state.params
    except jp.NonFinite as failure:  # at the largest rate; the others keep what they have learned
        params = failure.after.params
    evaluate = jax.jit(jax.vmap(jp.make_evaluate(network, jp.squared_error, jp.as_batch), (0, None)))
    return np.asarray(evaluate(params, held_out).accuracy, float)


def row(choice: Choice, found: Float[np.ndarray, " rates"]) -> dict[str, Any]:
    return {
        "hidden": " ".join(map(str, choice.hidden)) or "none",
        "activation": choice.activation,
        "optimizer": choice.optimizer,
        "batch size": choice.batch_size,
        "default rate": choice.rate,
        **{f"at {factor:g} times": accuracy for factor, accuracy in zip(FACTORS, found.tolist(), strict=True)},
    }


def main(options: Options) -> int:
    device = first_line(options.device)
    asked = list(choices())[::40] if options.smoke else list(choices())
    rows = []
    with progress(len(asked)) as report:
        for choice in asked:
            parts = {"hidden": choice.hidden, "activation": choice.activation, "optimizer": choice.optimizer}
            shared = {"dataset": options.dataset, "archives": options.archives, "seed": options.seed}
            training = TrainOptions(**shared, **parts, batch_size=choice.batch_size, validation=HELD_OUT)
            found = accuracies(choice, training, 2 if options.smoke else usual_epochs(training))
            rows.append(row(choice, found))
            report(f"{' '.join(map(str, choice))}: {' '.join(f'{accuracy:.1%}' for accuracy in found)}")
    results = {**settings(options), "rates": rows, **folders.provenance(device)}
    with folders.whole_run_folder(options.out, "default_rates", options.seed) as folder:
        folders.write_csv(folder / "rates.csv", rows)
        folders.write_json(folder / "results.json", results)
    print_wide(f"Fraction of {HELD_OUT} held-out digits classified correctly, by the learning rate", as_table(rows))
    print(f"run folder: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, Options))
