"""Failures during training: after any of them, the same command ends with the records of an uninterrupted run."""

from __future__ import annotations

import getpass
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import run
from benchmark.config import cells
from benchmark.records.claims import Claim
from benchmark.records.store import Record
from benchmark.training.trainer import Unwatched
from benchmark.trial import path
from tests.conftest import started, tiny_in, untimed, wait

GRID = ["trainer.steps=40", "trainer.evaluate_every=15", "checkpoint_seconds=0", "method=s_model,l2rw", "trials=3"]


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "claim_seconds=2", *GRID, *overrides)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Record]:
    directory = tmp_path_factory.mktemp("undisturbed")
    assert run.main(tiny(directory)) == 0
    return untimed(directory)


def checkpoints(directory: Path) -> list[Path]:
    return list((directory / "checkpoints").rglob("seed-*.pt"))


def test_after_kill_9_at_20_random_moments_the_records_are_those_of_an_undisturbed_run(
    undisturbed: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    moments, kills = random.Random(0), 0
    while kills < 20:  # with a checkpoint at each step, much of the time goes into writing
        process = started(tiny(tmp_path))
        process.join(moments.uniform(0.05, 0.6))
        kills += process.is_alive()
        process.kill()
        process.join()
        if process.exitcode == 0:  # it came to the end first: once more from the beginning
            assert untimed(tmp_path) == undisturbed
            shutil.rmtree(tmp_path / "results")
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == undisturbed
    assert not checkpoints(tmp_path)
    assert not list((tmp_path / "results").rglob("*.claim"))


def test_two_commands_at_once_train_each_trial_once(undisturbed: dict[tuple[str, int], Record], tmp_path: Path) -> None:
    logs = [tmp_path / "alice", tmp_path / "bob"]
    commands = [started(tiny(tmp_path, f"checkpoint_dir={log}-checkpoints"), log) for log in logs]
    for command, log in zip(commands, logs, strict=True):
        command.join()
        assert command.exitcode == 0
        assert "6 of 6 trials" in log.read_text()
    assert untimed(tmp_path) == undisturbed
    assert sum(log.read_text().count("test accuracy") for log in logs) == 6


def test_a_command_that_meets_anothers_claim_says_whose_and_continues_when_it_is_let_go(
    undisturbed: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    (cell,) = cells(tiny(tmp_path, "method=l2rw"))
    log = tmp_path / "log"
    claim = Claim(path(cell, 1).with_suffix(".claim"), 40, 2.0, Unwatched())
    assert claim.acquire()
    with claim:
        command = started(tiny(tmp_path), log)
        wait(log.exists)
        wait(lambda: f"l2rw, seed 1: waiting for {getpass.getuser()} on" in log.read_text())
        assert len(untimed(tmp_path)) == 5
    command.join()
    assert command.exitcode == 0
    assert untimed(tmp_path) == undisturbed


def test_results_that_vanish_for_a_while_cost_nothing(undisturbed: dict[tuple[str, int], Record], tmp_path: Path) -> None:
    command = started(tiny(tmp_path))
    for name in ("results", "checkpoints"):
        wait(lambda: checkpoints(tmp_path))
        (tmp_path / name).rename(tmp_path / "away")
        time.sleep(0.3)
        try:
            (tmp_path / "away").rename(tmp_path / name)
        except OSError:  # the command has made another one, at any moment
            shutil.copytree(tmp_path / "away", tmp_path / name, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "away", ignore_errors=True)
    command.join()
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_for_a_while_is_reported_and_costs_no_finished_trial(
    fault: str, undisturbed: dict[tuple[str, int], Record], small_disk: Path
) -> None:
    command = started(tiny(small_disk))
    wait(lambda: list((small_disk / "results").rglob("*.json")))
    if fault == "full":
        subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'filler'}"], check=False, stderr=subprocess.DEVNULL)
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=False)
    command.join()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    finished = untimed(small_disk)
    assert command.exitcode == 2
    assert 1 <= len(finished) < len(undisturbed)
    (small_disk / "filler").unlink(missing_ok=True) if fault == "full" else subprocess.run(
        ["mount", "-o", "remount,rw", small_disk], check=True
    )
    assert run.main(tiny(small_disk)) == 0
    assert untimed(small_disk) == undisturbed
