"""What every script shares: its options, its first line, its progress, and how it ends."""

import inspect
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jax
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxprop.errors import BadInput
from jaxprop.run.devices import Device, DeviceName, describe_device, keep_compiled, select_device
from jaxprop.run.processes import LostProcess, leave
from lab.signals import done, end_if_stopped, say, say_stopped


@dataclass(frozen=True)
class Options:
    """The options that all scripts have."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "kmnist"] = "digits"
    """Which images: digits comes with scikit-learn; the others are downloaded once, or read from --archives."""
    archives: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder with the four original .gz files of the dataset, instead of a download. Also: JAXPROP_ARCHIVES."""
    seed: int = 0
    """Everything random follows from it."""
    device: DeviceName = "auto"
    """Where to compute. A device that is absent is an error and never replaced; auto is JAX's own choice."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that collects the runs, each in a folder of its own."""
    keep_compiled: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Keep what is compiled in your cache folder, where a later run like this one finds it and starts sooner."""
    smoke: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """A run of seconds, which only shows that everything works."""
    figures: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = True
    """Leave the pictures out."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"--seed is {self.seed}: expected a whole number from 0 to {2**32 - 1}")


def settings(options: Options) -> dict[str, Any]:
    """The options as JSON has them."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in asdict(options).items()}


SomeOptions = TypeVar("SomeOptions")


def run(
    main: Callable[[SomeOptions], int],
    options_type: type[SomeOptions],
    argv: Sequence[str] | None = None,
    earlier: Callable[[SomeOptions], SomeOptions | None] = lambda options: None,
) -> int:
    """Parses the command line, runs `main(options)` and returns the exit code. Help begins with the script's docstring.

    0 good, 1 a claim is false, 2 bad input (one sentence, no traceback), 4 another process of the run was lost, 130
    stopped by Ctrl-C, 143 by SIGTERM. `main` may have others, such as 3 of `train.py`.

    earlier: given the options, those of the run that they go on with, if any. What the command line leaves out comes
        from there then, and not from the defaults.
    """
    warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
    try:
        code = _run(main, options_type, argv, earlier)
    except BadInput as error:
        say(f"error: {error}")
        code = 2
    except LostProcess as error:
        say(f"error: {error}")
        code = 4
    except KeyboardInterrupt as stop:
        code = getattr(stop, "code", 130)
        say_stopped(code)
    finally:
        end_if_stopped()
    return done(leave(code))


def _run(
    main: Callable[[SomeOptions], int],
    options_type: type[SomeOptions],
    argv: Sequence[str] | None,
    earlier: Callable[[SomeOptions], SomeOptions | None],
) -> int:
    about = _wrapped(inspect.getdoc(inspect.getmodule(main)) or "")
    options = tyro.cli(options_type, args=argv, description=about, config=(tyro.conf.FlagCreatePairsOff,))
    if before := earlier(options):
        # A flag is called --no-smoke where --smoke is the default. With pairs, what was typed is known either way.
        options = tyro.cli(options_type, args=argv, description=about, default=before)
    if isinstance(options, Options) and options.keep_compiled:
        keep_compiled()
    return main(options)


def _wrapped(text: str) -> str:
    """The same paragraphs in lines that fit the terminal; what is indented, such as a command, stays as it is.

    A space begins each line: tyro, which breaks no line, joins those that begin with a letter.
    """
    fill = partial(
        textwrap.fill,
        width=min(120, shutil.get_terminal_size().columns),
        initial_indent=" ",
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else fill(" ".join(p.split())) for p in paragraphs)


def first_line(name: DeviceName, dtype: str = "float32") -> Device:
    """Selects the device, makes it the default for what follows, and says so in one line."""
    device = select_device(name)
    jax.config.update("jax_default_device", device)
    print(describe_device(device, dtype), flush=True)
    return device


@contextmanager
def progress(total: int, done: int = 0, lines: int | None = None) -> Iterator[Callable[[str], None]]:
    """`with progress(30) as report:` shows a bar of 30 steps; `report(line)` takes one and shows the line beside it.

    lines: where there is no terminal, so many of the lines are printed plainly instead, about, and always the last one;
        None: all.
    """
    every = 1 if lines is None else max(1, total // lines)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    console = Console()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)

        def report(line: str) -> None:
            nonlocal done
            done += 1
            if console.is_terminal:
                bar.update(task, advance=1, description=line)
            elif done % every == 0 or done == total:
                print(line, flush=True)

        yield report


def print_wide(title: str, what: Any) -> None:
    """Prints a table or anything else that rich shows, under a title."""
    console = Console()
    # Where there is no terminal, rich would squeeze it into 80 columns.
    (console if console.is_terminal else Console(width=140)).print(f"\n{title}", what)
