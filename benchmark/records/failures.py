"""Failures: a note beside a trial's record that says why it has none. Whoever runs the command again tries that trial again."""

from __future__ import annotations

import contextlib
import json
import socket
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from robust_benchmark.errors import UserError
from robust_benchmark.files import NotAFile, read_regular, write


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
    """The error as the last line of its traceback has it; a UserError's sentence alone."""
    return str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip()


def read_failure(path: Path) -> Failure | None:
    """The note, None where there is none."""
    try:
        return msgspec.json.decode(read_regular(path), type=Failure)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, NotAFile):
        return Failure("the note of this failure cannot be read")
