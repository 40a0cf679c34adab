"""Ctrl-C and SIGTERM, from a script's first line to its last: one sentence, and the exit code 130 or 143.

Imports nothing that takes time, since every script imports it first.

Python's own way, an exception in the main thread, is not enough. While JAX calls back into Python it can get lost;
during an import it ends in a traceback; and as long as the main thread is inside compiled code nothing happens at all.
So a thread of its own hears of each signal at once. It says the sentence and asks the main thread to clean up and end,
and where that takes too long, it ends the process itself.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from lab.missing import name_missing

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
TOGETHER = 1.0  # seconds within which signals are one: a launcher hands on what its whole group has got already
GRACE = 1.0  # seconds that the main thread has to clean up


class Stopped(KeyboardInterrupt):
    """Raised in the main thread, so that what it has begun is cleaned up on the way out."""

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number


class _Listener:
    """What this process has heard so far. Only a script has one, and code that runs inside another program does not."""

    def __init__(self) -> None:
        self.asked_main = False  # to clean up
        self.finished = False  # main has nothing left to do
        self.over = threading.Event()
        self.ears, mouth = os.pipe()
        os.set_blocking(mouth, False)
        self.mouth = mouth


_listener: _Listener | None = None
_stop: "Stop | None" = None  # the one whose block is running
_lock = threading.RLock()  # a signal must not come between the end of a block and the look at what was noted in it
_first_heard = float("-inf")  # when the first of the last signals that are one arrived
_ending = 0  # the exit code, once it is decided that this process ends by a signal
_words: Callable[[], str] = str
_said = False


def listen() -> None:
    """From now on a signal ends this process in good order. For the first line of a script, before other imports."""
    global _listener
    _listener = _Listener()
    for number in NAMES:
        signal.signal(number, _in_main)
    # Written by the system's own handler, whatever the main thread does at that moment.
    signal.set_wakeup_fd(_listener.mouth, warn_on_full_buffer=False)
    sys.excepthook = _unless_ending(name_missing(sys.excepthook), or_else=_leave)
    sys.unraisablehook = _unless_ending(sys.unraisablehook)
    threading.excepthook = _unless_ending(threading.excepthook)
    threading.Thread(target=_watch, args=(_listener,), daemon=True).start()


def done(code: int) -> int:
    """Returns the code, unless a signal came before; one that comes later is too late to change anything."""
    global _words, _said
    if _listener is not None:
        for number in NAMES:
            signal.signal(number, signal.SIG_IGN)
        _listener.finished = True
        os.write(_listener.mouth, b"\0")
        _listener.over.wait()  # where a signal came before, the process ends here
    _words, _said = str, False  # a program that runs one script after another hears of each
    return code


def tell(words: Callable[[], str]) -> None:
    """What the sentence of a stop adds, such as what is on the disk at that moment. Called from another thread."""
    global _words
    _words = words


def say(sentence: str) -> None:
    """Prints what ended the script on standard error, unless a signal has ended it, which has said so."""
    if not _ending:
        print(sentence, file=sys.stderr, flush=True)


def say_stopped(code: int) -> None:
    """The sentence of a stop, once however often it is asked for."""
    global _said
    if not _said:
        _said = True
        words = _words()
        sentence = f"stopped by {NAMES[signal.Signals(code - 128)]}{': ' * bool(words)}{words}\n"
        os.write(2, sentence.encode())  # not by `print`, which the main thread may be in the middle of


def end_if_stopped() -> None:
    """Ends the process where a signal has decided that, and the main thread has cleaned up."""
    if _ending:
        _leave()


class Stop:
    """`with Stop() as stop:` only notes a signal in `stop.code`, so that the work in hand can end in good order.

    The code is 0 until then, and 130 or 143 after. Signals within a second are one; a later one stops at once.
    """

    def __init__(self) -> None:
        self.code = 0

    def __enter__(self) -> "Stop":
        global _stop, _first_heard
        with _lock:
            _stop, _first_heard = self, float("-inf")
        self._before: dict[int, Any] = {}
        if _listener is None:
            self._before = {number: signal.signal(number, _in_main) for number in NAMES}
        return self

    def __exit__(self, *exception: object) -> None:
        global _stop
        with _lock:
            _stop = None
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _heard(number: int) -> bool:
    """Whether this signal ends the process now."""
    global _first_heard
    with _lock:
        now = time.monotonic()
        if number not in NAMES or now - _first_heard < TOGETHER:
            return False
        _first_heard = now
        if _stop is None or _stop.code:
            return True
        _stop.code = 128 + number
        return False


def _in_main(number: int, frame: FrameType | None) -> None:
    """The handler, which Python calls in the main thread."""
    if _listener is None:
        if _heard(number):
            raise Stopped(number)
    elif _ending and not _listener.asked_main:
        _listener.asked_main = True
        if _importing(frame):
            _leave()
        raise Stopped(number)


def _importing(frame: FrameType | None) -> bool:
    """Whether this code runs for an import, such as a compiled module's, which an exception can bring to a crash."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch(listener: _Listener) -> None:
    while number := os.read(listener.ears, 1)[0]:
        if _heard(number):
            _end(number)
    listener.over.set()


def _end(number: int) -> None:
    global _ending
    _ending = 128 + number
    try:
        say_stopped(_ending)
        if _listener is not None and not _listener.finished:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, number)  # a real signal, since it also ends a sleep
            time.sleep(GRACE)
    finally:
        _leave()


def _leave() -> None:
    # What was printed before must not be lost; but whoever does not read it must not hold up the end either.
    flush = threading.Thread(target=sys.stdout.flush, daemon=True)
    flush.start()
    flush.join(GRACE)
    # Where the main thread is inside compiled code for longer than its second, it removes nothing. Looked up and not
    # imported, since an import could be what is going on.
    files = sys.modules.get("jaxprop.files")
    if files is not None and hasattr(files, "remove_half_written"):
        files.remove_half_written()
    os._exit(_ending)


def _unless_ending(hook: Callable[..., object], or_else: Callable[[], object] = int) -> Callable[..., None]:
    """The same hook for what goes wrong. Once a signal has ended the process, nothing more is said."""

    def call(*arguments: Any) -> None:
        if _ending:
            or_else()
        else:
            hook(*arguments)

    return call
