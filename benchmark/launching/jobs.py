"""What becomes of jobs: the state of each task from one question to SLURM, or from the processes of this machine; and their end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from submitit.slurm.slurm import SlurmInfoWatcher

from benchmark.records.grids import Submission
from robust_benchmark.errors import UserError

RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
QUEUED = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "PREEMPTED", "RESIZING", "SPECIAL_EXIT"}
NEW = 300  # seconds in which the accounting may not have heard of a job yet


def states(submissions: Iterable[Submission]) -> dict[str, str]:
    """The state of every task by its id, in SLURM's words; one of which nothing is known is left out.

    Raises UserError where SLURM does not answer.
    """
    slurm: list[str] = []
    found: dict[str, str] = {}
    for submission in submissions:
        if submission.launcher == "slurm":
            slurm += [task.id for task in submission.tasks]
            if time.time() - submission.time < NEW:
                found |= {task.id: "PENDING" for task in submission.tasks}
        elif submission.host == socket.gethostname():
            found |= {task.id: "RUNNING" if _lives(task.id, task.log) else "COMPLETED" for task in submission.tasks}
    return found | (_ask_slurm(slurm) if slurm else {})


def cancel(submissions: Iterable[Submission]) -> int:
    """End all tasks that are still queued or running, SLURM's and those of this machine; returns how many.

    Raises UserError where SLURM refuses.
    """
    submissions = list(submissions)
    known = states(submissions)
    live = [(each, task) for each in submissions for task in each.tasks if known.get(task.id) in RUNNING | QUEUED]
    arrays = sorted({_array(task.id) for each, task in live if each.launcher == "slurm"})
    if arrays:
        _call("scancel", *arrays)
    for each, task in live:
        if each.launcher == "local":
            os.kill(int(task.id), signal.SIGTERM)  # submitit hands it on, and the worker writes a checkpoint
    return len(live)


def array_limit() -> int:
    """The most tasks in one job array of this cluster. Raises UserError where SLURM does not answer."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found[1])) if found else 1000


def _ask_slurm(ids: Sequence[str]) -> dict[str, str]:
    arrays = ",".join(sorted({_array(each) for each in ids}))
    told = _call("sacct", "--allocations", "--parsable2", "--format=JobID,State", "--jobs", arrays)
    info = SlurmInfoWatcher().read_info(told)
    return {each: info[each]["State"].partition(" ")[0] for each in ids if each in info}  # 'CANCELLED by 1000'


def _array(task: str) -> str:
    """The job that the task belongs to; files of others are no source of options for commands."""
    number = task.partition("_")[0]
    if not number.isdigit():
        raise UserError(f"'{task}' is no job of SLURM")
    return number


def _call(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    except FileNotFoundError as error:
        raise UserError(f"'{command[0]}' is not there: this is no machine of a SLURM cluster") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        told = str(error.stderr or error).strip().splitlines()
        raise UserError(f"{command[0]}: {told[-1] if told else 'failed without a word'}") from error


def _lives(number: str, log: str) -> bool:
    """Whether the process is there and still the one that was started, which has its folder among its arguments."""
    try:
        said = Path(f"/proc/{int(number)}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return os.fsencode(Path(log).parent) in said
