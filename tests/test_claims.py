"""Claims: one holder at a time for any clocks, and no claim outlives its holder for long."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from benchmark.records.claims import Claim, Observer, read_claim, remove, remove_left
from benchmark.training.trainer import Unwatched

FORK = multiprocessing.get_context("fork")
SECONDS = 0.4


def claim_of(path: Path, seconds: float = SECONDS) -> Claim:
    return Claim(path, 100, seconds, Unwatched())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell" / "seed-0.claim"


def say(path: Path, **said: object) -> None:
    """Changes what the claim says."""
    path.write_text(json.dumps(json.loads(path.read_text()) | said).ljust(1024))


def elsewhere(path: Path) -> None:
    """Change the claim to that of a process unknown on this machine."""
    say(path, machine="another", pid=1)


def taken_within(path: Path, seconds: float) -> bool:
    """Return whether an observer that checks continuously gets the claim within this number of seconds."""
    observer, end = Observer(), time.monotonic() + seconds
    while time.monotonic() < end:
        if observer.take(claim_of(path)):
            return True
        time.sleep(0.02)
    return False


def test_a_trial_has_one_holder_until_it_is_let_go(path: Path) -> None:
    first, second = claim_of(path), claim_of(path)
    assert Observer().take(first)
    with first:
        assert not Observer().take(second)
    assert Observer().take(second)


def contend(path: Path, count: int, directory: Path, finish: Barrier) -> None:
    for number in range(count):
        claim = claim_of(path.with_name(f"seed-{number}.claim"))
        if Observer().take(claim):
            (directory / f"{number}-{os.getpid()}").touch()
    finish.wait()  # a holder that ended would be gone


def test_of_many_processes_exactly_one_gets_each_claim(path: Path, tmp_path: Path) -> None:
    pid = gone()
    for number in range(0, 40, 2):  # half of them abandoned by a process that has ended
        assert claim_of(path.with_name(f"seed-{number}.claim")).acquire()
        say(path.with_name(f"seed-{number}.claim"), pid=pid)
    finish = FORK.Barrier(6)
    processes = [FORK.Process(target=contend, args=(path, 40, tmp_path, finish)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    winners = [file.name.partition("-")[0] for file in tmp_path.iterdir() if file.is_file()]
    assert sorted(winners, key=int) == sorted(set(winners), key=int) == [str(number) for number in range(40)]


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_claim_of_a_killed_process_of_this_machine_is_free_at_once(path: Path) -> None:
    process = FORK.Process(target=hold, args=(path, 60.0))
    process.start()
    while read_claim(path) is None:
        time.sleep(0.01)
    assert not taken_within(path, 0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Observer().take(claim_of(path, 1000))


def hold(path: Path, seconds: float) -> None:
    claim = claim_of(path)
    assert Observer().take(claim)
    with claim:
        time.sleep(seconds)


def test_a_claim_of_another_machine_that_stands_still_expires(path: Path) -> None:
    assert claim_of(path).acquire()
    elsewhere(path)
    assert not Observer().take(claim_of(path))
    assert taken_within(path, 10 * SECONDS)


def test_a_claim_of_another_machine_that_moves_does_not_expire(path: Path) -> None:
    claim = claim_of(path)
    assert claim.acquire()
    with claim:
        assert not taken_within(path, 3 * SECONDS)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_breaks_no_claim_and_keeps_none_alive(jump: int, path: Path) -> None:
    assert claim_of(path).acquire()
    elsewhere(path)
    moved = time.time() + jump
    os.utime(path, (moved, moved))
    observer, claim = Observer(), claim_of(path)
    assert not observer.take(claim)  # an hour old, or to come in an hour
    os.utime(path, (moved + 2 * jump, moved + 2 * jump))
    assert not observer.take(claim)
    assert observer.moved(claim)
    assert taken_within(path, 10 * SECONDS)


def test_a_holder_that_was_suspended_learns_that_it_lost_its_claim_and_leaves_the_new_one_alone(path: Path) -> None:
    late, next_one = claim_of(path), claim_of(path)
    assert late.acquire()
    holder = read_claim(path)
    assert holder is not None
    remove(path, holder.token)
    assert next_one.acquire()
    with late:
        while not late.lost:
            time.sleep(0.02)
        assert late.stopping()
    assert not next_one.lost
    assert not Observer().take(claim_of(path))


def test_a_claim_survives_its_directory_being_away_for_a_while(path: Path) -> None:
    claim = claim_of(path)
    assert claim.acquire()
    with claim:
        for back in ("whole", "empty"):
            away = path.parent.rename(path.parent.with_name("away"))
            time.sleep(SECONDS)
            if back == "whole":
                away.rename(path.parent)
            else:
                path.parent.mkdir()
            time.sleep(SECONDS)
            assert not claim.lost
            assert not Observer().take(claim_of(path))


def test_a_job_that_slurm_started_again_takes_its_own_claim_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert claim_of(path).acquire()
    elsewhere(path)
    assert not Observer().take(claim_of(path))  # another process of the same job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert Observer().take(claim_of(path))


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"token": 1}', "\0" * 1024])
def test_a_claim_that_cannot_be_read_is_held_until_it_has_stood_still(content: str, path: Path) -> None:
    path.parent.mkdir()
    path.write_text(content)
    assert not Observer().take(claim_of(path))
    assert taken_within(path, 10 * SECONDS)


def test_a_claim_reports_who_trains_and_how_far(path: Path) -> None:
    claim = claim_of(path)
    assert claim.acquire()
    with claim:
        claim.stepped(40)
        claim.stepped()
        while (holder := read_claim(path)) is None or holder.step == 0:
            time.sleep(0.02)
    assert (holder.step, holder.first, holder.steps, holder.pid) == (41, 40, 100, os.getpid())


def test_of_the_claims_beside_finished_records_those_of_processes_that_are_gone_are_removed(path: Path) -> None:
    claims = {name: path.with_name(f"seed-{name}.claim") for name in ("gone", "alive", "elsewhere", "unfinished")}
    for name, each in claims.items():
        assert claim_of(each).acquire()
        if name != "unfinished":
            each.with_suffix(".json").touch()
    for name in ("gone", "unfinished"):
        say(claims[name], pid=gone())
    elsewhere(claims["elsewhere"])
    remove_left([path.parent, path.parent / "missing"])
    assert {name for name, each in claims.items() if each.exists()} == {"alive", "elsewhere", "unfinished"}


def test_a_claim_obeys_the_umask_and_leaves_nothing(path: Path) -> None:
    before = os.umask(0o007)
    try:
        claim = claim_of(path)
        assert claim.acquire()
        assert path.stat().st_mode & 0o777 == 0o660
        assert path.parent.stat().st_mode & 0o777 == 0o770
        with claim:
            pass
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []
