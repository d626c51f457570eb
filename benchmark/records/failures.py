"""Failures: a note beside a trial's record gives the reason why the record is missing. The next command tries that trial again."""

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
    """error: the last line of the traceback; log: the output of the failed process, '' if it was a terminal."""

    error: str
    log: str = ""
    host: str = ""
    traceback: tuple[str, ...] = ()


def note(path: Path, error: BaseException, log: str = "") -> None:
    """Write a note that `error` ended the trial. If this fails too, only the log contains it."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    failure = Failure(last_line(error), log, socket.gethostname(), tuple(lines))
    with contextlib.suppress(OSError):
        write(path, json.dumps(asdict(failure), indent=1) + "\n")


def last_line(error: BaseException) -> str:
    """Return the error as in the last line of its traceback; only the sentence of a UserError."""
    return str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip()


def read_failure(path: Path) -> Failure | None:
    """Return the note, None if there is none."""
    try:
        return msgspec.json.decode(read_regular(path), type=Failure)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, NotAFile):
        return Failure("the note of this failure cannot be read")
