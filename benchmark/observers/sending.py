"""The side of training: it sends events to the process of the observers and never waits for it."""

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

PATIENCE = 30.0  # seconds for observers to finish after the last trial of this process


class Observers:
    """The process of the observers of all trials of this process. It starts with the first trial and ends with the `with` block."""

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
            print(f"observers did not finish within {PATIENCE:g} s after training and were stopped", file=sys.stderr)
        else:
            if status:
                print(f"the process of the observers ended with status {status}; training continued without them", file=sys.stderr)

    def trial(self) -> Observed:
        """The observers of the next trial."""
        self._trials += 1
        return Observed(self, self._trials)

    def send(self, trial: int, event: str, arguments: Sequence[Any]) -> None:
        """Send an event to the observers of a trial, without waiting."""
        if self._names and self._process is None:
            try:
                self._process = self._started()
                Thread(target=self._write, args=(self._process,), daemon=True).start()
            except (OSError, RuntimeError) as error:  # no memory, too many processes
                print(f"observers are off, because their process cannot start: {error}", file=sys.stderr)
                self._names = []
        if self._process is not None and self._process.poll() is None:
            self._lines.put(json.dumps([trial, event, arguments]).encode() + b"\n")

    def _started(self) -> subprocess.Popen[bytes]:
        """Start the process with the import path of this one. Ctrl-C in the terminal does not reach it, and it prints to stderr."""
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
    """Represents the observers of one trial. If the `with` block ends before the record, they receive `ended(None)`."""

    def __init__(self, observers: Observers, trial: int) -> None:
        self._observers, self._trial = observers, trial
        self._running = False

    def __enter__(self) -> Observed:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended(None)

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        self._running = True
        self._observers.send(self._trial, "started", [config, key, seed, str(path.absolute()), step])

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self._observers.send(self._trial, "evaluated", [step, metrics])

    def ended(self, record: Mapping[str, Any] | None) -> None:
        if self._running:
            self._observers.send(self._trial, "ended", [record])
        self._running = False
