"""The work of `train.py`: the examples, and everything that the run calls, compiled ahead."""

from functools import partial
from typing import Any

import jax
import optax
from jax.sharding import Mesh

import jaxprop as jp
from jaxprop.autodiff import ValueAndGrad
from jaxprop.batches import check_examples
from jaxprop.datasets import load_dataset
from jaxprop.devices import deterministic_options
from jaxprop.diagnosis import diagnose
from jaxprop.networks import mlp_layers
from jaxprop.parallel import average_over_devices, make_parallel_epoch
from jaxprop.resume import Checkpoint
from jaxprop.training_run import Task
from lab.train_options import TrainOptions

HANDS = {"autodiff": jp.autodiff, "backprop": jp.backprop}


def load_examples(options: TrainOptions, network: jp.Network) -> tuple[jp.Examples, jp.Examples]:
    """The examples to train on and those to score on."""
    dataset = load_dataset(options.dataset, options.archives)
    train, test = dataset.train, dataset.test
    if options.validation:
        n = len(train.labels) - options.validation
        if not 1 <= n < len(train.labels):
            raise jp.BadInput(f"--validation is {options.validation}: expected 0 to {len(train.labels) - 1}")
        train, test = jp.Examples(*(x[:n] for x in train)), jp.Examples(*(x[n:] for x in train))
    check_examples(train, network.in_shape)
    return train, test


def compile_epoch(
    gradient: ValueAndGrad, optimizer: optax.GradientTransformation, mesh: Mesh | None, flags: dict[str, bool]
) -> Any:
    """The epoch on one device, or on those of a mesh, where the average goes over the devices too."""
    if mesh is None:
        return jax.jit(jp.make_epoch(jp.make_step(gradient, optimizer)), compiler_options=flags)
    shared = jp.make_step(average_over_devices(gradient), optimizer)
    return make_parallel_epoch(jp.make_epoch(shared), mesh, flags)


def compile_task(
    options: TrainOptions,
    optimizer: optax.GradientTransformation,
    here: Checkpoint,
    train: jp.Examples,
    test: jp.Examples,
    mesh: Mesh | None,
) -> Task:
    """Everything that the run calls, compiled ahead, so that no time of training contains compilation.

    train, test: in the memory of the host. mesh: the devices that share each mini-batch; None for one that does not.
    """
    sizes, epochs, params = here.config["sizes"], here.config["epochs"], here.state.params
    network = jp.mlp(sizes, options.activation)
    gradient = HANDS[options.gradient](network, jp.squared_error)
    flags = deterministic_options(here.origin["device"]["platform"]) if options.deterministic else {}
    epoch = compile_epoch(gradient, optimizer, mesh, flags)
    scored = jax.device_put((train, test))
    examples = scored[0] if mesh is None else train
    order = jp.epoch_order(here.key, len(train.labels), options.batch_size)
    per_call = min(options.steps_per_call or len(order), len(order))
    for rows in {per_call, len(order) % per_call} - {0}:
        epoch.lower(here.state, examples, order[:rows]).compile()
    evaluate = jax.jit(jp.make_evaluate(network, jp.squared_error), compiler_options=flags)
    scores = [evaluate.lower(params, some).compile() for some in scored]

    fitting = partial(
        jp.fit,
        epoch,
        examples=examples,
        key=here.key,
        batch_size=options.batch_size,
        epochs=epochs,
        steps_per_call=per_call,
    )
    return Task(
        fitting=fitting,
        score=lambda params: (scores[0](params, scored[0]), scores[1](params, scored[1])),
        diagnose=partial(
            diagnose,
            fitting=fitting,
            value_and_grad=gradient,
            layers=mlp_layers(sizes, options.activation),
            cost=jp.squared_error,
            examples=examples,
        ),
        steps=len(order),
        total=epochs * len(order),
    )
