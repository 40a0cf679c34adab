"""Makes the gallery, `experiments/README.md`, from the newest run of every script of the lesson, and of two beyond it.

    uv run experiments/lesson/gallery.py          # from runs on MNIST that are there
    uv run experiments/lesson/gallery.py --run    # runs every script first

The page has a section for each script: what the lesson says, what was found, the pictures with what to look at, what
was claimed and measured, and the command. A claim that came out false is shown as such, and makes the exit code 1.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import ast
import html
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from PIL import Image, UnidentifiedImageError

from jaxprop.errors import BadInput
from jaxprop.files import make_folder, read_bytes, write_atomically
from lab.claims import Claim
from lab.common import Options, run
from lab.statements import STATEMENTS
from lesson.scripts import BEYOND, SCRIPTS

LESSON = Path(__file__).parent
EXPERIMENTS = LESSON.parent
LARGEST = 100_000  # bytes of a picture


@dataclass(frozen=True)
class GalleryOptions(Options):
    """Make the gallery from the newest run of every script of the lesson."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "kmnist"] = "mnist"
    """Of runs on which images. The page in experiments/ is of mnist; any other needs --page."""
    run: bool = False
    """Run every script first. On MNIST that takes about ten minutes on two CPU cores."""
    page: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder for the page and its pictures, instead of experiments/."""


class Run(NamedTuple):
    """What one run of a script left behind."""

    folder: Path
    results: Mapping[str, Any]


def main(options: GalleryOptions) -> int:
    folder = page_folder(options)
    if options.run:
        run_all(options)
    runs = {script: newest_run(script, options) for script in shown()}
    page = make_page(runs, options.dataset, options.figures)
    pictures = {}
    if options.figures:
        for script, names in shown().items():
            for name in names:
                pictures[f"{script}-{name}.png"] = small_picture(runs[script].folder / f"{name}.png")
    # All is at hand before anything is written, and the page comes last: it never shows a picture that is not there.
    make_folder(folder / "gallery")
    for name, content in pictures.items():
        write_atomically(folder / "gallery" / name, lambda file, content=content: file.write(content))
    write_atomically(folder / "README.md", lambda file: file.write(page.encode()))
    false = sum(not claim["holds"] for run in runs.values() for claim in run.results["claims"])
    print(f"{folder / 'README.md'}: {len(STATEMENTS)} statements, {len(runs)} runs, {false} false claims")
    return 1 if false else 0


def page_folder(options: GalleryOptions) -> Path:
    """Where the page goes. Raises `BadInput` where anything but full runs on MNIST would replace the tracked page."""
    if options.page:
        return options.page
    others = {
        f"--dataset {options.dataset}": options.dataset != "mnist",
        "--smoke": options.smoke,
        "--no-figures": not options.figures,
    }
    for what, asked in others.items():
        if asked:
            raise BadInput(
                f"{what} makes another page than {EXPERIMENTS / 'README.md'}, which has pictures of full runs on "
                "mnist: name a folder for it by --page"
            )
    return EXPERIMENTS


def shown() -> dict[str, tuple[str, ...]]:
    """All scripts of the page in its order, with the names of their pictures."""
    return {**SCRIPTS, **BEYOND}


def path_of(script: str) -> Path:
    return (EXPERIMENTS if script in BEYOND else LESSON) / f"{script}.py"


def dataset_of(script: str, dataset: str) -> str:
    """The images that a script reads where the page is of these: `draw_digits.py` knows one set of digits alone."""
    return Options.dataset if script == "draw_digits" else dataset


# The runs.


def run_all(options: GalleryOptions) -> None:
    """Runs every script, one after another. A false claim is for the page to show; anything worse ends it."""
    more = ["--device", options.device, "--out", str(options.out)]
    if options.archives:
        more += ["--archives", str(options.archives)]
    if options.smoke:
        more += ["--smoke"]
    if not options.figures:
        more += ["--no-figures"]
    for i, script in enumerate(shown(), 1):
        path, *words = command(script, options.dataset, options.seed)
        print(f"\n{i} of {len(shown())}: {path} {' '.join(words)}", flush=True)
        # In a group of its own, so that Ctrl-C reaches this process alone, which then kills that one.
        code = subprocess.run([sys.executable, path_of(script), *words, *more], process_group=0).returncode
        if code not in (0, 1):
            raise BadInput(f"{path} ended with exit code {code}: see above why")


def command(script: str, dataset: str, seed: int) -> list[str]:
    """What makes such a run, as the words after `uv run`."""
    words = [f"experiments/{script}.py" if script in BEYOND else f"experiments/lesson/{script}.py"]
    if dataset_of(script, dataset) != Options.dataset:
        words += ["--dataset", dataset]
    if seed != Options.seed:
        words += ["--seed", str(seed)]
    return words


def newest_run(script: str, options: GalleryOptions) -> Run:
    """The newest run on this data set. Raises `BadInput` where there is none that can be shown."""
    dataset = dataset_of(script, options.dataset)
    for path in sorted((options.out / script).glob("*/results.json"), reverse=True):
        try:
            results = json.loads(read_bytes(path))
            of_this_kind = (results["dataset"], results["smoke"]) == (dataset, options.smoke)
            if of_this_kind and (results["figures"] or not options.figures):
                if not {"finding", "look_at"} <= results.keys():
                    raise BadInput(
                        f"{path} is of an earlier version, which does not say what was found: delete that run"
                    )
                return Run(path.parent, results)
        except (json.JSONDecodeError, LookupError, TypeError) as error:
            raise BadInput(f"{path} is not the results of an experiment ({error!r}): delete that run") from error
    hint = " ".join(command(script, dataset, 0))
    raise BadInput(f"{options.out / script} has no run on {dataset}: uv run {hint} makes one, --run makes all")


def small_picture(path: Path) -> bytes:
    """The picture as a PNG of at most 100 KB: in fewer colours, and smaller where that does not suffice."""
    try:
        full = Image.open(io.BytesIO(read_bytes(path))).convert("RGB")
    except UnidentifiedImageError as error:
        raise BadInput(f"{path} is not a picture: delete that run, or make it again") from error
    for width, colours in ((960, 256), (960, 64), (720, 64), (480, 64), (240, 16)):
        smaller = full.resize((width, round(width * full.height / full.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        if len(buffer.getvalue()) <= LARGEST:
            return buffer.getvalue()
    raise BadInput(f"{path} does not fit into {LARGEST:,} bytes: make it a simpler picture")


# The page.

PAGE = """# The lesson, measured

