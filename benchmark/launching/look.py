"""The state of each trial of a grid, from its files and the state of its task. This module imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.launching.jobs import QUEUED, RUNNING
from benchmark.records import claims, failures
from benchmark.records.grids import Assignment, Grid, GridCell, TrialId
from benchmark.records.store import read_record
from robust_benchmark.errors import UserError

KINDS = ("done", "running", "pending", "preempted", "failed", "missing")
BROKEN = {"FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}
QUIET = 2 * 10**9  # nanoseconds after which another change of a folder has another time stamp


@dataclass(frozen=True)
class State:
    """The state of one trial.

    kind: one of KINDS; text: the training process or the error; log: a file with details, or ''
    step: current step; seconds: remaining seconds, None if unknown
    accuracy: test accuracy as a share, from the latest evaluation of a running trial or from the record read by `Looker`; None if unknown
    live: whether a process trains or will train it
    """

    kind: str
    text: str = ""
    log: str = ""
    step: int = 0
    seconds: float | None = None
    accuracy: float | None = None
    live: bool = False


States = dict[TrialId, State]


class Looker:
    """Looks at a grid repeatedly. It lists folders and reads records again only after changes."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._records: States = {}
        self._listed: dict[Path, tuple[int, set[str]]] = {}
        self._folders = {cell.key: grid.results_dir / cell.folder for cell in grid.cells}

    def look(self, known: Mapping[str, str]) -> States:
        """The state of every trial, given the states of tasks. A trial with an invalid record counts as failed."""
        states = look(self.grid, known, names=self._names)
        done = [each for each, state in states.items() if state.kind == "done"]
        self._records = {each: self._records.get(each) or self._read(each, states[each]) for each in done}
        return states | self._records

    def _read(self, trial: TrialId, state: State) -> State:
        key, seed = trial
        try:
            record = read_record(self._folders[key] / f"seed-{seed}.json", whole=False, metrics=("test_accuracy",))
        except UserError as error:
            return State("failed", str(error))
        return replace(state, accuracy=record["metrics"].get("test_accuracy"))  # a diverged trial has none

    def _names(self, folder: Path) -> set[str]:
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            return set()
        stamp, names = self._listed.get(folder, (-1, set()))
        if stamp != changed:
            names = _names(folder)
            if time.time_ns() - changed > QUIET:
                self._listed[folder] = changed, names
        return names


def look(
    grid: Grid, known: Mapping[str, str], observer: claims.Observer | None = None, names: Callable[[Path], set[str]] | None = None
) -> States:
    """The state of every trial, given the states of tasks.

    observer: decides which claims are abandoned; None to decide by the age of their files
    names: returns the names in a folder; None to list the folder
    """
    names = names or _names
    tasks: dict[TrialId, list[Assignment]] = {}
    for task in grid.tasks():
        for each in task.trials:
            tasks.setdefault(each, []).append(task)
    states: States = {}
    for cell in grid.cells:
        folder = grid.results_dir / cell.folder
        records, checkpoints = names(folder), names(grid.checkpoint_dir / cell.key)
        for seed in cell.seeds:
            state = _of_files(folder, seed, cell, records, grid.claim_seconds, observer)
            stopped = f"seed-{seed}.pt" in checkpoints or f"seed-{seed}.previous.pt" in checkpoints
            states[cell.key, seed] = state or _of_tasks(tasks.get((cell.key, seed), []), known, stopped)
    return states


def _of_files(
    folder: Path, seed: int, cell: GridCell, names: set[str], claim_seconds: float, observer: claims.Observer | None
) -> State | None:
    """The state by the files of the trial; None if it has none."""
    claim, failure = f"seed-{seed}.claim", f"seed-{seed}.failure"
    if f"seed-{seed}.json" in names:
        return State("done", step=cell.steps)
    if claim in names and (observer.held(folder / claim, claim_seconds) if observer else _fresh(folder / claim, claim_seconds)):
        return _running(claims.read_claim(folder / claim) or claims.Holder())
    if failure in names:
        note = failures.read_failure(folder / failure)
        return State("failed", note.error if note else "", (note.log if note else "") or str(folder / failure))
    return None


def _running(holder: claims.Holder) -> State:
    pace = holder.seconds / (holder.step - holder.first) if holder.step > holder.first else None
    seconds = None if pace is None else (holder.steps - holder.step) * pace
    return State("running", str(holder), step=holder.step, seconds=seconds, accuracy=holder.accuracy, live=True)


def _fresh(claim: Path, claim_seconds: float) -> bool:
    """Whether a claim is recent by the clock of this machine. This is precise enough for a display."""
    try:
        holder = claims.read_claim(claim)
        return holder is not None and not holder.gone() and time.time() - claim.stat().st_mtime <= claim_seconds
    except FileNotFoundError:
        return False


def _of_tasks(tasks: list[Assignment], known: Mapping[str, str], stopped: bool) -> State:
    """The state of a trial without files, by its most advanced task."""
    states = [(known.get(task.id, ""), task) for task in tasks]
    for status, task in states:
        if status in RUNNING:
            return State("preempted" if stopped else "pending", f"job {task.id} is running", live=True)
    for status, task in states:
        if status in QUEUED:
            return State("preempted" if stopped else "pending", f"job {task.id} is queued", live=True)
    if states and states[-1][0] in BROKEN:
        status, task = states[-1]
        return State("failed", f"SLURM ended job {task.id}: {status}", task.log)
    if stopped:
        return State("preempted", "no process trains it; the same command continues from its checkpoint")
    return State("missing", "no process trains it; the same command trains it")


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
