"""The desk: one page, offline, where one draws a digit and sees the true gradient of every weight.

Builds a single HTML file from the parameters of a training run, and opens it in the browser. Without a run, it trains a
network on the embedded digits first, which takes seconds. The page asks no server for anything.

    uv run experiments/desk.py
    uv run experiments/desk.py runs/train/<your run>
    uv run experiments/desk.py --verify receipt.json
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import base64
import hashlib
import json
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import numpy as np
import tyro

import jaxprop as jp
from jaxprop.data.datasets import DatasetName, load_dataset
from jaxprop.errors import BadInput
from jaxprop.files import make_folder, write_atomically
from jaxprop.run import folders
from jaxprop.run.devices import DeviceName
from jaxprop.run.parameters import describe_params, load_mlp
from lab import running_example
from lab.common import first_line, progress, run
from lab.desk_data import PARTS, Trained, embed
from lab.desk_receipts import derive_again, read_receipt

SOURCES = Path(__file__).parent / "desk"
ENGINE = ("engine.js", "embedded.js", "ink.js", "strip.js", "receipt.js")
VIEW = (  # of view/, in the order in which they run
    *("elements.js", "paint.js", "words.js", "state.js", "pad.js", "network.js", "training.js"),
    *("forward.js", "cost.js", "ways.js", "back.js", "weight.js", "average.js", "train.js", "hill.js"),
    *("receipts.js", "main.js"),
)
STEPS = 3000  # of the training without a run: 200 epochs
WIDEST, DEEPEST = 32, 3  # neurons in a hidden layer, and hidden layers, that the page has room for


@dataclass(frozen=True)
class DeskOptions:
    """Build the page, or check a receipt that it saved."""

    params: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")]] = None
    """The folder of a training run, or its params.npz. Without it, a network is trained on the embedded digits."""
    verify: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Instead of building a page: derive every number of a receipt again, with both gradients."""
    open: bool = True
    """Open the page in the browser. With --no-open, only say where it is."""
    archives: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder with the four original .gz files of the dataset, instead of a download. Also: JAXPROP_ARCHIVES."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that gets desk/<name of the run's folder>.html."""
    device: DeviceName = "auto"
    """Where to compute. A device that is absent is an error and never replaced; auto is JAX's own choice."""


# The network


def load_trained(path: Path) -> Trained:
    """The network of a run. Raises `BadInput` where the page cannot show it."""
    about = describe_params(path)
    network, params = load_mlp(path)
    sizes = tuple(about["sizes"])
    hidden = sizes[1:-1]
    if (sizes[0], sizes[-1]) != (784, 10) or not 1 <= len(hidden) <= DEEPEST or max(hidden) > WIDEST:
        given = "-".join(map(str, sizes))
        raise BadInput(
            f"{path} is of a network of {given}: the page shows 784 inputs, one to {DEEPEST} hidden layers of at most "
            f"{WIDEST} neurons, and 10 outputs; train one with experiments/train.py"
        )
    if "dataset" not in about:
        raise BadInput(f"{path} does not say what it was trained on: name the run folder of experiments/train.py")
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise BadInput(f"{path} holds numbers that are not finite: name a run whose training ended well")
    if about["dtype"] == "float16":  # which the page's arrays do not have; float32 holds every one of these numbers
        params = jax.tree.map(lambda leaf: leaf.astype("float32"), params)
    return Trained(network, sizes, about["activation"], params, about["dataset"], origin_of(path))


def origin_of(path: Path) -> str:
    return f"the parameters in {path.parent.name}/{path.name}"


def train_one() -> Trained:
    """The network of the lesson, trained on the embedded digits as `train.py` does without options."""
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(0))
    examples = load_dataset("digits").train
    (params,) = running_example.snapshots(network, network.init(init_key), examples, [STEPS], key=order_key)
    origin = f"trained for {STEPS:,} steps on the {len(examples.labels):,} embedded digits"
    return Trained(network, running_example.SIZES, "sigmoid", params, "digits", origin)


# The page


def page(data: dict[str, Any]) -> str:
    """The whole page: template, sheet, data and scripts in one text, which forbids the browser every request."""
    sheet = read_source("style.css")
    scripts = [read_source(name) for name in (*ENGINE, *(f"view/{name}" for name in VIEW))]
    document = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("</", "<\\/")
    allowed = f'<meta http-equiv="Content-Security-Policy" content="{policy(sheet, scripts)}">'
    marks = {
        "head": f"{allowed}\n<style>{sheet}</style>",
        "data": f'<script type="application/json" id="desk-data">{document}</script>',
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    whole = read_source("page.html")
    for name, content in marks.items():
        mark = f"<!-- desk: {name} -->"
        if whole.count(mark) != 1:
            raise ValueError(f"page.html has {mark!r} {whole.count(mark)} times: expected it once")
        whole = whole.replace(mark, content)
    return whole


def read_source(name: str) -> str:
    text = (SOURCES / name).read_text(encoding="utf-8")
    if name.endswith((".js", ".css")) and any(end in text.lower() for end in ("</script", "</style", "<!--")):
        raise ValueError(f"{name} holds a tag that would end it within the page")
    return text


def policy(sheet: str, scripts: Sequence[str]) -> str:
    """Nothing may be loaded, and no script or style may run but these, known by their hashes."""

    def sources(texts: Sequence[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {sources(scripts)}; style-src {sources([sheet])}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def build(options: DeskOptions, run_file: Path | None) -> Path:
    """Builds the page of these parameters, or of a network trained here; says on the way what is done."""
    with progress(PARTS + 1) as report:
        trained = train_one() if run_file is None else load_trained(run_file)
        report(trained.origin)
        data = load_dataset(cast(DatasetName, trained.dataset), options.archives)
        text = page(embed(trained, data, report))
    path = options.out / "desk" / f"{name_of(run_file)}.html"
    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def name_of(run_file: Path | None) -> str:
    return "digits" if run_file is None else run_file.resolve().parent.name


# Receipts


def verify(path: Path) -> int:
    """Says whether a receipt is true: 0, or 1 with the number that is off."""
    receipt = read_receipt(path)
    verdict = derive_again(receipt)
    if verdict.complaint:
        print(f"refused: {verdict.complaint}")
        return 1
    apart = ", ".join(f"{difference:.1e} from the ones {way}" for way, difference in verdict.largest.items())
    print(f"accepted: {verdict.derived:,} numbers derived again; of scale, the receipt's are at most {apart}")
    return 0


def main(options: DeskOptions) -> int:
    if options.verify is not None:
        if options.params is not None:
            raise BadInput(f"both a run, {options.params}, and --verify {options.verify} are given: name one of them")
        first_line(options.device, "float64")
        return verify(options.verify)
    run_file = None if options.params is None else folders.parameters_of(options.params)
    # Parameters in half precision are computed with in float32.
    dtype = "float64" if run_file is not None and describe_params(run_file)["dtype"] == "float64" else "float32"
    first_line(options.device, dtype)
    # A run under JAX_ENABLE_X64=1 left float64, and reading that must not need the variable again.
    with jax.enable_x64(dtype == "float64"):
        path = build(options, run_file)
    print(f"page: {path} ({path.stat().st_size / 1000:,.0f} KB)")
    if options.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(run(main, DeskOptions))
