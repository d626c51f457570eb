"""Train trials one after another in this process, with a progress bar."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

from benchmark import trial
from benchmark.config import Cell
from benchmark.store import Record
from benchmark.training.trainer import Interrupted
from datasets.errors import UserError

Trial = tuple[Cell, int]


def train(missing: Sequence[Trial], recorded: dict[tuple[str, int], Record]) -> tuple[int, bool]:
    """Run the missing trials, adding to `recorded`; returns how many failed and whether the user stopped it."""
    if not missing:
        return 0, False
    failed = 0
    with _Bar(missing) as bar, _stopping_on_signals(bar):
        for cell, seed in missing:
            bar.begin(cell, seed)
            try:
                record = trial.run(cell, seed, bar)
            except Interrupted:
                return failed, True
            except UserError:
                raise
            except OSError as error:
                raise UserError(f"{error}; finished trials are kept and the same command goes on") from error
            except Exception:  # a fault in one method is no reason to lose the others
                failed += 1
                bar.write(f"{cell.label}, seed {seed}, failed:\n{traceback.format_exc()}")
            else:
                recorded[cell.key, seed] = record
                bar.finished(record)
    return failed, False


class _Bar:
    """A progress bar over the steps of all missing trials, and the Watch of each."""

    def __init__(self, missing: Sequence[Trial]) -> None:
        steps = {cell.key: trial.steps(cell) for cell, _ in missing}
        interval = 0.2 if sys.stderr.isatty() else 10
        self._bar = tqdm(total=sum(steps[cell.key] for cell, _ in missing), unit="step", mininterval=interval, dynamic_ncols=True)
        self._asked = False

    def __enter__(self) -> _Bar:
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

    def stopping(self) -> bool:
        return self._asked

    def ask_to_stop(self) -> None:
        self._asked = True


@contextmanager
def _stopping_on_signals(bar: _Bar) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM stops after the step, with a checkpoint; a second one stops at once."""

    def handle(number: int, _: FrameType | None) -> None:
        bar.ask_to_stop()
        signal.signal(number, signal.SIG_DFL)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
