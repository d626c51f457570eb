"""Train trials in this process, one after another or side by side, with a progress bar."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from benchmark import trial
from benchmark.config import Cell
from benchmark.records import failures
from benchmark.records.claims import Claim, Holder, Observer, read_claim
from benchmark.records.store import Record
from benchmark.training.lanes import take_turns
from benchmark.training.trainer import Interrupted
from robust_benchmark.errors import UserError

Trial = tuple[Cell, int]


def train(missing: Sequence[Trial], log: str = "", patient: bool = True) -> tuple[list[str], int]:
    """Run the missing trials, each under a claim; returns what failed, a line each, and the signal that stopped it or 0.

    log: where the output of this process goes, for the notes of failures
    patient: wait for trials that others train, to take them over should they be let go
    Raises UserError where a file cannot be written.
    """
    if not missing:
        return [], 0
    failed: list[str] = []
    first = missing[0][0]
    try:
        with Bar(sum(trial.steps(cell) for cell, _ in missing)) as bar, stopping_on_signals(bar):
            turns = (_pause() if each is None else _turns(*each, bar, log, failed) for each in _claims(missing, bar, patient))
            take_turns(turns, trial.side_by_side(first), trial.device_of(first.config.device))
    except OSError as error:
        raise UserError(f"{error}; finished trials are kept and the same command goes on") from error
    return failed, bar.stopped_by


def _turns(cell: Cell, seed: int, claim: Claim, bar: Bar, log: str, failed: list[str]) -> Iterator[None]:
    """One trial under its claim, a step a turn; where it fails, a line goes to `failed`, and the others go on. Raises OSError."""
    path = trial.path(cell, seed)
    bar.begin(cell, seed)
    with claim:
        try:
            if settled(path):  # just before it was let go
                bar.stepped(trial.steps(cell))
            else:
                bar.finished((yield from trial.in_turns(cell, seed, claim)))
        except Interrupted:
            if claim.lost:
                bar.write(f"{cell.label}, seed {seed}: another process took it over, as this one was silent for too long")
        except OSError:
            raise
        except Exception as error:
            note = path.with_suffix(".failure")
            failures.note(note, error, log)
            bar.write(f"{cell.label}, seed {seed}, failed:\n{traceback.format_exc()}")
            failed.append(f"{cell.label}, seed {seed}: {failures.last_line(error)} (see {note})")


def _pause() -> Iterator[None]:
    """A second of waiting, which holds up none of those that have turns."""
    began = time.monotonic()
    while time.monotonic() - began < 1:
        time.sleep(0.001)
        yield


def _claims(missing: Sequence[Trial], bar: Bar, patient: bool) -> Iterator[tuple[Cell, int, Claim] | None]:
    """The missing trials that nobody else trains, as they come free, and None while there is none.

    Ends when all are settled, or when the bar is asked to stop.
    """
    waiting, observer = list(missing), Observer()
    while waiting:
        left: list[Trial] = []
        for cell, seed in waiting:
            path = trial.path(cell, seed)
            claim = Claim(path.with_suffix(".claim"), trial.steps(cell), cell.config.claim_seconds, bar)
            if bar.stopping():
                return
            if settled(path):
                bar.stepped(trial.steps(cell))
            elif observer.take(claim):
                yield cell, seed, claim
                left += [(cell, seed)] if claim.lost else []
            elif patient or not observer.moved(claim):
                left.append((cell, seed))
        if len(left) == len(waiting):
            bar.waiting_for(left[0], read_claim(trial.path(*left[0]).with_suffix(".claim")), len(left))
            yield None
        waiting = left


def forget_failures(missing: Sequence[Trial]) -> None:
    """Take away the notes of failures, as these trials are tried again."""
    for cell, seed in missing:
        trial.path(cell, seed).with_suffix(".failure").unlink(missing_ok=True)


def settled(path: Path) -> bool:
    """Whether the trial with its record at `path` is finished, or failed since the command began, here or elsewhere."""
    return path.exists() or path.with_suffix(".failure").exists()


class Bar:
    """A progress bar over `total` steps of all missing trials, and the Watch of each."""

    def __init__(self, total: int) -> None:
        interval = 0.2 if sys.stderr.isatty() else 10
        self._bar = tqdm(total=total, unit="step", mininterval=interval, dynamic_ncols=True)
        self.stopped_by = 0  # the signal
        self._told = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, cell: Cell, seed: int) -> None:
        self._bar.set_description(f"{cell.label}, seed {seed}")

    def finished(self, record: Record) -> None:
        accuracy = record["metrics"].get("test_accuracy")
        result = "diverged" if accuracy is None else f"test accuracy {100 * accuracy:.2f} %"
        self.write(f"{record['method']}, seed {record['seed']}: {result} after {record['timing']['train_seconds']:.1f} s of training")

    def write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def stepped(self, steps: int = 1) -> None:
        self._bar.update(steps)

    def reach(self, step: int) -> None:
        """Stand at this step, of all."""
        self._bar.update(step - self._bar.n)

    def stopping(self) -> bool:
        return self.stopped_by != 0

    def waiting_for(self, first: Trial, holder: Holder | None, count: int) -> None:
        """Say, once, who keeps us waiting."""
        others = f"; {count - 1} more are with others" if count > 1 else ""
        told = f"{first[0].label}, seed {first[1]}: waiting for {holder or 'another process'}{others}"
        if told != self._told:
            self._told = told
            self.write(told)


@contextmanager
def stopping_on_signals(bar: Bar) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGUSR2 stops after the step, with a checkpoint; a second one stops at once."""

    def handle(number: int, _: FrameType | None) -> None:
        bar.stopped_by = number
        signal.signal(number, signal.SIG_DFL)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
