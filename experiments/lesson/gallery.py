"""Makes the gallery, `experiments/README.md`, from the newest run of every experiment; with --run, runs them first."""

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from jaxprop.errors import BadInput
from jaxprop.files import make_folder, read_bytes, write_atomically
from lab.common import Options, run
from lesson.gallery_page import Run, command, make_page, picture_name
from lesson.statements import SCRIPTS, STATEMENTS

HERE = Path(__file__).parent
LARGEST = 100_000  # bytes of a picture


@dataclass(frozen=True)
class GalleryOptions(Options):
    """Make the gallery from the newest run of every experiment."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "kmnist"] = "mnist"
    """Of runs on which images."""
    run: bool = False
    """Run every experiment first."""


def run_all(options: Options) -> None:
    """Runs every experiment, one after another. A false claim is for the gallery to show; anything worse ends it."""
    more = ["--device", options.device, "--out", str(options.out)]
    more += ["--archives", str(options.archives)] if options.archives else []
    more += ["--smoke"] if options.smoke else []
    more += [] if options.figures else ["--no-figures"]
    for i, script in enumerate(SCRIPTS, 1):
        path, *words = command(script, options.dataset, options.seed)
        print(f"\n{i} of {len(SCRIPTS)}: {path} {' '.join(words)}", flush=True)
        code = subprocess.run([sys.executable, HERE / Path(path).name, *words, *more]).returncode
        if code not in (0, 1):
            raise BadInput(f"{path} ended with exit code {code}: see above why")


def newest_run(script: str, options: Options) -> Run:
    """The newest run on this data set. Raises `BadInput` where there is none that can be shown."""
    for path in sorted((options.out / script).glob("*/results.json"), reverse=True):
        try:
            results = json.loads(read_bytes(path))
            if (results["dataset"], results["smoke"]) != (options.dataset, options.smoke):
                continue
            if not options.figures:
                return Run(path.parent, results, {})
            if results["figures"]:
                titles = {file.stem: open_picture(file).info.get("Title", "") for file in path.parent.glob("*.png")}
                return Run(path.parent, results, titles)
        except (json.JSONDecodeError, LookupError, TypeError) as error:
            raise BadInput(f"{path} is not the results of an experiment ({error!r}): delete that run") from error
    hint = " ".join(command(script, options.dataset, 0))
    raise BadInput(f"{options.out / script} has no run on {options.dataset}: uv run {hint} makes one, --run makes all")


def open_picture(path: Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(read_bytes(path)))
    except UnidentifiedImageError as error:
        raise BadInput(f"{path} is not a picture: delete that run, or make it again") from error


def small_picture(path: Path) -> bytes:
    """The picture as a PNG of at most 100 KB: in fewer colours, and smaller where that does not suffice."""
    full = open_picture(path).convert("RGB")
    for width, colours in ((960, 256), (960, 64), (720, 64), (480, 64), (240, 16)):
        smaller = full.resize((width, round(width * full.height / full.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        if len(buffer.getvalue()) <= LARGEST:
            return buffer.getvalue()
    raise BadInput(f"{path} does not fit into {LARGEST:,} bytes: make it a simpler picture")


def main(options: GalleryOptions) -> int:
    if options.run:
        run_all(options)
    runs = {script: newest_run(script, options) for script in SCRIPTS}
    page = make_page(runs, options.dataset)
    shown = {picture_name(s): runs[s.script].folder / f"{s.figure}.png" for s in STATEMENTS.values()}
    pictures = {name: small_picture(path) for name, path in shown.items()} if options.figures else {}
    # All is at hand before anything is written, and the page comes last: it never shows a picture that is not there.
    make_folder(HERE / "gallery")
    for name, content in pictures.items():
        write_atomically(HERE / "gallery" / name, lambda file, content=content: file.write(content))
    write_atomically(HERE / "README.md", lambda file: file.write(page.encode()))
    false = sum(not claim["holds"] for run in runs.values() for claim in run.results["claims"])
    print(f"{HERE / 'README.md'}: {len(STATEMENTS)} statements, {len(runs)} runs, {false} false claims")
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(run(main, GalleryOptions))
