"""The notebooks run, and what is stored of them is what comes out."""

import copy

import pytest

from lab.common import run
from notebooks import execute
from notebooks.execute import NOTEBOOKS, NotebookOptions, complaints, notebook_of, stored


def kept(name):
    return stored(execute.FOLDER / f"{name}.ipynb")


def text_of(name):
    return (execute.FOLDER / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_what_is_stored_comes_out(name, monkeypatch, capsys):
    monkeypatch.setattr(execute, "NOTEBOOKS", (name,))
    assert run(execute.main, NotebookOptions, ["--check"]) == 0, capsys.readouterr().out


def test_every_notebook_of_the_folder_is_one_of_them():
    texts = {path.stem for path in execute.FOLDER.glob("*.py") if "# %%" in path.read_text().splitlines()}
    assert texts == {path.stem for path in execute.FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_stored_output_is_a_warning_or_an_error(name):
    outputs = [output for cell in kept(name).cells for output in cell.get("outputs", [])]
    assert outputs
    assert {output.output_type for output in outputs} <= {"stream", "display_data"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")


# The check finds what it is for


@pytest.fixture
def judge():
    return kept("judge_your_own")


def first_text(notebook):
    return next(o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream")


def test_a_text_that_was_changed_after_it_was_executed_is_found(judge):
    changed = notebook_of(text_of("judge_your_own").replace("jnp.mean(dy, axis=0)", "jnp.sum(dy, axis=0)"))
    assert list(complaints(judge, changed)) == ["its cells are not those of the .py file"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("do NOT agree", "agree"), (" ['shift'] ", " ['gain'] "), ("look at ['x'] first", "look at ['shift'] first")],
)
def test_an_output_of_another_kind_is_found(judge, before, after):
    other = copy.deepcopy(judge)
    output = first_text(other)
    assert before in output.text
    output.text = output.text.replace(before, after)
    (complaint,) = complaints(judge, other)
    assert complaint.startswith("the outputs of cell 7 are not those that come out now")


def test_an_output_that_is_missing_is_found(judge):
    other = copy.deepcopy(judge)
    other.cells[7].outputs = []
    assert len(list(complaints(judge, other))) == 1


def test_other_digits_and_another_order_of_the_rows_are_not(judge):
    other = copy.deepcopy(judge)
    output = first_text(other)
    head, *rows = output.text.replace("0.25", "0.2500001").splitlines()
    output.text = "\n".join([head, *reversed(rows)])
    assert output.text != first_text(judge).text
    assert list(complaints(judge, other)) == []
