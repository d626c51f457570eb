"""launcher=local: a grid distributed over processes of this machine, and its status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import ROOT, run, status
from benchmark.launching import submit
from tests.conftest import claims, status_of, tiny_in, untimed, wait


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "claim_seconds=4", "trainer.steps=30", "trials=2", "method=baseline,l2rw", *overrides)


LOCAL = ["launcher=local", "launcher.processes=2"]
LONG = ["method=l2rw", "model.width=16", "trainer.steps=500", "checkpoint_seconds=0.2", "trainer.evaluate_every=200"]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(ROOT)


def test_several_processes_share_a_grid_and_give_the_records_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path / "one")) == 0
    several = tmp_path / "it's several"
    assert run.main([f'results_dir="{several}/results"', f'checkpoint_dir="{several}/checkpoints"', *tiny(several)[2:], *LOCAL]) == 0
    assert "4 of 4 trials" in capsys.readouterr().out
    assert untimed(several) == untimed(tmp_path / "one")
    logs = [path.read_text() for path in several.rglob("*.out")]
    assert len(logs) == 2
    assert sum(log.count("test accuracy") for log in logs) == 4  # each trial once
    shown = status_of(capsys, several)
    assert re.search(r"2 cells, 4 trials: 4 done", shown)
    assert re.search(r"\n  l2rw  digits/bgflip/l2rw-\w+: 2 done\n", shown)
    assert status_of(capsys, several, *re.findall(r"grid (\w+)", shown)) == shown


def test_after_kill_9_of_a_worker_the_others_finish_its_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path, *LONG, *LOCAL, "launcher.detach=true")) == 0
    wait(lambda: len(claims(tmp_path)) == 2 and len(list((tmp_path / "checkpoints").glob("*/seed-?.pt"))) == 2)
    assert "2 running" in status_of(capsys, tmp_path)
    os.kill(claims(tmp_path)[0].pid, signal.SIGKILL)
    wait(lambda: len(untimed(tmp_path)) == 2)
    assert run.main(tiny(tmp_path / "calm", *LONG)) == 0
    assert untimed(tmp_path) == untimed(tmp_path / "calm")


@pytest.mark.parametrize("how", ["Ctrl-C", "cancel"])
def test_processes_that_are_asked_to_end_leave_checkpoints_and_the_same_command_continues(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "benchmark.run", *tiny(tmp_path, *LONG, "checkpoint_seconds=1000", *LOCAL)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait(lambda: [holder.step > 0 for holder in claims(tmp_path)] == [True, True])
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does, to all
    else:
        (grid,) = (tmp_path / "checkpoints" / "jobs").iterdir()
        assert "2 tasks cancelled" in status_of(capsys, tmp_path, grid.name, "--cancel")
    process.communicate(timeout=60)
    assert process.returncode == (130 if how == "Ctrl-C" else 0)
    assert "2 preempted" in status_of(capsys, tmp_path)
    assert not claims(tmp_path)
    assert run.main(tiny(tmp_path, *LONG)) == 0
    assert len(untimed(tmp_path)) == 2


def test_a_grid_is_shown_by_its_overrides_and_a_wrong_name_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(tiny(tmp_path)) == 0
    assert "2 cells, 4 trials: 4 missing" in capsys.readouterr().out
    assert status.main(["--checkpoint-dir", str(tmp_path), "abc"]) == 2
    assert f"no grid 'abc': {tmp_path} has no submitted grid" in capsys.readouterr().err
    assert status.main(["--cancel"]) == 2


def test_a_grid_file_of_others_is_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "jobs" / "12345678"
    directory.mkdir(parents=True)
    grid = {"results_dir": str(tmp_path), "checkpoint_dir": str(tmp_path), "claim_seconds": 1, "cells": []}
    (directory / "grid.json").write_text(json.dumps(grid))
    task = {"id": "--batch; touch marker", "log": "", "trials": []}
    (directory / "submission-1.json").write_text(json.dumps({"launcher": "slurm", "host": "h", "time": 0, "tasks": [task]}))
    assert status.main(["--checkpoint-dir", str(tmp_path), "12345678", "--cancel"]) == 2
    assert "is not a job of SLURM" in capsys.readouterr().err
    (directory / "grid.json").write_text("nonsense")
    assert status.main(["--checkpoint-dir", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "visible", "found"),
    [("auto", "2,3", ["2", "3"]), ("cuda", "GPU-a,GPU-b", ["GPU-a", "GPU-b"]), ("cuda:1", "2,3", ["2,3"]), ("cpu", "2,3", [""])],
)
def test_each_process_has_a_gpu_of_its_own(device: str, visible: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert submit.gpus(device) == found
