"""Training of trials in this process, one after another or side by side, with reports to a display."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark import trial
from benchmark.observers.sending import Observed, Observers
from benchmark.progress import Bar, Display, name
from benchmark.records import failures
from benchmark.records.claims import Claim, Observer, read_claim
from benchmark.records.store import Record
from benchmark.signals import stopping_on_signals
from benchmark.training.lanes import take_turns
from benchmark.training.threads import one_thread
from benchmark.training.trainer import Interrupted
from benchmark.trial import Trial
from robust_benchmark.errors import UserError, explained
from robust_benchmark.files import Unwritable


def train(missing: Sequence[Trial], log: str = "", patient: bool = True) -> tuple[list[str], int]:
    """Train the missing trials, each under a claim; return a line for each failure, and the signal that stopped it or 0.

    log, patient: as in `train_under`
    Raises UserError if a file cannot be written.
    """
    if not missing:
        return [], 0
    with Bar(missing) as bar, stopping_on_signals(bar):
        train_under(bar, missing, log, patient)
    return bar.failures, bar.stopped_by


def train_under(display: Display, missing: Sequence[Trial], log: str = "", patient: bool = True) -> None:
    """Train the missing trials, each under a claim, until all are settled or the display requests a stop.

    log: the output file of this process, for the failure notes
    patient: wait for trials of other processes, to take them over if they are released
    Raises UserError if a file cannot be written.
    """
    first = missing[0][0]
    device = trial.device_of(first.config.device)
    observers = Observers(first.config.observers)
    waiting = list(range(len(missing)))
    try:
        with one_thread(device), observers:
            while waiting:
                lost: list[int] = []
                claims = _claims(missing, waiting, display, patient)
                turns = (
                    _pause(display) if each is None else _turns(missing, *each, lost, display, log, observers.trial()) for each in claims
                )
                take_turns(turns, trial.side_by_side(first), device)
                waiting = lost
    except OSError as error:
        raise UserError(f"{error}; finished trials are kept and the same command continues") from error


def _turns(
    missing: Sequence[Trial], number: int, claim: Claim, lost: list[int], display: Display, log: str, observed: Observed
) -> Iterator[None]:
    """Train one trial under its claim, one step per turn; if it fails, the display gets a line, and the others continue.

    lost: gets the number of the trial if another process takes it over
    Raises Unwritable.
    """
    cell, seed = missing[number]
    path = trial.path(cell, seed)
    display.begin(number)
    with claim, observed:
        try:
            if not settled(path):  # released just before
                display.write(_result((yield from trial.in_turns(cell, seed, claim, observed))))
            display.settled(number)
        except Interrupted:
            if claim.lost:
                lost.append(number)
                display.write(f"{name(cell, seed)}: another process took it over, because this one sent no sign of life for too long")
        except (Unwritable, KeyboardInterrupt, GeneratorExit):  # which affect all trials
            raise
        except BaseException as error:
            note = path.with_suffix(".failure")
            failures.note(note, error, log)
            display.write(f"{name(cell, seed)}, failed: {explained(error)}")
            display.failed(number, f"{failures.last_line(error)} (see {note})")
    display.end(number)


def _result(record: Record) -> str:
    accuracy = record["metrics"].get("test_accuracy")
    result = "diverged" if accuracy is None else f"test accuracy {100 * accuracy:.2f} %"
    return f"{record['method']}, seed {record['seed']}: {result} after {record['timing']['train_seconds']:.1f} s of training"


def _pause(display: Display) -> Iterator[None]:
    """Wait a second without blocking trials that have turns."""
    began = time.monotonic()
    while time.monotonic() - began < 1 and not display.stopping():
        time.sleep(0.001)
        yield


def _claims(missing: Sequence[Trial], waiting: Sequence[int], display: Display, patient: bool) -> Iterator[tuple[int, Claim] | None]:
    """Yield those of the waiting trials that no other process trains, when they become free, and None while there is none.

    Ends when all are settled, or when the display requests a stop.
    """
    observer = Observer()
    while waiting:
        left: list[int] = []
        for number in waiting:
            cell, seed = missing[number]
            path = trial.path(cell, seed)
            claim = Claim(path.with_suffix(".claim"), trial.steps(cell), cell.config.claim_seconds, _Steps(number, display))
            if display.stopping():
                return
            if settled(path):
                display.settled(number)
            elif observer.take(claim):
                yield number, claim
            elif patient or not observer.moved(claim):
                left.append(number)
        if len(left) == len(waiting):
            display.waiting_for(left[0], read_claim(trial.path(*missing[left[0]]).with_suffix(".claim")), len(left))
            yield None
        waiting = left


class _Steps:
    """Reports one trial's steps to the common display: the Listener of its claim."""

    def __init__(self, number: int, display: Display) -> None:
        self._number, self._display = number, display

    def stepped(self, steps: int = 1) -> None:
        self._display.stepped(self._number, steps)

    def stopping(self) -> bool:
        return self._display.stopping()


def forget_failures(missing: Sequence[Trial]) -> None:
    """Remove the failure notes, because these trials are tried again."""
    for cell, seed in missing:
        trial.path(cell, seed).with_suffix(".failure").unlink(missing_ok=True)


def settled(path: Path) -> bool:
    """Return whether the trial with its record at `path` is finished, or has failed since the command started, here or elsewhere."""
    return os.path.lexists(path) or os.path.lexists(path.with_suffix(".failure"))
