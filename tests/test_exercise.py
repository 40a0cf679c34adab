"""The exercise: a learner's file is made and graded, and each mistake gets words that a learner understands."""

from pathlib import Path

import pytest

import exercise
import jaxprop as jp
from exercise import HOLES, ExerciseOptions, Grader, grade, load_holes, make_grader
from lab.common import run
from proof.naming import naming_for

SOLVED = exercise.HOLES_FILE.with_name("backward_pass_solved.py").read_text()
BY_NAME = {hole.name: hole for hole in HOLES}


@pytest.fixture(scope="module")
def grader() -> Grader:
    """With two points only, which tell apart the mistakes below."""
    made = make_grader()
    probes = tuple(probe for probe in made.probes if len(probe.batch[0]) in (2, 7))[:2]
    return made._replace(probes=probes, name=naming_for(made.network, jp.squared_error, probes))


def graded(tmp_path, grader, hole, *changes):
    """The grade of one hole of the solved file, after these changes (old, new) of its text."""
    text = SOLVED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / f"mine_{len(list(tmp_path.iterdir()))}.py"  # a file is loaded once
    file.write_text(text)
    return grade(BY_NAME[hole], load_holes(file)[hole], grader)


def exercise_on(file: Path) -> int:
    return run(exercise.main, ExerciseOptions, [str(file)])


def test_the_file_with_the_holes_is_made_and_never_overwritten(tmp_path, capsys):
    file = tmp_path / "mine.py"
    assert exercise_on(file) == 0
    assert file.read_text() == exercise.HOLES_FILE.read_text()
    assert "mine.py is yours now" in capsys.readouterr().out
    assert exercise_on(file) == 1
    assert file.read_text() == exercise.HOLES_FILE.read_text()
    out = capsys.readouterr().out
    for hole in HOLES:
        assert f"{hole.name}: not filled in" in out
    assert "0 of 5 holes are right" in out


def test_the_solved_file_passes(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(SOLVED)
    assert exercise_on(file) == 0
    assert "All five holes are right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hole", "change", "name"),
    [
        ("cost_gradient", ("return 2 * (a - y)", "return a - y"), "the 2 lost"),
        pytest.param(
            *("sigmoid_backward", ("return a * (1 - a) * da", "return da"), "σ′ missing"),
            marks=pytest.mark.slow,  # the first has all points, and all mistakes have few points below
        ),
    ],
)
def test_a_known_mistake_gets_its_name_at_all_points_that_the_command_uses(tmp_path, hole, change, name):
    # NumPy and JAX round the outputs differently, and where these meet their targets nothing else is left.
    grade = graded(tmp_path, make_grader(), hole, change)
    assert any(name in line for line in grade.said), grade.said


def test_a_hole_is_graded_apart_from_those_that_it_calls(tmp_path, grader):
    broken = ("return a * (1 - a) * da", "raise NotImplementedError")
    assert graded(tmp_path, grader, "walk", broken).right is True
    assert graded(tmp_path, grader, "sigmoid_backward", broken).right is None


# Planted mistakes, as a learner would make them: the hole, the change, and what the mistake is called.
KNOWN = [
    ("cost_gradient", ("2 * (a - y)", "a - y"), "the 2 lost"),
    ("cost_gradient", ("2 * (a - y)", "2 * (y - a)"), "y − a"),
    ("cost_gradient", ("2 * (a - y)", "np.sign(a - y)"), "absolute error's gradient"),
    ("cost_gradient", ("2 * (a - y)", "(a - y) / (a * (1 - a))"), "cross-entropy's gradient"),
    ("cost_gradient", ("2 * (a - y)", "2 * (a - y) / len(y)"), "mean over the outputs"),
    ("cost_gradient", ("2 * (a - y)", "2 * (a - np.roll(y, 1))"), "classes counted from 1"),
    ("cost_gradient", ("2 * (a - y)", "np.clip(2 * (a - y), -1, 1)"), "errors clipped at ±1"),
    ("sigmoid_backward", ("a * (1 - a) * da", "da"), "σ′ missing"),
    ("sigmoid_backward", ("a * (1 - a) * da", "a * (a - 1) * da"), "σ′ = a (a − 1)"),
    ("sigmoid_backward", ("a * (1 - a) * da", "(1 - a**2) * da"), "σ′ = 1 − a²"),
    ("sigmoid_backward", ("a * (1 - a) * da", "da / 4"), "σ′ = 1/4"),
    (
        "sigmoid_backward",
        ("return a * (1 - a) * da", "s = 1 / (1 + np.exp(-a))\n    return s * (1 - s) * da"),
        "σ′ of a, not of z",
    ),
    ("dense_backward", ("np.outer(dz, a_prev)", "np.outer(a_prev, dz).reshape(W.shape)"), "outer product flipped and"),
    ("dense_backward", ("db = dz", "db = 2 * dz"), "bias gradient doubled"),
    ("dense_backward", ("db = dz", "db = np.zeros_like(dz)"), "bias gradient dropped"),
    ("dense_backward", ("db = dz", "db = np.full_like(dz, np.mean(dz))"), "bias gradient averaged over neurons"),
    (
        "dense_backward",
        ("da_prev = W.T @ dz", "da_prev = W @ dz if W.shape[0] == W.shape[1] else W.T @ dz"),
        "W not transposed where square",
    ),
    (
        "walk",
        (
            "    gradients.reverse()\n    return gradients",
            "    gradients.reverse()\n    return [(0 * W, 0 * b) for W, b in gradients[:1]] + gradients[1:]",
        ),
        "first layer never reached",
    ),
    ("mean_over_examples", ("np.mean(gradients, axis=0)", "np.sum(gradients, axis=0)"), "sum for mean"),
    (
        "mean_over_examples",
        ("np.mean(gradients, axis=0)", "np.mean(gradients[:-1], axis=0) * (len(gradients) - 1) / len(gradients)"),
        "last example skipped",
    ),
    (
        "mean_over_examples",
        ("np.mean(gradients, axis=0)", "np.sum(gradients, axis=0) / (len(gradients) - 1)"),
        "divided by B − 1",
    ),
    (
        "mean_over_examples",
        ("np.mean(gradients, axis=0)", "np.mean(gradients, axis=0) / len(gradients)"),
        "divided by B twice",
    ),
]


