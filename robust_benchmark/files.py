"""One way to write a file, whole or not at all, whatever happens meanwhile; and ways to read none but regular files."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from robust_benchmark.errors import UserError

CHUNK = 2**16  # bytes, more than nearly all records have
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFile(UserError, OSError):
    """Something else is in the place of a regular file: reading it could hang or have no end, and a link could lead anywhere."""


class Unwritable(OSError):
    """A file that `write` cannot write: a record, a checkpoint or what else is to be kept."""


@contextlib.contextmanager
def whole(path: Path, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> Iterator[Path]:
    """Give the path of a part file to write; at the end of the `with` block the part file takes the place of `path`.

    first_stays: a file that is at `path` already stays, and the part file goes away; NotAFile where it is none
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
            try:
                os.link(part, path)
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):  # it is gone again
                    check_regular(path)
        else:
            if previous is not None and path.exists():
                path.replace(previous)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, content: bytes | str, first_stays: bool = False, durable: bool = False, previous: Path | None = None) -> None:
    """Write `content`, text as UTF-8, as by `whole`. Makes the directory of `path` where it is missing. Raises NotAFile and Unwritable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, first_stays, durable, previous) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except NotAFile:
        raise
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
        raise UserError(f"{path} is {_kind(found.st_mode)}, and a file is needed there")
    return found


def check_regular(path: str | Path) -> None:
    """Raises NotAFile where something other than a regular file is at `path`, and OSError where nothing is."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        raise NotAFile(f"{path} is {_kind(mode)} and not a file")


def read_regular(path: str | Path) -> bytes:
    """The content of the regular file at `path`. Never waits and never follows a link. Raises as `check_regular`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            content = os.read(file, CHUNK)
            if len(content) in (0, CHUNK):  # else it is a short file: asking each time would take a fifth longer
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
