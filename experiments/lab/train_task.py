"""The work of `train.py`: the network, the examples, and everything that the run calls, compiled ahead."""

from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

import jaxprop as jp
from jaxprop.data.batches import CLASSES
from jaxprop.run.checkpoints import Checkpoint
from jaxprop.run.devices import deterministic_options
from jaxprop.run.placement import in_one_message, jit_over, local, place
from jaxprop.run.training_run import Task
from jaxprop.training import Data, Epoch, Order, ToBatch
from lab.instrument_panel import compile_panel
from lab.presets import MLP, PRESETS
from lab.shifts import with_rows, with_shifts
from lab.train_options import TrainOptions, scored_on
from lab.user_code import load_function, load_object

GRADIENTS = {"autodiff": jp.autodiff, "backprop": jp.backprop}


class Problem(NamedTuple):
    """What is trained, for which cost, on which examples."""

    network: jp.Network
    sizes: list[int] | None  # of a multi-layer perceptron; None for any other network
    cost: jp.Cost
    to_batch: ToBatch
    train: jp.Examples  # both in the memory of the host
    scored: jp.Examples  # those to score on: the test examples, or what --validation keeps out of the training ones


def pose(options: TrainOptions) -> Problem:
    """What the options ask for. Raises `BadInput` where the parts do not fit each other."""
    network, sizes = choose_network(options)
    cost = choose_cost(options)
    train, scored = load_examples(options, network)
    if network.out_shape != (CLASSES,):
        raise jp.BadInput(f"the outputs of {network} have shape {network.out_shape}: expected (10,), one a digit")
    to_batch = partial(jp.as_batch, in_shape=network.in_shape, one_hot=not cost.takes_labels)
    return Problem(network, sizes, cost, to_batch, train, scored)


def choose_network(options: TrainOptions) -> tuple[jp.Network, list[int] | None]:
    """The network, and the sizes of its layers where it is a multi-layer perceptron."""
    if options.network == MLP:
        sizes = [784, *options.hidden, CLASSES]
        return jp.mlp(sizes, options.activation), sizes
    if options.hidden != TrainOptions.hidden or options.activation != TrainOptions.activation:
        raise jp.BadInput(f"--network {options.network} has all layers: leave --hidden and --activation out")
    if options.network in PRESETS:
        return PRESETS[options.network].make(), None
    if ":" not in options.network:
        known = ", ".join([MLP, *PRESETS])
        raise jp.BadInput(
            f"--network is {options.network!r}: expected {known}, or FILE.py:name with a file that exists"
        )
    network = load_function("--network", options.network)()
    if not isinstance(network, jp.Network):
        given = type(network).__name__
        raise jp.BadInput(f"--network {options.network} returned a {given}: expected a jaxprop.Network")
    return network, None


def choose_cost(options: TrainOptions) -> jp.Cost:
    """What `--cost` names; if nothing, the cost of the preset, or the squared error."""
    if options.cost is None:
        return PRESETS[options.network].cost if options.network in PRESETS else jp.squared_error
    cost = load_object("--cost", options.cost)
    if not isinstance(cost, jp.Cost):
        raise jp.BadInput(f"--cost {options.cost} is a {type(cost).__name__}: expected a jaxprop.Cost")
    return cost


def load_examples(options: TrainOptions, network: jp.Network) -> tuple[jp.Examples, jp.Examples]:
    """The examples to train on and those to score on."""
    dataset = jp.load_dataset(options.dataset, options.archives)
    train, scored = dataset.train, dataset.test
    if options.validation:
        jp.steps_per_epoch(len(train.labels), options.batch_size)  # so that a wrong one is called by its own name
        most = len(train.labels) - options.batch_size
        if not 0 <= options.validation <= most:
            raise jp.BadInput(
                f"--validation is {options.validation}: expected 0 to {most}, so that of the {len(train.labels)} "
                f"training examples a mini-batch of {options.batch_size} is left"
            )
        n = len(train.labels) - options.validation
        scored = jp.Examples(train.images[n:], train.labels[n:])
        train = jp.Examples(train.images[:n], train.labels[:n])
    jp.check_examples(train, network.in_shape)
    return train, scored


