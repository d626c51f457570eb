"""Atomic writing of files, and reading of regular files only."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from robust_benchmark.errors import UserError

CHUNK = 2**16  # bytes; nearly all records are smaller
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFile(UserError, OSError):
    """A path is not a regular file: reading it could block or never end, and a link could point anywhere."""


class Unwritable(OSError):
    """A file that `write` cannot write, such as a record or a checkpoint."""


@contextlib.contextmanager
def whole(path: Path, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> Iterator[Path]:
    """Provide the path of a temporary file to write; at the end of the `with` block, it replaces `path`.

    first_stays: an existing file at `path` stays, and the temporary file is removed; NotAFile if it is not a file
    durable: the content is on the disk before it replaces `path`
    previous: new path of an existing file at `path`
    Raises OSError; then the temporary file is removed, and `path` does not change.
    """
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        if durable:
            _flush(part)
        if first_stays:
            try:
                os.link(part, path)
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):  # it no longer exists
                    check_regular(path)
        else:
            if previous is not None and path.exists():
                path.replace(previous)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, content: bytes | str, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> None:
    """Write `content`, text as UTF-8, with `whole`. Creates the directory of `path` if needed. Raises NotAFile and Unwritable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, first_stays, durable, previous) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except NotAFile:
        raise
    except OSError as error:
        raise Unwritable(error.errno, error.strerror, str(path)) from error


def regular(path: Path, advice: str = "") -> os.stat_result:
    """Return the status of the regular file at `path`, following links. Opening a pipe may block, and a device may never end.

    advice: text after the words "no file PATH"
    Raises UserError if nothing or something else is there.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        broken = f"{path} is a broken link" if path.is_symlink() else f"no file {path}"
        raise UserError(broken + advice) from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{path} cannot be read ({error})") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is {_kind(found.st_mode)}, but a file is needed there")
    return found


def check_regular(path: str | Path) -> None:
    """Raise NotAFile if `path` is not a regular file, and OSError if it does not exist."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        raise NotAFile(f"{path} is {_kind(mode)} and not a file")


def read_regular(path: str | Path) -> bytes:
    """Return the content of the regular file at `path`. Never waits and never follows a link. Raises the errors of `check_regular`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            content = os.read(file, CHUNK)
            if len(content) in (0, CHUNK):  # else it is a short file: checking each time would take a fifth longer
                check_regular(path)
                content += os.read(file, max(0, os.fstat(file).st_size - len(content)))
            return content
        finally:
            os.close(file)
    except OSError:
        check_regular(path)
        raise


def _kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "something else")


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
