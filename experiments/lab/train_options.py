"""The options of `train.py`, and what follows from them alone."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from reprlib import repr as shortly  # whatever somebody wrote there, in a sentence that can be read
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import optax
import tyro

from jaxprop.errors import BadInput
from jaxprop.networks import Activation
from jaxprop.run.checkpoints import Found, newest_checkpoint
from jaxprop.run.training_run import check_rows
from lab.common import Options, settings
from lab.learning_rates import default_rate, rate_of_logits
from lab.presets import MLP, PRESETS, is_own
from lab.user_code import absolute, file_name

# Options that decide none of the numbers: a run that goes on may have others than it had.
HARMLESS = {
    "archives",
    "checkpoint_every",
    "cost",  # where its file is; which one it is, `cost_name` says
    "device",
    "devices",
    "epochs",  # a run may go on beyond its end, but for what `check_length` refuses
    "figures",
    "keep_compiled",
    "network",  # what it is, the checkpoint says in `layers`
    "peer_timeout",
    "resume",
    "smoke",
}


@dataclass(frozen=True)
class TrainOptions(Options):
    """Train a network on handwritten digits, with backpropagation written by hand."""

    hidden: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (16, 16)
    """Neurons in each hidden layer."""
    activation: Activation = "sigmoid"
    """Of the hidden layers; the outputs are sigmoids."""
    network: Annotated[str, tyro.conf.arg(metavar="mlp|cnn|lenet|FILE.py:f")] = MLP
    """mlp: dense layers, as --hidden says; cnn, lenet: convolutions, and cross-entropy as the cost. Or your own: a
    function that returns a jaxprop.Network with 784 inputs in any shape, 10 outputs."""
    cost: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:c", help_behavior_hint="")] = None
    """Your own jaxprop.Cost instead of the sum of squared differences, or of the cross-entropy of cnn and lenet."""
    shift: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 0
    """Moves each training picture by up to so many pixels, down and to the right or back, anew in every epoch."""
    batch_size: int = 100
    """Examples in a mini-batch."""
    learning_rate: Annotated[
        float | None,
        tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: what suits the network and the optimizer)"),
    ] = None
    """Length of a step, in gradients. The cost is the sum of squares; who counts half of it takes twice the rate. The
    default is printed; for a network or cost of your own it is that of ReLU layers."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """momentum: sgd that keeps nine tenths of its velocity."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the learning rate falls to 0 along half a cosine."""
    weight_decay: float = 0.0
    """Adds this much of each parameter to its gradient, which keeps the parameters small."""
    epochs: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 200 for digits, 30 for the others; 2 with --smoke)"),
    ] = None
    """Passes over the training examples."""
    gradient: Literal["backprop", "autodiff"] = "backprop"
    """backprop: manual, by the backward functions of the layers; autodiff: by jax.grad."""
    devices: Annotated[int | Literal["all"], tyro.conf.arg(metavar="N|all")] = 1
    """How many devices share each mini-batch. More than one are those of all processes that the environment names."""
    peer_timeout: Annotated[int, tyro.conf.arg(metavar="SECONDS")] = 100
    """After so long without a sign of life from another process, this one ends too. To meet they have five minutes."""
    deterministic: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """The same bits every time also on a GPU, where that takes longer. Other backends do so by themselves."""
    validation: int = 0
    """Keep this many training examples out and score on them, not on the test set: for choosing settings."""
    checkpoint_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 30.0
    """Time between checkpoints; 0: one after every compiled call. There is always one at the start and at the end."""
    steps_per_call: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: those of an epoch; 1 for convolutions on a CPU)"),
    ] = None
    """Steps in a compiled call. Checkpoints and Ctrl-C come between two calls."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """Start from the parameters of this run folder or params.npz, of the same network, and not from random ones."""
    instruments: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """After each epoch look at the gradients of a thousand training examples: norms, noise, the health of each layer.
    They are more columns of metrics.csv, and instruments.png."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="0-7|0,3,5", help_behavior_hint="")] = None
    """Train once for each of these seeds, and give mean, spread and worst. Each run is that of --seed, to the bit."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """Go on with the run in this folder, which has all other options. With more --epochs it goes on beyond its end."""


def options_before(options: TrainOptions) -> TrainOptions | None:
    """The options of the run that these go on with."""
    if options.resume is None:
        return None
    found = newest_checkpoint(options.resume, check_settings)
    return replace(_options_of(found), resume=options.resume)


def config_of(options: TrainOptions) -> dict[str, Any]:
    """The settings of one run, as its checkpoints hold them: whatever has a default that depends on others has a value.

    Raises `BadInput` on a value that makes no sense.
    """
    epochs, rate = epochs_and_rate(options)
    network = absolute(options.network) if is_own(options.network) else options.network
    own = {"network": network, "cost": absolute(options.cost), "cost_name": cost_name(options)}
    init = {"init": str(options.init.resolve()) if options.init else None}
    return {**settings(options), **own, **init, "epochs": epochs, "learning_rate": rate}


def cost_name(options: TrainOptions) -> str | None:
    """What the cost is called, wherever its file is; None for the squared error, which needs no name."""
    if options.cost is None and options.network in PRESETS:
        return PRESETS[options.network].cost_name
    return file_name(options.cost)


def check_settings(found: Found) -> None:
    """Raises `BadInput` where a checkpoint is of no run of `train.py`, whatever its checksum says.

    Its settings are read and made again. They must be the same: nothing missing, of another type or out of range.
    """
    options = _options_of(found)
    config = found.facts["config"]
    for name, value in config_of(options).items():
        if (name not in HARMLESS or name == "epochs") and config.get(name) != value:
            given = f"{name!r} of its settings is {shortly(config.get(name))}"
            raise BadInput(f"{given}: expected {value!r}, as the others are")
    for name in ("layers", "dtype", "examples"):
        if not isinstance(config.get(name), str):
            raise BadInput(f"{name!r} of its settings is {shortly(config.get(name))}: expected a text")
    check_rows(found.facts["rows"], scored_on(options), options.instruments)


def check_steps(found: Found, steps: int) -> None:
    """Raises `BadInput` as `check_settings` does, and unless there is a row for each epoch of so many steps."""
    check_settings(found)
    step, rows = found.facts["step"], found.facts["rows"]
    if step // steps != len(rows):
        raise BadInput(
            f"it has {len(rows)} rows: expected {step // steps} after {step} steps, of which {steps} make one"
        )


def _options_of(found: Found) -> TrainOptions:
    """The options in the settings of a checkpoint; `BadInput` where one has another type than it can have."""
    config = found.facts["config"]
    if missing := [name for name in ("hidden", "archives", "out") if name not in config]:
        raise BadInput(f"it has no {missing[0]!r} in its settings: it is of no run of train.py")
    hints = get_type_hints(TrainOptions)
    known = {field.name: config[field.name] for field in fields(TrainOptions) if field.name in config}
    known["network"] = known.get("network") or MLP  # a run of before there were others has no name there
    for name, value in known.items():
        if not _is_of(hints[name], value):
            raise BadInput(f"{name!r} of its settings is {shortly(value)}: it is of no run of train.py")
    paths = {name: Path(known[name]) for name in ("archives", "out", "init") if known.get(name) is not None}
    # A checkpoint is of one run, and what it is itself a continuation of is the same run.
    return TrainOptions(**{**known, **paths, "hidden": tuple(known["hidden"]), "seeds": None, "resume": None})


def _is_of(hint: Any, value: Any) -> bool:
    """Whether JSON's value is one of the type, where a path is a text and a tuple a list."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind is tuple:
        return isinstance(value, list) and all(_is_of(parts[0], one) for one in value)
    if parts:
        return any(_is_of(part, value) for part in parts)
    if hint in (int, float):
        number = isinstance(value, int | hint) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # Python's whole numbers have no end
    return isinstance(value, str if hint is Path else hint)


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings without which the numbers would be others."""
    return {name: value for name, value in config.items() if name not in HARMLESS}


def check_length(found: Found, config: Mapping[str, Any]) -> None:
    """Raises `BadInput` where the run that was found cannot have as many epochs as the settings say now."""
    was, now = found.facts["config"]["epochs"], config["epochs"]
    if was != now and config["schedule"] == "cosine":
        raise BadInput(
            f"epochs was {was} in {found.path} and is {now} now: along a cosine the learning rate falls to 0 at the "
            "planned end, so leave it out, or begin another run with --init and the folder of this one"
        )


def scored_on(options: TrainOptions) -> str:
    """What the examples are called that the run is scored on."""
    return "validation" if options.validation else "test"


def usual_epochs(options: TrainOptions) -> int:
    """The epochs of a run that names none: digits make 15 steps in an epoch of their 1,500 examples, the others 600."""
    return 200 if options.dataset == "digits" else 30


def usual_rate(options: TrainOptions) -> tuple[float, str]:
    """The learning rate of a run that names none, and what it follows from, in words.

    Of a network or a cost of the user's own nothing is known: it gets the rate of two ReLU layers of 16, a low one.
    """
    if options.network in PRESETS and options.cost is None:
        rate = rate_of_logits(options.optimizer, options.batch_size)
        return rate, f"{options.optimizer}, {options.network}, batches of {options.batch_size}"
    own = ["network"] * (options.network != MLP) + ["cost"] * (options.cost is not None)
    activation, hidden = ("relu", (16, 16)) if own else (options.activation, options.hidden)
    rate = default_rate(options.optimizer, activation, hidden, options.batch_size)
    network = f"{activation} layers of {' and '.join(map(str, hidden))}" if hidden else "no hidden layer"
    if own:
        network = f"a {' and '.join(own)} of your own, as for {network}"
    return rate, f"{options.optimizer}, {network}, batches of {options.batch_size}"


def epochs_and_rate(options: TrainOptions) -> tuple[int, float]:
    """The options whose defaults depend on others. Raises `BadInput` on a value that makes no sense."""
    epochs, rate = options.epochs, options.learning_rate
    if epochs is None:
        epochs = 2 if options.smoke else usual_epochs(options)
    if options.batch_size < 1:
        raise BadInput(f"--batch-size is {options.batch_size}: expected a whole number above 0")
    if rate is None:
        rate, _ = usual_rate(options)
    if epochs < 1:
        raise BadInput(f"--epochs is {epochs}: expected a whole number above 0")
    if not 0 < rate < float("inf"):
        raise BadInput(f"--learning-rate is {rate}: expected a finite number above 0")
    if not 0 <= options.weight_decay < float("inf"):
        raise BadInput(f"--weight-decay is {options.weight_decay}: expected a finite number of at least 0")
    if not 0 <= options.checkpoint_every < float("inf"):
        raise BadInput(f"--checkpoint-every is {options.checkpoint_every}: expected seconds, 0 or more")
    if options.peer_timeout < 1:
        raise BadInput(f"--peer-timeout is {options.peer_timeout}: expected whole seconds, at least 1")
    if options.shift < 0:
        raise BadInput(f"--shift is {options.shift}: expected a whole number of pixels, 0 or more")
    if options.shift > 27:
        raise BadInput(f"--shift is {options.shift}: expected at most 27, the pixels of a picture less one")
    if options.shift and options.batch_size < 2:
        raise BadInput("--shift draws from the order of a mini-batch, and one of one example has none: take more")
    if options.steps_per_call is not None and options.steps_per_call < 1:
        raise BadInput(f"--steps-per-call is {options.steps_per_call}: expected a whole number above 0")
    return epochs, rate


def make_optimizer(options: TrainOptions, rate: float, steps: int) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(rate, steps) if options.schedule == "cosine" else rate
    if options.optimizer == "adam":
        optimizer = optax.adam(schedule)
    else:
        optimizer = optax.sgd(schedule, momentum=0.9 if options.optimizer == "momentum" else None)
    if options.weight_decay:
        optimizer = optax.chain(optax.add_decayed_weights(options.weight_decay), optimizer)
    return optimizer
