"""What a run leaves behind: a folder of its own, with JSON, CSV and pictures."""

import csv
import datetime
import importlib.metadata
import io
import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxprop.errors import BadInput
from jaxprop.files import whole_folder, write_atomically
from jaxprop.run.devices import Device


def new_run_folder(out: Path, experiment: str, seed: int) -> Path:
    """Makes and returns `out/experiment/<UTC>-seed<k>`, with a counter added if that exists already.

    Raises `BadInput` if it cannot be made.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    name, attempt = f"{stamp}-seed{seed}", 1
    while True:
        folder = out / experiment / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():
                raise BadInput(f"{folder} is in the way of a run folder: choose another folder with --out") from None
            attempt += 1
        except OSError as error:
            raise BadInput(f"no run folder can be made in {out}: {error.strerror}; choose another with --out") from None


@contextmanager
def whole_run_folder(out: Path, experiment: str, seed: int) -> Iterator[Path]:
    """A new run folder for what belongs together: where the block does not come to its end, the folder goes again."""
    with whole_folder(new_run_folder(out, experiment, seed)) as folder:
        yield folder


def parameters_of(place: Path) -> Path:
    """The file of parameters: the one that is named, or that of the run folder that is named.

    Raises `BadInput` where that is a folder without one.
    """
    if not place.is_dir():
        return place
    if not (place / "params.npz").is_file():
        raise BadInput(f"{place} has no params.npz: name the folder of a training run that has ended, or been stopped")
    return place / "params.npz"


def write_json(path: Path, content: Any) -> None:
    """Writes one JSON document, whole or not at all. NaN and infinity, which JSON does not know, raise `ValueError`."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a row for each mapping, whole or not at all; the first one's keys are the header."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def provenance(device: Device) -> dict[str, Any]:
    """Where a result came from: device, versions and the commit of the source, None outside a checkout."""
    return {
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": {"python": platform.python_version(), **versions()},
        "commit": _commit(),
    }


def versions() -> dict[str, str]:
    """Of the packages that compute."""
    packages = ("jaxprop", "jax", "jaxlib", "optax", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}


def _commit() -> str | None:
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():  # installed as a package: a repository further up would be somebody else's
        return None
    head = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True)
    return head.stdout.strip() if head.returncode == 0 else None
