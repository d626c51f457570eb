"""Isolation: for any exception in the code of one cell, the other cells of its grid are trained and recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmark import ROOT, folders, prepare, run
from benchmark.records.claims import Claim, read_claim
from benchmark.records.failures import read_failure
from benchmark.signals import stopping_on_signals
from benchmark.training.trainer import Unwatched
from methods.base import Batch
from methods.baseline import Baseline
from methods.registry import register
from tests.conftest import records, tiny_in

pytestmark = pytest.mark.usefixtures("no_method_stays")


class Stranger(BaseException):
    """An exception that is not an Exception."""


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "processes=1", "trainer.steps=3", "trials=1", "method=baseline", *overrides)


def errors(directory: Path) -> dict[str, str]:
    """The errors of the failures, by the folder of the cell without its key."""
    notes = {path.parent: read_failure(path) for path in (directory / "results").rglob("*.failure")}
    return {folder.name.rpartition("-")[0]: note.error for folder, note in notes.items() if note}


def recurse() -> None:
    recurse()


def leave() -> None:
    sys.exit("good bye")


def raising(error: BaseException) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


CLASSES = {
    "oserror": (raising(FileNotFoundError(2, "gone", "data.bin")), "FileNotFoundError: [Errno 2] gone: 'data.bin'"),
    "exit": (leave, "SystemExit: good bye"),
    "recursion": (recurse, "RecursionError: maximum recursion depth exceeded"),
    "memory": (raising(MemoryError()), "MemoryError"),
    "stranger": (raising(Stranger("odd")), f"{__name__}.Stranger: odd"),
    "stop": (raising(StopIteration()), "RuntimeError: generator raised StopIteration"),
}


def test_an_exception_of_any_class_fails_its_trial_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (action, _) in CLASSES.items():

        def loss(self: Baseline, batch: Batch, action: Callable[[], None] = action) -> torch.Tensor:
            action()
            return Baseline.loss(self, batch)

        register(name)(type(name, (Baseline,), {"__module__": "__main__", "loss": loss, "__doc__": "Raises."}))
    assert run.main(tiny(tmp_path, f"method={','.join(CLASSES)},baseline")) == 1
    assert [record["method"] for record in records(tmp_path)] == ["baseline"]
    found = errors(tmp_path)
    assert found.keys() == CLASSES.keys()
    assert all(found[name].startswith(error) for name, (_, error) in CLASSES.items()), found
    assert "1 of 7 trials are in" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.claim"))


@pytest.mark.parametrize("width", [1, 2])
def test_wherever_a_method_raises_its_trial_fails_alone(width: int, tmp_path: Path) -> None:
    places = ("phases", "setup", "predict", "loss")
    for name in places:
        members = {"__module__": "__main__", "__doc__": "Raises.", name: lambda *_, **__: 1 / 0}
        register(f"in_{name}")(type(name, (Baseline,), members))
    grid = tiny(tmp_path, f"method={','.join(f'in_{name}' for name in places)},baseline", f"side_by_side={width}")
    assert run.main(grid) == 1
    assert [record["method"] for record in records(tmp_path)] == ["baseline"]
    assert errors(tmp_path) == {f"in_{name}": "ZeroDivisionError: division by zero" for name in places}


CODE = """
import sys
from datasets.noise import UniformFlip

class Breaks(UniformFlip):
    def __init__(self, when):
        super().__init__(0.2)
        self.when = when
        if when == "made":
            raise KeyError("made")

    def __getattribute__(self, name):
        if name in ("corrupt", "__call__", "transition", "matrix") and self.when == "used":
            sys.exit("used")
        return super().__getattribute__(name)

def no_data():
    raise PermissionError(13, "not yours", "/their/data")
"""
NOISE = "name: {name}\n_target_: brokenlab.Breaks\nwhen: {name}\n"
DATASET = "# @package _global_\ndataset:\n  name: locked\n  source: {_target_: brokenlab.no_data}\n  preprocessing: {pad: 0}\n"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices noise=made, noise=used and dataset=locked, whose code raises."""
    (tmp_path / "brokenlab.py").write_text(CODE)
    for file, text in {
        "noise/made.yaml": NOISE.format(name="made"),
        "noise/used.yaml": NOISE.format(name="used"),
        "dataset/locked.yaml": DATASET,
    }.items():
        (tmp_path / "conf" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / file).write_text(text)
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "conf"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brokenlab", raising=False)


@pytest.mark.usefixtures("broken")
def test_data_that_cannot_be_prepared_fails_the_trials_of_its_cell_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path, "noise=made,used,none", "trials=2")) == 1
    assert [(record["config"]["noise"]["name"], record["seed"]) for record in records(tmp_path)] == [("none", 0), ("none", 1)]
    notes = {path.parent.parent.name: read_failure(path) for path in sorted((tmp_path / "results").rglob("seed-1.failure"))}
    assert notes["used"] is not None
    assert notes["used"].error == "SystemExit: used"
    assert notes["made"] is not None
    assert notes["made"].error.endswith("brokenlab.Breaks: KeyError: 'made'")
    printed = capsys.readouterr()
    assert "2 of 6 trials are in" in printed.out
    assert printed.err.count("\nfailed: baseline") == 4
    assert run.main(tiny(tmp_path, "noise=none,made", "trials=2")) == 2  # where nothing else is left to train it is printed at once
    assert errors(tmp_path).keys() == {"baseline"}


@pytest.mark.usefixtures("broken")
def test_prepare_says_what_breaks_once_and_prepares_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["method=baseline,reed", "dataset=locked,digits", "model=mlp", "noise=used,uniflip"]) == 2
    printed = capsys.readouterr()
    assert "noise uniflip rate=0.4" in printed.out
    first, second = printed.err.splitlines()
    assert first.startswith("error: dataset=locked (")
    assert first.endswith("brokenlab.no_data: PermissionError: [Errno 13] not yours: '/their/data'")
    assert second == "error: SystemExit: used"


def test_a_note_of_a_failure_has_its_traceback(tmp_path: Path) -> None:
    register("in_loss")(type("in_loss", (Baseline,), {"__module__": "__main__", "__doc__": "Raises.", "loss": lambda *_: 1 / 0}))
    assert run.main(tiny(tmp_path, "method=in_loss")) == 1
    (note,) = (tmp_path / "results").rglob("*.failure")
    assert any("test_isolation.py" in line for line in json.loads(note.read_text())["traceback"])


@pytest.mark.parametrize(("count", "restart"), [("", 0), ("abc", 0), ("-1", 0), ("1.5", 0), ("3", 3)])
def test_nonsense_in_the_variables_of_slurm_is_no_restart(
    count: str, restart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    claim = Claim(tmp_path / "seed-0.claim", 1, 2.0, Unwatched())
    assert claim.acquire()
    holder = read_claim(claim.path)
    assert holder is not None
    assert holder.restart == restart


def test_the_first_signal_asks_to_stop_a_second_hangup_changes_nothing_and_nohup_stays() -> None:
    bar = SimpleNamespace(stopped_by=0)
    with stopping_on_signals(bar):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
    assert bar.stopped_by == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals(SimpleNamespace(stopped_by=0)):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_backend_that_matplotlib_does_not_know_hinders_no_figure() -> None:
    script = "import benchmark.analysis.figures.canvas, matplotlib; print(matplotlib.get_backend())"
    variables = os.environ | {"MPLBACKEND": "nonsense"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.strip().lower() == "agg", done.stderr
