"""An experiment's claims on the order of methods and the gaps between them, held against records."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark import report
from benchmark.analysis.experiment import Found
from benchmark.analysis.paper_claims import Claim, claims_of, judge, render
from benchmark.config import cells
from benchmark.identity import identity
from benchmark.records.store import Record, Store
from robust_benchmark.errors import UserError
from tests.test_experiment import grid, recorded, runs, wanted

ROWS: dict[str, Any] = {"l2rw": {"name": "L2RW"}, "reed": {"name": "Reed"}}
GOOD, POOR = [0.90, 0.91, 0.93, 0.92], [0.80, 0.82, 0.82, 0.81]


def found(row: str, accuracies: Sequence[float | None], scale: float = 1.0, **options: Any) -> Found:
    return Found(wanted(row, len(accuracies), **options), runs(accuracies, row, **options), scale)


def findings(claim: Claim, *given: Found) -> list[str]:
    return [each.finding for each in judge([claim], given, ROWS)]


@pytest.mark.parametrize(("by", "finding"), [(0, "holds"), (5, "holds"), (10, "undecided"), (20, "does not hold"), (-50, "holds")])
def test_a_claim_holds_where_the_paired_interval_lies_above_its_gap(by: float, finding: str) -> None:
    low, high = stats.t.interval(0.95, 3, *_mean_and_error(100 * (np.array(GOOD) - POOR)))
    assert {True: "holds", False: "undecided" if high >= by else "does not hold"}[low > by] == finding
    assert findings(Claim("l2rw", "reed", by), found("l2rw", GOOD), found("reed", POOR)) == [finding]


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(stats.sem(values))


def test_the_other_way_round_it_does_not_hold() -> None:
    assert findings(Claim("reed", "l2rw"), found("l2rw", GOOD), found("reed", POOR)) == ["does not hold"]


def test_too_few_equal_or_diverged_trials_decide_nothing_and_missing_ones_were_not_run() -> None:
    claim = Claim("l2rw", "reed")
    assert findings(claim, found("l2rw", GOOD[:2]), found("reed", POOR[:2])) == ["undecided"]
    assert findings(claim, found("l2rw", [*GOOD, None]), found("reed", [*POOR, 0.8])) == ["undecided, 1 diverged"]
    assert findings(claim, found("l2rw", []), found("reed", POOR)) == ["not run"]
    assert findings(claim, found("l2rw", GOOD, 0.1), found("reed", POOR)) == ["holds, reduced scale"]


def test_claims_are_judged_in_each_setting_or_in_that_of_the_claim() -> None:
    given = [found(row, values, noise__rate=rate) for rate in (0.2, 0.4) for row, values in (("l2rw", GOOD), ("reed", POOR))]
    everywhere = judge([Claim("l2rw", "reed")], given, ROWS)
    assert [(each.setting, each.claim) for each in everywhere] == [
        ("cifar10 bgflip rate=0.2", "L2RW above Reed"),
        ("cifar10 bgflip rate=0.4", "L2RW above Reed"),
    ]
    (one,) = judge([Claim("l2rw", "reed", 3, {"noise.rate": 0.4})], given, ROWS)
    assert (one.setting, one.claim) == ("cifar10 bgflip rate=0.4", "L2RW above Reed by more than 3")
    assert judge([Claim("l2rw", "reed", 3, {"noise.rate": 0.7})], given, ROWS) == []


def test_several_methods_are_claims_on_each_pair() -> None:
    claims = judge([Claim(["l2rw", "reed"], ["mine", "other"])], [found(row, GOOD) for row in ("l2rw", "reed", "mine", "other")], ROWS)
    assert [each.claim for each in claims] == ["L2RW above mine", "L2RW above other", "Reed above mine", "Reed above other"]


MISTAKES: list[tuple[Any, str]] = [
    ({"better": "l2rv", "than": "reed"}, "no method of this experiment for its claims 'l2rv'; nearest: l2rw "),
    ({"better": "l2rw"}, "a claim must be {better: METHOD, than: METHOD, by: POINTS}, not {'better': 'l2rw'}: .*than"),
    ({"better": "l2rw", "than": "reed", "buy": 3}, "a claim must be .*buy"),
    ({"better": "l2rw", "than": "reed", "by": "far"}, "a claim must be .*by"),
    ("l2rw > reed", "a claim must be "),
]


@pytest.mark.parametrize(("given", "expected"), MISTAKES)
def test_a_malformed_claim_is_one_sentence(given: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected.replace("{", r"\{").replace("}", r"\}")):
        claims_of([given], ["l2rw", "reed"])


def test_a_setting_of_an_unknown_option_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"no option for a claim's setting 'noise.rat'; nearest: noise.rate "):
        judge([Claim("l2rw", "reed", 0, {"noise.rat": 0.4})], [found("l2rw", GOOD), found("reed", POOR)], ROWS)


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_each_format_has_the_difference_the_wins_and_the_finding(form: str) -> None:
    text = render(judge([Claim("l2rw", "reed")], [found("l2rw", GOOD), found("reed", POOR)], ROWS), form)
    assert "(4 of 4)" in text
    assert "+10.25" in text
    assert "holds" in text
    assert "Of 1 claims on order and gaps: 1 hold, 0 do not hold, 0 undecided, 0 not run." in text
    assert "some of many are wrong by chance" in text


# --- the experiments


@pytest.mark.parametrize("name", ["table1", "table2", "table1_mnist", "table2_mnist", "table2_small", "fig2", "fig5", "fig5_mnist"])
def test_the_claims_of_an_experiment_are_on_its_own_methods_and_settings(name: str) -> None:
    mine = grid(f"experiment={name}")
    experiment = mine[0].config.experiment
    claims = claims_of(experiment.claims, list(experiment.rows))
    given = [Found(wanted(cell.choice, 3), [], 1.0) for cell in mine]
    given = [Found(each.wanted.__class__(cell.choice, cell.identity, cell.key, 3), [], 1.0) for each, cell in zip(given, mine, strict=True)]
    judged = judge(claims, given, experiment.rows)
    named = {row["name"] for row in experiment.rows.values()}
    pairs = {tuple(each.claim.partition(" by more than")[0].split(" above ")) for each in judged}
    assert len(judged) >= 5
    assert all({*pair} <= named for pair in pairs)


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_papers_own_numbers_bear_out_what_is_claimed_of_them(name: str) -> None:
    experiment = grid(f"experiment={name}")[0].config.experiment
    for claim, dataset in itertools.product(claims_of(experiment.claims, list(experiment.rows)), ("cifar10", "cifar100")):
        if claim.setting.get("dataset.name", dataset) == dataset:
            for one, other in claim.pairs:
                assert experiment.rows[one][dataset][0] - experiment.rows[other][dataset][0] > claim.by, (one, other, dataset)


def test_claims_are_no_part_of_what_a_cell_is() -> None:
    (cell,) = cells(["experiment=table2", "dataset=digits", "method=l2rw"])
    assert cell.config.experiment.claims
    assert "experiment" not in cell.identity
    assert identity.__module__ == "benchmark.identity"


# --- a user's own experiment

EXPERIMENT = """\
# @package _global_
# Mine
experiment:
  name: Mine
  sweep: {noise.rate: [0.2, 0.4]}
  rows:
    l2rw: {name: Ours, digits: [90.5, 1.0]}
    reed: {name: Reed, digits: [80.0, 1.0]}
  claims:
    - {better: l2rw, than: reed, by: 5}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Records of an experiment in a folder of the user's, under tmp_path/results."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(EXPERIMENT, encoding="utf-8")
    monkeypatch.setenv("ROBUST_TRAINING_CONF", os.fspath(tmp_path / "conf"))
    mine = cells(["experiment=mine", "trials=4"])
    records = [recorded(cell, accuracy, seed) for cell in mine for seed, accuracy in enumerate(GOOD if cell.choice == "l2rw" else POOR)]
    for each in records:
        Store(tmp_path / "results").write(each)
    return records


@pytest.mark.usefixtures("own")
def test_a_users_experiment_has_the_papers_column_verdicts_claims_formats_and_arrangements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(tmp_path / "results"), "experiment=mine", "trials=4"]
    shown = {}
    for form in ("text", "markdown", "latex", "csv"):
        assert report.main([*command, "--format", form]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        shown[form] = captured.out
        assert "within both intervals" in captured.out or "intervals overlap" in captured.out
    assert all("Ours above Reed by more than 5" in shown[form] for form in ("text", "markdown", "latex"))
    assert shown["text"].count("holds") >= 2
    assert report.main([*command, "--format", "parquet", "--output", str(tmp_path / "mine.parquet")]) == 0
    assert report.main([*command, "--rows", "method", "--columns", "noise.rate"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["method", "rate=0.2", "rate=0.4"]
