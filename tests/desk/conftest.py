"""A real browser, which is offline, for the page and for its engine."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

import desk

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


@contextmanager
def offline_page(browser: Browser, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """An empty page without a network. Whatever goes wrong in it, or is asked of the network, fails the test."""
    wrong: list[str] = []

    def note_request(asked: Request) -> None:
        if not asked.url.startswith(("file:", "blob:", "data:")):
            wrong.append(asked.url)

    with browser.new_context(offline=True, viewport={"width": width, "height": height}) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "blob:", "data:")) else wrong.append(asked.url),
        )
        yield page
        assert not wrong, wrong


Evaluate = Callable[..., Any]


def engine_sources(**changed: Callable[[str], str]) -> list[str]:
    """The scripts of the engine. changed: what makes another text of one, as `engine=...` does of engine.js."""
    keep: Callable[[str], str] = str
    return [changed.get(name.removesuffix(".js"), keep)(desk.read_source(name)) for name in desk.ENGINE]


@pytest.fixture(scope="module")
def evaluate(browser: Browser) -> Iterator[Evaluate]:
    """`evaluate("(x) => …", x)`: what JavaScript makes of it, with the engine and nothing else on the page."""
    with offline_page(browser) as page:
        for source in engine_sources():
            page.add_script_tag(content=source)
        yield page.evaluate
