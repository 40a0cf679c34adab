"""`desk.py`: the page that it builds checks itself, its receipts are derived again, and bad input is one sentence."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jax
import numpy as np
import pytest

import desk
import jaxprop as jp
from jaxprop.data.datasets import load_dataset
from lab.common import run
from lab.desk_data import TEST, TRAIN, find_line, source_lines
from tests.desk.pages import MISTAKES, offline_page


def call(*arguments: object) -> int:
    return run(desk.main, desk.DeskOptions, [str(argument) for argument in arguments])


class Parts(HTMLParser):
    """What a page is made of: its scripts and sheets by their attributes, its policy, and whatever it would load."""

    def __init__(self, text: str):
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.sheets: list[str] = []
        self.policy = ""
        self.loaded: list[tuple[str, str]] = []
        self._within: tuple[str, dict] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._within = (tag, attributes) if tag in ("script", "style") else None
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        places = (attributes.get(name) for name in ("src", "href", "srcset", "action", "data", "poster"))
        self.loaded += [(tag, place) for place in places if place and not place.startswith(("#", "data:"))]

    def handle_data(self, data):
        if self._within and self._within[0] == "script":
            self.scripts.append((self._within[1], data))
        elif self._within:
            self.sheets.append(data)

    def handle_endtag(self, tag):
        self._within = None


@pytest.fixture(scope="module")
def parts(page_file) -> Parts:
    return Parts(page_file.read_text())


@pytest.fixture(scope="module")
def data(parts) -> dict:
    (text,) = (text for attributes, text in parts.scripts if attributes.get("id") == "desk-data")
    return json.loads(text)


# What is in the page


def test_nothing_is_loaded_and_only_these_scripts_may_run(parts):
    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert not parts.loaded
    directives = dict(part.strip().split(" ", 1) for part in parts.policy.split(";"))
    assert directives["default-src"] == "'none'"
    running = [text for attributes, text in parts.scripts if "type" not in attributes]
    assert len(running) == len(desk.ENGINE) + len(desk.VIEW)
    assert directives["script-src"].split() == [hashed(text) for text in running]
    assert directives["style-src"].split() == [hashed(text) for text in parts.sheets]
    assert directives.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_the_parameters_are_those_of_the_network(data):
    row = np.frombuffer(base64.b64decode(data["network"]["params"]), "<f4").astype("<f8")
    assert row.size == 13002
    assert data["network"]["hash"] == hashlib.sha256(row.tobytes()).hexdigest()
    assert data["network"]["accuracy"] > 0.9
    assert data["examples"]["train"]["count"] == TRAIN
    assert data["examples"]["test"]["count"] == min(TEST, 297)


def test_the_lines_of_source_are_where_the_page_says(data):
    root = Path(jp.__file__).parents[1]
    assert data["source"]["dW"]["text"] == "dW = Outer(dz, a)"
    for line in data["source"].values():
        assert line["text"] in (root / line["file"]).read_text().splitlines()[line["line"] - 1]


def test_a_line_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="0 lines"):
        find_line(jax, "dW = Outer(a, dz)")


def test_every_activation_has_its_line():
    for activation in ("sigmoid", "relu", "tanh", "identity"):
        assert f'"{activation}"' in source_lines(activation)["slope"]["text"]


def test_both_ways_lead_down_and_the_plane_holds_their_ends(data):
    hill = data["hill"]
    for path in hill["paths"].values():
        assert path["xy"][0] == [0, 0]
        assert path["costs"][-1] < 0.5 * path["costs"][0]
        assert len(path["xy"]) == len(path["costs"]) == len(path["steps"]) == len(path["examples"])
        assert 0 < path["share"] <= 1 + 1e-9
    assert hill["paths"]["full"]["xy"][-1][1] == pytest.approx(0, abs=1e-3)
    assert np.shape(hill["map"]["costs"]) == (len(hill["map"]["y"]), len(hill["map"]["x"]))
    # At the start, where a point of the path lies in the plane, the map has its cost, but for the grid's width.
    x, y = (np.argmin(np.abs(np.array(hill["map"][axis]))) for axis in ("x", "y"))
    assert hill["map"]["costs"][y][x] == pytest.approx(hill["paths"]["full"]["costs"][0], rel=0.2)


# The page checks itself


STRIP = "(async () => strip.run(await embedded.read()))()"


def strip_of(browser, text: str, folder: Path) -> dict:
    """The strip's lines, by the name of the reference, of a page that has no view: the engine and its data."""
    (folder / "page.html").write_text(text)
    with offline_page(browser) as page:
        page.goto((folder / "page.html").as_uri())
        return {line["name"]: line for line in page.evaluate(STRIP)}


@pytest.fixture
def without_view(monkeypatch):
    monkeypatch.setattr(desk, "VIEW", ())


