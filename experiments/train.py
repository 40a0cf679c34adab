"""Trains a network on handwritten digits, with the gradient derived by hand or by JAX, and leaves a run folder.

A run that was stopped or killed goes on from its last checkpoint, and ends with the bits that it would have had.
"""

import shlex
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

import jaxprop as jp
from jaxprop import runs
from jaxprop.batches import check_examples
from jaxprop.checkpoints import save_params
from jaxprop.datasets import load_dataset
from jaxprop.devices import deterministic_options
from jaxprop.diagnosis import Diagnosis, diagnose
from jaxprop.files import remove_leftovers
from jaxprop.layers import Params
from jaxprop.networks import mlp_layers
from jaxprop.resume import Checkpoint, Found, check_unchanged, fingerprint, newest_checkpoint, restore, save_checkpoint
from jaxprop.training_run import Row, Task, advance
from lab.common import Stop, first_line, progress, run, settings
from lab.train_options import TrainOptions, deciding, epochs_and_rate, make_optimizer, options_before

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


def go_on(found: Found, start: Checkpoint) -> Checkpoint:
    """The checkpoint that was found, if it is one of the run that begins at `start`. Says what is not as it was."""
    check_unchanged(found, {name: start.config[name] for name in ("dtype", "examples")})
    here = restore(found, start.state)
    notes = [f"a newer checkpoint is passed over: {reason}" for reason in found.passed_over]
    for name, now in start.origin.items():
        if here.origin[name] != now:
            notes.append(f"{name} was {here.origin[name]} and is {now}: the last bits may come out differently")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"goes on after step {here.step:,}", flush=True)
    return here._replace(origin=start.origin)


def compile_task(
    options: TrainOptions,
    optimizer: optax.GradientTransformation,
    here: Checkpoint,
    train: jp.Examples,
    test: jp.Examples,
) -> Task:
    """Everything that the run calls, compiled ahead, so that no time of training contains compilation."""
    sizes, epochs, params = here.config["sizes"], here.config["epochs"], here.state.params
    network = jp.mlp(sizes, options.activation)
    gradient = HANDS[options.gradient](network, jp.squared_error)
    flags = deterministic_options(here.origin["device"]["platform"]) if options.deterministic else {}
    epoch = jax.jit(jp.make_epoch(jp.make_step(gradient, optimizer)), compiler_options=flags)
    order = jp.epoch_order(here.key, len(train.labels), options.batch_size)
    per_call = min(options.steps_per_call or len(order), len(order))
    for rows in {per_call, len(order) % per_call} - {0}:
        epoch.lower(here.state, train, order[:rows]).compile()
    evaluate = jax.jit(jp.make_evaluate(network, jp.squared_error), compiler_options=flags)
    score_train, score_test = evaluate.lower(params, train).compile(), evaluate.lower(params, test).compile()

    fitting = partial(
        jp.fit,
        epoch,
        examples=train,
        key=here.key,
        batch_size=options.batch_size,
        epochs=epochs,
        steps_per_call=per_call,
    )
    return Task(
        fitting=fitting,
        score=lambda params: (score_train(params, train), score_test(params, test)),
        diagnose=partial(
            diagnose,
            fitting=fitting,
            value_and_grad=gradient,
            layers=mlp_layers(sizes, options.activation),
            cost=jp.squared_error,
            examples=train,
        ),
        steps=len(order),
        total=epochs * len(order),
    )


def leave_results(folder: Path, here: Checkpoint, batch_size: int, compile_seconds: float) -> None:
    """What the network is and what it was worth after its last whole epoch, if there was one."""
    seconds = sum(row["seconds"] for row in here.rows) + here.seconds
    scores = ("test_accuracy", "train_accuracy", "test_cost", "train_cost")
    results = {
        **here.config,
        "parameters": jp.count_parameters(here.state.params),
        "epochs": len(here.rows),
        "steps": here.step,
        **{name: row[name] for row in here.rows[-1:] for name in scores},
        "compile_seconds": compile_seconds,
        "train_seconds": seconds,
        "examples_per_second": here.step * batch_size / seconds,
        **here.origin,
    }
    runs.write_json(folder / "results.json", results)


