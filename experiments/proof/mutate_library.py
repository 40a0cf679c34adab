"""Whether the tests notice a mistake in the library: one small change of its source after the other, drawn at random.

Each mutant is a copy of the tree in a temporary folder, with one change in one module of `jaxprop/`. The tests of that
module run on it, those that mirror it first and then those that use it, until one of them fails: then the mutant is
killed, and also where they take longer than --limit. One that survives is a mistake that nothing would notice, or no
mistake at all: `known_survivors.csv` beside this script says which, and why.

Only a part of all tests is asked, so the score is the least that it can be. 160 mutants take about an hour on two CPU
cores. With --go-on a run that was stopped goes on, and what has survived in it is asked again.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxprop.errors import BadInput
from jaxprop.run import folders
from lab.claims import as_table
from lab.common import print_wide, progress, run
from proof.library_mutants import Mutant, draw, library_modules, room_of

ROOT = Path(__file__).parents[2]
KNOWN = Path(__file__).with_name("known_survivors.csv")
Known = dict[tuple[str, str, str], dict[str, str]]  # by file, before and after
# What a copy of the tree leaves out.
LEFT_OUT = (".git", ".venv", "runs", "dist", "__pycache__", ".hypothesis", ".pytest_cache", ".ruff_cache")
USERS = 3  # test files that use a module, beside the one that mirrors it
# Tests that use a module without naming it: through `train.py`, or through what all layers have in common.
UNNAMED = {
    "layers": ("tests/layers/test_every_layer.py",),
    "gradients": ("tests/test_networks.py",),
    "structured": ("tests/layers/test_convolution.py", "tests/test_instruments.py", "tests/layers/test_every_layer.py"),
    "processes": ("tests/test_train_processes.py",),
    "meeting": ("tests/run/test_processes.py", "tests/test_train_processes.py"),
    "pictures": ("tests/data/test_drawings.py",),
    "ink": ("tests/data/test_drawings.py",),
    "folders": ("tests/lab/test_claims.py", "tests/test_train.py"),
    "digits": ("tests/test_train_numbers.py",),
    "fitting": ("tests/test_train_numbers.py",),
    "checkpoints": ("tests/test_train_resume.py",),
    "training_run": ("tests/test_train_resume.py",),
    "report": ("tests/verify/test_comparison.py", "tests/test_compare_gradients.py"),
}


@dataclass(frozen=True)
class MutateOptions:
    """Mutate the library, and see whether the tests notice."""

    count: int = 160
    """How many mutants, spread evenly over the modules."""
    only: Annotated[str | None, tyro.conf.arg(metavar="MODULE", help_behavior_hint="")] = None
    """Mutate this module alone, such as jaxprop/costs.py."""
    seed: int = 0
    """Which mutants are drawn."""
    processes: int = 2
    """How many are tested at a time."""
    limit: float = 300.0
    """Seconds that the tests of one mutant may take; longer counts as killed."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that collects the runs, each in a folder of its own."""
    go_on: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """Go on with the run of this folder: with its mutants that were not asked, and those that survived."""


def asked_about(root: Path, file: str) -> list[str]:
    """The test files that are asked about a module: its mirror, and those that name it or its functions most often."""
    path = Path(file)
    module = ".".join(path.with_suffix("").parts)
    inside = path.parent.relative_to("jaxprop")
    mirror = f"tests/{inside}/test_{path.stem}.py" if inside.parts else f"tests/test_{path.stem}.py"
    public = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", (root / file).read_text(), re.MULTILINE)
    naming = re.compile(rf"{re.escape(module)} import|\bjp\.(?:{'|'.join(public) or '-'})\b")
    counts = {}
    for test in sorted((root / "tests").rglob("test_*.py")):
        name = str(test.relative_to(root))
        if number := len(naming.findall(test.read_text())):
            counts[name] = number
    users = sorted(counts, key=lambda name: (-counts[name], name))
    chosen = dict.fromkeys((mirror, *UNNAMED.get(path.stem, ()), *UNNAMED.get(room_of(file), ())))
    for name in users:
        if len(chosen) <= USERS:
            chosen[name] = None
    return [name for name in chosen if (root / name).is_file()]


@contextmanager
def copy_of_tree(root: Path, mutant: Mutant | None = None) -> Iterator[Path]:
    """A copy of the tree in a temporary folder, with the change of the mutant, if there is one."""
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if mutant is not None:
            path = copy / mutant.file
            path.write_text(mutant.applied(path.read_text()))
        yield copy