def assert_named(tmp_path, grader, hole, change, name):
    found = graded(tmp_path, grader, hole, change)
    assert found.right is False
    assert f"“{name}" in found.said[0], found.said
    assert found.said[-1] == f"Hint: {BY_NAME[hole].hint}"


@pytest.mark.parametrize(("hole", "change", "name"), KNOWN[::5])
def test_a_known_mistake_gets_its_name_and_a_hint(tmp_path, grader, hole, change, name):
    assert_named(tmp_path, grader, hole, change, name)


@pytest.mark.slow
@pytest.mark.parametrize(("hole", "change", "name"), KNOWN)
def test_every_known_mistake_gets_its_name_and_a_hint(tmp_path, grader, hole, change, name):
    assert_named(tmp_path, grader, hole, change, name)


@pytest.mark.parametrize(
    ("hole", "change", "said"),
    [
        (
            "cost_gradient",
            ("return 2 * (a - y)", "2 * (a - y)"),
            "cost_gradient returned None: is its `return` missing?",
        ),
        ("cost_gradient", ("2 * (a - y)", "np.sum(a - y)"), "its result of shape (): expected (3,)"),
        ("cost_gradient", ("2 * (a - y)", "'two'"), "a str for its result: expected an array of numbers"),
        ("cost_gradient", ("2 * (a - y)", "0 * a / np.float64(0)"), "its result with NaN in it"),
        ("cost_gradient", ("2 * (a - y)", "2 * (a - target)"), "raised NameError in line 7: return 2 * (a - target)"),
        ("cost_gradient", ("return 2 * (a - y)", "a -= y\n    return 2 * a"), "it changes an array that it was given"),
        (
            "dense_backward",
            ("return dW, db, da_prev", "return dW, db"),
            "a tuple of 2: expected 3 things, dW, db, da_prev",
        ),
        ("dense_backward", ("np.outer(dz, a_prev)", "np.outer(a_prev, dz)"), "dW of shape (5, 3): expected (3, 5)"),
        ("dense_backward", ("db = dz", "db = None"), "returned None for db: expected an array of shape (3,)"),
        ("walk", ("return gradients", "return gradients[1:]"), "a list of 3: expected a list of 4, one for each layer"),
        ("walk", ("gradients.reverse()", "pass"), "walk, layer 0, returned dW of shape (3, 5): expected (5, 6)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_gradient_is_said_in_words(tmp_path, grader, hole, change, said):
    found = graded(tmp_path, grader, hole, change)
    assert found.right is False
    assert said in found.said[0], found.said


def test_a_mistake_without_a_name_is_told_by_its_leaves(tmp_path, grader):
    nameless = grader._replace(name=lambda candidate: ())
    found = graded(tmp_path, nameless, "mean_over_examples", ("np.mean(", "3 * np.mean("))
    assert found.said[0] == "[0].W: it is 3 times the right one"
    found = graded(tmp_path, nameless, "cost_gradient", ("2 * (a - y)", "2 * np.tanh(a - y)"))
    assert found.said[0].endswith(
        "[6].b, [6].W, [4].b, [4].W, [2].b, [2].W, [0].b, [0].W differ from those of jax.grad."
    )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("mine.txt", "", "expected a name that ends in .py"),
        ("mine.py", "def walk(:", "raised SyntaxError"),
        ("mine.py", SOLVED.replace("def walk", "def run"), "has nothing of the name 'walk'"),
    ],
)
def test_a_file_that_cannot_be_graded_ends_in_one_sentence(tmp_path, capsys, name, text, complaint):
    file = tmp_path / name
    file.write_text(text)
    assert exercise_on(file) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert error.count("\n") == 1
