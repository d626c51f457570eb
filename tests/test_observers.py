"""Observers receive all events of a trial, and they cannot change a number or stop training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT, run, trial
from benchmark.config import Cell, cells
from benchmark.observers import Observer, finding, sending
from benchmark.training.trainer import Interrupted
from tests.conftest import DieAt, StopAt, records, tiny_in, untimed

DOCS = (ROOT / "docs" / "observers.md").read_text(encoding="utf-8")


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "processes=1", "trainer.steps=12", "trainer.evaluate_every=5", "trials=1", "method=l2rw", *overrides)


def cell_of(directory: Path, *overrides: str) -> Cell:
    (cell,) = cells(tiny(directory, *overrides))
    return cell


class Received(Observer):
    """Remembers all of it."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.steps: list[int] = []
        self.metrics: list[Mapping[str, float]] = []
        self.ends: list[Any] = []

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        self.starts.append(step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append(step)
        self.metrics.append(metrics)

    def ended(self, record: Mapping[str, Any] | None) -> None:
        self.ends.append(record)


class Stop(StopAt):
    def evaluated(self, metrics: Mapping[str, float]) -> None: ...


class Die(DieAt):
    def evaluated(self, metrics: Mapping[str, float]) -> None: ...


def turns(cell: Cell, observer: Observer, listener: Stop | Die | None = None) -> None:
    """Train the trial, until the listener stops it."""
    try:
        for _ in trial.in_turns(cell, 0, listener or Stop(10**6), observer):
            pass
    except (Interrupted, KeyboardInterrupt):
        pass


# --- what they hear


def test_an_observer_hears_each_evaluation_as_the_record_has_it_and_the_record(tmp_path: Path) -> None:
    received = Received()
    turns(cell_of(tmp_path, "method=finetune"), received)
    (record,) = records(tmp_path)
    assert (received.starts, received.steps) == ([0], [5, 10, 12, 13])  # the last one belongs to the second phase, which has a single step
    assert [each["test_accuracy"] for each in received.metrics] == record["history"]["test_accuracy"]
    assert received.metrics[-1] == {**received.metrics[-1], **record["metrics"]}
    (values,) = received.ends
    assert json.loads(json.dumps(values)) == {name: value for name, value in record.items() if name != "path"}


def test_a_trial_that_goes_on_says_from_which_step_and_repeats_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "checkpoint_seconds=1000")
    calm, first, killed, last = Received(), Received(), Received(), Received()
    turns(cell_of(tmp_path / "calm"), calm)
    turns(cell, first, Stop(7))
    turns(cell, killed, Die(11))
    turns(cell, last)
    assert [each.starts for each in (first, killed, last)] == [[0], [7], [7]]
    assert [each.steps for each in (first, killed, last)] == [[5], [10], [10, 12]]
    assert first.metrics + last.metrics == calm.metrics
    assert killed.metrics == calm.metrics[1:2]


def test_a_trial_that_diverges_is_heard_of_without_the_metrics_that_it_has_not(tmp_path: Path) -> None:
    received = Received()
    turns(cell_of(tmp_path, "trainer.lr=1e30", "method=baseline"), received)
    assert received.ends[0]["status"] == "diverged"
    assert len(received.metrics) == len(received.ends[0]["history"]["step"])
    assert "test_accuracy" not in received.metrics[-1]


def test_observers_are_no_part_of_a_cell(tmp_path: Path) -> None:
    plain, observed = cell_of(tmp_path), cell_of(tmp_path, "observers=[tensorboard]")
    assert (plain.key, plain.determining_overrides) == (observed.key, observed.determining_overrides)


# --- the commands


KEEPER = """
import json, pathlib

class Keeper:
    def started(self, config, key, seed, path, step):
        self.file = path.with_suffix(".events")
        self.note("started", key, seed, step)
    def note(self, *values):
        with self.file.open("a") as file:
            file.write(json.dumps(values) + "\\n")
    def evaluated(self, step, metrics):
        self.note("evaluated", step, metrics["test_accuracy"])
    def ended(self, record):
        self.note("ended", record and record["metrics"]["test_accuracy"])
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(ROOT)
    return folder


def noted(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_trial_of_several_processes_has_an_observer_of_its_own(modules: Path, tmp_path: Path) -> None:
    (modules / "keeper.py").write_text(KEEPER)
    assert run.main(tiny(tmp_path, "observers=[keeper:Keeper]", "processes=2", "trials=2", "side_by_side=2")) == 0
    for record in records(tmp_path):
        history = zip(record["history"]["step"], record["history"]["test_accuracy"], strict=True)
        wanted = [["started", record["key"], record["seed"], 0], *(["evaluated", *each] for each in history)]
        assert noted(Path(record["path"]).with_suffix(".events")) == [*wanted, ["ended", record["metrics"]["test_accuracy"]]]


def test_a_trial_that_fails_ends_without_a_record(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "keeper.py").write_text(KEEPER)
    monkeypatch.setattr(trial, "_keep", lambda *_: 1 / 0)
    assert run.main(tiny(tmp_path, "observers=[keeper:Keeper]")) == 1
    (file,) = tmp_path.rglob("*.events")
    assert noted(file)[-1] == ["ended", None]


HOSTILE = """
import os, random, sys, time
import numpy, torch