class Runner:
    """Runs tests in copies of the tree, several at a time; `stop` ends all of them."""

    def __init__(self, limit: float):
        self.limit = limit
        self.running: set[subprocess.Popen] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def run(self, copy: Path, what: Sequence[str]) -> tuple[int | None, str]:
        """The exit code of pytest, None where it took longer than the limit, and what it said."""
        paths = (copy, copy / "experiments")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", "--tb=no", *what]
        with tempfile.TemporaryFile("w+") as said:
            with self.lock:
                if self.stopped:
                    raise KeyboardInterrupt
                # In a process group of its own, so that what the tests have started ends with them.
                process = subprocess.Popen(
                    command, cwd=copy, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
                )
                self.running.add(process)
            try:
                code = process.wait(self.limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
                with self.lock:
                    self.running.discard(process)
            said.seek(0)
            return code, said.read()

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ends a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask(mutant: Mutant, root: Path, tests: Runner, broken: Sequence[str]) -> dict[str, Any]:
    """What becomes of one mutant.

    broken: tests that fail without any change, which say nothing.
    """
    before, after = mutant.before_and_after((root / mutant.file).read_text())
    about = {**mutant._asdict(), "room": room_of(mutant.file), "before": before, "after": after}
    began = time.monotonic()
    with copy_of_tree(root, mutant) as copy:
        files = asked_about(root, mutant.file)
        code, said = tests.run(copy, ["-x", *files, *(f"--deselect={test}" for test in broken)])
    if tests.stopped:
        raise KeyboardInterrupt
    if code == 5:
        raise RuntimeError(f"no test was found in {' '.join(files)}")
    if code is None:
        by = "the time limit"
    elif code == 0:
        by = ""
    else:
        by = next(iter(failed(said)), f"exit code {code}")
    verdict = "survived" if code == 0 else "killed"
    return {**about, "verdict": verdict, "by": by, "seconds": round(time.monotonic() - began, 1)}


def check_that_tests_run(root: Path, tests: Runner) -> None:
    """Raises `BadInput` where the tests do not even begin in a copy of the tree: all mutants would seem killed then."""
    with copy_of_tree(root) as copy:
        code, said = tests.run(copy, ["--collect-only", "tests/test_borders.py"])
    if code != 0:
        raise BadInput(f"the tests of a copy of {root} do not run: {said.strip().splitlines()[-1]}")


def broken_tests(root: Path, tests: Runner, killers: Iterable[str]) -> list[str]:
    """Which of the tests that have killed mutants fail without any change too. They have killed nothing."""
    names = sorted(set(killers))
    broken = []
    with copy_of_tree(root) as copy:
        single = [name for name in names if "::" in name]
        files = [name for name in names if "::" not in name and (root / name).is_file()]
        for what in (single, ["--collect-only", *files] if files else []):
            if what:
                _, said = tests.run(copy, what)
                broken += failed(said)
    return sorted(broken)


def failed(said: str) -> list[str]:
    """The tests that pytest names in its summary, or the files that it could not read."""
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)


