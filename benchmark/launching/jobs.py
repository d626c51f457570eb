"""The states of jobs, from one query of SLURM or from the processes of this machine; and their cancellation."""

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
NEW = 300  # seconds in which SLURM's accounting may still lack a new job


def states(submissions: Iterable[Submission]) -> dict[str, str]:
    """The state of every task by its id, in SLURM's words, without tasks of unknown state.

    Raises UserError if SLURM does not answer.
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
    """End all queued or running tasks of SLURM and of this machine. Returns their number.

    Raises UserError if SLURM refuses.
    """
    submissions = list(submissions)
    known = states(submissions)
    live = [(each, task) for each in submissions for task in each.tasks if known.get(task.id) in RUNNING | QUEUED]
    arrays = sorted({_array(task.id) for each, task in live if each.launcher == "slurm"})
    if arrays:
        _call("scancel", *arrays)
    for each, task in live:
        if each.launcher == "local":
            os.kill(int(task.id), signal.SIGTERM)  # submitit passes it on, and the worker writes a checkpoint
    return len(live)


def array_limit() -> int:
    """The largest number of tasks in a job array of this cluster. Raises UserError if SLURM does not answer."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found[1])) if found else 1000


def _ask_slurm(ids: Sequence[str]) -> dict[str, str]:
    arrays = ",".join(sorted({_array(each) for each in ids}))
    output = _call("sacct", "--allocations", "--parsable2", "--format=JobID,State", "--jobs", arrays)
    info = SlurmInfoWatcher().read_info(output)
    return {each: info[each]["State"].partition(" ")[0] for each in ids if each in info}  # 'CANCELLED by 1000'


def _array(task: str) -> str:
    """The job id of the task. Only digits are allowed, because other users' files must not add options to commands."""
    number = task.partition("_")[0]
    if not number.isdigit():
        raise UserError(f"'{task}' is not a job of SLURM")
    return number


def _call(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    except FileNotFoundError as error:
        raise UserError(f"'{command[0]}' is not installed; this machine does not belong to a SLURM cluster") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = str(error.stderr or error).strip().splitlines()
        raise UserError(f"{command[0]}: {lines[-1] if lines else 'failed without a message'}") from error


def _lives(number: str, log: str) -> bool:
    """Whether the started process still runs. Its arguments contain the folder of its log."""
    try:
        arguments = Path(f"/proc/{int(number)}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return os.fsencode(Path(log).parent) in arguments
