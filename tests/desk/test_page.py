"""The page as a person uses it, in a real browser: drawn on, walked through, trained, without a network."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from playwright.sync_api import Page

import desk
import jaxprop as jp
from jaxprop.layers import Params
from lab.common import run
from tests.desk.pages import offline_page

STEPS = range(1, 9)
READY = "body[data-ready]"


def opened(page: Page, page_file: Any) -> Page:
    page.goto(page_file.as_uri())
    page.wait_for_selector(READY)
    return page


@pytest.fixture(scope="module")
def wide(browser, page_file) -> Iterator[Page]:
    """One page for all tests; each goes to the step that it is about."""
    with offline_page(browser, 1280, 800) as page:
        yield opened(page, page_file)


@pytest.fixture(scope="module")
def narrow(browser, page_file) -> Iterator[Page]:
    with offline_page(browser, 390, 844) as page:
        yield opened(page, page_file)


def settle(page: Page) -> None:
    """Until what has changed is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def go(page: Page, address: str) -> None:
    page.evaluate("(address) => { location.hash = address; }", address)
    settle(page)


def value(page: Page, selector: str) -> float:
    return float(page.locator(selector).get_attribute("data-value") or "nan")


def step_of(page: Page) -> int:
    """The step that is current in the links and the one that the panel shows: they must agree."""
    current = page.locator("#steps a[aria-current]").inner_text()
    shown = page.locator("#panel h2 .count").inner_text()
    assert current.startswith(shown)
    return int(shown)


@pytest.fixture(scope="module")
def trained(page_file) -> tuple[jp.Network, Params]:
    """The network that lies in the page, in float64."""
    found = re.search(r'id="desk-data">(.*?)</script>', page_file.read_text(), re.DOTALL)
    assert found
    about = json.loads(found.group(1))["network"]
    network = jp.mlp(about["sizes"], about["activation"])
    with jax.enable_x64(True):
        _, unravel = ravel_pytree(network.init(jax.random.key(0)))
        row = np.frombuffer(base64.b64decode(about["params"]), about["dtype"]).astype(np.float64)
        return network, jax.tree.map(np.asarray, unravel(jnp.asarray(row)))


def in_python(trained: tuple[jp.Network, Params], page: Page, label: int) -> tuple[np.ndarray, Params]:
    """Outputs and derivatives for what the page shows, by jax.grad."""
    network, params = trained
    pixels = np.array(page.evaluate("() => Array.from(state.now.pixels)"), np.float64)
    with jax.enable_x64(True):
        batch = (jnp.asarray(pixels / 255)[None], jnp.eye(10)[label][None])
        outputs = network.apply(params, batch[0][0])
        _, grads = jp.autodiff(network, jp.squared_error)(params, batch)
    return np.asarray(outputs), jax.tree.map(np.asarray, grads)


def draw_three(page: Page) -> None:
    """A 3, with the mouse."""
    box = page.locator("canvas.paper").bounding_box()
    assert box
    points = [
        (0.3, 0.22),
        (0.5, 0.14),
        (0.68, 0.25),
        (0.62, 0.4),
        (0.45, 0.47),
        (0.66, 0.55),
        (0.72, 0.7),
        (0.55, 0.86),
        (0.3, 0.8),
    ]
    where = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*where[0])
    page.mouse.down()
    for x, y in where[1:]:
        page.mouse.move(x, y, steps=3)
    page.mouse.up()
    page.wait_for_timeout(200)
    settle(page)


# What is shown is true


def test_the_page_is_checked_against_jax_as_it_opens(wide):
    lines = wide.locator("#strip .line")
    assert [line.split(" ")[0] for line in lines.all_inner_texts()] == ["jaxprop", "jax.grad", "finite"]
    bounds = [1e-12, 1e-12, 1e-9]
    assert all(
        float(line.get_attribute("data-value")) <= bound for line, bound in zip(lines.all(), bounds, strict=True)
    )
    assert wide.locator("#strip.wrong, #strip .broken").count() == 0