An introductory lesson on backpropagation, told on handwritten digits, makes twenty statements, L1 to L20. Each section
that names some of them is one script, which measures them: what the lesson says, what was found, the pictures with what
to look at, what was claimed and what was measured, and the command. Every number and every picture is of a run on
`{dataset}`, but for those of the transformer, which draws the small digits of scikit-learn. A claim can come out false,
and is marked then; why each bound is where it is stands in the `results.json` of a run.

Two sections at the end go beyond the lesson, to networks of today (the layers are in
[jaxprop/layers/](../jaxprop/layers/)): what long sequences do to a gradient, and that transformer.

Some words are the lesson's own. A **nudge**, or **wish**, is minus a derivative of the cost of one example: the change
that would lower it. A **request** is what one neuron by itself wishes of an activation in the layer before. The
**avenues** are the three kinds of numbers by which an activation can be changed: bias, weights, activations before.
`W1`, `b1` are the weights and biases of hidden layer 1, `W2`, `b2` of hidden layer 2, `W3`, `b3` of the outputs;
`W1[3, 406]` leads to neuron 3 from pixel 406, both counted from 0.

The other folders: [proof/](proof/) plants mistakes in the gradients and shows which check finds which, in about a
quarter of an hour; [benchmarking/](benchmarking/) measures speed, beside other programs too;
[instruments/](instruments/) shows what the gradients of single examples are good for; [notebooks/](notebooks/) holds
three notebooks to read, change and run; [lab/](lab/) holds what all scripts share. The scripts of the lesson are in
[lesson/](lesson/), and those beside this page (`train.py`, `compare_gradients.py` and others) are the ones to begin
with.

`uv run experiments/lesson/gallery.py` makes this page from the newest runs, and with `--run` it makes the runs first,
in about ten minutes on two CPU cores.

