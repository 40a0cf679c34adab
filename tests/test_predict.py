"""The script that answers which digit it sees."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxprop as jp
import predict
from jaxprop.data.datasets import load_dataset
from jaxprop.files import load_arrays, save_arrays
from lab.common import run
from lab.user_code import load_function
from tests import handwriting

SIZES = (784, 16, 16, 10)
NETWORK = jp.mlp(SIZES)
# Ten times the initial weights, so that the activations differ from digit to digit.
PARAMS = jax.tree.map(lambda leaf: 10 * leaf, NETWORK.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "params.npz"
    save(path, SIZES, PARAMS)
    return path


def save(path: Path, sizes: tuple[int, ...], params, dataset: str = "digits") -> None:
    """As `train.py` leaves them."""
    jp.save_params(path, jp.mlp(sizes), params, sizes=sizes, activation="sigmoid", dataset=dataset)


def ask(*arguments: object) -> int:
    return run(predict.main, predict.PredictOptions, [str(argument) for argument in arguments])


def answer_to(picture: np.ndarray) -> np.ndarray:
    """The ten activations, asked of the library."""
    return np.asarray(NETWORK.apply(PARAMS, jnp.asarray(picture.reshape(-1), jnp.float32) / 255))


@pytest.mark.parametrize("k", [0, 7, 296])
def test_a_test_digit_is_answered_with_ten_activations_and_the_right_answer(saved, capsys, k):
    assert ask(saved, "--test-index", k) == 0
    test = load_dataset("digits").test
    expected = answer_to(np.asarray(test.images[k]))
    backend, trained_on, *bars, answer, right = capsys.readouterr().out.splitlines()
    assert backend.startswith("backend ")
    assert trained_on == "trained on: digits"
    assert [(bar.split()[0], bar.split()[-1]) for bar in bars] == [
        (str(digit), f"{activation:.4f}") for digit, activation in enumerate(expected)
    ]
    assert answer == predict.verdict(expected, known=True)
    assert right == f"right answer: {test.labels[k]}"


def test_a_bar_is_as_long_as_its_activation(capsys):
    predict.print_bars(np.linspace(0, 1, 10, dtype=np.float32))
    blocks = [len(re.findall("[▏▎▍▌▋▊▉█]", line)) for line in capsys.readouterr().out.splitlines()]
    assert blocks == [int(np.ceil(400 * i // 9 / 8)) for i in range(10)]  # whole eighths of 50 blocks


def test_bars_of_outputs_outside_of_0_to_1_start_at_0(capsys):
    """A network of somebody's own may answer with any numbers: here from -5 to 4, on a line of 9 of 50 blocks."""
    predict.print_bars(np.arange(-5.0, 5.0))
    lines = [line[2:52] for line in capsys.readouterr().out.splitlines()]
    assert all(line[:27].strip() and not line[28:].strip() for line in lines[:5])
    assert lines[5].strip() == ""
    assert all(not line[:27].strip() and line[28:].strip() for line in lines[6:])


