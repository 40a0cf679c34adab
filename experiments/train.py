"""Trains a network on handwritten digits, with the gradient derived by hand or by JAX, and leaves a run folder.

A run that was stopped or killed goes on from its last checkpoint, and ends with the bits that it would have had. With
`--devices` the mini-batches are shared out over many devices, of one process or of all that the environment names.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

import jaxprop as jp
from jaxprop.files import only_one, remove_leftovers
from jaxprop.layers import Params
from jaxprop.run import folders
from jaxprop.run.checkpoints import (
    Checkpoint,
    Found,
    check_unchanged,
    fingerprint,
    last_step,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from jaxprop.run.devices import Device, deterministic_options
from jaxprop.run.parameters import SAVED_TYPES
from jaxprop.run.placement import make_mesh
from jaxprop.run.processes import agree, join, largest, leads, together, until_all_agree
from jaxprop.run.training_run import Row, Task, advance
from lab.common import first_line, progress, run
from lab.presets import PRESETS, is_own
from lab.signals import Stop, say_stopped, tell
from lab.train_advice import said_of_rate, what_to_change
from lab.train_options import (
    TrainOptions,
    check_length,
    check_settings,
    check_steps,
    config_of,
    deciding,
    make_optimizer,
    options_before,
)
from lab.train_results import leave_results, report_diagnosis, save_figures
from lab.train_seeds import Ending, train_many
from lab.train_task import Problem, compile_task, pose
from lab.user_code import checksum


def choose_devices(options: TrainOptions) -> tuple[Device, Mesh | None]:
    """This process's first device, and the mesh of all that share each mini-batch, if there are more. Says which."""
    device = first_line(options.device, str(jnp.result_type(float)))
    if options.deterministic:
        flags = deterministic_options(device.platform)
        print(f"deterministic: {' '.join(flags) or 'nothing needs to be set on this backend'}", flush=True)
    if options.devices == 1:
        return device, None
    agree({"the kind of device": device.platform, "the number of devices": jax.local_device_count(device.platform)})
    wanted = None if options.devices == "all" else options.devices
    mesh = make_mesh(wanted, options.batch_size, device.platform)
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    share = options.batch_size // mesh.size
    who = "1 device takes" if mesh.size == 1 else f"{mesh.size} devices{processes} share"
    print(f"{who} each mini-batch, {share} examples a device", flush=True)
    return device, mesh


def go_on(found: Found, start: Checkpoint, steps: int) -> Checkpoint:
    """The checkpoint that was found, if it is one of the run that begins at `start`. Says what is not as it was.

    steps: in an epoch.
    """
    check_unchanged(found, {name: start.config[name] for name in ("layers", "dtype", "examples")})
    here = restore(found, start.state)
    epochs = start.config["epochs"]
    if here.step > epochs * steps:
        begun = -(-here.step // steps)
        raise jp.BadInput(f"--epochs is {epochs}: this run is in epoch {begun} already; name as many or more")
    notes = [f"a newer checkpoint is passed over: {reason}" for reason in found.passed_over]
    for name, now in start.origin.items():
        was = here.origin.get(name, 1)
        if was != now and name == "code":
            notes.append(
                "a file of --network or --cost has changed since: if it computes something else, so does the run"
            )
        elif was != now:
            notes.append(f"{name} was {was} and is {now}: the last bits may come out differently")
    if leads():
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    print(f"goes on after step {here.step:,}", flush=True)
    # Where the user's files are now, and where the run ends now.
    changed = {name: start.config[name] for name in ("network", "cost", "epochs")}
    return here._replace(origin=start.origin, config={**here.config, **changed})


@contextmanager
def run_folder(options: TrainOptions, here: Checkpoint, found: Found | None) -> Iterator[Path | None]:
    """The folder that this run fills, with its first checkpoint in it; None in a process that writes nothing.

    found: the checkpoint that it goes on from. Where the run is to end elsewhere now, `here` is saved in its place: a
        process that is killed before the next checkpoint leaves a run that knows so.
    """
    if not leads():
        yield None
        return
    if folder := options.resume:
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
        folders.write_json(folder / "config.json", here.config)  # it may have been lost or damaged
        if found and found.facts["config"]["epochs"] != here.config["epochs"]:
            save_checkpoint(folder, here, previous=None)
        yield folder
        return
    with folders.whole_run_folder(options.out, "train", options.seed) as folder:
        save_checkpoint(folder, here, previous=None)
        folders.write_json(folder / "config.json", here.config)
    with only_one(folder):
        yield folder


def train(
    options: TrainOptions, task: Task, here: Checkpoint, folder: Path | None, stop: Stop, lines: int | None
) -> tuple[Checkpoint, int]:
    """Trains to the end, or as far as it comes: where it stands then, and the exit code.

    lines: how many to print, about, where there is no bar; None: one for each epoch.
    """
    code = 0
    with progress(here.config["epochs"], len(here.rows), lines) as show:

        def stopping() -> bool:
            nonlocal code
            code = largest(stop.code)  # a process that was told to stop stops all of them
            return code != 0

        def report(row: Row) -> None:
            accuracy = f"{task.others} accuracy {row[f'{task.others}_accuracy']:.2%}"
            show(f"epoch {row['epoch']}: cost {row['train_cost']:.4f}, {accuracy}")

        every = options.checkpoint_every
        here, diagnosis = advance(task, folder, here, every=every, stopping=stopping, report=report)
    if diagnosis and folder:
        report_diagnosis(folder, diagnosis)
    return here, 3 if diagnosis else code


def begin(
    options: TrainOptions, problem: Problem, config: dict[str, Any], device: Device, mesh: Mesh | None
) -> tuple[optax.GradientTransformation, Checkpoint]:
    """The optimizer, and where a run begins that has these options: everything random follows from the seed."""
    steps = config["epochs"] * jp.steps_per_epoch(len(problem.train.labels), options.batch_size)
    optimizer = make_optimizer(options, config["learning_rate"], steps)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    params = problem.network.init(init_key)
    start = {}
    if options.init and not options.resume:  # a run that goes on has left its start behind
        params = initial_params(options.init, problem.network, params)
        start = {"init_fingerprint": fingerprint(params)}
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
    if len(dtypes) != 1 or dtypes[0] not in SAVED_TYPES:
        given = " and ".join(dtypes) or "nothing"
        raise jp.BadInput(f"the parameters are {given}: expected one of {', '.join(SAVED_TYPES)} throughout")
    state = jp.init_state(params, optimizer)
    known = {
        "sizes": problem.sizes,
        "layers": repr(problem.network),
        "dtype": dtypes[0],
        "examples": fingerprint(problem.train),
        **start,
    }
    layout = {"devices": 1 if mesh is None else mesh.size, "processes": jax.process_count()}
    own_network = options.network if is_own(options.network) else None
    code = [checksum(place) for place in (own_network, options.cost) if place is not None]
    origin = {**folders.provenance(device), **layout, "code": code}
    return optimizer, Checkpoint(state, order_key, 0, [], 0.0, config | known, origin)


def initial_params(path: Path, network: jp.Network, like: Params) -> Params:
    """The parameters of a file or run folder, to start from. Raises `BadInput` unless they have the types of `like`."""
    path = folders.parameters_of(path)
    params = jp.load_params(path, network)
    was, now = (str(jax.tree.leaves(tree)[0].dtype) for tree in (params, like))
    if was != now:
        raise jp.BadInput(f"--init {path} holds {was} and this run computes in {now}: set JAX_ENABLE_X64=1 for both")
    print(f"starts from the parameters in {path}", flush=True)
    return params


def save_trained(path: Path, options: TrainOptions, problem: Problem, here: Checkpoint) -> None:
    """The parameters, with what `predict.py` needs to know of the network."""
    if options.network in PRESETS:
        facts = {"preset": options.network}
    elif problem.sizes is None:
        facts = {"made_by": here.config["network"]}
    else:
        facts = {"sizes": problem.sizes, "activation": options.activation}
    jp.save_params(path, problem.network, here.state.params, dataset=options.dataset, **facts)


def what_decides(config: dict[str, Any]) -> dict[str, Any]:
    """All that processes which train one network need to have in common, before any of them has looked at the data."""
    options = {f"--{name.replace('_', '-')}": value for name, value in deciding(config).items() if name != "out"}
    in_jax = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")
    options["--epochs"] = config["epochs"]  # which a run that goes on may change, but all its processes alike
    settings_of_jax = {name.upper(): getattr(jax.config, name) for name in in_jax}
    return {**options, **settings_of_jax, **{f"the version of {name}": is_ for name, is_ in folders.versions().items()}}


def saved(folder: Path, total: int) -> str:
    """What a run that is stopped at this moment leaves on the disk, and how to go on."""
    step = last_step(folder)
    if step is None:
        return f"nothing is left in {folder}"
    again = f"uv run experiments/train.py --resume {shlex.quote(str(folder))}"
    return f"step {step:,} of {total:,} is saved; to go on: {again}"


def train_once(options: TrainOptions, lines: int | None = None) -> Ending:
    """One run from its seed, or on from where it stands. lines: as for `train`."""
    config = config_of(options)
    found = newest_checkpoint(options.resume, check_settings) if options.resume else None
    if found:
        check_unchanged(found, deciding(config))
        check_length(found, config)
    if options.devices != 1:
        join(options.peer_timeout)
    with ExitStack() as until_the_end:
        with until_all_agree():
            agree(what_decides(config))
            device, mesh = choose_devices(options)
            problem = pose(options)
            optimizer, here = begin(options, problem, config, device, mesh)
            if options.resume:
                if leads():
                    until_the_end.enter_context(only_one(options.resume))
                steps = jp.steps_per_epoch(len(problem.train.labels), options.batch_size)
                # Read when nobody else writes there any more.
                found = newest_checkpoint(options.resume, partial(check_steps, steps=steps))
                here = go_on(found, here, steps)
            agree(
                {
                    "the checksum of the examples": here.config["examples"],
                    "the checksum of the parameters": fingerprint(here.state.params),
                    "the number of steps done": here.step,
                }
            )
        started = time.perf_counter()
        task = compile_task(options, problem, optimizer, here, mesh)
        compile_seconds = time.perf_counter() - started
        print(f"{jp.count_parameters(here.state.params):,} parameters; compiled in {compile_seconds:.2f} s", flush=True)
        rate = config["learning_rate"]
        print(f"learning rate {rate:g}{said_of_rate(options, rate)}", flush=True)
        with Stop() as stop:
            folder = until_the_end.enter_context(run_folder(options, here, found))
            if folder:
                tell(partial(saved, folder, task.total))
            with together():
                here, code = train(options, task, here, folder, stop, lines)
            if folder:
                save_trained(folder / "params.npz", options, problem, here)
                if here.rows:
                    folders.write_csv(folder / "metrics.csv", here.rows)
                if code != 3:
                    leave_results(folder, here, options.batch_size, compile_seconds)
        code = code or stop.code  # of a signal that came after the last step
        if code in (130, 143):
            say_stopped(code)
        if folder and not code:
            show_results(options, problem, task, here, folder)
    return Ending(code, folder, here.rows)


def show_results(options: TrainOptions, problem: Problem, task: Task, here: Checkpoint, folder: Path) -> None:
    """The figures, and the last lines."""
    scored = problem.scored
    if options.figures:
        outputs = task.score(here.state.params)[1].outputs
        save_figures(folder, problem.network, here.rows, task.others, scored, here.state.params, outputs)
    seconds = sum(row["seconds"] for row in here.rows)
    accuracy = here.rows[-1][f"{task.others}_accuracy"]
    count = f"{len(scored.labels):,} {task.others} digits"
    print(f"trained in {seconds:.2f} s: {accuracy:.2%} of {count} classified correctly")
    if hint := what_to_change(options, here.rows, scored.labels, here.config["learning_rate"], folder):
        print(f"note: {hint}")
    print(f"run folder: {folder}")


def main(options: TrainOptions) -> int:
    return train_once(options).code if options.seeds is None else train_many(options, train_once)


if __name__ == "__main__":
    sys.exit(run(main, TrainOptions, earlier=options_before))
