"""The process of the observers. It reads a line of JSON for each event of training, and calls the observers of the trial."""

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
    """Run the observers with these names until the last event of training."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these signals are for training processes; SLURM sends them to all processes
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    Thread(target=_read, args=(lines,), daemon=True).start()
    hear(_found({name: partial(load, name) for name in names}, ""), iter(lines.get, None))


def _read(lines: SimpleQueue[bytes | None]) -> None:
    """Read events immediately, so that the training process need not store them."""
    with contextlib.suppress(OSError), os.fdopen(os.dup(0), "rb") as pipe:  # the copy stays open if an observer closes stdin
        for line in pipe:
            lines.put(line)
    lines.put(None)
    time.sleep(2 * PATIENCE)  # training waits less; if training was killed, an observer that never returns must end too
    os._exit(1)


def hear(makers: Mapping[str, Callable[[], Any]], lines: Iterable[bytes]) -> None:
    """Call the observers of the trial for each event, each with its own data. An observer that raises is off for the rest of its trial."""
    trials: dict[int, tuple[str, dict[str, Any]]] = {}  # the place for messages, and the observers
    for line in lines:
        number, event, arguments = json.loads(line)
        if event == "started":
            place = f" for {arguments[3]}"
            trials[number] = place, _found(makers, place)
        place, observers = trials[number]
        working = _found({name: partial(_call, observer, event, line) for name, observer in observers.items()}, place)
        trials[number] = place, {name: observers[name] for name in working}
        if event == "ended":
            del trials[number]


def _found(calls: Mapping[str, Callable[[], Any]], place: str) -> dict[str, Any]:
    """The result of each call, by name of the observer. An exception gives a line on stderr, and the result omits this name."""
    found = {}
    for name, call in calls.items():
        try:
            found[name] = call()
        except BaseException as error:
            _say(f"observer '{name}' is off{place}: {_described(error)}")
    return found


def _say(text: str) -> None:
    """Write a line to file descriptor 2, because an observer may replace sys.stderr; in a terminal, below the progress bar."""
    above = "\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{above}{text}\n".encode(errors="replace"))


def _call(observer: Any, event: str, line: bytes) -> None:
    _, _, arguments = json.loads(line)
    if event == "started":
        arguments[3] = Path(arguments[3])
    getattr(observer, event, lambda *_: None)(*arguments)


def _described(error: BaseException) -> str:
    """The error and the line that raised it."""
    calls = [call for call in traceback.extract_tb(error.__traceback__) if not call.filename.startswith("<")]
    try:
        words = in_words(error)
    except BaseException:  # the text of an exception may raise too
        words = type(error).__name__
    return f"{words} ({calls[-1].filename}:{calls[-1].lineno})"


if __name__ == "__main__":
    main(sys.argv[1:])
