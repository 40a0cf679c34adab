"""The script that compares gradients: what agrees, what is told apart, and how somebody's own are named."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import compare_gradients
import jaxprop as jp
from compare_gradients import Findings, compare_ways
from lab.common import run

MINE = """
import jax, jax.numpy as jnp

def loss(params, batch):
    return jnp.sum(jnp.tanh(params["w"] @ batch))

def right(params, batch):
    return {"w": (1 - jnp.tanh(params["w"] @ batch) ** 2)[:, None] * batch}

def wrong(params, batch):
    return {"w": (1 + jnp.tanh(params["w"] @ batch) ** 2)[:, None] * batch}

def inputs():
    return {"w": jnp.array([[0.5, -1.0], [2.0, 0.25]])}, jnp.array([1.0, 0.5])

@jax.custom_vjp
def cube(x):
    return jnp.sum(x**3)

cube.defvjp(lambda x: (cube(x), x), lambda x, dy: (dy * 2 * x**2,))  # which should be 3 x^2

def loss_with_a_rule_of_its_own(params, batch):
    return cube(params["w"] @ batch)

def raises(*_):
    raise RuntimeError("the cat sat on it")

def with_aux(params, batch):
    return loss(params, batch), "aux"

def no_scalar(params, batch):
    return params["w"] @ batch

def a_count(*_):
    return jnp.array(3)

def nothing(*_):
    pass

def both(params, batch):
    return loss(params, batch), right(params, batch)

def swapped(params, batch):
    return right(params, batch), loss(params, batch)

def right_of_the_rule(params, batch):
    return {"w": (3 * (params["w"] @ batch) ** 2)[:, None] * batch}

def with_a_key():
    return inputs()[0], (inputs()[1], jax.random.key(0))

def loss_with_a_key(params, batch):
    x, key = batch
    return loss(params, x * jax.random.bernoulli(key, 0.7, x.shape))

def integers():
    return {"w": jnp.array([[1, 2]])}, jnp.array([1.0, 0.5])

def empty():
    return {"w": jnp.zeros((2, 2))}, jnp.zeros((0, 2))

def infinite():
    return {"w": jnp.full((2, 2), jnp.inf)}, jnp.array([1.0, -0.5])

def one_thing():
    return jnp.zeros(3)

a_number = 3

def loss_with_a_kink(params, batch):
    return jnp.sum(jax.nn.relu(params["w"]) * batch)

def half_at_the_kink(params, batch):  # jax.nn.relu has 0 there
    return {"w": jnp.heaviside(params["w"], 0.5) * batch}

def outside_of_the_kink(params, batch):
    return {"w": jnp.heaviside(params["w"], 3.0) * batch}

def wrong_beside_the_kink(params, batch):
    return {"w": jnp.heaviside(params["w"] - 1, 0.5) * batch}

def at_the_kink():
    return {"w": jnp.array([0.0, 0.5, -1.0])}, jnp.array([1.0, 0.5, 2.0])
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def compare_mine(mine: Path, loss="loss", gradient: str | None = "right", inputs="inputs") -> int:
    options = ["--loss", f"{mine}:{loss}", "--inputs", f"{mine}:{inputs}", "--out", str(mine.parent / "runs")]
    options += ["--gradient", f"{mine}:{gradient}"] if gradient else []
    return run(compare_gradients.main, compare_gradients.CompareOptions, options)


def results(folder: Path) -> dict:
    (path,) = folder.glob("runs/compare_gradients/*/results.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory) -> tuple[Path, Findings]:
    """The folder of one run of the script, on a network like the lesson's but narrower; and what it found."""
    folder = tmp_path_factory.mktemp("compare")
    kept = []

    def measure(options):
        kept.append(compare_gradients.measure(options))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_gradients, "EXPERIMENT", compare_gradients.EXPERIMENT._replace(measure=measure))
        options = ["--smoke", "--hidden", "4", "4", "--out", str(folder / "runs")]
        assert run(compare_gradients.main, compare_gradients.CompareOptions, options) == 0
    return folder, kept[0]


