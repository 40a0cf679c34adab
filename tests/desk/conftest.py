"""A real browser for the page and for its engine."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.desk.pages import Evaluate, engine_page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's chromium: one for all tests of a worker."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip(f"there is no browser here: none of {', '.join(CHROMIUM)} is on the path")
    # Containers have no sandbox to offer. The pages are our own, and reach nothing.
    options: dict[str, Any] = {"executable_path": found, "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        yield browser


@pytest.fixture(scope="module")
def evaluate(browser: Browser) -> Iterator[Evaluate]:
    """`evaluate("(x) => …", x)`: what JavaScript makes of it, with the engine and nothing else on the page."""
    with engine_page(browser) as page:
        yield page.evaluate