def compile_epoch(
    epoch: Epoch, state: jp.State, data: Data, order: Order, lengths: set[int], mesh: Mesh | None, flags: dict[str, Any]
) -> Epoch:
    """The epoch, compiled ahead for calls of so many steps; a call of another length is compiled when it comes.

    mesh: the devices that share each mini-batch, on which `data` are placed; the state goes there and comes back.
    """
    program = jax.jit(epoch, compiler_options=flags) if mesh is None else jit_over(mesh, epoch, flags)
    there = state if mesh is None else place(state, mesh)
    compiled = {length: program.lower(there, data, order[:length]).compile() for length in lengths}

    def call(state: jp.State, data: Data, order: Order) -> Any:
        ready = compiled.get(len(order), program)
        return ready(state, data, order) if mesh is None else local(ready(place(state, mesh), data, order))

    return call


def usual_steps_per_call(network: jp.Network, platform: str, epoch: int) -> int:
    """How many steps a compiled call has where nobody says: those of an epoch, or one of a convolutional network.

    In a loop, as `lax.scan` makes one, XLA's CPU compiler has only slow convolutions. On two cores a step of the CNN
    took 15 ms by itself, and 95 to 315 ms in a loop of many. A loop of a single step is compiled away.
    """
    parts = jax.tree.leaves(network.params_like, is_leaf=lambda part: isinstance(part, jp.Conv))
    convolves = any(isinstance(part, jp.Conv) for part in parts)
    return 1 if convolves and platform == "cpu" else epoch


def compile_task(
    options: TrainOptions,
    problem: Problem,
    optimizer: optax.GradientTransformation,
    here: Checkpoint,
    mesh: Mesh | None,
) -> Task:
    """Everything that the run calls, compiled ahead, so that no time of training contains compilation.

    mesh: the devices that share each mini-batch; None for one that does not.
    """
    network, cost, to_batch = problem.network, problem.cost, problem.to_batch
    gradient = GRADIENTS[options.gradient](network, cost)
    flags = deterministic_options(here.origin["device"]["platform"]) if options.deterministic else {}
    scored = jax.device_put(problem.scored)
    examples = with_rows(problem.train) if options.shift else problem.train
    data = jax.device_put(examples) if mesh is None else place(examples, mesh)
    train = jp.Examples(*(data if mesh is None else local(data))[:2])
    order = jp.epoch_order(here.key, len(problem.train.labels), options.batch_size)
    usual = usual_steps_per_call(network, here.origin["device"]["platform"], len(order))
    per_call = min(options.steps_per_call or usual, len(order))
    total = here.config["epochs"] * len(order)
    # A run that is done has nothing left to train.
    lengths = {per_call, len(order) % per_call} - {0} if here.step < total else set()
    shared = gradient if mesh is None else in_one_message(gradient, mesh)
    to_train = to_batch
    if options.shift:
        to_train = with_shifts(to_batch, jax.random.fold_in(here.key, 0), options.shift)  # epochs count from 1
    epoch = jp.make_epoch(jp.make_step(shared, optimizer), to_train)
    epoch = compile_epoch(epoch, here.state, data, order, lengths, mesh, flags)
    evaluate = jax.jit(jp.make_evaluate(network, cost, to_batch), compiler_options=flags)
    on_train = evaluate.lower(here.state.params, train).compile()
    on_scored = evaluate.lower(here.state.params, scored).compile()

    look = {}
    if options.instruments:
        look["look"] = compile_panel(network, cost, optimizer, to_batch, here.state, train, flags)
    fitting = partial(
        jp.fit,
        epoch,
        data=data,
        key=here.key,
        batch_size=options.batch_size,
        epochs=here.config["epochs"],
        steps_per_call=per_call,
    )
    return Task(
        fitting=fitting,
        score=lambda params: (on_train(params, train), on_scored(params, scored)),
        others=scored_on(options),
        diagnose=partial(
            jp.diagnose,
            fitting=fitting,
            value_and_grad=gradient,
            network=network,
            cost=cost,
            data=data if mesh is None else local(data),
            to_batch=to_train,
        ),
        steps=len(order),
        total=total,
        **look,
    )