def test_a_drawing_is_answered_as_the_digit_that_it_shows(tmp_path):
    """The whole way through the program: a file on the disk, dark on light, six hundred pixels wide; a run folder."""
    save(tmp_path / "params.npz", SIZES, PARAMS, dataset="mnist")
    digits = np.asarray(load_dataset("digits").test.images)
    canvas = Image.new("L", (640, 480), 235)
    canvas.paste(0, (150, 20), Image.fromarray(digits[3]).resize((420, 420), Image.Resampling.BICUBIC))
    canvas.save(tmp_path / "drawing.jpg")
    picture = predict.read_drawing(tmp_path / "drawing.jpg")
    assert abs(digits - picture.astype(int)).mean((1, 2)).argmin() == 3

    command = [sys.executable, predict.__file__, tmp_path, "--image", tmp_path / "drawing.jpg", "--out", tmp_path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stderr == ""
    assert printed.stdout.startswith("backend ")
    assert printed.stdout.endswith(f"\n{predict.verdict(answer_to(picture), known=True)}\n")
    seen = tmp_path / "predict" / "drawing-seen.png"
    assert f"\nwhat the network sees: {seen}\n" in printed.stdout
    np.testing.assert_array_equal(np.asarray(Image.open(seen)), picture)


def test_an_answer_is_certain_where_it_is_bright_and_far_from_the_next():
    def said(*brightest: float) -> str:
        outputs = np.zeros(10)
        outputs[3 : 3 + len(brightest)] = brightest
        return predict.verdict(outputs, known=True)

    assert said(0.76) == said(0.76, 0.35) == "answer: 3"
    assert said(0.74) == "answer: not sure; 3 is brightest, at 0.74, and 9 next, at 0.00"
    assert said(0.5, 0.9) == "answer: 4"
    assert said(0.55, 0.9) == "answer: not sure; 4 is brightest, at 0.90, and 3 next, at 0.55"
    assert predict.verdict(np.arange(10.0), known=True).startswith("answer: 9 (how certain, these outputs do not say")


@pytest.mark.parametrize(
    ("dataset", "options", "note"),
    [
        ("digits", [], "this one was trained on digits, which has other pictures: train one with"),
        ("fashion_mnist", [], "this one was trained on fashion_mnist"),
        (None, [], "the file does not say what this one was trained on: if it was MNIST, say so with --dataset mnist"),
        (None, ["--dataset", "mnist"], ""),
        ("mnist", [], ""),
    ],
)
def test_of_a_drawing_only_a_network_of_mnist_is_sure(tmp_path, capsys, dataset, options, note):
    """The parameters answer 3 with 1 and all others with 0, whatever they are shown."""
    network = jp.mlp((784, 10))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), network.params_like)
    params = (params[0]._replace(b=jnp.full(10, -20.0).at[3].set(20.0)), *params[1:])
    facts = {} if dataset is None else {"dataset": dataset}
    jp.save_params(tmp_path / "params.npz", network, params, sizes=(784, 10), activation="sigmoid", **facts)
    handwriting.thick(3, np.random.default_rng(0)).save(tmp_path / "three.png")
    assert ask(tmp_path, "--image", tmp_path / "three.png", "--out", tmp_path, *options) == 0
    printed = capsys.readouterr()
    assert note in printed.err
    assert bool(printed.err) == bool(note)
    assert f"trained on: {dataset or (options or ['unknown'])[-1]}\n" in printed.out
    assert ("answer: 3\n" in printed.out) != bool(note)
    assert ("answer: not sure; 3 is brightest" in printed.out) == bool(note)


def test_parameters_in_float64_are_read_without_the_variable(tmp_path, capsys):
    """And the first line says so; the outputs have digits that float32 has not."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        save(tmp_path / "params.npz", SIZES, params)
    assert ask(tmp_path / "params.npz", "--test-index", "0") == 0
    assert " · float64 · " in capsys.readouterr().out.splitlines()[0]
    assert jnp.zeros(1).dtype == jnp.float32  # nothing is left behind


@pytest.mark.parametrize(
    ("facts", "arguments", "complaint"),
    [
        ({}, ["--test-index", "0"], "the file does not say what the network was trained on: name the test set with"),
        ({"dataset": "letters"}, ["--test-index", "0"], "dataset is 'letters': expected one of digits, mnist"),
    ],
)
def test_a_test_set_that_nobody_names_is_asked_for(tmp_path, capsys, facts, arguments, complaint):
    jp.save_params(tmp_path / "params.npz", NETWORK, PARAMS, sizes=SIZES, activation="sigmoid", **facts)
    assert ask(tmp_path, *arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_without_parameters_is_refused(tmp_path, capsys):
    assert ask(tmp_path, "--test-index", "0") == 2
    assert "has no params.npz: name the folder of a training run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "expected either --image FILE or --test-index K, and not both"),
        (["--image", "drawing.png", "--test-index", "0"], "expected either --image FILE or --test-index K"),
        (["--image", "absent.png"], "cannot read absent.png"),
        (["--image", "text.png"], "text.png is not a picture that can be read: expected a PNG or a JPEG"),
        (["--image", "blank.png"], "blank.png: the picture is blank"),
        (["--image", "tiny.png"], "tiny.png is 4 x 4 pixels: expected at least 8 a side"),
        (["--test-index", "297"], "--test-index is 297: expected 0 to 296 for digits"),
        (["--test-index", "-1"], "--test-index is -1: expected 0 to 296 for digits"),
        (["--test-index", "0", "--dataset", "mnist", "--archives", "absent"], "absent"),
    ],
)
def test_bad_values_end_in_one_sentence(saved, tmp_path, capsys, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("seven")
    Image.new("L", (60, 60), 255).save("blank.png")
    Image.new("L", (4, 4)).save("tiny.png")
    assert ask(saved, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "options", [["--test-index", "three"], ["--test-index", "0", "--dataset", "letters"], ["--draw"]]
)
def test_unknown_options_and_values_end_with_exit_code_2(saved, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        ask(saved, *options)
    assert options[-1] in "".join(capsys.readouterr())


@pytest.mark.parametrize(("sizes", "complaint"), [((64, 10), "inputs (64,)"), ((784, 5), "outputs (5,)")])
def test_a_network_that_reads_something_else_is_refused(tmp_path, capsys, sizes, complaint):
    save(tmp_path / "other.npz", sizes, jp.mlp(sizes).init(jax.random.key(0)))
    assert ask(tmp_path / "other.npz", "--test-index", "0") == 2
    assert complaint in capsys.readouterr().err


def test_a_file_of_parameters_that_is_damaged_is_refused(saved, tmp_path, capsys):
    damaged = tmp_path / "params.npz"
    damaged.write_bytes(saved.read_bytes()[:-100])
    assert ask(damaged, "--test-index", "0") == 2
    assert str(damaged) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["preset", "dataset"])
def test_a_file_that_names_its_preset_or_data_set_in_no_text_is_refused(saved, tmp_path, capsys, name):
    arrays, about = load_arrays(saved)
    save_arrays(tmp_path / "params.npz", arrays, about | {name: ["mnist"]})
    assert ask(tmp_path / "params.npz", "--test-index", 0) == 2
    expected = f"error: {tmp_path}/params.npz has ['mnist'] as '{name}': expected a text, as train.py writes there\n"
    assert capsys.readouterr().err == expected


def test_numbers_that_are_not_finite_end_with_exit_code_3(tmp_path, capsys):
    params = jax.tree.map(lambda leaf: leaf * np.nan, PARAMS)
    save(tmp_path / "diverged.npz", SIZES, params)
    assert ask(tmp_path / "diverged.npz", "--test-index", "0") == 3
    printed = capsys.readouterr()
    assert "not finite" in printed.err
    assert "answer" not in printed.out


OWN = """
import jaxprop as jp

