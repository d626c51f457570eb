"""`python -m tests.kill --minutes 10`: kills trainings at random moments, and compares their records with those of an uninterrupted run.

Grids of several methods are trained in three processes each, with a checkpoint after each step. Repeatedly, the command, one of its
processes or all of them get SIGKILL, SIGTERM, SIGHUP or SIGINT, and the same command continues. Records must equal those of the
uninterrupted run bit for bit, except for time and hardware.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from benchmark import run
from benchmark.records.claims import read_claim
from benchmark.records.store import Record
from tests.conftest import kept_in, started, untimed

PAPER = "baseline,random,reed,reed_soft,s_model,s_model_conf,mentornet,mentornet_dd,weighted,l2rw,clean_only,baseline_es,baseline_ft"
IMBALANCED = "proportion,resample,hard_mining"
SINCE = "elr,elr_asymmetric,coteaching,dividemix,sam,meta_weight_net,ldam,crt"
METHODS = f"{PAPER},{IMBALANCED},{SINCE}".split(",")
AT_ONCE = 4  # methods of a grid
GRID = (
    *("noise=uniflip", "dataset.preprocessing.pad=1", "model.width=2", "device=cpu"),
    *("trainer.steps=40", "trainer.evaluate_every=7", "checkpoint_seconds=0", "trials=1", "processes=3", "claim_seconds=2"),
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TARGETS = ("the command", "all its processes", "one process")
EARLY = 0.002  # chance of a kill before the first checkpoint, at each of 50 looks in a second
SOON = 2.0  # seconds within which a kill comes then
LONGEST = 300  # seconds for a command to end on its own

Records = dict[tuple[str, int], Record]


class Kill(NamedTuple):
    """One command. kill: the signal it received, '' if it ended before; fault: the error afterwards, or ''."""

    methods: Sequence[str]
    kill: str
    recorded: int
    checkpoints: int
    fault: str

    def __str__(self) -> str:
        done = f"{self.recorded} of {len(self.methods)} records, {self.checkpoints} checkpoints, {self.fault or 'no difference'}"
        return f"{self.kill or 'no kill, came to its end'} ({','.join(self.methods)}): {done}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 if a record differs, or a command fails or does not end."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=str(__doc__).partition(": ")[2].partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="duration of killing (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, signals and targets (default 0)")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="default: all")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        undisturbed = trained(Path(directory) / "undisturbed", given.methods)
        print(f"{len(undisturbed)} trials trained undisturbed", flush=True)
        kills, end = [], time.monotonic() + 60 * given.minutes
        for kill in killed(Path(directory), given.methods, undisturbed, random.Random(given.seed)):
            kills.append(kill)
            print(f"{len(kills)}: {kill}", flush=True)
            if time.monotonic() > end:
                break
    return _summary(kills)


def _summary(kills: Sequence[Kill]) -> int:
    names = Counter(kill.kill.partition(" ")[0] for kill in kills if kill.kill)
    differences = sum(bool(kill.fault) for kill in kills)
    by_signal = ", ".join(f"{count} {name}" for name, count in names.items())
    whole = sum(kill.recorded == len(kill.methods) for kill in kills)
    print(f"{names.total()} kills ({by_signal}), {whole} grids came to their ends, {differences} differences")
    return 1 if differences else 0


def grid(directory: Path, methods: Sequence[str]) -> list[str]:
    """The overrides of a grid in that directory."""
    return [*kept_in(directory), f"method={','.join(methods)}", *GRID]


def trained(directory: Path, methods: Sequence[str]) -> Records:
    """Return the records of all methods, without interruptions."""
    with (directory.parent / "log").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        status = run.main(grid(directory, methods))
    if status != 0:
        sys.exit(f"the undisturbed run ended with status {status}:\n{(directory.parent / 'log').read_text()}")
    return untimed(directory)


def killed(directory: Path, methods: Sequence[str], undisturbed: Records, chance: random.Random) -> Iterator[Kill]:
    """Train grids of some of the methods, one after another, each by commands that are killed until one finishes."""
    for number in range(10**9):
        some = chance.sample(methods, min(AT_ONCE, len(methods)))
        place = directory / str(number)
        (place / "results").mkdir(parents=True)
        recorded = 0
        while recorded < len(some):
            process = started(grid(place, some), place / "log", own_group=True)
            while chance.random() > EARLY and process.is_alive() and not _checkpoints(place):
                process.join(0.02)
            process.join(chance.uniform(0.1, SOON))
            kill = _kill(process, place, chance) if process.is_alive() else ""
            process.join(LONGEST)
            fault = _fault(process, place / "log") or _difference(place, undisturbed)
            recorded = len(untimed(place))
            yield Kill(some, kill, recorded, len(_checkpoints(place)), fault)
            if fault:
                break


def _checkpoints(directory: Path) -> list[Path]:
    return list((directory / "checkpoints").rglob("seed-?.pt"))


def _kill(process: ForkProcess, directory: Path, chance: random.Random) -> str:
    """Return a description of the kill, such as 'SIGHUP to the command'."""
    number, target = chance.choice(SIGNALS), chance.choice(TARGETS)
    holders = [read_claim(path) for path in (directory / "results").rglob("*.claim")]
    training = [holder.pid for holder in holders if holder and holder.pid != process.pid and not holder.gone()]
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if target == "all its processes":
            os.killpg(process.pid, number)
        elif target == "one process" and training:
            os.kill(chance.choice(training), number)
        else:
            target = "the command"
            os.kill(process.pid, number)
    return f"{number.name} to {target}"


def _fault(process: ForkProcess, log: Path) -> str:
    """Return the error at the end of a command, or ''."""
    if process.is_alive():
        process.kill()
        return f"does not end within {LONGEST} s"
    printed = log.read_text() if log.exists() else ""
    if "Traceback" in printed or process.exitcode not in (0, 1, 130, *(-number for number in SIGNALS)):
        return f"status {process.exitcode}: {printed[-2000:]}"
    return ""


def _difference(directory: Path, undisturbed: Records) -> str:
    """Return the difference between the records and the uninterrupted ones, or ''."""
    found = untimed(directory)
    return "; ".join(
        f"{record['method']} differs in {', '.join(part for part in record if record[part] != undisturbed[each][part])}"
        for each, record in found.items()
        if record != undisturbed[each]
    )


if __name__ == "__main__":
    sys.exit(main())
