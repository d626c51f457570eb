"""Several processes in one command: the numbers of one process, after any failure of a process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from benchmark import ROOT, run, trial, workers
from benchmark.config import Cell, cells
from benchmark.observers import Observer
from benchmark.records.claims import Claim
from benchmark.records.store import Record
from benchmark.training.threads import one_thread
from benchmark.training.trainer import Unwatched
from methods.base import Batch
from methods.random import Random
from robust_benchmark.files import Unwritable
from tests.conftest import FORK, claims, records, started, tiny_in, untimed, wait

GRID = ["trainer.steps=150", "trainer.evaluate_every=70", "method=s_model,l2rw", "trials=2"]
STEPS = 4 * 150
only_forked = pytest.mark.skipif(torch.cuda.is_available(), reason="where CUDA is, workers are new processes, which no test can patch")
LATE = "checkpoint_seconds=1000"  # a checkpoint is one that was asked for


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "claim_seconds=2", *GRID, *overrides)


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Record]:
    directory = tmp_path_factory.mktemp("undisturbed")
    assert run.main(tiny(directory, "processes=1")) == 0
    return untimed(directory)


def checkpoints(directory: Path) -> list[Path]:
    return list((directory / "checkpoints").rglob("seed-?.pt"))


def training(directory: Path) -> list[int]:
    """Return the workers, after each of two has taken a trial."""
    wait(lambda: len(claims(directory)) == 2)
    return [holder.pid for holder in claims(directory)]


def two_trained(directory: Path, command: multiprocessing.context.ForkProcess) -> list[int]:
    """Return the workers, after each of two has trained for some time."""
    wait(lambda: len(checkpoints(directory)) >= 2)
    pids = training(directory)
    assert len({*pids, command.pid, os.getpid()}) == 4
    return pids


def shown(log: str) -> tuple[int, int]:
    """The step that the bar shows at the end, and all steps."""
    step, steps = re.findall(r"(\d+)/(\d+) \[", log)[-1]
    return int(step), int(steps)


# --- the same numbers


@pytest.mark.parametrize("how", [["processes=2"], ["processes=3", "side_by_side=2"], ["launcher=local", "launcher.processes=2"]])
def test_several_processes_give_the_records_of_one(how: list[str], of_one_process: dict[tuple[str, int], Record], tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, *how)) == 0
    assert untimed(tmp_path) == of_one_process
    assert not list(tmp_path.rglob("*.claim"))


def test_workers_that_are_spawned_give_the_records_of_one_process(
    of_one_process: dict[tuple[str, int], Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_context", lambda: multiprocessing.get_context("spawn"))
    assert run.main(tiny(tmp_path, "processes=2")) == 0
    assert untimed(tmp_path) == of_one_process


def test_a_cell_reaches_another_process_as_it_is() -> None:
    grid = cells(["method=l2rw,baseline_es_ft", "noise.rate=0.2,0.4", "launcher=local"])
    assert pickle.loads(pickle.dumps(grid)) == grid


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cpu_computes_with_one_thread_and_the_caller_gets_its_own_back(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(3)
    try:
        assert run.main(tiny(tmp_path, "trainer.steps=2", f"processes={processes}")) == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert {record["environment"]["threads"] for record in records(tmp_path)} == {1}


@pytest.mark.parametrize(("device", "variable", "threads"), [("cpu", "", 1), ("cpu", "3", 3), ("cuda", "", 3)])
def test_omp_num_threads_and_cuda_leave_the_number_of_threads(
    device: str, variable: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    torch.set_num_threads(3)
    try:
        with one_thread(torch.device(device)):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


AFTER_THREADS = """
import sys, torch
from benchmark import run
torch.set_num_threads(3)
torch.nn.Conv2d(8, 8, 3)(torch.randn(64, 8, 32, 32)).sum().backward()
sys.exit(run.main(sys.argv[1:]))
"""


def test_workers_train_although_their_command_has_computed_with_several_threads(
    of_one_process: dict[tuple[str, int], Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    subprocess.run([sys.executable, "-c", AFTER_THREADS, *tiny(tmp_path, "processes=2")], cwd=ROOT, check=True, timeout=300)
    assert untimed(tmp_path) == of_one_process


# --- how many


def test_as_many_processes_as_cores_and_trials_unless_the_option_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    (cell,), (three,) = cells(["device=cpu"]), cells(["device=cpu", "processes=3"])
    trials = [(cell, seed) for seed in range(10)]
    assert [workers.count(trials[:missing]) for missing in (0, 1, 3, 7, 10)] == [0, 1, 3, 7, 7]
    assert workers.count([(three, seed) for seed in range(10)]) == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert workers.count(trials) == 3  # of two threads each
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert workers.count(trials) == 1


def test_on_cuda_this_process_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = cells(["device=cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert workers.count([(cell, seed) for seed in range(10)]) == 1


def no_worker(*_: object, **__: object) -> None:
    raise AssertionError("a worker was started")


@pytest.mark.parametrize("how", [["processes=1"], ["trials=1", "method=l2rw"]])
def test_one_process_or_one_missing_trial_is_this_process(how: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", no_worker)
    assert run.main(tiny(tmp_path, "trainer.steps=2", *how)) == 0


def test_a_method_of_a_notebook_trains_there_where_workers_would_be_spawned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_context", lambda: multiprocessing.get_context("spawn"))
    monkeypatch.setattr(workers, "Worker", no_worker)
    monkeypatch.setattr(Random, "__module__", "__main__")
    assert run.main(tiny(tmp_path, "trainer.steps=2", "method=finetune", "method.base=random", "processes=2")) == 0
    assert len(records(tmp_path)) == 2


# --- what is shown


def test_the_bar_counts_the_steps_of_all_workers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "trials=1", "processes=1")) == 0
    capsys.readouterr()
    assert run.main(tiny(tmp_path, "processes=2")) == 0
    message = capsys.readouterr().err
    assert shown(message) == (STEPS // 2, STEPS // 2)
    assert message.count("test accuracy") == 2
    assert "waiting for" not in message  # for each other


def test_a_relay_reports_every_step_seldom_and_before_what_comes_after() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    relay = workers.Relay(writer, os.getppid())
    relay.begin(3)
    for _ in range(1000):
        relay.stepped(3, 1)
    relay.end(3)
    writer.close()
    reports = []
    with contextlib.suppress(EOFError):
        while True:
            reports.append(reader.recv())
    assert (reports[0], reports[-1]) == (("begin", 3), ("end", 3))
    assert all(report[:2] == ("stepped", 3) for report in reports[1:-1])
    assert sum(report[2] for report in reports[1:-1]) == 1000
    assert len(reports) < 100


def test_a_relay_whose_command_is_gone_asks_to_stop_and_raises_nothing() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    relay = workers.Relay(writer, os.getpid())  # which is not the parent of this process
    reader.close()
    relay.write("to nobody")
    assert relay.stopping()


# --- failures


def test_after_kill_9_of_a_worker_the_others_finish_its_trial(of_one_process: dict[tuple[str, int], Record], tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = started(tiny(tmp_path, "processes=2", "checkpoint_seconds=0"), log)
    os.kill(two_trained(tmp_path, command)[0], signal.SIGKILL)
    command.join()
    assert command.exitcode == 0
    assert untimed(tmp_path) == of_one_process
    message = log.read_text()
    assert re.search(r"process \d+ was ended by SIGKILL; the others take over its trials", message)
    assert shown(message) == (STEPS, STEPS)
    assert not list(tmp_path.rglob("*.claim"))


def test_when_all_workers_are_killed_their_trials_failed_and_the_same_command_continues(
    of_one_process: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = started(tiny(tmp_path, "processes=2", "checkpoint_seconds=0"), log)
    for pid in two_trained(tmp_path, command):
        os.kill(pid, signal.SIGKILL)
    command.join()
    assert command.exitcode == 1
    assert 1 <= len(re.findall(r"^failed: (s_model|l2rw), seed \d: its process was ended by SIGKILL$", log.read_text(), re.MULTILINE)) <= 2
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == of_one_process


def test_after_kill_9_of_the_command_its_workers_write_checkpoints_and_end(
    of_one_process: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    command = started(tiny(tmp_path, "processes=2", LATE))
    pids = training(tmp_path)
    command.kill()
    command.join()
    wait(lambda: not any(map(runs, pids)))
    assert checkpoints(tmp_path)
    assert not list(tmp_path.rglob("*.claim"))
    assert run.main(tiny(tmp_path, LATE)) == 0
    assert untimed(tmp_path) == of_one_process


def runs(pid: int) -> bool:
    """Return whether the process runs; an ended one may still be listed, because its parent has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_leaves_checkpoints_and_status_130(
    number: signal.Signals, of_one_process: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = started(tiny(tmp_path, "processes=2", LATE), log, own_group=True)
    training(tmp_path)
    wait(lambda: "seed 0" in log.read_text())  # beside the bar: the command listens to signals
    assert command.pid is not None
    os.killpg(command.pid, number)
    command.join()
    assert command.exitcode == 130
    message = log.read_text()
    assert message.splitlines()[-1] == "interrupted: the same command continues from here"
    assert "Traceback" not in message
    assert "failed" not in message
    assert len(checkpoints(tmp_path)) == 2
    assert not list(tmp_path.rglob("*.claim"))
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == of_one_process


@only_forked
def test_an_error_that_ends_a_worker_is_the_commands_and_the_others_stop_with_checkpoints(
    of_one_process: dict[tuple[str, int], Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        training(tmp_path)
        raise Unwritable(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("methods.s_model.SModel.loss", full)
        assert run.main(tiny(tmp_path, "trials=1", "processes=2", LATE)) == 2
    message = capsys.readouterr().err
    assert message.splitlines()[-1] == "error: [Errno 28] No space left on device; finished trials are kept and the same command continues"
    assert "ended by" not in message
    assert len(checkpoints(tmp_path)) == 1  # l2rw's
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == of_one_process


@only_forked
def test_a_trial_that_fails_does_not_disturb_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = Random.loss

    def failing(self: Random, batch: Batch) -> torch.Tensor:
        if torch.rand(()) < 0.3:
            raise ValueError("no luck")
        return loss(self, batch)

    monkeypatch.setattr(Random, "loss", failing)
    assert run.main(tiny(tmp_path, "method=random,baseline", "trainer.steps=30", "processes=2")) == 1
    message = capsys.readouterr()
    assert len(re.findall(r"^failed: random, seed [01]: ValueError: no luck \(see .+\.failure\)$", message.err, re.MULTILINE)) == 2
    assert "2 of 4 trials" in message.out
    assert {record["method"] for record in records(tmp_path)} == {"baseline"}


@pytest.mark.parametrize("width", [1, 2])
def test_a_trial_whose_claim_is_lost_is_trained_after_its_new_holder_releases_it(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_turns, begun = trial.in_turns, set()

    def losing(cell: Cell, seed: int, claim: Claim, observer: Observer) -> Generator[None, None, Record]:
        claim.lost = seed not in begun
        begun.add(seed)
        return in_turns(cell, seed, claim, observer)

    monkeypatch.setattr(trial, "in_turns", losing)
    assert run.main(tiny(tmp_path, "method=l2rw", "trainer.steps=5", "processes=1", f"side_by_side={width}")) == 0
    assert len(records(tmp_path)) == 2
    assert capsys.readouterr().err.count("another process took it over") == 2


def test_a_claim_that_a_killed_process_left_beside_its_record_is_removed_by_the_next_command(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "trials=1", "method=l2rw", "trainer.steps=2")) == 0
    (record,) = (tmp_path / "results").rglob("*.json")
    process = FORK.Process(target=lambda: Claim(record.with_suffix(".claim"), 2, 100, Unwatched()).acquire())
    process.start()
    process.join()
    assert len(claims(tmp_path)) == 1
    assert run.main(tiny(tmp_path, "trials=1", "method=l2rw", "trainer.steps=2")) == 0
    assert not claims(tmp_path)