class Meddles:
    def _meddle(self, *given):
        for each in given:
            if isinstance(each, dict):
                for value in each.values():
                    if isinstance(value, dict):
                        value.clear()
                each.clear()
        torch.manual_seed(1); numpy.random.seed(1); random.seed(1)
        torch.set_num_threads(2); torch.set_grad_enabled(False); torch.set_default_dtype(torch.float64)
        os.chdir("/"); os.environ.clear(); sys.path.clear()
        sys.stdout.close(); os.closerange(0, 100)
    def started(self, config, key, seed, path, step): self._meddle(config)
    def evaluated(self, step, metrics): self._meddle(metrics)
    def ended(self, record): self._meddle(record)

class Raises:
    def evaluated(self, step, metrics): raise ValueError("I do not like\\nit")

class Exits:
    def started(self, *given): sys.exit("good bye")

class CannotBeMade:
    def __init__(self): raise KeyboardInterrupt

class Unspeakable:
    def ended(self, record):
        class Odd(BaseException):
            def __str__(self): raise RuntimeError
        raise Odd

class Dies:
    def evaluated(self, step, metrics): os._exit(3)

class Hangs:
    def evaluated(self, step, metrics): time.sleep(1000)
"""
SAID = {
    "Meddles": "",
    "Raises": "observer 'hostile:Raises' is off for {record}: ValueError: I do not like ({file}:22)",
    "Exits": "observer 'hostile:Exits' is off for {record}: SystemExit: good bye ({file}:25)",
    "CannotBeMade": "observer 'hostile:CannotBeMade' is off for {record}: KeyboardInterrupt ({file}:28)",
    "Unspeakable": "observer 'hostile:Unspeakable' is off for {record}: Odd ({file}:34)",
    "Dies": "the process of the observers ended with status 3; training continued without them",
    "Hangs": "observers did not finish within 5 s after training and were stopped",
    "Gone": "observer 'hostile:Gone' is off: AttributeError: module 'hostile' has no attribute 'Gone'",
}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict[str, Any]]:
    """The record without observers."""
    directory = tmp_path_factory.mktemp("calm")
    assert run.main(tiny(directory)) == 0
    return untimed(directory)


@pytest.mark.parametrize("name", SAID)
def test_nothing_that_an_observer_does_changes_a_number_or_stops_training(
    name: str,
    calm: dict[tuple[str, int], dict[str, Any]],
    modules: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (modules / "hostile.py").write_text(HOSTILE)
    monkeypatch.setattr(sending, "PATIENCE", 5.0 if name == "Hangs" else 60.0)
    assert run.main(tiny(tmp_path, f"observers=[hostile:{name}]")) == 0
    assert untimed(tmp_path) == calm
    (record,) = (tmp_path / "results").rglob("seed-0.json")
    lines = [line for line in capfd.readouterr().err.splitlines() if "observer" in line]
    wanted = SAID[name].format(record=record, file=modules / "hostile.py")
    assert [line[line.index(wanted[:8]) :].startswith(wanted) for line in lines] == ([True] if wanted else [])


def test_an_observer_that_raises_is_off_for_its_trial_and_the_others_hear_on(
    modules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (modules / "hostile.py").write_text(HOSTILE)
    (modules / "keeper.py").write_text(KEEPER)
    assert run.main(tiny(tmp_path, "observers=[hostile:Raises,keeper:Keeper]", "trials=2")) == 0
    assert capfd.readouterr().err.count("observer 'hostile:Raises' is off for") == 2  # once for each trial
    assert [noted(file)[-1][0] for file in tmp_path.rglob("*.events")] == ["ended", "ended"]


def test_training_goes_on_where_no_process_for_observers_can_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(sending.Observers, "_started", none)
    assert run.main(tiny(tmp_path, "observers=[tensorboard]")) == 0
    assert "observers are off, because their process cannot start: [Errno 12] Cannot allocate memory" in capsys.readouterr().err


# --- names


def test_a_name_that_no_observer_has_is_an_error_with_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.main(tiny(tmp_path, "observers=[tensorbord]")) == 2
    assert "no observer 'tensorbord'; nearest: tensorboard" in capsys.readouterr().err
    monkeypatch.setattr(finding, "find_spec", lambda name: None)
    assert run.main(tiny(tmp_path, "observers=[tensorboard]")) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_an_entry_point_gives_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EntryPoint("mine", "benchmark.observers:Observer", finding.ENTRY_POINTS)
    monkeypatch.setattr(finding, "entry_points", lambda group: EntryPoints([mine]).select(group=group))
    finding.check(["mine"])
    assert finding.load("mine") is Observer


# --- TensorBoard, W&B, MLflow


def curve(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_one_curve_of_a_trial_that_was_stopped_and_killed(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("benchmark.observers.tensorboard")
    cell = cell_of(tmp_path, "checkpoint_seconds=1000")
    for listener in (Stop(7), Die(11), None):
        turns(cell, tensorboard.TensorBoard(), listener)
    (record,) = records(tmp_path)  # no other file is taken for one
    shown = curve(Path(record["path"]).with_suffix(".tensorboard"))
    assert shown.keys() == record["history"].keys() - {"phase", "step"}
    wanted = list(zip(record["history"]["step"], record["history"]["test_accuracy"], strict=True))
    assert shown["test_accuracy"] == [(step, pytest.approx(value)) for step, value in wanted]


def test_tensorboard_writes_beside_the_record_in_a_whole_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert run.main(tiny(tmp_path, "observers=[tensorboard]")) == 0
    (record,) = records(tmp_path)
    assert [step for step, _ in curve(Path(record["path"]).with_suffix(".tensorboard"))["train_loss"]] == [5, 10, 12]


WANDB = """
import json, os
def note(*values):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps(values) + "\\n")
class Summary:
    def update(self, values): note("summary", values["status"], values["test_accuracy"])