def test_the_strip_agrees_with_all_three_references(browser, data, without_view, tmp_path):
    lines = strip_of(browser, desk.page(data), tmp_path)
    assert lines.keys() == {"jaxprop by hand", "jax.grad", "finite differences"}
    for line in lines.values():
        assert line["holds"], line
        assert line["numbers"] > 500
        assert line["largest"] > 0  # two programs never round alike


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_strip_turns_red_where_a_sign_is_wrong(browser, data, without_view, monkeypatch, tmp_path, mistake):
    right = desk.read_source
    monkeypatch.setattr(
        desk, "read_source", lambda name: MISTAKES[mistake](right(name)) if name == "engine.js" else right(name)
    )
    lines = strip_of(browser, desk.page(data), tmp_path)
    assert not any(line["holds"] for line in lines.values()), lines


def test_a_strip_without_cases_does_not_hold(browser, data, without_view, tmp_path):
    lines = strip_of(browser, desk.page({**data, "cases": []}), tmp_path)
    assert not any(line["holds"] for line in lines.values())


# Receipts

RECEIPT = """async ({label, place}) => {
    const desk = await embedded.read();
    const pixels = desk.test.images.subarray(0, 784);
    return receipt.make({network: desk.network, params: desk.params, pixels, label, place, about: desk.about});
}"""


@pytest.fixture(scope="module")
def receipts(browser, page_file, tmp_path_factory) -> list[Path]:
    """Two that the page makes: of a weight, and of a bias."""
    folder = tmp_path_factory.mktemp("receipts")
    with offline_page(browser) as page:
        page.goto(page_file.as_uri())
        for name, label, k in (("weight", 3, 400), ("bias", 7, None)):
            text = page.evaluate(RECEIPT, {"label": label, "place": {"layer": 0, "j": 3, "k": k}})
            (folder / f"{name}.json").write_text(text)
    return [folder / "weight.json", folder / "bias.json"]


def test_receipts_are_accepted(receipts, capsys):
    for path in receipts:
        assert call("--verify", path) == 0
        first, *_, last = capsys.readouterr().out.splitlines()
        assert first.startswith("backend")
        assert "float64" in first
        assert re.match(r"accepted: 956 numbers derived again; .* by hand, .* by jax.grad$", last)


def change(receipt: Path, folder: Path, **changes) -> Path:
    """A copy of a receipt in which some entries are others, sealed anew; `cost=f` changes one of its numbers."""
    content = json.loads(receipt.read_text())
    for name, new in changes.items():
        part = content["numbers"] if name in content["numbers"] else content
        part[name] = new(part[name])
    return sealed({name: value for name, value in content.items() if name != "seal"}, folder)


def sealed(content: dict, folder: Path) -> Path:
    body = "{\n" + "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in content.items())
    path = folder / "changed.json"
    path.write_text(f'{body} "seal": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n')
    return path


def test_a_receipt_that_is_sealed_anew_is_as_good(receipts, tmp_path):
    assert call("--verify", change(receipts[0], tmp_path)) == 0


