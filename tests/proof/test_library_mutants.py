"""The changes that a mutant makes: one place of a module, of the kind it says, and never one that only speaks."""

import ast
from pathlib import Path

import pytest

from proof.library_mutants import Mutant, changes, draw, library_modules, room_of, sites

ROOT = Path(__file__).parents[2]


def changed(source: str) -> set[tuple[str, str]]:
    """Every change that this source offers: its kind, and what the line becomes."""
    return {
        (mutant.kind, mutant.before_and_after(source)[1]) for mutant in sites(source, "m.py") if changes(mutant, source)
    }


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("a < b", "boundary", "a <= b"),
        ("a < b", "comparison", "a > b"),
        ("a >= b", "boundary", "a > b"),
        ("0 <= a < b", "boundary", "0 <= a <= b"),
        ("a == b", "comparison", "a != b"),
        ("a is not None", "comparison", "a is None"),
        ("a not in b", "comparison", "a in b"),
        ("a + b", "arithmetic", "a - b"),
        ("a @ b", "arithmetic", "(b) @ (a)"),
        ("(a + b) * c", "arithmetic", "(a + b) / c"),
        ("é = a ** b  # é", "arithmetic", "é = a * b # é"),
        ("a += b", "arithmetic", "a -= b"),
        ("a += b", "statement removed", "pass"),
        ("a and b", "and / or", "a or b"),
        ("not a", "not dropped", "(a)"),
        ("x = -a", "sign dropped", "x = (a)"),
        ("x = 3", "constant", "x = 4"),
        ("x = 0.5", "constant", "x = (0.5 * 2)"),
        ("x = True", "constant", "x = False"),
        ("x = a if c else b", "branches swapped", "x = (b) if c else (a)"),
        ("if a: b()", "branches swapped", "if not (a): b()"),
        ("f(a, b)", "arguments swapped", "f(b, a)"),
        ("f(a, key=b)", "argument removed", "f(a)"),
        ("f(a, key=b)", "statement removed", "pass"),
        ("x.sum(axis=0)", "wrong axis", "x.sum(axis=1)"),
        ("x.sum(axis=-1)", "wrong axis", "x.sum(axis=0)"),
        ("x.sum()", "function", "x.mean()"),
        ("def f(): return a", "return changed", "def f(): return None"),
        ("def f(): return a, b", "return changed", "def f(): return b, a"),
        ("def f(a=1): ...", "constant", "def f(a=2): ..."),
        ("if a: raise ValueError('no')", "statement removed", "if a: pass"),
        ("for i in a: continue", "statement removed", "for i in a: pass"),
        ("def f(): x[0] = a", "statement removed", "def f(): pass"),
    ],
)
def test_each_kind_of_change_is_made_at_its_place(source, kind, expected):
    assert (kind, expected) in changed(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""One < two."""',
        'def f():\n    "one"',
        "def f(x: Float[Array, '3'] | None, *, y: int) -> tuple[int, 3]: ...",
        "x: Literal[3]",
        "Slope = Callable[[Array], Array] | None",
        "from a import b",
        "__all__ = [f(1)]",
        "x = f'{1 + a}'",
        "x = 'one' + a",
        "warnings.warn(f(1), stacklevel=2)",
        "class A:\n    def __repr__(self): return f(1)",
        "def _words(n) -> str: return f(n + 1)",
        "isinstance(a, int | float)",
        "zip(a, strict=f)",
        "logaddexp(a, b)",
    ],
)
def test_what_only_speaks_or_cannot_be_noticed_is_left_alone(source):
    found = changed(source) - {("statement removed", "pass"), ("return changed", "pass")}
    assert not found


def test_of_an_error_only_that_it_is_raised_is_changed():
    assert changed("raise BadInput(f'{a + 1} is wrong', 1) from None") == {("statement removed", "pass")}


def test_one_change_leaves_the_rest_of_the_file_as_it_is():
    source = "# é\nx = (a\n     < b)  # stays\ny = 1\n"
    boundary = next(mutant for mutant in sites(source, "m.py") if mutant.kind == "boundary")
    assert boundary.applied(source) == "# é\nx = (a\n     <= b)  # stays\ny = 1\n"
    assert (boundary.line, boundary.before_and_after(source)) == (3, ("< b) # stays", "<= b) # stays"))


@pytest.mark.parametrize("replacement", ["= =", "1", "(1)"])
def test_a_change_that_is_none_or_cannot_be_parsed_is_not_drawn(replacement, tmp_path):
    assert not changes(Mutant("m.py", 1, "constant", 4, 5, replacement), "x = 1\n")
    assert changes(Mutant("m.py", 1, "constant", 4, 5, "2"), "x = 1\n")


@pytest.fixture(scope="module")
def drawn() -> list[Mutant]:
    return draw(ROOT, library_modules(ROOT), 100, 5)


def test_mutants_are_spread_evenly_over_all_modules_of_all_rooms(drawn):
    modules = library_modules(ROOT)
    counts = [sum(mutant.file == file for mutant in drawn) for file in modules]
    assert sum(counts) == 100
    assert max(counts) - min(counts) <= 1
    assert {room_of(file) for file in modules} == {"heart", "layers", "verify", "data", "run", "files", "testing"}
    assert {mutant.file for mutant in drawn[: len(modules)]} == set(modules)


def test_a_module_is_changed_in_different_ways_on_different_lines(drawn):
    for file in {mutant.file for mutant in drawn}:
        kinds = [mutant.kind for mutant in drawn if mutant.file == file]
        lines = [mutant.line for mutant in drawn if mutant.file == file]
        assert len(set(kinds)) == len(kinds)
        assert len(set(lines)) == len(lines)


def test_the_seed_decides_which_mutants_are_drawn(drawn):
    costs = ["jaxprop/costs.py"]
    assert draw(ROOT, costs, 20, 5) == draw(ROOT, costs, 20, 5) != draw(ROOT, costs, 20, 6)


def test_where_a_module_has_fewer_all_of_them_are_drawn_once():
    file = "jaxprop/testing.py"
    everything = draw(ROOT, [file], 1000, 0)
    assert len(set(everything)) == len(everything) >= 5


def test_a_change_that_changes_nothing_is_not_drawn(tmp_path):
    (tmp_path / "m.py").write_text("x = f(a, a)")
    assert [mutant.kind for mutant in sites("x = f(a, a)", "m.py")] == ["arguments swapped"]
    assert draw(tmp_path, ["m.py"], 5, 0) == []


def test_every_mutant_is_another_module_that_can_be_parsed(drawn):
    for mutant in drawn:
        source = (ROOT / mutant.file).read_text()
        assert ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
        before, after = mutant.before_and_after(source)
        assert before != after