def save_figures(folder: Path, rows: list[Row], test: jp.Examples, params: Params, outputs: jax.Array) -> None:
    from jaxprop import figures  # here, so that nobody waits for matplotlib before training starts

    images, labels, answers = np.asarray(test.images), np.asarray(test.labels), np.argmax(outputs, axis=1)
    figures.save_figure(folder / "learning_curves.png", figures.learning_curves(rows))
    figures.save_figure(folder / "answers.png", figures.answers(images, labels, answers))
    figures.save_figure(folder / "confusion.png", figures.confusion(labels, answers))
    figures.save_figure(folder / "first_layer.png", figures.first_layer(np.asarray(params[0].W)))


def report_diagnosis(folder: Path, found: Diagnosis) -> int:
    path = folder / "diagnosis.json"
    runs.write_json(path, found._asdict())
    where = "" if found.layer is None else f" of layer {found.layer}"
    first = f"in step {found.step} (epoch {found.epoch}), first the {found.quantity}{where}"
    print(f"error: numbers that are not finite {first}; {'; '.join(found.advice)}; see {path}", file=sys.stderr)
    return 3


def main(options: TrainOptions) -> int:
    epochs, rate = epochs_and_rate(options)
    sizes = [784, *options.hidden, 10]
    config = {**settings(options), "epochs": epochs, "learning_rate": rate, "sizes": sizes}
    if found := newest_checkpoint(options.resume) if options.resume else None:
        check_unchanged(found, deciding(config))
    device = first_line(options.device)
    if options.deterministic:
        flags = deterministic_options(device.platform)
        print(f"deterministic: {' '.join(flags) or 'nothing needs to be set on this backend'}", flush=True)
    network = jp.mlp(sizes, options.activation)
    train, test = load_examples(options, network)
    optimizer = make_optimizer(options, rate, epochs * jp.steps_per_epoch(len(train.labels), options.batch_size))
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    state = jp.init_state(network.init(init_key), optimizer)
    config |= {"dtype": str(jax.tree.leaves(state.params)[0].dtype), "examples": fingerprint(train)}
    here = Checkpoint(state, order_key, 0, [], 0.0, config, runs.provenance(device))
    if found:
        here = go_on(found, here)
    train, test = jax.device_put((train, test))
    started = time.perf_counter()
    task = compile_task(options, optimizer, here, train, test)
    compile_seconds = time.perf_counter() - started
    print(f"{jp.count_parameters(state.params):,} parameters; compiled in {compile_seconds:.2f} s", flush=True)

    if options.resume:
        folder = options.resume
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
    else:
        folder = runs.new_run_folder(options.out, "train", options.seed)
        runs.write_json(folder / "config.json", config)
        save_checkpoint(folder, here, previous=None)

    with Stop() as stop, progress(epochs, len(here.rows)) as show:

        def report(row: Row) -> None:
            show(f"epoch {row['epoch']}: cost {row['train_cost']:.4f}, test accuracy {row['test_accuracy']:.2%}")

        every, stopping = options.checkpoint_every, lambda: stop.code != 0
        here, diagnosis = advance(task, folder, here, every=every, stopping=stopping, report=report)

    save_params(folder / "params.npz", here.state.params, sizes, options.activation)
    if here.rows:
        runs.write_csv(folder / "metrics.csv", here.rows)
    if diagnosis:
        return report_diagnosis(folder, diagnosis)
    leave_results(folder, here, options.batch_size, compile_seconds)
    if stop.code:
        again = f"uv run experiments/train.py --resume {shlex.quote(str(folder))}"
        print(f"stopped after step {here.step:,} of {task.total:,}; to go on: {again}")
        return stop.code
    if options.figures:
        save_figures(folder, here.rows, test, here.state.params, task.score(here.state.params)[1].outputs)
    kind = "validation" if options.validation else "test"
    seconds, accuracy = sum(row["seconds"] for row in here.rows), here.rows[-1]["test_accuracy"]
    print(f"trained in {seconds:.2f} s: {accuracy:.2%} of {len(test.labels):,} {kind} digits read rightly")
    print(f"run folder: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, TrainOptions, earlier=options_before))
