"""The same training run for each of several seeds: a row a seed, with their mean, spread and worst.

Each is the whole run that `--seed` would make, with the same bits and a run folder of its own: another random start and
another order of the examples. A result with an error bar needs that. `many_seeds.py` asks another question, what the
random start alone decides, and trains all its networks in one program on the same mini-batches.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from jaxprop.errors import BadInput
from jaxprop.run import folders
from jaxprop.run.training_run import Row
from lab.claims import as_table
from lab.common import print_wide, settings
from lab.train_options import TrainOptions, scored_on

LINES = 4  # about so many for each seed


class Ending(NamedTuple):
    """How a run ended."""

    code: int  # the exit code
    folder: Path | None  # of the run; None in a process that writes nothing
    rows: Sequence[Row]  # of its epochs


def read_seeds(text: str) -> list[int]:
    """The seeds that "0-7" or "0,3,5-8" names. Raises `BadInput` where it names none, or one of them twice."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise BadInput(f"--seeds is {text!r}: expected seeds such as 0-7 or 0,3,5")
    seeds = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadInput(f"--seeds is {text!r}: expected each seed once, a range from low to high, such as 0-7")
    return seeds


def train_many(options: TrainOptions, train: Callable[[TrainOptions, int], Ending]) -> int:
    """Trains once for each seed, and leaves and prints what came of them. Returns the exit code.

    That is 0 where all were trained; 3 where one of them met a number that is not finite, which the others do not
    suffer from; 130 or 143 where they were stopped.

    train: one run with these options, which prints about so many lines about its epochs.
    """
    seeds = read_seeds(options.seeds or "")
    for name in ("resume", "seed"):
        if getattr(options, name) != getattr(TrainOptions, name):
            raise BadInput(f"--seeds trains from the start once for each seed: leave --{name} out")
    if options.devices != 1:
        raise BadInput("--seeds trains on one device: leave --devices out, or name one --seed after the other")
    summary, rows, worst_code = None, [], 0

    def write(folder: Path) -> None:
        folders.write_csv(folder / "seeds.csv", rows)
        folders.write_json(folder / "results.json", {**settings(options), **statistics(rows), "runs": rows})

    for seed in seeds:
        print(f"\nseed {seed}", flush=True)
        ending = train(replace(options, seeds=None, seed=seed), LINES)
        rows.append(_row(seed, ending, scored_on(options)))
        # After each seed, so that what is done is on disk whatever becomes of the next.
        if summary is None:
            with folders.whole_run_folder(options.out, "train_seeds", seeds[0]) as summary:
                write(summary)
        else:
            write(summary)
        worst_code = max(worst_code, ending.code)
        if ending.code not in (0, 3):
            break
    _report(rows, seeds, scored_on(options))
    print(f"folder of all seeds: {summary}")
    return worst_code


def statistics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the accuracies of the seeds that were trained to the end: how many, mean, sample s.d., worst, and its seed.

    None where there are too few for it.
    """
    done = [row for row in rows if row["exit_code"] == 0]
    accuracies = [row["accuracy"] for row in done]
    worst = min(done, key=lambda row: row["accuracy"], default={"accuracy": None, "seed": None})
    return {
        "seeds_done": len(done),
        "mean_accuracy": mean(accuracies) if done else None,
        "sample_standard_deviation": stdev(accuracies) if len(done) > 1 else None,
        "worst_accuracy": worst["accuracy"],
        "worst_seed": worst["seed"],
    }


def _row(seed: int, ending: Ending, others: str) -> dict[str, Any]:
    last = ending.rows[-1] if ending.rows else {}
    return {
        "seed": seed,
        "exit_code": ending.code,
        "epochs": len(ending.rows),
        "scored_on": others,
        "accuracy": last.get(f"{others}_accuracy"),
        "cost": last.get(f"{others}_cost"),
        "train_cost": last.get("train_cost"),
        "seconds": sum(row["seconds"] for row in ending.rows),
        "run": str(ending.folder),
    }


def _report(rows: Sequence[dict[str, Any]], seeds: Sequence[int], others: str) -> None:
    said = {0: "trained", 3: "not finite, see its diagnosis.json"}
    shown = [
        {
            "seed": row["seed"],
            f"{others} accuracy": "" if row["accuracy"] is None else f"{row['accuracy']:.2%}",
            f"{others} cost": row["cost"],
            "seconds": row["seconds"],
            "ended": said.get(row["exit_code"], "stopped"),
            "run folder": row["run"],
        }
        for row in rows
    ]
    print_wide("One row a seed", as_table(shown))
    found = statistics(rows)
    if found["seeds_done"]:
        spread = found["sample_standard_deviation"]
        sd = "one seed has no spread" if spread is None else f"sample s.d. {100 * spread:.2f}"
        worst = f"worst {found['worst_accuracy']:.2%} (seed {found['worst_seed']})"
        print(f"mean {found['mean_accuracy']:.2%}, {sd}, {worst}: {others} accuracy of {found['seeds_done']} seeds")
    missing = [seed for seed in seeds if seed not in {row["seed"] for row in rows if row["exit_code"] == 0}]
    if missing:
        print(f"without seeds {', '.join(map(str, missing))}, which were not trained to the end")
