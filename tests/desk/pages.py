"""Pages in a real browser, for the tests of the desk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Request

import desk

Evaluate = Callable[..., Any]  # `evaluate("(x) => …", x)`: what JavaScript makes of it
Change = Callable[[str], str]


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
        page.on("request", note_request)
        yield page
        assert not wrong, wrong


@contextmanager
def engine_page(browser: Browser, change: Change = str) -> Iterator[Page]:
    """A page with the engine and nothing else. change: what makes another text of engine.js."""
    with offline_page(browser) as page:
        for name in desk.ENGINE:
            source = desk.read_source(name)
            page.add_script_tag(content=change(source) if name == "engine.js" else source)
        yield page


def replace(right: str, wrong: str) -> Change:
    """Plants a mistake in a source, which has the right line once."""

    def change(source: str) -> str:
        assert source.count(right) == 1, right
        return source.replace(right, wrong)

    return change


# Mistakes as people make them, in the lines that make all gradients.
MISTAKES = {
    "the cost's gradient has the wrong sign": replace("2 * (a[j] - y[j])", "2 * (y[j] - a[j])"),
    "the sigmoid's slope has the wrong sign": replace("(z, a) => a * (1 - a)", "(z, a) => a * (a - 1)"),
    "W is not transposed": replace("da[k] += W[i] * dz[j]", "da[k] += W[(k * width + j) % W.length] * dz[j]"),
    "the weights' gradient is that of z before the activation": replace(
        "const dW = new Outer(dz, a);", "const dW = new Outer(dz, a.map((x) => x * x));"
    ),
    "the biases' gradient has the wrong sign": replace("const db = dz;", "const db = dz.map((d) => -d);"),
}