def test_a_digit_is_drawn_and_every_number_of_it_is_that_of_jax(wide, trained):
    go(wide, "#step=2&example=0")
    draw_three(wide)
    assert "example=drawn" in wide.url
    wide.get_by_role("button", name="wanted 3").click()
    settle(wide)
    outputs, grads = in_python(trained, wide, label=3)
    shown = [value(wide, f"#output-{j}") for j in range(10)]
    assert np.abs(np.array(shown) - outputs).max() <= 1e-12
    assert wide.evaluate("() => Math.max(...state.now.pixels)") > 200

    wide.keyboard.press("5")
    settle(wide)
    for layer, (j, k) in enumerate([(3, 406), (2, 7), (3, 0)]):
        wide.evaluate("(place) => state.change({place})", {"layer": layer, "j": j, "k": k})
        settle(wide)
        array = np.asarray(grads[2 * layer].W)
        assert f"W{layer + 1}[{j},{k}]" in wide.locator(".card.weight h3").inner_text()
        assert abs(value(wide, "#derivative") - array[j, k]) <= 1e-12 * np.abs(array).max()
        assert abs(value(wide, "#measured") - array[j, k]) <= 1e-9 * np.abs(array).max() + 1e-13


def test_step_5_opens_at_a_weight_that_matters(wide):
    """Most pixels are black, and the derivative of a weight from a black pixel is 0."""
    wide.evaluate("() => state.change({place: null})")
    go(wide, "#step=5&example=0")
    assert value(wide, "#derivative") != 0
    assert "weight=" not in wide.url


# Ways through it


def test_every_step_by_link_by_keys_and_by_buttons(wide):
    go(wide, "#step=1&example=0")
    for step in STEPS:
        wide.locator("#steps a").nth(step - 1).click()
        settle(wide)
        assert step_of(wide) == step
        assert f"step={step}&example=0" in wide.url
    wide.locator("h1").click()
    for step in reversed(STEPS):
        wide.keyboard.press(str(step))
        settle(wide)
        assert step_of(wide) == step
    for step in STEPS[1:]:
        wide.keyboard.press("ArrowRight")
        settle(wide)
        assert step_of(wide) == step
    for step in reversed(STEPS[:-1]):
        wide.locator(".turns button").first.click()
        settle(wide)
        assert step_of(wide) == step
    wide.go_back()
    settle(wide)
    assert step_of(wide) == 2


def test_a_link_leads_to_what_it_names(wide, trained):
    go(wide, "#step=5&example=7&label=4&weight=1.2.9")
    _, grads = in_python(trained, wide, label=4)
    assert step_of(wide) == 5
    assert wide.locator(".entry input").first.input_value() == "7"
    assert abs(value(wide, "#derivative") - grads[2].W[2, 9]) <= 1e-12 * np.abs(grads[2].W).max()


@pytest.mark.parametrize(
    "address",
    ["#step=99&example=99999", "#step=x&example=-1&weight=7.1.1", "#step=5&example=0&weight=0.16.0", "#=&&label=11"],
)
def test_a_link_that_names_nothing_leads_to_something(wide, address):
    wide.evaluate("() => state.change({place: null})")
    go(wide, address)
    assert step_of(wide) in STEPS
    assert wide.locator("#panel h2").is_visible()


def test_the_pen_is_moved_by_keys_too(wide):
    go(wide, "#step=1&example=0")
    wide.locator("#clear").click()
    wide.locator("canvas.paper").focus()
    wide.keyboard.press("Space")
    for _ in range(16):
        wide.keyboard.press("ArrowDown")
    wide.wait_for_timeout(150)
    settle(wide)
    assert "example=drawn" in wide.url
    assert step_of(wide) == 1  # the arrows moved the pen, and nothing else
    rows = np.array(wide.evaluate("() => Array.from(state.now.pixels)")).reshape(28, 28)
    assert (rows.sum(axis=1) > 0).sum() >= 18  # an upright stroke
    assert (rows.sum(axis=0) > 0).sum() <= 8


# The lesson's steps


def test_another_label_turns_the_arrows(wide):
    go(wide, "#step=2&example=3")
    label = int(wide.evaluate("() => state.now.label"))
    other = (label + 1) % 10

    def nudges() -> np.ndarray:
        return np.array([value(wide, f"#nudge-{j}") for j in range(10)])

    before = nudges()
    wide.get_by_role("button", name=f"wanted {other}").click()
    settle(wide)
    after = nudges()
    assert f"label={other}" in wide.url
    assert [before[label] > 0, before[other] < 0] == [True, True]
    assert [after[label] < 0, after[other] > 0] == [True, True]
    assert wide.locator(f"#nudge-{other}").inner_text().startswith("↑")
    assert wide.locator(f"#nudge-{label}").inner_text().startswith("↓")
    rest = [j for j in range(10) if j not in (label, other)]
    assert (before[rest] == after[rest]).all()


