"""A real browser for the page and for its engine."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

import desk
from lab.common import run
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


@pytest.fixture(scope="session")
def page_file(tmp_path_factory) -> Path:
    """The page that `desk.py` builds without a run: trained on the embedded digits. Once for all tests of a worker."""
    out = tmp_path_factory.mktemp("desk")
    assert run(desk.main, desk.DeskOptions, ["--no-open", "--out", str(out)]) == 0
    return out / "desk" / "digits.html"
