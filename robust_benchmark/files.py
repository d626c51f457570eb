"""One way to write a file: whole or not at all, whatever happens meanwhile; and what is no file to read."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from robust_benchmark.errors import UserError


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


def regular(path: Path, advice: str = "") -> os.stat_result:
    """The status of the regular file at `path`, also behind a link. Opening a pipe may wait for ever, and a device may never end.

    advice: what a user reads behind the words "no file PATH"
    Raises UserError where there is nothing, or something else.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        broken = f"{path} is a broken link" if path.is_symlink() else f"no file {path}"
        raise UserError(broken + advice) from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{path} cannot be read ({error})") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is a {'directory' if stat.S_ISDIR(found.st_mode) else 'pipe or a device'}, and a file is needed there")
    return found


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