def _flatten():
    def forward(params, x):
        return x.reshape(-1), x.shape

    def backward(params, shape, dy):
        return (), dy.reshape(shape)

    return jp.Layer("flatten", lambda key, shape: ((), (shape[0] * shape[1],)), forward, backward)

def network():
    return jp.Network((_flatten(), jp.dense(10), jp.tanh()), (28, 28))

def another():
    return jp.Network((_flatten(), jp.dense(10), jp.sigmoid()), (28, 28))

def no_network():
    return 10

def raises():
    raise RuntimeError("the cat sat on it")
"""


@pytest.fixture
def own(tmp_path) -> Path:
    """The parameters of a network of somebody's own, which takes pictures as they are; its file lies beside them."""
    (tmp_path / "own.py").write_text(OWN)
    network = load_function("--network", f"{tmp_path / 'own.py'}:network")()
    jp.save_params(tmp_path / "params.npz", network, network.init(jax.random.key(3)), dataset="digits")
    return tmp_path / "params.npz"


def test_a_network_of_ones_own_answers_pictures_of_the_shape_that_it_takes(own, capsys):
    assert ask(own, "--network", f"{own.parent / 'own.py'}:network", "--test-index", "4") == 0
    *_, answer, _ = printed = capsys.readouterr().out.splitlines()
    (_, weights, _) = jp.load_params(own, load_function("--network", f"{own.parent / 'own.py'}:network")())
    pixels = np.asarray(load_dataset("digits").test.images[4]).reshape(-1) / 255
    expected = np.tanh(np.asarray(weights.W) @ pixels)
    bars = [float(bar.split()[-1]) for bar in printed[-12:-2]]
    np.testing.assert_allclose(bars, expected, atol=1e-4)  # four digits are printed
    assert answer.startswith(f"answer: {expected.argmax()} (how certain, these outputs do not say")


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (None, "name the function that does with --network FILE.py:function"),
        ("another", "is of Network([flatten, dense(10), tanh], in_shape=(28, 28)): expected parameters of Network("),
        ("no_network", "returned a int: expected a jaxprop.Network"),
        ("raises", "raised RuntimeError at own.py, line 23, which says: the cat sat on it"),
        ("absent", "has nothing of the name 'absent'"),
    ],
)
def test_parameters_are_refused_without_the_network_that_they_are_of(own, capsys, function, complaint):
    named = [] if function is None else ["--network", f"{own.parent / 'own.py'}:{function}"]
    assert ask(own, *named, "--test-index", "4") == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
