"""What the times depend on beside the code."""

import os
from importlib.metadata import PackageNotFoundError, version

import numpy as np


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peer_versions() -> dict[str, str | None]:
    """Of the peers' packages and of NumPy's BLAS; None for what is not here."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # pyright: ignore - numpy declares no result
    found: dict[str, str | None] = {"blas": f"{blas['name']} {blas['version']}"}
    for package in ("scikit-learn", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
