"""Ctrl-C and SIGTERM end a script with one sentence, whatever it does at that moment.

The scripts here import nothing but `lab.signals`, which takes no time. `test_train_signals.py` has the real one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import signals

EXPERIMENTS = str(Path(signals.__file__).parents[1])
NUMBERS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Script:
    """A script that listens from its first line on, and says `ready` when it may be interrupted."""

    def __init__(self, process: subprocess.Popen):
        self.process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def hears(self, *numbers: int, pause: float = 0.0) -> tuple[int, str, str]:
        """Exit code, standard output and standard error, after these signals with a pause between them."""
        for i, number in enumerate(numbers):
            time.sleep(pause if i else 0)
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path) -> Iterator:
    started = []

    def start(text: str) -> Script:
        path = tmp_path / "script.py"
        path.write_text(f"from lab.signals import *\nfrom lab import signals\nlisten()\nimport time, sys\n{text}")
        environment = {**os.environ, "PYTHONPATH": EXPERIMENTS}
        process = subprocess.Popen([sys.executable, path], env=environment, stdout=-1, stderr=-1, text=True)
        started.append(process)
        return Script(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


READY = "print('ready', flush=True)\n"
AT_WORK = {
    "sleeping": "time.sleep(60)",
    "computing": "while True: pass",
    "in a callback that loses exceptions": """
while True:
    try: time.sleep(60)
    except BaseException: pass
""",
    "in compiled code that Python cannot interrupt": """
import hashlib
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
""",
    "in an object's end, where exceptions are printed and ignored": """
class Ends:
    def __del__(self): time.sleep(60)
x = Ends()
del x
time.sleep(60)
""",
    "in a thread that fails for it": """
import threading
def fail():
    time.sleep(0.5)
    raise RuntimeError("because of the end")
threading.Thread(target=fail).start()
while True:
    try: time.sleep(60)
    except BaseException: pass
""",
    "handling another exception": """
try: 1 / 0
except ZeroDivisionError: time.sleep(60)
""",
}


@pytest.mark.parametrize("what", AT_WORK)
def test_a_signal_ends_a_script_with_one_sentence_whatever_it_does(start, what):
    for number, name in NUMBERS.items() if what == "sleeping" else [(signal.SIGINT, "Ctrl-C")]:
        assert start(READY + AT_WORK[what]).hears(number) == (128 + number, "", f"stopped by {name}\n")


def test_during_an_import_it_ends_without_an_exception(start, tmp_path):
    """A compiled module that gets one while it begins can crash."""
    text = f"import time\n{READY}try: time.sleep(60)\nfinally: print('an exception', flush=True)"
    (tmp_path / "heavy.py").write_text(text)
    assert start("import heavy").hears(signal.SIGINT) == (130, "", "stopped by Ctrl-C\n")


def test_what_was_begun_is_cleaned_up_and_what_was_printed_is_not_lost(start):
    text = READY + "try: time.sleep(60)\nfinally: print('cleaned up')"
    assert start(text).hears(signal.SIGTERM) == (143, "cleaned up\n", "stopped by SIGTERM\n")


def test_a_file_that_compiled_code_is_just_writing_is_not_left_half(start, tmp_path):
    text = f"""
