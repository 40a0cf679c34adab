"""The packages that only data sets and drawings need: imported when they are used, and named where they are missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxprop.errors import BadInput


@contextmanager
def optional_packages(use: str) -> Iterator[None]:
    """Around imports of the optional dependencies `data` of the package.

    use: what they are imported for, at the beginning of a sentence.

    Raises `BadInput` where one of them is not installed, with the command that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        brings = 'pip install "jaxprop[data]" brings it'
        raise BadInput(f"{use} needs the package {package}, which is not installed: {brings}") from error