## The desk: every derivative of a digit of your own

[![A handwritten 6, the network, and the derivative of one weight, with its code](gallery/desk.png)](gallery/desk.html)

One page, offline: save [gallery/desk.html](gallery/desk.html) and open it in a browser, or build one of a run of your
own. Draw a digit, and walk through the lesson in eight steps with true numbers: forward, the cost, three ways to lower
it, back through the layers, any of the 13,002 derivatives beside the finite difference that measures it, the average
over a mini-batch, training, and two ways down the hill. The line at the bottom compares the page with both gradients of
jaxprop as it opens. The page can save a receipt with every number of one example, and `--verify` derives them again.

```
uv run experiments/desk.py
uv run experiments/desk.py runs/train/<your run>
uv run experiments/desk.py --verify receipt.json
```

{sections}
## The runs

| script | seed | device | JAX | commit |
|---|---|---|---|---|
{runs}"""

SECTION = """## {heading}

{says}{finding}

{pictures}{claims}

```
uv run {command}
```
"""


def make_page(runs: Mapping[str, Run], dataset: str, with_pictures: bool) -> str:
    """The whole page, from the run of every script. Raises `BadInput` where nothing is claimed about a statement."""
    claimed = {claim["statement"] for run in runs.values() for claim in run.results["claims"]}
    for statement in STATEMENTS:
        if statement not in claimed:
            raise BadInput(
                f"no run claims anything about {statement}: leave --smoke out, or add a script that makes a claim"
            )
    sections = [section(script, run.results, with_pictures) for script, run in runs.items()]
    rows = [run_row(script, run.results) for script, run in runs.items()]
    return PAGE.format(dataset=dataset, sections="\n".join(sections), runs="".join(rows))


def section(script: str, results: Mapping[str, Any], with_pictures: bool) -> str:
    heading = heading_of(script)
    claimed = {claim["statement"] for claim in results["claims"]}
    says = [f"> **{name}** {escaped(says)}" for name, says in STATEMENTS.items() if name in claimed]
    pictures = ""
    if with_pictures:
        for name in shown()[script]:
            subject = heading.partition(": ")[2] or heading
            alt = html.escape(f"{name.replace('_', ' ')}: {subject}")
            pictures += f'<img src="gallery/{script}-{name}.png" width="720" alt="{alt}">\n\n'
            pictures += f"*{escaped(results['look_at'][name])}*\n\n"
    return SECTION.format(
        heading=escaped(heading),
        says="\n>\n".join(says) + "\n\n" if says else "",
        finding=escaped(results["finding"]),
        pictures=pictures,
        claims="\n".join(claim_line(claim) for claim in results["claims"]),
        command=" ".join(command(script, results["dataset"], results["seed"])),
    )


def heading_of(script: str) -> str:
    """Of the script's docstring: the statements that it is about, and its subject."""
    docstring = ast.get_docstring(ast.parse(read_bytes(path_of(script)))) or script
    return docstring.partition("\n")[0].rstrip(".")


def claim_line(record: Mapping[str, Any]) -> str:
    claim = as_claim(record)
    measured = f"measured **{claim.measured_in_words}**, expected {claim.expected_in_words}"
    verdict = "" if claim.holds else ", so this is **FALSE**"
    return f"- {claim.statement}: {escaped(claim.claim)}: {measured}{verdict}"


def as_claim(record: Mapping[str, Any]) -> Claim:
    """A claim as `results.json` has it, where a NaN or an infinity is a word."""
    facts = {name: value for name, value in record.items() if name != "holds"}
    return Claim(**{**facts, "measured": float(facts["measured"])})


def escaped(text: str) -> str:
    """Text as Markdown shows it literally, in a table too."""
    for character in "\\|*_`[]<":
        text = text.replace(character, f"\\{character}")
    return text


def run_row(script: str, results: Mapping[str, Any]) -> str:
    device = results["device"]["kind"]
    jax_version = results["versions"]["jax"]
    commit = (results["commit"] or "none")[:7]
    return f"| `{script}.py` | {results['seed']} | {device} | {jax_version} | {commit} |\n"


if __name__ == "__main__":
    sys.exit(run(main, GalleryOptions))
