"""Claims: a small file beside a trial's record says who trains it, so that all who share a results directory agree. No torch here.

No clock is compared with another. A holder touches its claim all the time; a claim is abandoned once an observer has seen it unmoved for
`seconds` of its own monotonic time, or at once where its process is known to be gone. So neither skew between hosts nor a clock that
jumps can break a claim. Should two processes ever train one trial, both come to the same numbers, and the first record stays.
"""

from __future__ import annotations

import contextlib
import functools
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

WIDTH = 1024  # bytes of a claim: written over in place, it always has the same length

BEAT = 10.0  # seconds at most between two signs of life, which also tell how far training is


@dataclass
class Holder:
    """What a claim says: who trains, and how far. At `step` of `steps`, after `seconds` since step `first`.

    accuracy: of the latest evaluation in this process, on the test set, a share; None before there is one
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
        """Whether it is certain that nobody holds the claim: its process ended on this machine, or its job started again, here."""
        again = self.job != "" and self.job == _job() and self.restart < _restart()
        return again or (self.machine == _machine() and not _alive(self.pid))


def read_claim(path: Path) -> Holder | None:
    """The holder of the claim, None where there is no claim; a claim that says nothing readable has a Holder without a token.

    Raises OSError, of which NotAFile where a link, a pipe or the like is in its place.
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
    """What a claim tells of training, and what it asks: a benchmark.training.trainer.Watch."""

    def stepped(self, steps: int = 1) -> None: ...

    def stopping(self) -> bool: ...


class Claim:
    """A trial that is ours, kept alive by a thread while in `with`. A Watch too: it hears of steps, and stops training once it is lost.

    lost: another process took the claim, which was silent for too long (a suspended process, say)
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
        self._heart.join(BEAT)  # unless it hangs on a directory that is away
        with contextlib.suppress(OSError):  # where the directory is away, the claim expires by itself
            remove(self.path, self._holder.token)

    def stepped(self, steps: int = 1) -> None:
        holder = self._holder
        if holder.step == 0:  # what a checkpoint had done comes at once, and says nothing of the pace
            holder.first, self._began = steps, time.monotonic()
        holder.step += steps
        self._listener.stepped(steps)

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated: names of benchmark.metrics and their values."""
        self._holder.accuracy = metrics.get("test_accuracy")

    def stopping(self) -> bool:
        return self.lost or self._listener.stopping()

    def acquire(self) -> bool:
        """Whether the claim, which nobody had, is ours now. Raises OSError where it cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._put()

    def _put(self) -> bool:
        with whole(self.path, first_stays=True) as part:  # makes no directory: one that is away comes back
            part.write_text(self._text(), encoding="utf-8")
        return self._is_ours(read_claim(self.path))

    def _live(self) -> None:
        while not self._over.wait(min(self.seconds / 4, BEAT)) and not self.lost:
            with contextlib.suppress(OSError):  # the directory may be away for a while
                self._touch()

    def _touch(self) -> None:
        self._holder.seconds = time.monotonic() - self._began
        try:
            check_regular(self.path)
            with self.path.open("r+b") as file:
                self.lost = not self._is_ours(_parse(file.read()))
                if not self.lost:  # in this very file, whatever its name is by now
                    file.seek(0)
                    file.write(self._text().encode())
        except FileNotFoundError:
            self.lost = not self._over.is_set() and not self._put()

    def _is_ours(self, holder: Holder | None) -> bool:
        return holder is not None and holder.token == self._holder.token

    def _text(self) -> str:
        return json.dumps(asdict(self._holder)).ljust(WIDTH)


def remove(path: Path, token: str) -> None:
    """Take away the claim with this token. Whoever renames it has it; the claim of another that came in between is put back."""
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
    """Take away the claims beside finished records in these folders whose holders are gone: they were killed between the two."""
    for folder in folders:
        with contextlib.suppress(OSError):  # a folder that is not there, or that is only read
            names = set(os.listdir(folder))
            for path in [folder / name for name in names if name.endswith(".claim") and f"{name.removesuffix('.claim')}.json" in names]:
                holder = read_claim(path)
                if holder is not None and holder.gone():
                    remove(path, holder.token)


class Observer:
    """Tells held claims from abandoned ones by looking at them again and again."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[str, int], float, bool]] = {}  # what, since when, whether it moved before

    def take(self, claim: Claim) -> bool:
        """Whether the claim is ours now: nobody had it, or whoever did is gone."""
        return not self.held(claim.path, claim.seconds) and claim.acquire()

    def moved(self, claim: Claim) -> bool:
        """Whether another's claim has been seen to move: its holder is alive for certain."""
        return claim.path in self._seen and self._seen[claim.path][2]

    def held(self, path: Path, seconds: float) -> bool:
        """Whether somebody has the claim; an abandoned one is taken away."""
        holder = read_claim(path)
        if holder is not None and (holder.gone() or self._unmoved(path, holder) > seconds):
            remove(path, holder.token)
            return False
        return holder is not None

    def _unmoved(self, path: Path, holder: Holder) -> float:
        """Seconds since the claim was seen to change."""
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
    """This boot of this machine and its process numbers: where a process that is not there is certainly gone. Else the host's name."""
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
    return os.environ.get("USER") or str(os.getuid())


def _job() -> str:
    return os.environ.get("SLURM_JOB_ID", "")


def _restart() -> int:
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0
