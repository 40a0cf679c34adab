"""How long the desk's page takes for what it does while somebody draws or trains, in a real browser.

    uv run experiments/benchmarking/desk_times.py runs/desk/digits.html

Needs chromium. Each thing is done many times, in turns with the others; printed are the least, the median and the
largest time. The least is what the browser takes when nothing else is at work on the core.
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from playwright.sync_api import sync_playwright

from jaxprop.files import read_bytes
from lab.common import run

WARM, REPEATS = 30, 60  # rounds: the first ones, in which the browser is still compiling, do not count
MEASURE = """async ([warm, repeats]) => {
    const desk = await embedded.read();
    const {network, params, train, test} = desk;
    const rows = engine.epoch_order(0, 1, train.count, 100).subarray(0, 100);
    const pixels = test.images.subarray(0, 784);
    const pad = ink.blank();
    for (const [from, to] of [[[60, 40], [160, 40]], [[160, 40], [100, 190]]]) {
        ink.stroke(pad, {x: from[0], y: from[1]}, {x: to[0], y: to[1]});
    }
    const one_more = () => ink.stroke(pad, {x: 100, y: 188}, {x: 102, y: 190});
    const passes = (image) => engine.trace(network, params, engine.input(image, 0), engine.one_hot(3));
    const train_once = () => engine.step(network, params, engine.as_batch(train, rows), 2);
    const tasks = {
        "forward and backward of one example": () => passes(pixels),
        "a stroke, its 28 x 28 pixels, forward and backward": () => { one_more(); passes(ink.as_mnist(pad)); },
        "a mini-batch of 100: the step": train_once,
        "a mini-batch of 100: the step, and all test digits of the page": () => {
            engine.evaluate(network, train_once().params, test);
        },
        "the strip": () => strip.run(desk),
    };
    const times = Object.fromEntries(Object.keys(tasks).map((name) => [name, []]));
    for (let i = -warm; i < repeats; i++) {
        for (const [name, task] of Object.entries(tasks)) {
            const start = performance.now();
            task();
            if (i >= 0) times[name].push(performance.now() - start);
        }
    }
    return times;
}"""


def measure(page_file: Path) -> dict[str, list[float]]:
    """Milliseconds of each thing that the page does, sorted."""
    options: dict[str, Any] = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        page = browser.new_page()
        page.goto(page_file.resolve().as_uri())
        return {name: sorted(times) for name, times in page.evaluate(MEASURE, [WARM, REPEATS]).items()}


@dataclass(frozen=True)
class TimesOptions:
    """Take the times of a page."""

    page: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PAGE")]]
    """The HTML file that desk.py has built."""


def main(options: TimesOptions) -> int:
    read_bytes(options.page)  # or it says why it cannot be read
    for name, times in measure(options.page).items():
        least, median, most = times[0], times[len(times) // 2], times[-1]
        print(f"{name}: {least:.2f} ms at least, median {median:.2f}, at most {most:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, TimesOptions))