def test_a_network_like_the_lessons_agrees_in_every_way(smoke_run):
    run_folder, _ = smoke_run
    assert all(claim["holds"] for claim in results(run_folder)["claims"])
    (folder,) = (run_folder / "runs" / "compare_gradients").iterdir()
    assert {path.name for path in folder.glob("*.png")} == {"scatter.png", "differences.png", "trajectories.png"}
    leaves = list(csv.DictReader((folder / "leaves.csv").read_text().splitlines()))
    assert {row["path"] for row in leaves} == {f"[{i}].{name}" for i in (0, 2, 4) for name in "Wb"} | {"value"}
    assert {row["candidate"] for row in leaves} == {"backprop", "autodiff", "forward mode", "finite differences"}


def test_ways_that_agree_are_a_row_each_and_those_that_do_not_are_shown_leaf_by_leaf(smoke_run, capsys):
    compared = smoke_run[1].compared
    compare_gradients.print_comparisons(compared)
    out = capsys.readouterr().out
    assert out.count(" agree ") == sum(map(len, compared.values()))
    assert "NOT" not in out
    assert "[0].W" not in out
    ((stage, (first, *others)),) = compared.items()
    worse = first._replace(comparison=replace(first.comparison, agree=False))
    compare_gradients.print_comparisons({stage: [worse, *others]})
    out = capsys.readouterr().out
    assert out.count(" do NOT agree │") == 1
    assert out.count(f"{stage}: {first.candidate}, compared with {first.reference}\n") == 1
    assert "[0].W" in out
    assert "\nscaled: " in out


def test_a_mistake_in_a_layer_is_a_false_claim(smoke_run, monkeypatch):
    """One per cent too much in every sigmoid: nobody would see it in a learning curve.

    It sits in backprop alone, so the three other ways still agree among themselves.
    """

    right = jp.mlp((6, 4, 10))
    sigmoid = jp.sigmoid()
    wrong = sigmoid._replace(backward=lambda p, residuals, da: sigmoid.backward(p, residuals, 1.01 * da))
    layers = [wrong if layer.name == "sigmoid" else layer for layer in right.layers]
    network = jp.Network(tuple(layers), right.in_shape)
    with jax.enable_x64(True):
        batch = (jnp.linspace(0, 1, 18).reshape(3, 6), jnp.eye(10)[:3])
        compared, _ = compare_ways(network, network.init(jax.random.key(0)), batch)
    claims = compare_gradients.claims(smoke_run[1]._replace(compared={"here": compared}))
    false = {claim.claim for claim in claims if not claim.holds}
    assert false == {
        "here: backprop against autodiff, in float64; the worst leaf, scaled",
        "here: backprop against autodiff in float64, in float32; the worst leaf, scaled",
    }


@pytest.mark.parametrize("field", ["hessian", "trajectories"])
def test_second_derivatives_and_trajectories_that_part_are_false_claims(smoke_run, field):
    found = smoke_run[1]
    apart = {"hessian": 1e-9, "trajectories": [{**row, "difference": 1e-9} for row in found.trajectories]}
    claims = compare_gradients.claims(found._replace(**{field: apart[field]}))
    assert sum(not claim.holds for claim in claims) == 1


def test_somebodys_right_gradient_agrees(mine, tmp_path):
    assert compare_mine(mine) == 0
    found = results(tmp_path)
    assert found["agree"]
    assert found["reference"] == "autodiff"


def test_somebodys_wrong_gradient_is_found_and_its_leaf_named(mine, tmp_path, capsys):
    assert compare_mine(mine, gradient="wrong") == 1
    assert results(tmp_path)["failing_leaves"] == ["['w']"]
    assert "They do NOT agree: look at ['w'] first" in capsys.readouterr().out


def test_a_custom_rule_is_compared_with_finite_differences_and_not_with_itself(mine, tmp_path, capsys):
    assert compare_mine(mine, loss="loss_with_a_rule_of_its_own", gradient=None) == 1
    found = results(tmp_path)
    assert found["reference"] == "finite differences"
    assert found["failing_leaves"] == ["['w']"]
    assert "finite differences are the reference" in capsys.readouterr().out


def test_where_two_part_finite_differences_say_which_is_right(mine, tmp_path, capsys):
    assert compare_mine(mine, gradient="wrong") == 1
    found = results(tmp_path)
    assert found["conclusion"] == "Finite differences side with autodiff: your gradient is wrong."
    agree = {name: checked["agree"] for name, checked in found["by_differences"].items()}
    assert agree == {"your gradient": False, "autodiff of your loss": True}
    assert found["conclusion"] in capsys.readouterr().out


