"""Claims: a small file beside a trial's record names the process that trains it, for all users of a results directory. No torch here.

Clocks are never compared. A holder touches its claim regularly. A claim is abandoned if an observer sees no change for `seconds` of its
own monotonic time, or at once if its process is known to have ended. Therefore clock skew between hosts and clock jumps cannot break a
claim. If two processes ever train one trial, both get the same numbers, and the first record stays.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from benchmark.records.schema import Amount, Count, Share
from robust_benchmark.files import check_regular, read_regular, whole

WIDTH = 1024  # bytes of a claim: it is overwritten in place, so its length is constant

BEAT = 10.0  # maximum seconds between two signs of life, which also report the progress of training


@dataclass
class Holder:
    """The content of a claim: the training process and its progress. It is at `step` of `steps`, `seconds` after step `first`.

    accuracy: share of correct test images at the latest evaluation in this process; None before the first evaluation
    """

    token: str = ""
    user: str = ""
    host: str = ""
    machine: str = ""
    pid: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    job: str = ""
    restart: Count = 0
    step: Count = 0
    steps: Count = 0
    first: Count = 0
    seconds: Amount = 0.0
    accuracy: Share | None = None

    def __str__(self) -> str:
        return f"{self.user or 'somebody'} on {self.host}, {f'job {self.job}' if self.job else f'process {self.pid}'}"

    def gone(self) -> bool:
        """Return whether the claim certainly has no holder: its process on this machine ended, or its job restarted here."""
        again = self.job != "" and self.job == _job() and self.restart < _restart()
        return again or (self.machine == _machine() and not _alive(self.pid))


def read_claim(path: Path) -> Holder | None:
    """Return the holder of the claim, None if there is no claim; an unreadable claim has a Holder without a token.

    Raises OSError; NotAFile, a kind of it, if a link, a pipe or the like replaces it.
    """
    try:
        return _parse(read_regular(path))
    except FileNotFoundError:
        return None


def _parse(text: bytes) -> Holder:
    try:
        return msgspec.json.decode(text, type=Holder)
    except (ValueError, RecursionError):
        return Holder()


class Listener(Protocol):
    """Receives the progress that a claim reports, and its requests: a benchmark.training.trainer.Watch."""

    def stepped(self, steps: int = 1) -> None: ...

    def stopping(self) -> bool: ...


class Claim:
    """A claim on a trial, kept alive by a thread in a `with` block. As a Watch it receives steps, and stops training if it is lost.

    lost: another process took the claim after too long without an update (for example, from a suspended process)
    """

    def __init__(self, path: Path, steps: int, seconds: float, listener: Listener) -> None:
        self.lost = False
        self.path, self.seconds, self._listener = path, seconds, listener
        self._began = time.monotonic()
        self._over = threading.Event()
        self._holder = Holder(uuid.uuid4().hex, _user(), socket.gethostname(), _machine(), os.getpid(), _job(), _restart(), steps=steps)

    def __enter__(self) -> Claim:
        self._heart = threading.Thread(target=self._live, daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join(BEAT)  # unless it hangs on an absent directory
        with contextlib.suppress(OSError):  # if the directory is absent, the claim expires on its own
            remove(self.path, self._holder.token)

    def stepped(self, steps: int = 1) -> None:
        holder = self._holder
        if holder.step == 0:  # the steps of a checkpoint come at once and do not measure the speed
            holder.first, self._began = steps, time.monotonic()
        holder.step += steps
        self._listener.stepped(steps)

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated: names of benchmark.metrics and their values."""
        self._holder.accuracy = metrics.get("test_accuracy")

    def stopping(self) -> bool:
        return self.lost or self._listener.stopping()

    def acquire(self) -> bool:
        """Return whether the claim, which nobody had, is ours now. Raises OSError if it cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._put()

    def _put(self) -> bool:
        with whole(self.path, first_stays=True) as part:  # creates no directory: an absent one will return
            part.write_text(self._text(), encoding="utf-8")
        return self._is_ours(read_claim(self.path))

    def _live(self) -> None:
        while not self._over.wait(min(self.seconds / 4, BEAT)) and not self.lost:
            with contextlib.suppress(OSError):  # the directory may be absent for a while
                self._touch()

    def _touch(self) -> None:
        self._holder.seconds = time.monotonic() - self._began
        try:
            check_regular(self.path)
            with self.path.open("r+b") as file:
                self.lost = not self._is_ours(_parse(file.read()))
                if not self.lost:  # in this file, even if it was renamed
                    file.seek(0)
                    file.write(self._text().encode())
        except FileNotFoundError:
            self.lost = not self._over.is_set() and not self._put()

    def _is_ours(self, holder: Holder | None) -> bool:
        return holder is not None and holder.token == self._holder.token

    def _text(self) -> str:
        return json.dumps(asdict(self._holder)).ljust(WIDTH)


def remove(path: Path, token: str) -> None:
    """Remove the claim with this token. The process that renames it has it; a newer claim of another process is restored."""
    aside = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    holder = read_claim(aside)
    if holder is not None and holder.token != token:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def remove_left(folders: Iterable[Path]) -> None:
    """Remove the claims beside finished records in these folders if their holders were killed before removing them."""
    for folder in folders:
        with contextlib.suppress(OSError):  # a missing or read-only folder
            names = set(os.listdir(folder))
            for path in [folder / name for name in names if name.endswith(".claim") and f"{name.removesuffix('.claim')}.json" in names]:
                holder = read_claim(path)
                if holder is not None and holder.gone():
                    remove(path, holder.token)


class Observer:
    """Distinguishes held claims from abandoned ones by repeated checks."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[str, int], float, bool]] = {}  # the content, the time it was first seen, whether it changed

    def take(self, claim: Claim) -> bool:
        """Return whether the claim is ours now: nobody had it, or its holder is gone."""
        return not self.held(claim.path, claim.seconds) and claim.acquire()

    def moved(self, claim: Claim) -> bool:
        """Return whether another's claim has changed: its holder is certainly alive."""
        return claim.path in self._seen and self._seen[claim.path][2]

    def held(self, path: Path, seconds: float) -> bool:
        """Return whether somebody has the claim; an abandoned one is removed."""
        holder = read_claim(path)
        if holder is not None and (holder.gone() or self._unmoved(path, holder) > seconds):
            remove(path, holder.token)
            return False
        return holder is not None

    def _unmoved(self, path: Path, holder: Holder) -> float:
        """Return the seconds since the claim last changed."""
        try:
            now = (holder.token, path.stat().st_mtime_ns)
        except FileNotFoundError:
            return 0.0
        what, since, moved = self._seen.get(path, (now, time.monotonic(), False))
        if what != now:
            since, moved = time.monotonic(), what[0] == now[0]
        self._seen[path] = (now, since, moved)
        return time.monotonic() - since


@functools.cache
def _machine() -> str:
    """Return an identifier of this boot and its process numbers, for which a missing process has certainly ended; else the host's name."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the system has no name for this user
        return f"user {os.getuid()}"


def _job() -> str:
    return os.environ.get("SLURM_JOB_ID", "")


def _restart() -> int:
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0
