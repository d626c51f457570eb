"""One way to write a file: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


class Unwritable(OSError):
    """A file that `write` cannot write: a record, a checkpoint or what else is to be kept."""


@contextlib.contextmanager
def whole(path: Path, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> Iterator[Path]:
    """Give the path of a part file to write; at the end of the `with` block the part file takes the place of `path`.

    first_stays: a file that is at `path` already stays, and the part file goes away
    durable: the content is on the disk before it takes its place
    previous: where a file that is at `path` already goes
    Raises OSError; the part file goes away then, and `path` is as it was.
    """
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        if durable:
            _flush(part)
        if first_stays:
            with contextlib.suppress(FileExistsError):
                os.link(part, path)
        else:
            if previous is not None and path.exists():
                path.replace(previous)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, content: bytes | str, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> None:
    """Write `content`, text as UTF-8, as by `whole`. Makes the directory of `path` where it is missing. Raises Unwritable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, first_stays, durable, previous) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise Unwritable(error.errno, error.strerror, str(path)) from error


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