@pytest.mark.parametrize("way", ["bias", "weights", "activations"])
def test_a_way_to_lower_the_cost_does_what_was_predicted(wide, way):
    """What is left over is of second order: small beside the change, where the change is small."""
    go(wide, "#step=3&example=3")
    wide.get_by_role("button", name="network untrained").click()  # the outputs of a trained one are saturated
    settle(wide)
    wide.get_by_role("button", name="size of the change 0.01").click()
    before = wide.evaluate("() => receipt.hash(state.now.params)")
    wide.locator(f"#apply-{way}").click()
    settle(wide)
    predicted, measured = value(wide, f"#predicted-{way}"), value(wide, f"#measured-{way}")
    assert predicted < 0
    assert abs(measured / predicted - 1) < 0.05
    changed = wide.evaluate("() => receipt.hash(state.now.params)") != before
    assert changed == (way != "activations")  # these cannot be set
    wide.locator(f"#apply-{way}").click()
    settle(wide)
    assert wide.evaluate("() => receipt.hash(state.now.params)") == before
    wide.get_by_role("button", name="network trained").click()


def test_a_muted_output_asks_for_nothing(wide):
    go(wide, "#step=4&example=3&label=5")
    row = ".strips canvas >> nth=5"
    assert "strongest 0" not in (wide.locator(row).get_attribute("aria-label") or "").removesuffix("strongest 0.")
    wide.get_by_role("button", name="output 5: heard").click()
    settle(wide)
    assert wide.locator(row).get_attribute("aria-label") == "row 5: strongest 0"
    wide.get_by_role("button", name="5 solo", exact=True).click()
    settle(wide)
    assert wide.evaluate("() => state.now.heard.map(Number).join('')") == "0000010000"
    wide.get_by_role("button", name="all", exact=True).click()
    settle(wide)
    assert wide.locator(row).get_attribute("aria-label") != "row 5: strongest 0"


def test_the_average_is_the_negative_gradient_of_the_mini_batch(wide):
    go(wide, "#step=6&example=3")
    found = wide.evaluate("""() => {
        const {network, train} = state.desk();
        const rows = engine.epoch_order(0, 0, train.count, 100).slice(0, 100);
        const {grads} = engine.backprop(network, state.now.params, engine.as_batch(train, rows));
        return pins.list().map(({layer, j, k}) => -grads[2 * layer].W[j * network.sizes[layer] + k]);
    }""")
    shown = [float(each.get_attribute("data-value")) for each in wide.locator(".wishes .key").all()]
    assert len(found) == len(shown) == 6
    assert np.allclose(shown, found, rtol=1e-9, atol=1e-15)


def test_a_network_that_is_shown_only_twos_calls_everything_a_two(wide):
    go(wide, "#step=6&example=3")
    wide.locator("#only-fresh").click()
    wide.wait_for_function("() => !training.now().running && training.now().steps >= 20")
    settle(wide)
    count, total = map(int, re.findall(r"calls (\d+) of (\d+)", wide.locator("#only-says").inner_text())[0])
    assert count >= 0.99 * total


def test_training_lowers_the_cost_and_undo_takes_it_back(wide):
    go(wide, "#step=7&example=3")
    wide.locator("#fresh").click()
    settle(wide)

    def cost() -> float:
        return float(wide.locator("#train-says").get_attribute("data-cost") or "nan")

    costs = [cost()]
    wide.locator("h1").click()
    for _ in range(5):
        wide.keyboard.press("s")
    settle(wide)
    costs.append(cost())
    wide.locator("#run").click()
    wide.wait_for_function("() => training.now().steps >= 60")
    wide.locator("#run").click()
    settle(wide)
    costs.append(cost())
    assert costs[0] > costs[1] > costs[2]
    steps = wide.evaluate("() => training.now().steps")
    before = wide.evaluate("() => receipt.hash(state.now.params)")
    wide.keyboard.press("s")
    wide.keyboard.press("u")
    settle(wide)
    assert wide.evaluate("() => training.now().steps") == steps
    assert wide.evaluate("() => receipt.hash(state.now.params)") == before


@pytest.mark.parametrize("start", ["fresh", "restore"])
def test_a_rate_of_a_million_ends_in_a_sentence(wide, start):
    go(wide, "#step=7&example=3")
    wide.locator(f"#{start}").click()
    wide.locator("#rate").fill("1e6")
    wide.locator("#rate").press("Enter")
    wide.locator("#run").click()
    wide.wait_for_selector("#train-says.complaint", timeout=20_000)
    assert "smaller rate" in wide.locator("#train-says").inner_text()
    assert wide.locator("#run").inner_text() == "run"
    wide.locator("#rate").fill("2")
    wide.locator("#rate").press("Enter")
    wide.locator("#restore").click()
    settle(wide)
    assert wide.locator("#train-says.complaint").count() == 0


