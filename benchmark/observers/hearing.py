"""The process of the observers: it reads what training sends, a line of JSON for each event, and calls the observers of each trial."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from benchmark.observers.finding import load
from benchmark.observers.sending import PATIENCE
from robust_benchmark.blame import in_words


def main(names: Sequence[str]) -> None:
    """Serve the observers of these names until all that training sent is heard."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # which are for those that train; SLURM sends them to all
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    Thread(target=_read, args=(lines,), daemon=True).start()
    hear(_found({name: partial(load, name) for name in names}, ""), iter(lines.get, None))


def _read(lines: SimpleQueue[bytes | None]) -> None:
    """Take what training sends at once, so that its own process need not keep it."""
    with contextlib.suppress(OSError), os.fdopen(os.dup(0), "rb") as pipe:  # which stays when an observer closes stdin
        for line in pipe:
            lines.put(line)
    lines.put(None)
    time.sleep(2 * PATIENCE)  # training waits for less; where it was killed, an observer that never returns must not stay
    os._exit(1)


def hear(makers: Mapping[str, Callable[[], Any]], lines: Iterable[bytes]) -> None:
    """Call the observers of each trial for each event, with data of their own. One that raises is off for the rest of its trial."""
    trials: dict[int, tuple[str, dict[str, Any]]] = {}  # what sentences add, and the observers
    for line in lines:
        number, event, arguments = json.loads(line)
        if event == "started":
            place = f" for {arguments[3]}"
            trials[number] = place, _found(makers, place)
        place, observers = trials[number]
        heard = _found({name: partial(_call, observer, event, line) for name, observer in observers.items()}, place)
        trials[number] = place, {name: observers[name] for name in heard}
        if event == "ended":
            del trials[number]


def _found(calls: Mapping[str, Callable[[], Any]], place: str) -> dict[str, Any]:
    """What each call returns, by the names of observers. What one raises goes to stderr, on one line, and the name is left out."""
    found = {}
    for name, call in calls.items():
        try:
            found[name] = call()
        except BaseException as error:
            _say(f"observer '{name}' is off{place}: {_described(error)}")
    return found


def _say(text: str) -> None:
    """A line on stderr, whatever an observer made of sys.stderr; in a terminal below the progress bar."""
    above = "\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{above}{text}\n".encode(errors="replace"))


def _call(observer: Any, event: str, line: bytes) -> None:
    _, _, arguments = json.loads(line)
    if event == "started":
        arguments[3] = Path(arguments[3])
    getattr(observer, event, lambda *_: None)(*arguments)


def _described(error: BaseException) -> str:
    """The error and where it was raised."""
    calls = [call for call in traceback.extract_tb(error.__traceback__) if not call.filename.startswith("<")]
    try:
        words = in_words(error)
    except BaseException:  # whatever its text raises
        words = type(error).__name__
    return f"{words} ({calls[-1].filename}:{calls[-1].lineno})"


if __name__ == "__main__":
    main(sys.argv[1:])
