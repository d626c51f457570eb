"""The cost of methods: a file of one format, steps of every phase as in training, errors for invalid input."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.speed import cost
from benchmark.speed.__main__ import main
from benchmark.speed.measure import Effort, Work
from methods.base import View
from methods.s_model import SModel

Measured = tuple[dict[str, Any], str, str]
TINY = ["--rounds", "2", "--repeats", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The file of a run on two methods and one that cannot train, over an older file; and what the command printed."""
    path = tmp_path_factory.mktemp("cost") / "cost.json"
    path.write_text(json.dumps({"schema": 1, "entries": [{"method": "older"}], "note": "n" * 10_000}))
    methods = ["--methods", "reed:beta=0.5", "l2rw", "--overrides", "split.clean_per_class=0", "data_dir=elsewhere"]
    with redirect_stdout(io.StringIO()) as message, redirect_stderr(io.StringIO()) as errors:
        assert main(["cost", *methods, *TINY, "--output", str(path)]) == 0
    return json.loads(path.read_text()), message.getvalue(), errors.getvalue()


def test_a_run_writes_an_entry_for_each_method_over_the_older_file(tiny: Measured) -> None:
    found, _, _ = tiny
    assert found.keys() == {"schema", "environment", "entries"}
    assert found["schema"] == 1
    assert [[entry["method"], entry["model"], entry["dataset"]] for entry in found["entries"]] == [
        ["baseline", "convnet", "digits"],
        ["reed:beta=0.5", "convnet", "digits"],
    ]


def test_an_entry_has_positive_finite_numbers_with_quartiles_in_order(tiny: Measured) -> None:
    for entry in tiny[0]["entries"]:
        assert entry.keys() == {"method", "model", "dataset", "relative_seconds", "low", "high", "peak_memory"}
        assert 0 < entry["low"] <= entry["relative_seconds"] <= entry["high"] < math.inf
        assert 10 < entry["peak_memory"] < 10_000  # MiB, for Python with torch


def test_the_file_says_where_and_how_it_was_measured(tiny: Measured) -> None:
    environment = tiny[0]["environment"]
    assert environment.keys() == {"device", "threads", "python", "versions", "revision", "overrides", "rounds", "repeats", "date"}
    assert environment["overrides"] == ["split.clean_per_class=0"]  # not the folder
    assert [environment[name] for name in ("threads", "rounds", "repeats")] == [1, 2, 1]
    assert date.fromisoformat(environment["date"]) <= date.today()


def test_the_table_has_a_row_for_each_entry(tiny: Measured) -> None:
    found, message, _ = tiny
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in message.splitlines() if "| digits" in line]
    assert [row[0] for row in rows] == [entry["method"] for entry in found["entries"]]
    assert [float(row[3]) for row in rows] == [pytest.approx(entry["relative_seconds"], abs=1e-3) for entry in found["entries"]]


def test_a_method_that_cannot_train_is_left_out_with_one_line(tiny: Measured) -> None:
    assert tiny[2].count("is left out") == 1
    assert "l2rw is left out: L2RW needs a clean set" in tiny[2]


def test_the_ratio_of_a_method_is_the_mean_over_its_phases_weighted_by_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([np.array([[1.0, 2.0], [2.0, 2.0]]), np.array([[1.0, 4.0], [1.0, 8.0]])])  # (rounds, contenders) of each phase
    monkeypatch.setattr(cost, "interleaved", lambda *_, **__: next(seconds))
    overrides = ["method=baseline_ft", "trainer.steps=300", "trainer.finetune.share=0.3333"]  # 300 and 100
    assert cost.relative_seconds(overrides, 2, 1) == pytest.approx([(3 * 2 + 1 * 4) / 4, (3 * 1 + 1 * 8) / 4])


def test_a_phase_begins_as_in_training_after_steps_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    begin = SModel._take_confusion

    def noted(self: SModel, view: View) -> None:
        order.append("before")
        begin(self, view)

    def once(contenders: list[Work], effort: Effort, settle: float) -> np.ndarray:
        order.append("steps")
        for work in contenders:
            work()
        return np.ones((effort.rounds, len(contenders)))

    monkeypatch.setattr(SModel, "_take_confusion", noted)
    monkeypatch.setattr(cost, "interleaved", once)
    assert cost.relative_seconds(["method=s_model_conf_ft"], 1, 1) == [1.0]
    assert order == ["steps", "before", "steps", "steps"]


def test_all_choices_of_method_are_measured_unless_some_are_named() -> None:
    labels = [cell.label for cell in cost._grid(Effort((), torch.device("cpu"), 1, 1))]
    assert labels[0] == "baseline"
    assert {"l2rw", "reed_soft", "baseline_es_ft", "s_model_conf", "mentornet_dd"} < set(labels)
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--methods", "reeed"], "no method 'reeed'; nearest: reed"),
        (["--overrides", "model=lenett"], "no model 'lenett'; nearest: lenet"),
        (["--overrides", "noise=bgflip,uniflip"], "more than once: sweep only model and dataset"),
        (["--output", f"{__file__}/cost.json"], f"cannot write {__file__}/cost.json: "),
        (["--output", "results"], "cannot write results: Is a directory"),
    ],
)
def test_nonsense_is_refused_in_a_sentence_before_anything_is_measured(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_in_fresh_process", None)
    assert main(["cost", "--methods", "baseline", *arguments]) == 2
    message = capsys.readouterr().err
    assert error in message
    assert message.count("\n") == 1
