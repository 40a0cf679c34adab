import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import compare_gradients
import jaxprop as jp
from compare_gradients import Findings
from jaxprop import layers
from lab.agreement import judge
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

def integers():
    return {"w": jnp.array([[1, 2]])}, jnp.array([1.0, 0.5])

def empty():
    return {"w": jnp.zeros((2, 2))}, jnp.zeros((0, 2))

def infinite():
    return {"w": jnp.full((2, 2), jnp.inf)}, jnp.array([1.0, -0.5])

def one_thing():
    return jnp.zeros(3)

a_number = 3
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
    folder, kept = tmp_path_factory.mktemp("compare"), []
    with pytest.MonkeyPatch.context() as patch:
        measure = lambda options: kept.append(compare_gradients.measure(options)) or kept[0]  # noqa: E731
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


def test_a_mistake_in_a_layer_is_a_false_claim(smoke_run, monkeypatch):
    """One per cent too much in every sigmoid: nobody would see it in a learning curve.

    It sits in backprop alone, so the three other ways still agree among themselves.
    """

    def wrong() -> layers.Layer:
        def forward(params, z):
            a = jax.nn.sigmoid(z)
            return a, a

        return layers.Layer(lambda key, shape: ((), shape), forward, lambda p, a, da: ((), 1.01 * a * (1 - a) * da))

    monkeypatch.setattr(layers, "sigmoid", wrong)
    network = jp.mlp((6, 4, 10))
    with jax.enable_x64(True):
        batch = (jnp.linspace(0, 1, 18).reshape(3, 6), jnp.eye(10)[:3])
        judged, _ = judge(network, network.init(jax.random.key(0)), batch)
    claims = compare_gradients.claims(smoke_run[1]._replace(judged={"here": judged}))
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
    assert found["judges"] == ["autodiff"]


def test_somebodys_wrong_gradient_is_found_and_its_leaf_named(mine, tmp_path, capsys):
    assert compare_mine(mine, gradient="wrong") == 1
    assert results(tmp_path)["failing_leaves"] == ["['w']"]
    assert "They do NOT agree: look at ['w'] first" in capsys.readouterr().out


def test_a_custom_rule_is_judged_by_finite_differences_and_not_by_itself(mine, tmp_path, capsys):
    assert compare_mine(mine, loss="loss_with_a_rule_of_its_own", gradient=None) == 1
    found = results(tmp_path)
    assert found["judges"] == ["finite differences"]
    assert found["failing_leaves"] == ["['w']"]
    assert "autodiff and forward mode could not judge it" in capsys.readouterr().out


def test_without_a_gradient_of_ones_own_autodiff_is_judged(mine):
    assert compare_mine(mine, gradient=None) == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"loss": "nothing"}, "has no function 'nothing'"),
        ({"loss": "a_number"}, "has no function 'a_number'"),
        ({"loss": "raises"}, "raised RuntimeError, which says: the cat sat on it"),
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


@pytest.mark.parametrize("place", ["missing.py:f", "nowhere", "compare_gradients:f"])
def test_a_file_that_is_not_there_is_refused(tmp_path, capsys, place):
    options = ["--loss", place, "--inputs", place, "--out", str(tmp_path)]
    assert run(compare_gradients.main, compare_gradients.CompareOptions, options) == 2
    assert "expected FILE.py:function" in capsys.readouterr().err


def test_a_file_with_a_mistake_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f(:")
    options = ["--loss", f"{tmp_path}/bad.py:f", "--inputs", f"{tmp_path}/bad.py:h", "--out", str(tmp_path)]
    assert run(compare_gradients.main, compare_gradients.CompareOptions, options) == 2
    assert "raised SyntaxError" in capsys.readouterr().err


def test_the_example_of_the_readme_is_found(tmp_path):
    example = Path(compare_gradients.__file__).with_name("my_softmax.py")
    options = [f"--{name}={example}:{name}" for name in ("loss", "gradient", "inputs")]
    assert (
        run(compare_gradients.main, compare_gradients.CompareOptions, [*options, "--out", str(tmp_path / "runs")]) == 1
    )
    assert results(tmp_path)["failing_leaves"] == ["['W']"]