def test_a_receipt_is_accepted_and_one_with_another_digit_is_not(wide, tmp_path, capsys):
    go(wide, "#step=5&example=3&label=5")
    with wide.expect_download() as download:
        wide.locator("#save").click()
    true = tmp_path / "receipt.json"
    download.value.save_as(true)

    def verify(path: Any) -> int:
        return run(desk.main, desk.DeskOptions, ["--verify", str(path)])

    assert verify(true) == 0
    derivative = re.search(r'"derivative":-?\d\.\d+', true.read_text())
    assert derivative
    digit = derivative.end() - 3
    text = true.read_text()
    assert text[digit].isdigit()
    false = tmp_path / "false.json"
    false.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    assert verify(false) == 1
    assert "refused" in capsys.readouterr().out


# How it lies on the screen

# Rectangles of all lines of text and of all controls and pictures, cut to the part that can be seen where their box
# scrolls; pairs of which neither holds the other, and that overlap by more than a pixel in both directions; and what
# reaches out of the window to the side.
OVERLAPS = """() => {
    const shown = (element) => element.checkVisibility();
    const cut = (rect, element) => {
        const box = {left: rect.left, top: rect.top, right: rect.right, bottom: rect.bottom};
        for (let up = element; up && up !== document.body; up = up.parentElement) {
            if (!/auto|scroll|hidden/.test(getComputedStyle(up).overflow)) continue;
            const limit = up.getBoundingClientRect();
            box.top = Math.max(box.top, limit.top);
            box.bottom = Math.min(box.bottom, limit.bottom);
        }
        return box;
    };
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode, element = node.parentElement;
        if (!node.data.trim() || !shown(element) || element.closest("script, noscript, .neuron")) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        const text = node.data.trim().slice(0, 30);
        for (const rect of range.getClientRects()) found.push({element, text, ...cut(rect, element)});
    }
    for (const element of document.querySelectorAll("button:not(.neuron), input, canvas")) {
        const text = element.id || element.className || element.tagName;
        if (shown(element)) found.push({element, text, ...cut(element.getBoundingClientRect(), element)});
    }
    const seen = found.filter(({left, top, right, bottom}) => right > left && bottom > top);
    const outside = seen.filter(({right, left}) => right > innerWidth + 1 || left < -1);
    const wrong = outside.map(({text}) => `${text} reaches out of the window`);
    seen.forEach((p, i) => seen.slice(i + 1).forEach((q) => {
        if (p.element.contains(q.element) || q.element.contains(p.element)) return;
        const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (across > 1 && down > 1) wrong.push(`${p.text} | ${q.text}`);
    }));
    return wrong;
}"""


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_nothing_lies_over_anything_else(request, size):
    page = request.getfixturevalue(size)
    for step in STEPS:
        go(page, f"#step={step}&example=3")
        box = "#panel" if size == "wide" else "main"
        most = page.evaluate(
            "(box) => { const b = document.querySelector(box); return b.scrollHeight - b.clientHeight; }", box
        )
        for top in (0, most // 2, most):
            page.evaluate("([box, top]) => { document.querySelector(box).scrollTop = top; }", [box, top])
            assert page.evaluate(OVERLAPS) == [], (step, top)
        page.evaluate("(box) => { document.querySelector(box).scrollTop = 0; }", box)


def test_an_overlap_would_be_seen(wide):
    go(wide, "#step=2&example=3")
    wide.evaluate("() => { document.querySelector('#origin').style.transform = 'translateY(24px)'; }")
    assert wide.evaluate(OVERLAPS)
    wide.evaluate("() => { document.querySelector('#origin').style.transform = ''; }")
    assert wide.evaluate(OVERLAPS) == []


def test_on_a_phone_the_step_begins_on_the_first_screen(narrow):
    for step in STEPS:
        go(narrow, f"#step={step}&example=3")
        title = narrow.locator("#panel h2").bounding_box()
        strip = narrow.locator("#strip").bounding_box()
        assert title
        assert strip
        assert title["y"] + title["height"] < strip["y"]
        assert strip["y"] + strip["height"] <= 844