def test_a_right_gradient_of_a_loss_with_a_wrong_rule_is_upheld(mine, tmp_path, capsys):
    assert compare_mine(mine, loss="loss_with_a_rule_of_its_own", gradient="right_of_the_rule") == 1
    conclusion = results(tmp_path)["conclusion"]
    assert conclusion.startswith("Finite differences side with your gradient: autodiff of your loss is wrong")
    assert conclusion in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gradient", "code", "words"),
    [
        ("half_at_the_kink", 0, r"Neither is wrong\. They part at \['w'\]\[0\] alone, where your loss has a kink"),
        ("outside_of_the_kink", 1, "Finite differences agree with both, in float64: the two part by less than"),
        ("wrong_beside_the_kink", 1, "Finite differences side with autodiff: your gradient is wrong"),
    ],
)
def test_two_right_gradients_may_part_at_a_kink(mine, tmp_path, gradient, code, words):
    assert compare_mine(mine, loss="loss_with_a_kink", gradient=gradient, inputs="at_the_kink") == code
    found = results(tmp_path)
    assert found["right"] is (code == 0)
    assert re.match(words, found["conclusion"])


def test_the_columns_are_explained_below_the_table(mine, capsys):
    compare_mine(mine)
    out = capsys.readouterr().out
    assert all(f"\n{column}: " in out for column in ("scaled", "angle", "ulps"))


def test_a_key_of_random_numbers_may_be_in_the_batch(mine):
    assert compare_mine(mine, loss="loss_with_a_key", gradient=None, inputs="with_a_key") == 0


def test_without_a_gradient_of_ones_own_autodiff_is_the_candidate(mine):
    assert compare_mine(mine, gradient=None) == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"loss": "absent"}, "has nothing of the name 'absent'"),
        ({"loss": "nothing"}, "returned None: expected one number"),
        ({"loss": "a_number"}, "expected a function, and that is a int"),
        ({"loss": "raises"}, "raised RuntimeError at mine.py, line 26, which says: the cat sat on it"),
        ({"loss": "with_aux"}, "returned a tuple: expected one number"),
        ({"loss": "no_scalar"}, "returned an array of shape (2,): expected one number"),
        ({"loss": "a_count"}, "returned int32: expected a float"),
        ({"gradient": "nothing"}, "returned None: expected a tree like the parameters"),
        ({"gradient": "both"}, "returned a pair (value, grads): expected the gradient alone"),
        ({"gradient": "swapped"}, "returned a pair (grads, value): expected the gradient alone"),
        ({"gradient": "raises"}, "raised RuntimeError"),
        ({"inputs": "raises"}, "raised RuntimeError"),
        ({"inputs": "one_thing"}, r"expected a pair (params, batch)"),
        ({"inputs": "integers"}, "expected floats"),
        ({"inputs": "empty"}, "the batch is empty"),
        ({"inputs": "infinite"}, "not finite"),
    ],
)
def test_what_cannot_be_compared_ends_in_one_sentence(mine, capsys, options, complaint):
    assert compare_mine(mine, **options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert error.count("\n") == 1
    assert not (mine.parent / "runs").exists()


@pytest.mark.parametrize("missing", ["loss", "inputs"])
def test_what_is_needed_and_missing_is_named(mine, capsys, missing):
    options = [f"--{name}={mine}:{name}" for name in ("loss", "inputs") if name != missing]
    assert run(compare_gradients.main, compare_gradients.CompareOptions, [*options, "--out", str(mine.parent)]) == 2
    assert "comparing your own needs --loss FILE.py:f and --inputs FILE.py:h" in capsys.readouterr().err


def test_the_example_of_the_readme_is_found(tmp_path, capsys):
    example = Path(compare_gradients.__file__).with_name("proof") / "my_softmax.py"
    options = [f"--{name}={example}:{name}" for name in ("loss", "gradient", "inputs")]
    options += ["--out", str(tmp_path / "runs")]
    assert run(compare_gradients.main, compare_gradients.CompareOptions, options) == 1
    assert results(tmp_path)["failing_leaves"] == ["['W']"]
    assert "['W']: it is 0.01 times the parameter less" in capsys.readouterr().out