from jaxprop.files import write_atomically
def write(file):
    {READY.strip()}
    import hashlib
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
write_atomically({str(tmp_path / "figure.png")!r}, write)
"""
    assert start(text).hears(signal.SIGTERM) == (143, "", "stopped by SIGTERM\n")
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_the_sentence_says_what_is_on_the_disk_even_where_that_fails(start):
    code, _, err = start("tell(lambda: 'all is saved')\n" + READY + "time.sleep(60)").hears(signal.SIGINT)
    assert (code, err) == (130, "stopped by Ctrl-C: all is saved\n")
    code, _, _ = start("tell(lambda: 1 / 0)\n" + READY + "time.sleep(60)").hears(signal.SIGINT)
    assert code == 130


def test_only_the_first_sentence_about_the_end_is_said(start):
    text = READY + "try: time.sleep(60)\nfinally: say('error: the disk is full')"
    assert start(text).hears(signal.SIGINT) == (130, "", "stopped by Ctrl-C\n")


# Work that ends in good order

NOTES = "with Stop() as stop:\n    " + READY + "    while not stop.code: time.sleep(0.01)\n"
LEAVES = "say_stopped(stop.code)\nsys.exit(done(stop.code))"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noted_and_the_work_goes_on_to_its_end(start, number):
    text = f"{NOTES}    print('saved')\n{LEAVES}"
    assert start(text).hears(number) == (128 + number, "saved\n", f"stopped by {NUMBERS[number]}\n")


def test_signals_within_a_second_are_one(start):
    """A terminal sends Ctrl-C to a whole group of processes, and a launcher in it hands it on once more."""
    text = f"{NOTES}    time.sleep(0.5)\n    print('saved')\n{LEAVES}"
    code, out, err = start(text).hears(signal.SIGINT, signal.SIGINT, signal.SIGTERM, pause=0.1)
    assert (code, out, err) == (130, "saved\n", "stopped by Ctrl-C\n")


def test_a_later_signal_stops_at_once_and_says_what_is_on_the_disk(start):
    text = f"tell(lambda: 'step 7 is saved')\n{NOTES}    time.sleep(60)\n    print('saved')\n{LEAVES}"
    code, out, err = start(text).hears(signal.SIGINT, signal.SIGTERM, pause=1.2)
    assert (code, out, err) == (143, "", "stopped by SIGTERM: step 7 is saved\n")


def test_a_later_signal_after_the_sentence_adds_none(start):
    text = f"{NOTES}say_stopped(stop.code)\nprint('said', flush=True)\ntime.sleep(60)"
    code, _, err = start(text).hears(signal.SIGINT, signal.SIGINT, pause=1.5)
    assert (code, err) == (130, "stopped by Ctrl-C\n")


# The end


def test_a_signal_is_too_late_when_all_is_done(start):
    text = "import atexit\natexit.register(lambda: (print('ready', flush=True), time.sleep(0.5)))\nsys.exit(done(0))"
    assert start(text).hears(signal.SIGTERM) == (0, "", "")


def test_a_signal_that_came_just_before_the_end_is_not_lost(start):
    """The thread that listens cannot look before, because it does not get its turn."""
    text = READY + "sys.setswitchinterval(60)\nfor _ in range(10**7): pass\nsys.exit(done(0))"
    code, _, err = start(text).hears(signal.SIGTERM)
    assert (code, err) == (143, "stopped by SIGTERM\n")


def test_inside_another_program_the_handlers_are_there_for_the_block_alone():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    with signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.code == 143
    assert {number: signal.getsignal(number) for number in NUMBERS} == before


def test_inside_another_program_a_later_signal_is_an_exception(monkeypatch):
    monkeypatch.setattr(signals, "TOGETHER", 0.0)
    with signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.code == 130
        with pytest.raises(signals.Stopped) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def test_every_script_listens_before_it_imports_anything_else():
    scripts = [path for path in Path(EXPERIMENTS).rglob("*.py") if "sys.exit(run(" in path.read_text()]
    assert len(scripts) >= 25
    for path in scripts:
        _, _, imports = path.read_text().partition('"""\n')
        assert imports.startswith('\nfrom lab.signals import listen\n\nif __name__ == "__main__":\n    listen()'), path


def test_listening_takes_no_heavy_import():
    program = "import sys; before = set(sys.modules); import lab.signals; print(*set(sys.modules) - before)"
    command = [sys.executable, "-S", "-c", program]
    found = subprocess.run(command, env={"PYTHONPATH": EXPERIMENTS}, capture_output=True, text=True, check=True)
    taken = {name.partition(".")[0] for name in found.stdout.split()}
    assert taken <= {*sys.stdlib_module_names, "lab"}