def source_digest(root: Path) -> str:
    """Of the modules of the library: the places of mutants count in these only."""
    digest = hashlib.sha256()
    for path in sorted((root / "jaxprop").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def known_survivors(path: Path) -> Known:
    """Whether a survivor is equal to the library, or is left on purpose; and why."""
    with open(path, newline="") as file:
        return {(row["file"], row["before"], row["after"]): row for row in csv.DictReader(file)}


def score(rows: Iterable[dict[str, Any]], known: Known) -> dict[str, Any]:
    """How many were killed of those that are no equal of the library: in all, and by room."""
    counts: dict[str, Counter[str]] = {"all": Counter()}
    for row in rows:
        about = known.get((row["file"], row["before"], row["after"]))
        verdict = about["verdict"] if row["verdict"] == "survived" and about else row["verdict"]
        for room in ("all", row["room"]):
            counts.setdefault(room, Counter())[verdict] += 1
    return {
        room: {
            "mutants": found.total(),
            **{verdict: found[verdict] for verdict in ("killed", "equal", "left", "survived")},
            "score": found["killed"] / max(1, found.total() - found["equal"]),
        }
        for room, found in sorted(counts.items())
    }


def survivors(rows: Iterable[dict[str, Any]], known: Known) -> list[dict[str, Any]]:
    """Who has survived, and what is known about it."""
    found = []
    for row in rows:
        if row["verdict"] == "survived":
            about = known.get((row["file"], row["before"], row["after"]), {"verdict": "", "why": ""})
            place = {name: row[name] for name in ("file", "line", "kind", "before", "after")}
            found.append({**place, "verdict": about["verdict"], "why": about["why"]})
    return found


def begin(options: MutateOptions) -> tuple[Path, dict[str, Any]]:
    """The folder of the run, and its record: which mutants, which tests are broken, and what became of each so far."""
    for name in ("count", "processes", "limit"):
        if not getattr(options, name) > 0:
            raise BadInput(f"--{name} is {getattr(options, name)}: expected a number above 0")
    if options.go_on is not None:
        path = options.go_on / "results.json"
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"no run can go on from {path}: name a run folder of this script") from error
        if not isinstance(record, dict) or not {"source", "broken", "mutants", "rows"} <= record.keys():
            raise BadInput(f"no run can go on from {path}, which another script wrote: name a folder of this one")
        if record["source"] != source_digest(ROOT):
            raise BadInput(f"{options.go_on}: jaxprop/ has changed since, so its mutants are others; begin a new run")
        return options.go_on, record
    modules = library_modules(ROOT)
    if options.only is not None:
        if options.only not in modules:
            raise BadInput(f"--only is {options.only}: expected a module such as {modules[0]}")
        modules = [options.only]
    record = {
        "seed": options.seed,
        "source": source_digest(ROOT),
        "broken": [],
        "mutants": [mutant._asdict() for mutant in draw(ROOT, modules, options.count, options.seed)],
        "rows": [],
    }
    with folders.whole_run_folder(options.out, "mutate_library", options.seed) as folder:
        folders.write_json(folder / "results.json", record)
    return folder, record


def main(options: MutateOptions) -> int:
    folder, record = begin(options)
    print(f"run folder: {folder}", flush=True)
    known = known_survivors(KNOWN)
    mutants = [Mutant(**about) for about in record["mutants"]]
    rows = {_mutant_of(row): row for row in record["rows"]}

    def write() -> None:
        done = [rows[mutant] for mutant in mutants if mutant in rows]
        folders.write_json(folder / "results.json", {**record, "rows": done, "score": score(done, known)})
        folders.write_csv(folder / "survivors.csv", survivors(done, known))

    asked = [mutant for mutant in mutants if mutant not in rows]
    asked += [mutant for mutant in mutants if mutant in rows and rows[mutant]["verdict"] == "survived"]
    tests = Runner(options.limit)
    # What is edited while this runs does not come in.
    with copy_of_tree(ROOT) as tree, ThreadPoolExecutor(options.processes) as pool:
        try:
            check_that_tests_run(tree, tests)
            while asked:
                with progress(len(asked)) as report:
                    futures = [pool.submit(ask, mutant, tree, tests, tuple(record["broken"])) for mutant in asked]
                    for future in as_completed(futures):
                        row = future.result()
                        rows[_mutant_of(row)] = row
                        write()
                        report("{verdict} in {seconds:.0f} s: {file}:{line} {kind}".format(**row))
                broken = broken_tests(tree, tests, [row["by"] for row in rows.values() if row["verdict"] == "killed"])
                for name in broken:
                    print(f"note: {name} fails without any change too: its mutants are asked again", file=sys.stderr)
                record["broken"] = [*record["broken"], *broken]
                asked = [mutant for mutant, row in rows.items() if row["by"] in broken]
        finally:
            tests.stop()
            pool.shutdown(cancel_futures=True)
    write()
    done = [rows[mutant] for mutant in mutants]
    print_wide(
        "Killed, of the mutants that differ",
        as_table([{"room": room, **found} for room, found in score(done, known).items()]),
    )
    for row in survivors(done, known):
        print("{file}:{line} {kind}\n  {before}\n  {after}\n  {verdict}: {why}".format(**row))
    print(f"run folder: {folder}")
    return 0


def _mutant_of(row: dict[str, Any]) -> Mutant:
    return Mutant(**{name: row[name] for name in Mutant._fields})


if __name__ == "__main__":
    sys.exit(run(main, MutateOptions))
