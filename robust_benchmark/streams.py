"""Standard streams that never end a command: closed, full, unread, or with an encoding that lacks a character."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

ENCODING_ERRORS = "robust_benchmark.spelled"  # the name of `_spelled` among the handlers of encoding errors
SPELLED = {"±": "+-"}
PATIENCE = 0.1  # seconds that stderr waits for a reader
GONE = (errno.EPIPE, errno.EIO)  # the reader closed the pipe, or the terminal closed


@contextlib.contextmanager
def safe() -> Iterator[None]:
    """Context in which writing to stdout or stderr never raises, and stderr never blocks the caller for long.

    Output that cannot be written is lost, and `lost` gives the reason. A stream from other software, such as a notebook, stays.
    From then on, descriptors of closed streams point to /dev/null, so that no file opened later gets their numbers.
    """
    for number in range(3):
        _keep_open(number)
    before = sys.stdout, sys.stderr
    sys.stdout = _safe(sys.stdout, sys.__stdout__, patience=None)
    sys.stderr = _safe(sys.stderr, sys.__stderr__, patience=PATIENCE)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def lost() -> OSError | None:
    """Return the reason why output to stdout was lost; None if it was not, or if its reader stopped early, as `head` does."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Descriptor) else None
    return None if error is None or error.errno in GONE else error


class _Descriptor(io.RawIOBase):
    """A file descriptor that accepts all output, and drops output that cannot be written.

    patience: seconds to wait for a reader, None for no limit; error: the reason of the first dropped output
    """

    def __init__(self, number: int, patience: float | None) -> None:
        self._number = number
        self._patience = self._waits = patience
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            if select.select([], [self._number], [], self._waits)[1]:
                self._waits = self._patience
                return os.write(self._number, data[: select.PIPE_BUF])  # which a ready pipe accepts without waiting
            self._waits = 0.0  # nobody has read: do not wait from now on, until somebody does
        except OSError as error:
            self.error = self.error or error
        return len(data)


def _safe(stream: TextIO | None, original: TextIO | None, patience: float | None) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8", errors=ENCODING_ERRORS)
    if stream is not original:
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _Descriptor(stream.fileno(), patience)
    line_buffering = stream.isatty() or patience is not None
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, ENCODING_ERRORS, line_buffering=line_buffering)


def _keep_open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Handle an encoding error: return the character in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SPELLED.get(each) or ascii(each)[1:-1] for each in error.object[error.start : error.end]), error.end


codecs.register_error(ENCODING_ERRORS, _spelled)
