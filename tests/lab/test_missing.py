"""A package that is missing is named in one sentence; any other error keeps its traceback."""

import subprocess
import sys
from pathlib import Path

import lab


def run_script(program: str) -> subprocess.CompletedProcess[str]:
    start = "from lab.signals import listen; listen()\n"
    # -S: without any package that was installed, as in an environment where nothing was.
    command = [sys.executable, "-S", "-c", start + program]
    return subprocess.run(
        command, env={"PYTHONPATH": str(Path(lab.__file__).parents[1])}, capture_output=True, text=True
    )


def test_a_package_of_the_experiments():
    done = run_script("import matplotlib.figure")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: the experiments need the package matplotlib, which ")


def test_any_other_module_and_any_other_error():
    for program, last in [("import sextant", "No module named 'sextant'"), ("1 / 0", "division by zero")]:
        done = run_script(program)
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback")
        assert last in done.stderr.splitlines()[-1]
