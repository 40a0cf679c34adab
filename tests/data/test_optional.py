"""A package that is not installed is named, and nothing else is hidden."""

import pytest

from jaxprop.data.optional import optional_packages
from jaxprop.errors import BadInput


def test_a_missing_package_is_named_with_the_command_that_brings_it():
    sentence = 'a drawing needs the package sextant, which is not installed: pip install "jaxprop\\[data\\]" brings it'
    with pytest.raises(BadInput, match=f"^{sentence}$"), optional_packages("a drawing"):
        import sextant.horizon  # noqa: F401  # pyright: ignore[reportMissingImports]


def test_a_package_that_is_there_and_broken_keeps_its_error():
    with pytest.raises(ImportError, match="no_such_name"), optional_packages("a drawing"):
        from jaxprop.errors import no_such_name  # noqa: F401  # pyright: ignore[reportAttributeAccessIssue]