class Run:
    summary = Summary()
    def log(self, data, step=None, commit=None): note("log", step, data["test_accuracy"])
    def finish(self, exit_code=None, quiet=None): note("finish", exit_code)
def init(entity=None, project=None, *, id=None, name=None, group=None, config=None, resume=None, reinit=None):
    note("init", id, resume)
    return Run()
"""
MLFLOW = """
from types import SimpleNamespace
from wandb import note
class MlflowClient:
    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        note("init", tags["key"] + "-0", "allow")
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    def log_dict(self, run_id, dictionary, artifact_file): assert dictionary["method"]["name"] == "l2rw"
    def log_metric(self, run_id, key, value, timestamp=None, step=None):
        if key == "test_accuracy":
            note("log", step, value)
    def set_terminated(self, run_id, status=None, end_time=None): note("finish", 0 if status == "FINISHED" else 1)
"""


@pytest.fixture
def documented(modules: Path) -> Iterator[Path]:
    """The modules of the page, and stand-ins for the packages that they use."""
    (modules / "wandb.py").write_text(WANDB)
    (modules / "mlflow.py").write_text(MLFLOW)
    blocks = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    for name in ("wandb", "mlflow"):
        (block,) = [block for block in blocks if f"import {name}" in block or f"from {name}" in block]
        (modules / f"my_{name}.py").write_text(block)
    return modules


@pytest.mark.parametrize("name", ["my_wandb:WandB", "my_mlflow:MLflow"])
def test_the_observers_of_the_docs_hand_all_on(
    name: str, documented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert f"observers=[{name}]" in DOCS
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    assert run.main(tiny(tmp_path, f"observers=[{name}]")) == 0
    assert "is off" not in capfd.readouterr().err
    (record,) = records(tmp_path)
    calls = [each for each in noted(tmp_path / "notes") if each[0] != "summary"]
    evaluations = zip(record["history"]["step"], record["history"]["test_accuracy"], strict=True)
    assert calls == [["init", f"{record['key']}-0", "allow"], *(["log", *each] for each in evaluations), ["finish", 0]]
    if name.startswith("my_wandb"):
        assert ["summary", "done", record["metrics"]["test_accuracy"]] in noted(tmp_path / "notes")


def test_the_class_of_the_docs_is_a_whole_observer(modules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if "class Printed" in block]
    (modules / "printed.py").write_text(block)
    assert run.main(tiny(tmp_path, "observers=[printed:Printed]")) == 0
    printed = capfd.readouterr().err
    assert "l2rw seed 0 starts at step 0\n" in printed
    assert printed.count("test accuracy 0.") == 3
    assert "done\n" in printed
