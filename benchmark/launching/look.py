"""What each trial of a grid does now, from its files and from what is known of its task. No torch here."""

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
QUIET = 2 * 10**9  # nanoseconds after which a folder that changes again has another time stamp


@dataclass(frozen=True)
class State:
    """One trial's. kind: one of KINDS; text: who trains it or what went wrong; log: a file that says more, or ''.

    step: how far it is; seconds: to its end, None where unknown
    accuracy: on the test set, a share: of its latest evaluation while it runs, of its record once `Looker` has read that; else None
    live: somebody will do something about it
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
    """Looks at a grid again and again. It lists folders again, and reads records, only where something changed."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._records: States = {}
        self._listed: dict[Path, tuple[int, set[str]]] = {}
        self._folders = {cell.key: grid.results_dir / cell.folder for cell in grid.cells}

    def look(self, known: Mapping[str, str]) -> States:
        """The state of every trial, given the state of each task. A record that is not in order makes a failed trial."""
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
    """The state of every trial, given the state of each task; with an observer, its judgement of which claims are abandoned counts.

    names: what is in a folder, where it is not to be listed
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
    """What the files beside a record tell, None where there are none."""
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
    """Whether a claim seems alive at one look, by this machine's clock: good enough to be shown."""
    try:
        holder = claims.read_claim(claim)
        return holder is not None and not holder.gone() and time.time() - claim.stat().st_mtime <= claim_seconds
    except FileNotFoundError:
        return False


def _of_tasks(tasks: list[Assignment], known: Mapping[str, str], stopped: bool) -> State:
    """What its tasks tell of a trial without files; of several the one that is furthest."""
    states = [(known.get(task.id, ""), task) for task in tasks]
    for told, task in states:
        if told in RUNNING:
            return State("preempted" if stopped else "pending", f"job {task.id} is running", live=True)
    for told, task in states:
        if told in QUEUED:
            return State("preempted" if stopped else "pending", f"job {task.id} is queued", live=True)
    if states and states[-1][0] in BROKEN:
        told, task = states[-1]
        return State("failed", f"SLURM ended job {task.id}: {told}", task.log)
    if stopped:
        return State("preempted", "nobody trains it; the same command goes on from its checkpoint")
    return State("missing", "nobody trains it; the same command does")


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
