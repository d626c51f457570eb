"""A real SLURM on this machine: its treatment of jobs loses no trial, changes no number, and is reported."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from benchmark import ROOT, run
from benchmark.records.store import Record
from tests.conftest import claims, status_of, untimed, wait

PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd", "mariadb-install-db")
METHOD = '''
import os, time
import torch
from methods.base import (Method)
from methods.registry import register


@register
class Slow(Method):
    """Is slow, and fails on request."""

    def __init__(self, fragile: bool = False) -> None:
        super().__init__()
        self.fragile = fragile

    def loss(self, batch):
        time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
        if self.fragile and "CRACK" in os.environ:
            raise RuntimeError("cracked on purpose")
        return torch.nn.functional.cross_entropy(self.model(batch.images), batch.labels)
'''


def free_ports() -> int:
    """The first of three free ports in a row."""
    for first in range(16817, 30000, 3):
        try:
            for port in range(first, first + 3):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no three free ports in a row")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a SLURM that is up, with SLURM_CONF set; skips where the machine cannot have one."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking or os.geteuid() != 0:
        pytest.skip(f"needs root and SLURM's daemons (Debian's packages are named in tests/slurm/up); not here: {lacking or 'root'}")
    directory = tmp_path_factory.mktemp("slurm")
    (directory / "slow.py").write_text(METHOD)
    variables = {
        "PORT": str(free_ports()),
        "SLURM_CONF": str(directory / "slurm.conf"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(directory),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(ROOT)
        try:
            subprocess.run([ROOT / "tests" / "slurm" / "up", directory], check=True, timeout=120)
            yield directory
        finally:
            subprocess.run([ROOT / "tests" / "slurm" / "down", directory], check=True, timeout=60)


def options(directory: Path, *overrides: str) -> list[str]:
    places = {"results_dir": directory / "results", "checkpoint_dir": directory / "checkpoints"}
    where = [f"{name}={json.dumps(str(path))}" for name, path in places.items()]  # quoted
    return [*where, "device=cpu", "claim_seconds=4", "trainer.steps=20", "trials=1", "model.width=2", "method=baseline", *overrides]


def sent(directory: Path, *overrides: str) -> list[str]:
    return options(directory, "launcher=slurm", "launcher.cpus=1", "launcher.mem_gb=1", *overrides)


def command(*overrides: str, **variables: str) -> subprocess.Popen:
    process = [sys.executable, "-m", "benchmark.run", *overrides]
    variables = os.environ | {"ROBUST_TRAINING_METHODS": "slow"} | variables
    return subprocess.Popen(process, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def so_far(directory: Path) -> dict[tuple[str, int], Record]:
    return untimed(directory) if (directory / "results").is_dir() else {}


def grid_name(directory: Path) -> str:
    (path,) = (directory / "checkpoints" / "jobs").iterdir()
    return path.name


def task_ids(directory: Path) -> list[str]:
    files = (directory / "checkpoints").glob("jobs/*/submission-*.json")
    return [task["id"] for file in sorted(files, key=os.path.getmtime) for task in json.loads(file.read_text())["tasks"]]


def logs(directory: Path) -> str:
    return "".join(path.read_text() for path in (directory / "checkpoints").glob("jobs/*/slurm/*.out"))


def test_a_grid_sent_to_slurm_has_the_numbers_of_one_trained_here(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / 'it\'s a "strange" $(place) & more'
    name = 'launcher.job_name="it\'s; $(touch marker) & \\"mine\\""'
    overrides = ["method=baseline,l2rw", "trials=2", "launcher.trials_per_task=2"]
    assert run.main(sent(odd, *overrides, name, "launcher.setup=['export HELLO=1']", "+launcher.extra.comment='$(id) \"x\"'")) == 0
    assert "4 of 4 trials" in capsys.readouterr().out
    assert run.main(options(tmp_path, "method=baseline,l2rw", "trials=2")) == 0
    assert so_far(odd) == so_far(tmp_path)
    assert len(task_ids(odd)) == 2
    assert "4 done" in status_of(capsys, odd)
    assert not (ROOT / "marker").exists()
    assert not list((odd / "results").rglob("*.claim"))


def test_a_grid_above_the_array_limit_is_split_reported_and_cancelled(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = sent(tmp_path, "trials=8", "+launcher.extra.hold=true", "launcher.detach=true")
    assert run.main(held) == 0
    assert len({each.partition("_")[0] for each in task_ids(tmp_path)}) == 2  # the limit is 6
    wait(lambda: subprocess.run(["squeue", "--noheader", "--array"], capture_output=True, check=True).stdout.count(b"\n") == 8)
    assert "8 pending" in status_of(capsys, tmp_path)
    assert run.main(held) == 0
    assert len(task_ids(tmp_path)) == 8  # queued tasks are not queued again
    assert "8 tasks cancelled" in status_of(capsys, tmp_path, grid_name(tmp_path), "--cancel")
    wait(lambda: "8 missing" in status_of(capsys, tmp_path))
    assert run.main(held) == 0
    assert len(task_ids(tmp_path)) == 16
    status_of(capsys, tmp_path, grid_name(tmp_path), "--cancel")


@pytest.mark.parametrize("option", ["launcher.job_name='a\nb'", "launcher.partition=nowhere", "launcher.trials_per_task=0"])
def test_what_slurm_cannot_take_is_one_sentence(cluster: Path, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(sent(tmp_path, option)) == 2
    assert re.fullmatch(r"(sbatch: .+\n)*error: .+\n", capsys.readouterr().err)


def disturb(how: str, job: str, cluster: Path) -> None:
    node = f"NodeName={socket.gethostname().partition('.')[0]}"
    if how == "time limit":
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    elif how == "requeue":
        subprocess.run(["scontrol", "requeue", job], check=True)
    elif how == "node goes away":
        ended = (cluster / "slurmd.log").read_text().count(f"[{job}.0] done with job")
        subprocess.run(["scontrol", "update", node, "State=DOWN", "Reason=test"], check=True)
        wait(lambda: (cluster / "slurmd.log").read_text().count(f"[{job}.0] done with job") > ended)
        subprocess.run(["scontrol", "update", node, "State=RESUME"], check=True)
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # instead of in two minutes
    elif how == "preemption":
        subprocess.run(
            ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"], check=True, capture_output=True
        )
    elif how == "controller restarts":
        shown = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
        start = datetime.fromisoformat(re.findall(r" StartTime=(\S+)", shown)[0]).timestamp()
        wait(lambda: time.time() > start + 6)  # it saves within 5 seconds that the job runs; a new one that does not know drains the node
        os.kill(int((cluster / "slurmctld.pid").read_text()), signal.SIGKILL)
        subprocess.run([ROOT / "tests" / "slurm" / "up", cluster], check=True, timeout=120)


SLOW = ["method=slow", "trainer.steps=800", "checkpoint_seconds=0.2", "trainer.evaluate_every=70"]


def test_after_anything_slurm_does_to_a_task_its_record_is_that_of_an_undisturbed_one(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*sent(tmp_path, *SLOW, "launcher.detach=true"), STEP_SECONDS="0.03").wait() == 0
    (job,) = task_ids(tmp_path)
    shown = ""
    for how in ("time limit", "node goes away", "controller restarts", "requeue", "preemption"):
        holder = trains(tmp_path)
        if how == "controller restarts":
            wait(lambda: re.search(r"running: step \d+ of 800, .* left; \S+ on .*, job \d+", status_of(capsys, tmp_path)))
        disturb(how, job, cluster)
        if how != "controller restarts":
            wait(lambda: claimed(tmp_path) != holder)  # noqa: B023
            shown += status_of(capsys, tmp_path)
    assert "preempted: job" in shown
    calm = command(*options(tmp_path / "calm", *SLOW))
    wait(lambda: so_far(tmp_path))
    assert calm.wait() == 0
    assert so_far(tmp_path) == so_far(tmp_path / "calm")


def test_a_killed_worker_and_a_cancelled_task_are_reported_and_the_same_command_completes_the_grid(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = sent(tmp_path, *SLOW, "trials=2")
    assert command(*grid, "launcher.detach=true", STEP_SECONDS="0.05").wait() == 0
    wait(lambda: len(claims(tmp_path)) == 2)
    trains(tmp_path)
    os.kill(claims(tmp_path)[0].pid, signal.SIGKILL)
    wait(lambda: "1 failed" in status_of(capsys, tmp_path))
    (log,) = re.findall(r"failed: SLURM ended job \S+: FAILED \(see (.+)\)", status_of(capsys, tmp_path))
    assert Path(log).exists()
    assert "1 tasks cancelled" in status_of(capsys, tmp_path, grid_name(tmp_path), "--cancel")
    wait(lambda: "running" not in status_of(capsys, tmp_path))
    assert so_far(tmp_path) == {}
    output, _ = command(*grid).communicate(timeout=120)
    assert "2 of 2 trials" in output
    assert command(*options(tmp_path / "calm", *SLOW, "trials=2")).wait() == 0
    assert so_far(tmp_path) == so_far(tmp_path / "calm")


def test_a_task_that_fails_is_reported_the_others_finish_and_only_it_is_tried_again(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = sent(tmp_path, "method=slow", "method.fragile=true,false")
    failing = command(*grid, CRACK="1")
    output, _ = failing.communicate(timeout=120)
    assert failing.returncode == 1
    assert re.search(r"failed: slow:fragile=true, seed 0: .*RuntimeError: cracked on purpose \(see .+\)", output)
    assert "1 of 2 trials" in output
    shown = status_of(capsys, tmp_path)
    assert "1 done, 1 failed" in shown
    (log,) = re.findall(r"seed 0 failed: .*RuntimeError: cracked on purpose \(see (.+)\)", shown)
    assert "RuntimeError: cracked on purpose" in Path(log).read_text()
    tasks = len(task_ids(tmp_path))
    again = command(*grid)
    assert "2 of 2 trials" in again.communicate(timeout=120)[0]
    assert again.returncode == 0
    assert len(task_ids(tmp_path)) == tasks + 1
    assert "2 done" in status_of(capsys, tmp_path)
    assert not list((tmp_path / "results").rglob("*.failure"))


def test_two_people_who_send_one_grid_at_once_train_each_trial_once(cluster: Path, tmp_path: Path) -> None:
    people = [tmp_path / "alice", tmp_path / "bob"]
    shared = [f"results_dir={tmp_path / 'results'}", "method=slow", "trials=2"]
    commands = [command(*sent(person, *shared), STEP_SECONDS="0.2") for person in people]
    outputs = [each.communicate(timeout=120)[0] for each in commands]
    assert [each.returncode for each in commands] == [0, 0], outputs
    assert all("2 of 2 trials" in output for output in outputs)
    assert len(so_far(tmp_path)) == 2
    assert sum(logs(person).count("test accuracy") for person in people) == 2


def trains(directory: Path) -> str | None:
    """Wait until training has progressed by a checkpoint, or has ended; return the token of the claim's holder."""
    wait(lambda: claimed(directory) or so_far(directory))
    saved = newest_checkpoint(directory)
    wait(lambda: newest_checkpoint(directory) > saved or so_far(directory))
    return claimed(directory)


def claimed(directory: Path) -> str | None:
    """Return the token of the claim's holder, None if there is none."""
    return claims(directory)[0].token if claims(directory) else None


def newest_checkpoint(directory: Path) -> float:
    times = []
    for path in (directory / "checkpoints").glob("*/seed-*.pt"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)
