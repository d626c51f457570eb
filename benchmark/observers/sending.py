"""The side of training: what observers hear is sent to their process, and training never waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from benchmark.observers import Observer

PATIENCE = 30.0  # seconds for observers to finish, after all training of this process


class Observers:
    """The process of the observers of all trials that this process trains; it starts with the first one and ends with the `with` block."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._trials = 0

    def __enter__(self) -> Observers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._lines.put(None)
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            print(f"observers did not finish within {PATIENCE:g} s after training, and were ended", file=sys.stderr)
        else:
            if status:
                print(f"the process of the observers ended with status {status}; training went on without them", file=sys.stderr)

    def trial(self) -> Observed:
        """What stands for the observers of one more trial."""
        self._trials += 1
        return Observed(self, self._trials)

    def send(self, trial: int, event: str, arguments: Sequence[Any]) -> None:
        """Let the observers of a trial hear of an event, soon."""
        if self._names and self._process is None:
            try:
                self._process = self._started()
                Thread(target=self._write, args=(self._process,), daemon=True).start()
            except (OSError, RuntimeError) as error:  # no memory, too many processes
                print(f"observers are off, as their process cannot start: {error}", file=sys.stderr)
                self._names = []
        if self._process is not None and self._process.poll() is None:
            self._lines.put(json.dumps([trial, event, arguments]).encode() + b"\n")

    def _started(self) -> subprocess.Popen[bytes]:
        """The process finds modules where this one does. A Ctrl-C in the terminal does not reach it, and what it prints goes to stderr."""
        path = os.pathsep.join(part or os.getcwd() for part in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-m", "benchmark.observers.hearing", *self._names]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, env=environment, start_new_session=True)

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                for line in iter(self._lines.get, None):
                    pipe.write(line)
                    pipe.flush()
        except OSError:
            pass  # the process is gone


class Observed(Observer):
    """Stands for the observers of one trial. It hears of the end with None where the `with` block ends before the record."""

    def __init__(self, observers: Observers, trial: int) -> None:
        self._observers, self._trial = observers, trial
        self._hears = False

    def __enter__(self) -> Observed:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended(None)

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        self._hears = True
        self._observers.send(self._trial, "started", [config, key, seed, str(path.absolute()), step])

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self._observers.send(self._trial, "evaluated", [step, metrics])

    def ended(self, record: Mapping[str, Any] | None) -> None:
        if self._hears:
            self._observers.send(self._trial, "ended", [record])
        self._hears = False
