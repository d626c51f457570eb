"""Failures: a note beside a trial's record that says why it has none. Whoever runs the command again tries that trial again."""

from __future__ import annotations

import contextlib
import json
import socket
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robust_benchmark.errors import UserError
from robust_benchmark.files import write


@dataclass(frozen=True)
class Failure:
    """error: the last line of the traceback; log: the output of the process that failed, '' where that was a terminal."""

    error: str
    log: str = ""
    host: str = ""
    traceback: tuple[str, ...] = ()


def note(path: Path, error: BaseException, log: str = "") -> None:
    """Write down that `error` ended the trial. Where even that cannot be written, the log alone has it."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    failure = Failure(last_line(error), log, socket.gethostname(), tuple(lines))
    with contextlib.suppress(OSError):
        write(path, json.dumps(asdict(failure), indent=1) + "\n")


def last_line(error: BaseException) -> str:
    """The error as the last line of its traceback has it; of the user's mistake, the sentence alone."""
    if isinstance(error, UserError):
        return str(error)
    return traceback.format_exception_only(error)[-1].strip()


def read_failure(path: Path) -> Failure | None:
    """The note, None where there is none."""
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        return Failure(str(said["error"]), str(said["log"]), str(said["host"]), tuple(map(str, said["traceback"])))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return Failure("the note of this failure cannot be read")
