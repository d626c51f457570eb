"""The suite from Python: grids and records as data frames, methods of a notebook, and the effect on the surrounding process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import benchmark.api
import robust_benchmark
from benchmark import ROOT
from methods import registry
from methods.baseline import Baseline
from methods.registry import register
from robust_benchmark import UserError, imports
from tests.conftest import tiny_in


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "trainer.steps=4", "trials=2", "method=baseline", *overrides)


def of_notebook(name: str, loss: Callable[[Baseline, torch.Tensor], torch.Tensor] = lambda _, loss: loss) -> type[Baseline]:
    """A method as a notebook defines it; `loss` changes the mean cross-entropy."""

    def changed(self: Baseline, batch: robust_benchmark.Batch) -> torch.Tensor:
        return loss(self, Baseline.loss(self, batch))

    return type(name, (Baseline,), {"__module__": "__main__", "__qualname__": name, "loss": changed, "__doc__": "Of a notebook."})


pytestmark = pytest.mark.usefixtures("no_method_stays")


# --- grids


def test_run_grid_trains_what_is_missing_and_gives_a_row_for_each_trial_with_its_records_numbers(tmp_path: Path) -> None:
    overrides = tiny(tmp_path, "method=baseline,reed", "noise.rate=0,0.4")
    trials = robust_benchmark.run_grid(*overrides)
    assert len(trials) == 8
    assert set(trials["status"]) == {"done"}
    assert sorted(set(zip(trials["method"], trials["noise.rate"], trials["seed"], strict=True))) == [
        (method, rate, seed) for method in ("baseline", "reed") for rate in (0, 0.4) for seed in (0, 1)
    ]
    for trial in trials.to_dict("records"):
        record = json.loads(Path(trial["path"]).read_text())
        assert trial["test_accuracy"] == record["metrics"]["test_accuracy"]
        assert (trial["key"], trial["seed"], trial["trainer.steps"]) == (record["key"], record["seed"], 4)
    assert trials[trials["method"] == "reed"]["method.beta"].tolist() == [0.8] * 4
    assert trials[trials["method"] == "baseline"]["method.beta"].isna().all()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    pd.testing.assert_frame_equal(robust_benchmark.run_grid(*overrides), trials)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written


def test_a_method_of_a_notebook_trains_and_one_that_fails_is_a_row_and_stops_no_other(tmp_path: Path) -> None:
    def crack(*_: object) -> torch.Tensor:
        raise RuntimeError("cracked on purpose")

    register("cracked")(of_notebook("Cracked", crack))
    register("mine")(of_notebook("Mine"))
    trials = robust_benchmark.run_grid(*tiny(tmp_path, "method=cracked,mine", "trials=1"))
    assert trials[["method", "status"]].to_numpy().tolist() == [["cracked", "failed"], ["mine", "done"]]
    assert trials["test_accuracy"].isna().tolist() == [True, False]
    assert json.loads(Path(trials["path"][0]).read_text())["error"] == "RuntimeError: cracked on purpose"
    assert trials["noise.rate"].tolist() == [0.4, 0.4]
    assert robust_benchmark.load(tmp_path / "results")["method"].tolist() == ["mine"]


def test_a_trial_that_is_under_way_elsewhere_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark.api, "complete", lambda *_: ({}, [], 0))
    trials = robust_benchmark.run_grid(*tiny(tmp_path, "method=baseline_ft"))
    assert trials["status"].tolist() == ["missing"] * 2
    assert trials["sees"].tolist() == ["noisy labels + clean set"] * 2


def test_ctrl_c_is_a_keyboard_interrupt_and_the_same_call_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts = [signal.SIGINT]

    def interrupt(_: Baseline, loss: torch.Tensor) -> torch.Tensor:
        if interrupts:
            signal.raise_signal(interrupts.pop())
        return loss

    register("interrupted")(of_notebook("Interrupted", interrupt))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook
    try:
        with pytest.raises(KeyboardInterrupt):
            robust_benchmark.run_grid(*tiny(tmp_path, "method=interrupted", "processes=1"))  # the signal comes here
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.rglob("seed-0.pt"))
    assert robust_benchmark.run_grid(*tiny(tmp_path, "method=interrupted"))["status"].tolist() == ["done"] * 2


def test_a_mistake_is_a_user_error_and_nothing_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no method 'reeed'; nearest: reed"):
        robust_benchmark.run_grid(*tiny(tmp_path, "method=reeed"))
    register("mine")(of_notebook("Mine"))
    with pytest.raises(UserError, match=r"^method 'mine' is defined in __main__, where a launcher's processes cannot import it"):
        robust_benchmark.run_grid(*tiny(tmp_path, "method=early_stopping", "method.base=mine", "launcher=local"))
    assert not list(tmp_path.iterdir())


def test_another_thread_gets_the_error_that_it_cannot_train(tmp_path: Path) -> None:
    said: list[UserError] = []

    def train() -> None:
        with pytest.raises(UserError) as error:
            robust_benchmark.run_grid(*tiny(tmp_path))
        said.append(error.value)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert "main thread" in str(said[0])


# --- records


def test_load_gives_the_shipped_table_s_numbers() -> None:
    trials = robust_benchmark.load(ROOT / "results" / "reference" / "digits")
    ours = trials[(trials["noise.rate"] == 0.4) & trials["noise.background"].isna()].groupby(["method", "noise"])["test_accuracy"].mean()
    lines = (ROOT / "results" / "tables" / "digits.md").read_text(encoding="utf-8").splitlines()
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines if "±" in line and line.startswith("|")]
    rows = [row for row in rows if row[1].isidentifier()]
    assert len(rows) >= 8
    for _, method, *cells in rows:
        shown = [float(cell.strip("*").partition(" ")[0]) for cell in cells[::2]]  # at the last step, which stands before noisy validation
        assert [100 * ours[method, noise] for noise in ("bgflip", "uniflip")] == pytest.approx(shown, abs=0.0051)


def test_load_warns_of_what_cannot_be_read_and_leaves_it_out(tmp_path: Path) -> None:
    robust_benchmark.run_grid(*tiny(tmp_path, "trials=1"))
    (record,) = (tmp_path / "results").rglob("*.json")
    for seed in range(1, 6):
        (record.parent / f"seed-{seed}.json").write_text("{")
    with pytest.warns(UserWarning, match="read") as warned:
        trials = robust_benchmark.load(tmp_path / "results")
    assert trials["path"].tolist() == [str(record)]
    assert len(warned) == 4
    assert "seed-1.json cannot be read" in str(warned[0].message)
    assert str(warned[3].message).startswith("2 more records under")
    assert {warning.filename for warning in warned} == {__file__}


def test_load_knows_a_directory_without_records_from_none(tmp_path: Path) -> None:
    assert len(robust_benchmark.load(tmp_path)) == 0
    assert {"method", "noise", "seed", "status", "path"} <= set(robust_benchmark.load(tmp_path).columns)
    with pytest.raises(UserError, match=r"^no results directory .*none$"):
        robust_benchmark.load(tmp_path / "none")


# --- the process around it


@pytest.mark.parametrize("package", imports.PACKAGES)
def test_where_another_package_has_the_name_a_sentence_says_so(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, ModuleType(package))
    for use in (lambda: robust_benchmark.run_grid("method=reed"), lambda: robust_benchmark.Method):
        with pytest.raises(UserError, match=rf"^this process has imported another package '{package}'.*robust_benchmark run"):
            use()


def test_processes_started_meanwhile_find_the_suite_first_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    before = dict(os.environ)
    with imports.for_children():
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/theirs"]
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert sys.path == [str(ROOT), "/elsewhere"]
    assert dict(os.environ) == before
    assert sys.path == ["/elsewhere"]


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    assert issubclass(registry.get("reed"), robust_benchmark.Method)
    with pytest.raises(AttributeError, match="has no attribute 'methd'"):
        robust_benchmark.methd  # type: ignore[attr-defined]  # noqa: B018
