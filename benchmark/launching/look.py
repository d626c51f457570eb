"""What each trial of a grid does now, from its files and from what is known of its task. No torch here."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.launching.jobs import QUEUED, RUNNING
from benchmark.records import claims, failures
from benchmark.records.grids import Assignment, Grid, GridCell, TrialId

KINDS = ("done", "running", "pending", "preempted", "failed", "missing")
BROKEN = {"FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}


@dataclass(frozen=True)
class State:
    """One trial's. kind: one of KINDS; text: who trains it or what went wrong; log: a file that says more, or ''.

    step: how far it is; seconds: to its end, None where unknown
    live: somebody will do something about it
    """

    kind: str
    text: str = ""
    log: str = ""
    step: int = 0
    seconds: float | None = None
    live: bool = False


def look(grid: Grid, known: Mapping[str, str], observer: claims.Observer | None = None) -> dict[TrialId, State]:
    """The state of every trial, given the state of each task; with an observer, its judgement of which claims are abandoned counts."""
    tasks: dict[TrialId, list[Assignment]] = {}
    for task in grid.tasks():
        for each in task.trials:
            tasks.setdefault(each, []).append(task)
    states: dict[TrialId, State] = {}
    for cell in grid.cells:
        records, checkpoints = _names(grid.results_dir / cell.folder), _names(grid.checkpoint_dir / cell.key)
        for seed in cell.seeds:
            path = grid.record(cell, seed)
            state = _of_files(path, cell, records, grid.claim_seconds, observer)
            stopped = f"seed-{seed}.pt" in checkpoints or f"seed-{seed}.previous.pt" in checkpoints
            states[cell.key, seed] = state or _of_tasks(tasks.get((cell.key, seed), []), known, stopped)
    return states


def _of_files(path: Path, cell: GridCell, names: set[str], claim_seconds: float, observer: claims.Observer | None) -> State | None:
    """What the files beside a record tell, None where there are none."""
    claim, failure = path.with_suffix(".claim"), path.with_suffix(".failure")
    if path.name in names:
        return State("done", step=cell.steps)
    if claim.name in names and (observer.held(claim, claim_seconds) if observer else _fresh(claim, claim_seconds)):
        return _running(claims.read_claim(claim) or claims.Holder())
    if failure.name in names:
        note = failures.read_failure(failure)
        return State("failed", note.error if note else "", (note.log if note else "") or str(failure))
    return None


def _running(holder: claims.Holder) -> State:
    pace = holder.seconds / (holder.step - holder.first) if holder.step > holder.first else None
    seconds = None if pace is None else (holder.steps - holder.step) * pace
    return State("running", str(holder), step=holder.step, seconds=seconds, live=True)


def _fresh(claim: Path, claim_seconds: float) -> bool:
    """Whether a claim seems alive at one look, by this machine's clock: good enough to be shown."""
    try:
        return time.time() - claim.stat().st_mtime <= claim_seconds
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
