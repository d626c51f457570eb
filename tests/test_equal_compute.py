"""The reading at equal compute: each method stopped where it has cost as much as the whole of plain training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmark import report
from benchmark.analysis.selection import value
from benchmark.analysis.tables import render
from benchmark.metrics import METRICS
from benchmark.records.store import Record, Store
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of

STEPS = 100  # of plain training


def trial(cost: float | None, phases: dict[str, int], method: str = "reed", seed: int = 0) -> Record:
    """Evaluated every ten steps; the accuracy is a hundredth of a percent for each step so far."""
    history, before = [], 0
    for phase, steps in phases.items():
        history += [entry(step, (before + step) / 10_000, phase) for step in range(10, steps + 1, 10)]
        before += steps
    record = record_of(config_of(method__name=method, trainer__steps=STEPS), seed, history)
    return record if cost is None else record | {"metrics": record["metrics"] | {"relative_seconds": cost}, "cost": "a GPU"}


def steps_of(record: Record) -> float:
    """The steps, over all phases, after which the chosen evaluation comes."""
    return 100 * value(record, METRICS["test_accuracy"], "equal_compute")


@pytest.mark.parametrize(
    ("cost", "phases", "expected"),
    [
        (1.0, {"main": 100}, 100),
        (2.0, {"main": 100}, 50),
        (2.88, {"main": 100}, 30),  # 34.7 steps
        (0.5, {"main": 100}, 100),  # no more than there are
        (1.005, {"main": 100}, 100),  # as much, as far as costs can be measured
        (1.05, {"main": 100}, 90),
        (1.0, {"main": 100, "finetune": 50}, 100),  # stopped before the second phase
        (1.0, {"main": 60, "finetune": 30}, 90),
        (1.0, {"main": 60, "finetune": 60}, 100),  # 40 steps into the second
        (2.0, {"warm_up": 20, "main": 80}, 50),
    ],
)
def test_the_last_evaluation_within_the_cost_of_plain_training_counts_in_whichever_phase(
    cost: float, phases: dict[str, int], expected: float
) -> None:
    assert steps_of(trial(cost, phases)) == pytest.approx(expected)


@pytest.mark.parametrize("cost", [None, 11.0])
def test_without_a_cost_or_an_evaluation_in_time_a_trial_has_no_value(cost: float | None) -> None:
    assert math.isnan(steps_of(trial(cost, {"main": 100})))


def test_the_table_names_the_methods_that_it_leaves_out_and_says_what_is_unfair() -> None:
    records = [trial(2.0, {"main": 100}), trial(None, {"main": 100}, "elr"), trial(11.0, {"main": 100}, "sam")]
    text = render(records, selections=["last", "equal_compute"])
    assert "equal_compute omits elr, sam: their cost is unknown, or their first evaluation is too late." in text
    assert "stops before its later learning-rate decays" in text
    assert "Cost was measured on a GPU." in text


def test_records_without_any_cost_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^--select equal_compute needs the measured cost of these methods"):
        render([trial(None, {"main": 100})], selections=["equal_compute"])


def test_the_report_joins_the_costs_that_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        Store(tmp_path / "results").write(trial(None, {"main": 100}, seed=seed))
    cost = {"method": "reed", "model": "convnet", "dataset": "digits", "relative_seconds": 2.0}
    file = {"schema": 1, "environment": {"device": "a GPU"}, "entries": [cost]}
    (tmp_path / "cost.json").write_text(json.dumps(file), encoding="utf-8")
    command = [str(tmp_path / "results"), "--select", "equal_compute", "--cost", str(tmp_path / "cost.json"), "--format", "csv"]
    assert report.main(command) == 0
    assert "equal_compute,noisy labels,reed,digits bgflip,0.5," in capsys.readouterr().out
