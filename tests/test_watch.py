"""`benchmark.status --watch`: the progress of grids in a terminal and in a pipe, for any training process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.cells import cell_len

from benchmark import ROOT, run, status, trial, watch
from benchmark.config import cells
from benchmark.launching import look
from benchmark.launching.look import Looker, State, States
from benchmark.overview import Overview, overview
from benchmark.records.claims import Claim, read_claim
from benchmark.records.grids import Grid, GridCell
from benchmark.training.trainer import Unwatched
from benchmark.view import drawn
from tests.conftest import FORK, started, tiny_in, wait

STEPS = 100


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "processes=1", "trainer.steps=12", "trainer.evaluate_every=5", "trials=1", "method=baseline,reed", *overrides)


def grid_of(count: int, directory: Path = Path("/nowhere")) -> Grid:
    made = [GridCell(f"{n:012x}", "reed", f"digits/bgflip/reed-{n:012x}", [0, 1], STEPS, [f"noise.rate=0.{n}"]) for n in range(count)]
    return Grid(directory / "jobs" / "1a2b3c4d", directory / "results", directory / "checkpoints", 120, made)


def seen(grid: Grid, **states: list[State]) -> Overview:
    """The overview of a grid whose trials have these states, cell by cell: the first of them those of `cell0`; others are missing."""
    found: States = {}
    for n, cell in enumerate(grid.cells):
        mine = states.get(f"cell{n}", [])
        found |= {(cell.key, seed): mine[seed] if seed < len(mine) else State("missing") for seed in cell.seeds}
    return overview(grid, found)


RUNNING = State("running", "alice on node7, process 12", step=40, seconds=60.0, accuracy=0.5, live=True)  # a second a step
DONE = State("done", step=STEPS, accuracy=0.9)
FAILED = State("failed", "ZeroDivisionError: division by zero", "logs/1.out")


# --- what a grid comes to


def test_the_time_left_is_that_of_all_steps_at_the_paces_of_now_among_as_many_workers() -> None:
    slow = State("running", step=50, seconds=150.0, live=True)  # three seconds a step
    found = seen(grid_of(3), cell0=[RUNNING, State("missing")], cell1=[slow, DONE], cell2=[State("pending"), FAILED])
    waiting = STEPS * 1.0 + STEPS * (1.0 + 3.0) / 2  # the second trial of cell0 at its own pace, that of cell2 at the mean of all
    assert found.seconds == pytest.approx((60 + 150 + waiting) / 2)
    assert seen(grid_of(1), cell0=[slow, DONE]).seconds == 150.0
    assert seen(grid_of(1), cell0=[State("running", live=True)]).seconds is None


def test_a_cell_has_the_mean_accuracy_of_its_finished_trials_alone() -> None:
    (row,) = seen(grid_of(1), cell0=[DONE, RUNNING]).rows
    assert row.accuracy == 0.9
    assert seen(grid_of(1), cell0=[DONE, State("done", accuracy=0.7)]).rows[0].accuracy == pytest.approx(0.8)


# --- looking


def test_each_record_is_read_once_until_another_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.main(tiny(tmp_path)) == 0
    reads: Counter[str] = Counter()
    monkeypatch.setattr(look, "QUIET", 0)

    def counted(path: Path, *_: object, **__: object) -> dict[str, object]:
        reads[str(path)] += 1
        return {"status": "done", "metrics": {"test_accuracy": 0.5}}

    monkeypatch.setattr(look, "read_record", counted)
    grid = status._grids(tiny(tmp_path), "")[0]
    looker = Looker(grid)
    for _ in range(3):
        assert {state.accuracy for state in looker.look({}).values()} == {0.5}
    assert list(reads.values()) == [1, 1]
    first = grid.record(grid.cells[0], 0)
    first.rename(first.with_suffix(".stale"))
    assert sorted(state.kind for state in looker.look({}).values()) == ["done", "missing"]
    first.with_suffix(".stale").rename(first)
    looker.look({})
    assert reads[str(first)] == 2


def test_a_record_that_was_edited_is_a_failed_trial(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "method=reed")) == 0
    (record,) = (tmp_path / "results").rglob("seed-0.json")
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    ((state,),) = [list(Looker(grid).look({}).values()) for grid in status._grids(tiny(tmp_path, "method=reed"), "")]
    assert (state.kind, state.accuracy) == ("failed", None)
    assert "changed after it was written" in state.text


def test_a_claim_says_the_latest_accuracy_and_one_of_a_process_that_is_gone_is_no_trial_that_runs(tmp_path: Path) -> None:
    (cell,) = cells(tiny(tmp_path, "method=reed"))
    claim = Claim(trial.path(cell, 0).with_suffix(".claim"), 12, 0.4, Unwatched())
    assert claim.acquire()
    (grid,) = status._grids(tiny(tmp_path, "method=reed"), "")
    with claim:
        claim.stepped(5)
        claim.evaluated({"test_accuracy": 0.625})
        wait(lambda: (holder := read_claim(claim.path)) and holder.accuracy == 0.625)
        (state,) = Looker(grid).look({}).values()
        assert (state.kind, state.step, state.accuracy) == ("running", 5, 0.625)
        text = claim.path.read_text()
    dead = FORK.Process(target=lambda: None)
    dead.start()
    dead.join()
    claim.path.write_text(json.dumps(json.loads(text) | {"pid": dead.pid}))
    assert [state.kind for state in Looker(grid).look({}).values()] == ["missing"]


# --- lines


def test_lines_tell_each_change_of_a_state_once(capsys: pytest.CaptureFixture[str]) -> None:
    grid, lines = grid_of(2), watch.Lines()
    for states in ({"cell0": [RUNNING, DONE]}, {"cell0": [RUNNING, DONE]}, {"cell0": [DONE, DONE], "cell1": [FAILED, State("done")]}):
        lines.show([seen(grid, **states)])
    name = "reed digits/bgflip noise.rate"
    assert capsys.readouterr().out.splitlines() == [
        "grid 1a2b3c4d: 1 of 4 trials done, 1 running, 2 waiting; about 4 min 20 s left",
        f"{name}=0.0, seed 0: running: alice on node7, process 12",
        f"{name}=0.1, seed 0: failed: ZeroDivisionError: division by zero (see logs/1.out)",
        f"{name}=0.1, seed 1: diverged",
        f"{name}=0.0, seed 0: done, test accuracy 90.00 %",
        "grid 1a2b3c4d: 3 of 4 trials done, 1 failed",
    ]


def test_a_pipe_gets_lines_of_a_grid_that_a_plain_command_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tiny(tmp_path, "trials=2", "noise.rate=0.2,0.4")
    process = started(grid)
    assert status.main(["--watch", "--every", "0.1", *grid]) == 0
    process.join()
    first, *changes, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"grid \w+: \d of 8 trials done.*", first)
    assert re.fullmatch(r"grid \w+: 8 of 8 trials done", last)
    assert all(re.search(r", seed [01]: (running: .*process \d+|done, test accuracy \d+\.\d\d %)$", line) for line in changes)
    assert any("noise.rate=0.4" in line for line in changes)
    assert "\x1b" not in "".join([first, *changes, last])
    assert status.main(["--watch", *grid]) == 0  # all done: it shows that and ends
    assert capsys.readouterr().out == f"{last}\n"


def test_grids_of_a_launcher_are_watched_without_their_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([*tiny(tmp_path, "noise.rate=0.2,0.4"), "launcher=local", "launcher.processes=1", "launcher.detach=true"]) == 0
    capsys.readouterr()
    assert status.main(["--watch", "--every", "0.2", "--checkpoint-dir", str(tmp_path / "checkpoints")]) == 0
    first, *changes, last = capsys.readouterr().out.splitlines()
    assert first.partition(":")[2].startswith(" 0 of 4 trials done, 4 waiting")
    assert len([line for line in changes if re.search("noise.rate=0.[24], seed 0: done, test accuracy", line)]) == 4
    assert last.endswith(": 4 of 4 trials done")


def test_the_status_is_1_where_a_trial_failed_and_its_reason_and_log_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_keep", lambda *_: 1 / 0)
    assert run.main(tiny(tmp_path, "method=reed")) == 1
    capsys.readouterr()
    assert status.main(["--watch", *tiny(tmp_path, "method=reed")]) == 1
    (note,) = tmp_path.rglob("*.failure")
    assert f"seed 0: failed: ZeroDivisionError: division by zero (see {note})\n" in capsys.readouterr().out


def test_a_grid_that_nobody_trains_is_left_after_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    assert status.main(["--watch", "--every", "0.1", "claim_seconds=0.1", *tiny(tmp_path)]) == 0
    assert "no process trains its remaining trials" in capsys.readouterr().out


def test_what_others_wrote_gives_a_terminal_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = [State("running", "\x1b]0;mine\x07 on node", live=True), State("failed", "one\r\ntwo\x1b[2J", "log")]
    found = seen(grid_of(1), cell0=hostile)
    watch.Lines().show([found])
    for text in (capsys.readouterr().out, drawn([found], 100, 20).plain):
        assert text.replace("\n", "").isprintable()
        assert "two" in text


@pytest.mark.parametrize("every", ["0", "nan", "-1", "inf"])
def test_seconds_that_are_none_are_a_mistake(every: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--watch", f"--every={every}", *tiny(tmp_path)]) == 2
    assert f"--every {every} is not in [0.1, 86400]" in capsys.readouterr().err


# --- the view


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("grids", [1, 2, 30])
def test_the_view_fits_any_terminal(count: int, grids: int) -> None:
    found = [seen(grid_of(count), cell0=[FAILED, DONE], cell1=[RUNNING, FAILED], cell2=[DONE, DONE])] * grids
    for width, height in ((200, 50), (80, 24), (60, 15), (40, 12)):
        lines = drawn(found, width, height).plain.split("\n")
        assert len(lines) < height
        assert max(map(cell_len, lines)) <= width
        assert lines[0].startswith("grid 1a2b3c4d")
        assert lines[-1].startswith("Ctrl-C ends this view")


def test_cells_that_run_or_failed_come_first_and_the_others_are_counted() -> None:
    done = {f"cell{n}": [DONE, DONE] for n in range(30)}
    found = seen(grid_of(32), **done, cell30=[FAILED, DONE], cell31=[RUNNING, DONE])
    text = drawn([found], 120, 15).plain
    lines = text.split("\n")
    assert "noise.rate=0.31" in lines[2]
    assert re.fullmatch(r"  seed 0 +50\.00 % +40/100  40 %  1 min 0 s  alice on node7, process 12", lines[3])
    assert re.fullmatch(r"reed digits/bgflip noise.rate=0.30 +1/2 +90\.00 %", lines[4])
    assert re.search(r"\nand (\d\d) more cells: \1 done\n", text)
    assert "noise.rate=0.30, seed 0: failed: ZeroDivisionError: division by zero (see logs/1.out)" in text


def test_the_library_of_the_view_is_imported_for_the_view_alone() -> None:
    code = "import sys, benchmark.status, benchmark.watch; sys.exit('rich' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


class Terminal:
    """A terminal of 100 columns and 20 lines, in which a process runs the command. written: all that it got so far"""

    def __init__(self, arguments: list[str], **variables: str) -> None:
        self.main, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
        self.process = FORK.Process(target=self._run, args=(slave, arguments, variables))
        self.process.start()
        os.close(slave)
        self.written = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _run(self, slave: int, arguments: list[str], variables: dict[str, str]) -> None:
        os.dup2(slave, 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner in the background ignores it
        os.environ.pop("NO_COLOR", None)
        os.environ |= {"TERM": "xterm-256color", **variables}
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # the process's own, until it ends
        sys.exit(status.main(arguments))

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end of the last writer
            while more := os.read(self.main, 10_000):
                self.written += more.decode()

    def ended(self) -> int | None:
        self.process.join(60)
        self._reader.join(10)
        os.close(self.main)
        return self.process.exitcode


@pytest.fixture
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("_at_root")
def test_a_terminal_shows_a_grid_in_training_to_its_end(tmp_path: Path) -> None:
    grid = tiny(tmp_path, "trials=2")
    terminal = Terminal(["--watch", "--every", "0.1", *grid])
    wait(lambda: "0 of 4 trials done, 4 waiting" in terminal.written)
    process = started(grid)
    assert terminal.ended() == 0
    process.join()
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.written[terminal.written.rindex("grid ") :])
    assert "4 of 4 trials done" in last
    assert re.search(r"reed digits/bgflip +2/2 +\d+\.\d\d %", last)
    assert "process" in terminal.written  # who trained
    assert "\x1b[1m" in terminal.written  # bold
    assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.usefixtures("_at_root")
@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_view_and_leaves_the_terminal_in_order(number: int, wanted: int, tmp_path: Path) -> None:
    terminal = Terminal(["--watch", *tiny(tmp_path)], NO_COLOR="1")
    wait(lambda: "Ctrl-C ends this view" in terminal.written)
    time.sleep(0.1)
    assert terminal.process.pid is not None
    os.kill(terminal.process.pid, number)
    assert terminal.ended() == wanted
    assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")
    assert not re.search(r"\x1b\[3\dm", terminal.written)  # no colours


@pytest.mark.usefixtures("_at_root")
def test_a_terminal_that_knows_no_escapes_gets_lines(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path)) == 0
    terminal = Terminal(["--watch", *tiny(tmp_path)], TERM="dumb")
    assert terminal.ended() == 0
    assert re.fullmatch(r"grid \w+: 2 of 2 trials done\r\n", terminal.written)
