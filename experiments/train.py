"""Trains a network on handwritten digits, with the gradient derived by hand or by JAX, and leaves a run folder.

A run that was stopped or killed goes on from its last checkpoint, and ends with the bits that it would have had. With
`--devices` the mini-batches are shared out over many devices, of one process or of all that the environment names.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

import jaxprop as jp
from jaxprop.files import remove_leftovers
from jaxprop.run import folders
from jaxprop.run.checkpoints import (
    Checkpoint,
    Found,
    check_unchanged,
    fingerprint,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from jaxprop.run.devices import Device, deterministic_options
from jaxprop.run.parameters import SAVED_TYPES
from jaxprop.run.placement import make_mesh
from jaxprop.run.processes import all_equal, join, largest, leads, leave, together
from jaxprop.run.training_run import Row, Task, advance
from lab.common import Stop, first_line, progress, run, settings
from lab.train_options import TrainOptions, deciding, epochs_and_rate, make_optimizer, options_before
from lab.train_results import leave_results, report_diagnosis, save_figures
from lab.train_task import Problem, compile_task, pose
from lab.user_code import absolute, checksum, file_name


def choose_devices(options: TrainOptions) -> tuple[Device, Mesh | None]:
    """This process's first device, and the mesh of all that share each mini-batch, if there are more. Says which."""
    if options.devices != 1:
        join(options.peer_timeout)
    device = first_line(options.device, str(jnp.result_type(float)))
    if options.deterministic:
        flags = deterministic_options(device.platform)
        print(f"deterministic: {' '.join(flags) or 'nothing needs to be set on this backend'}", flush=True)
    if options.devices == 1:
        return device, None
    wanted = None if options.devices == "all" else options.devices
    mesh = make_mesh(wanted, options.batch_size, device.platform)
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    share = options.batch_size // mesh.size
    print(f"{mesh.size} devices{processes} share each mini-batch, {share} examples a device", flush=True)
    return device, mesh


def go_on(found: Found, start: Checkpoint) -> Checkpoint:
    """The checkpoint that was found, if it is one of the run that begins at `start`. Says what is not as it was."""
    check_unchanged(found, {name: start.config[name] for name in ("layers", "dtype", "examples")})
    here = restore(found, start.state)
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
    places = {name: start.config[name] for name in ("network", "cost")}  # where the user's files are now
    return here._replace(origin=start.origin, config={**here.config, **places})


def run_folder(options: TrainOptions, here: Checkpoint) -> Path | None:
    """The folder that this run fills, with its first checkpoint in it; None in a process that writes nothing."""
    if not leads():
        return None
    if folder := options.resume:
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
        return folder
    folder = folders.new_run_folder(options.out, "train", options.seed)
    folders.write_json(folder / "config.json", here.config)
    save_checkpoint(folder, here, previous=None)
    return folder


def train(options: TrainOptions, task: Task, here: Checkpoint, folder: Path | None) -> tuple[Checkpoint, int]:
    """Trains to the end, or as far as it comes: where it stands then, and the exit code."""
    code = 0
    with Stop() as stop, progress(here.config["epochs"], len(here.rows)) as show:

        def stopping() -> bool:
            nonlocal code
            code = largest(stop.code)  # a process that was told to stop stops all of them
            return code != 0

        def report(row: Row) -> None:
            show(f"epoch {row['epoch']}: cost {row['train_cost']:.4f}, test accuracy {row['test_accuracy']:.2%}")

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
    }
    layout = {"devices": 1 if mesh is None else mesh.size, "processes": jax.process_count()}
    code = [checksum(place) for place in (options.network, options.cost) if place is not None]
    origin = {**folders.provenance(device), **layout, "code": code}
    return optimizer, Checkpoint(state, order_key, 0, [], 0.0, config | known, origin)


def save_trained(path: Path, options: TrainOptions, problem: Problem, here: Checkpoint) -> None:
    """The parameters, with what `predict.py` needs to know of the network."""
    if problem.sizes is None:
        facts = {"made_by": here.config["network"]}
    else:
        facts = {"sizes": problem.sizes, "activation": options.activation}
    jp.save_params(path, problem.network, here.state.params, dataset=options.dataset, **facts)


def main(options: TrainOptions) -> int:
    epochs, rate = epochs_and_rate(options)
    own = {"network": absolute(options.network), "cost": absolute(options.cost), "cost_name": file_name(options.cost)}
    config = {**settings(options), **own, "epochs": epochs, "learning_rate": rate}
    found = newest_checkpoint(options.resume) if options.resume else None
    if found:
        check_unchanged(found, deciding(config))
    device, mesh = choose_devices(options)
    problem = pose(options)
    optimizer, here = begin(options, problem, config, device, mesh)
    if found:
        here = go_on(found, here)
    if not all_equal(here.step):
        raise jp.BadInput(f"other processes go on elsewhere than after step {here.step}: let all see one run folder")
    started = time.perf_counter()
    task = compile_task(options, problem, optimizer, here, mesh)
    compile_seconds = time.perf_counter() - started
    print(f"{jp.count_parameters(here.state.params):,} parameters; compiled in {compile_seconds:.2f} s", flush=True)
    folder = run_folder(options, here)
    with together():
        here, code = train(options, task, here, folder)
    if folder is None:
        return code

    save_trained(folder / "params.npz", options, problem, here)
    if here.rows:
        folders.write_csv(folder / "metrics.csv", here.rows)
    if code == 3:
        return code
    leave_results(folder, here, options.batch_size, compile_seconds)
    if code:
        again = f"uv run experiments/train.py --resume {shlex.quote(str(folder))}"
        print(f"stopped after step {here.step:,} of {task.total:,}; to go on: {again}")
        return code
    test = problem.test
    if options.figures:
        save_figures(folder, here.rows, test, here.state.params, task.score(here.state.params)[1].outputs)
    kind = "validation" if options.validation else "test"
    seconds = sum(row["seconds"] for row in here.rows)
    accuracy = here.rows[-1]["test_accuracy"]
    print(f"trained in {seconds:.2f} s: {accuracy:.2%} of {len(test.labels):,} {kind} digits classified correctly")
    print(f"run folder: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(leave(run(main, TrainOptions, earlier=options_before)))
