"""What `train.py` leaves in its run folder at the end."""

import sys
from pathlib import Path

import jax
import numpy as np

import jaxprop as jp
from jaxprop.layers import Params
from jaxprop.run import folders
from jaxprop.run.checkpoints import Checkpoint
from jaxprop.run.diagnosis import Diagnosis
from jaxprop.run.training_run import Row
from lab import instrument_panel


def leave_results(folder: Path, here: Checkpoint, batch_size: int, compile_seconds: float) -> None:
    """What the network is and what it was worth after its last whole epoch, if there was one."""
    seconds = sum(row["seconds"] for row in here.rows) + here.seconds
    results = {
        **here.config,
        "parameters": jp.count_parameters(here.state.params),
        "epochs": len(here.rows),
        "steps": here.step,
        **{name: row[name] for row in here.rows[-1:] for name in row if name.endswith(("_accuracy", "_cost"))},
        "compile_seconds": compile_seconds,
        "train_seconds": seconds,
        "examples_per_second": here.step * batch_size / seconds if seconds else None,
        **here.origin,
    }
    folders.write_json(folder / "results.json", results)


def save_figures(
    folder: Path,
    network: jp.Network,
    rows: list[Row],
    others: str,
    scored: jp.Examples,
    params: Params,
    outputs: jax.Array,
) -> None:
    """The pictures of a run that has ended. others: what the examples are called that were scored on."""
    from lab import figures  # here, so that nobody waits for matplotlib before training starts

    images, labels, answers = np.asarray(scored.images), np.asarray(scored.labels), np.argmax(outputs, axis=1)
    figures.save_figure(folder / "learning_curves.png", figures.learning_curves(rows, others))
    figures.save_figure(folder / "answers.png", figures.answers(images, labels, answers))
    figures.save_figure(folder / "confusion.png", figures.confusion(labels, answers))
    if instrument_panel.is_in(rows):
        figures.save_figure(folder / "instruments.png", instrument_panel.figure(network, rows))
    first = params[0]
    if isinstance(first, jp.Dense) and first.W.shape[1] == images[0].size:  # one weight a pixel makes a picture
        figures.save_figure(folder / "first_layer.png", figures.first_layer(np.asarray(first.W)))


def report_diagnosis(folder: Path, found: Diagnosis) -> None:
    path = folder / "diagnosis.json"
    folders.write_json(path, found._asdict())
    where = "" if found.layer is None else f" of layer {found.layer} ({found.layer_name})"
    first = f"in step {found.step} (epoch {found.epoch}), first the {found.quantity}{where}"
    print(f"error: numbers that are not finite {first}; {'; '.join(found.advice)}; see {path}", file=sys.stderr)