def multiply(at: int, by: float):
    return lambda numbers: [number * by if i == at else number for i, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"z2": multiply(5, 1 + 1e-9)}, "z2[5] is"),
        ({"dz1": multiply(3, -1)}, "dz1[3] is"),
        ({"cost": multiply(0, 1.001)}, "cost is"),
        ({"dx": multiply(400, 1.1)}, "dx[400] is"),
        ({"label": lambda label: label + 1}, "is"),
        ({"pixels": lambda pixels: [min(255, pixel + 1) for pixel in pixels]}, "is"),
        ({"weight": lambda weight: {**weight, "derivative": 1.001 * weight["derivative"]}}, "dC/dW1[3, 400] is"),
        ({"weight": lambda weight: {**weight, "value": 0.1}}, "W1[3, 400] is"),
        (
            {"weight": lambda weight: {**weight, "finite_difference": weight["finite_difference"] + 1e-6}},
            "the finite difference along W1[3, 400] is",
        ),
        ({"network": lambda network: {**network, "hash": 64 * "0"}}, "the hash of the parameters is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_what_is_off_is_named(receipts, tmp_path, capsys, changes, named):
    assert call("--verify", change(receipts[0], tmp_path, **changes)) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("refused: ")
    assert named in last


def test_a_receipt_with_any_digit_changed_is_refused(receipts, tmp_path, capsys):
    """Whichever digit it is. Where rounding could have made it, the seal knows; and no change is a traceback."""
    text = receipts[0].read_text()
    digits = [found.start() for found in re.finditer(r"\d", text)]
    path = tmp_path / "receipt.json"
    for at in np.random.default_rng(0).choice(digits, 12, replace=False):
        path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
        assert call("--verify", path) in (1, 2), text[at - 20 : at + 20]
    last_digits = text.replace('"value":', '"value": ')
    path.write_text(last_digits)
    assert call("--verify", path) == 1
    assert "its seal does not match" in capsys.readouterr().out


# Bad input


def refused(capsys, *arguments: object) -> str:
    """The one sentence of bad input: code 2, no traceback."""
    assert call(*arguments) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: ")
    return sentence


def test_a_receipt_that_is_none(receipts, tmp_path, capsys):
    path = tmp_path / "receipt.json"
    assert "cannot read" in refused(capsys, "--verify", path)
    path.write_text(receipts[0].read_text()[:5000])
    assert "damaged" in refused(capsys, "--verify", path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "damaged" in refused(capsys, "--verify", path)
    path.write_text("[" * 100_000)
    assert "damaged" in refused(capsys, "--verify", path)
    path.write_text('{"form": "jaxprop desk receipt 0"}')
    assert "expected 'jaxprop desk receipt 1'" in refused(capsys, "--verify", path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pixels": lambda pixels: pixels[:-1]}, "there are not 784 pixels"),
        ({"pixels": lambda pixels: [256, *pixels[1:]]}, "a pixel is not from 0 to 255"),
        ({"label": lambda label: 10}, "the label is not from 0 to 9"),
        ({"label": lambda label: True}, "the label is not from 0 to 9"),
        ({"z1": lambda numbers: numbers[:-1]}, "z1 are not 16 numbers"),
        ({"z1": lambda numbers: [float("nan"), *numbers[1:]]}, "nan is not finite"),
        ({"z1": lambda numbers: ["0", *numbers[1:]]}, "'0' is no number"),
        ({"numbers": lambda numbers: {"cost": numbers["cost"]}}, "the numbers are cost, expected"),
        ({"numbers": lambda numbers: []}, "AttributeError"),
        ({"weight": lambda weight: {**weight, "j": 16}}, "the weight leads to no neuron"),
        ({"weight": lambda weight: {**weight, "layer": -1}}, "the weight is in no layer"),
        ({"weight": lambda weight: {"layer": 0}}, "KeyError"),
        ({"network": lambda network: {**network, "activation": "sine"}}, "the activation is 'sine'"),
        ({"network": lambda network: {**network, "sizes": [784, 16, 10]}}, "there are 13,002 parameters instead of"),
        ({"network": lambda network: {**network, "params": "AAA"}}, "padding"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_a_damaged_receipt_is_one_sentence(receipts, tmp_path, capsys, changes, reason):
    sentence = refused(capsys, "--verify", change(receipts[0], tmp_path, **changes))
    assert "damaged receipt" in sentence
    assert reason in sentence
    assert "save it again" in sentence


def test_a_run_that_cannot_be_shown(tmp_path, capsys):
    def save(widths, factor=1.0, **facts) -> Path:
        network = jp.mlp(widths)
        path = tmp_path / "params.npz"
        facts = {"sizes": widths, "activation": "sigmoid", "dataset": "digits", **facts}
        facts = {name: fact for name, fact in facts.items() if fact is not None}
        params = jax.tree.map(lambda leaf: factor * (leaf + 1), network.init(jax.random.key(0)))
        jp.save_params(path, network, params, **facts)
        return path

    out = ("--no-open", "--out", tmp_path / "out")
    assert "cannot read" in refused(capsys, tmp_path / "nothing.npz", *out)
    assert "has no params.npz" in refused(capsys, tmp_path, *out)
    assert "784-33-10: the page shows" in refused(capsys, save((784, 33, 10)), *out)
    assert "784-10: the page shows" in refused(capsys, save((784, 10)), *out)
    assert "64-16-10: the page shows" in refused(capsys, save((64, 16, 10)), *out)
    assert "which is code" in refused(capsys, save((784, 16, 10), sizes=None, activation=None), *out)
    assert "does not say what it was trained on" in refused(capsys, save((784, 16, 10), dataset=None), *out)
    assert "'letters'" in refused(capsys, save((784, 16, 10), dataset="letters"), *out)
    assert "not finite" in refused(capsys, save((784, 16, 10), factor=np.inf), *out)
    (tmp_path / "params.npz").write_bytes(b"PK")
    assert "checksum" in refused(capsys, tmp_path, *out)
    assert not list((tmp_path / "out").glob("**/*.html"))


def test_a_run_and_a_receipt_at_once(tmp_path, capsys):
    assert "name one of them" in refused(capsys, tmp_path, "--verify", tmp_path / "receipt.json")


def test_the_examples_in_the_page_are_the_first_of_the_data_set(browser, page_file):
    with offline_page(browser) as page:
        page.goto(page_file.as_uri())
        seen = page.evaluate("""async () => {
            const {train, test} = await embedded.read();
            return [train, test].map(({count, images, labels}) =>
                [count, images.length, [...labels.subarray(0, 9)], [...images.subarray(0, 784)]]);
        }""")
    digits = load_dataset("digits")
    for (count, length, labels, image), part in zip(seen, (digits.train, digits.test), strict=True):
        assert length == 784 * count
        assert labels == np.asarray(part.labels[:9]).tolist()
        assert image == np.ravel(part.images[0]).tolist()
