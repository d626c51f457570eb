"""Marks of the best and differences to a reference, in tables of records."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark import report
from benchmark.analysis.layout import FORMATS
from benchmark.analysis.overall import overall
from benchmark.analysis.rows import rows_of
from benchmark.analysis.significance import against, best
from benchmark.analysis.statistics import holm
from benchmark.analysis.tables import render
from benchmark.metrics import METRICS, Metric
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from tests.test_tables import trials, write

ACCURACY, ERROR = METRICS["test_accuracy"], METRICS["test_error"]
GOOD, NEAR, POOR = [0.90, 0.92, 0.91, 0.93, 0.92], [0.89, 0.92, 0.905, 0.925, 0.93], [0.60, 0.64, 0.61, 0.62, 0.60]
RECORDS = [*trials("l2rw", [*GOOD]), *trials("reed", [*NEAR]), *trials("baseline", [*POOR])]


def marked(records: list[Record], metric: str = "test_accuracy") -> set[str]:
    return {method for _, method, _ in best(rows_of(records, METRICS[metric], ["last"]), METRICS[metric])}


@pytest.mark.parametrize("metric", ["test_accuracy", "test_error"])
def test_methods_that_may_be_the_best_are_marked(metric: str) -> None:
    assert marked(RECORDS, metric) == {"l2rw", "reed"}


def test_nothing_is_marked_where_all_may_be_the_best_or_two_trials_are_all() -> None:
    assert marked([*trials("l2rw", [*GOOD]), *trials("reed", [*NEAR])]) == set()
    assert marked([*trials("l2rw", GOOD[:2]), *trials("baseline", POOR[:2])]) == set()


def test_only_common_seeds_count() -> None:
    late = [record | {"seed": record["seed"] + 3} for record in trials("reed", [*NEAR])]  # two seeds in common
    assert marked([*trials("l2rw", [*GOOD]), *trials("baseline", [*POOR]), *late]) == set()


def test_a_method_with_a_diverged_trial_is_neither_marked_nor_tested() -> None:
    records = [*trials("l2rw", [*GOOD[:4], None]), *trials("reed", [*NEAR]), *trials("baseline", [*POOR])]
    assert marked(records) == {"reed"}
    (diverged,) = (each for each in against(rows_of(records, ACCURACY, ["last"]), "baseline", ACCURACY) if each.row.method == "l2rw")
    assert (diverged.difference.trials, diverged.difference.wins) == (4, 4)
    assert math.isnan(diverged.p)
    assert "(4 of 4) (1 diverged)" in render(records, reference="baseline")


def test_differences_are_paired_by_seed_and_adjusted_over_the_column() -> None:
    shuffled = [RECORDS[place] for place in np.random.default_rng(0).permutation(len(RECORDS))]
    found = {each.row.method: each for each in against(rows_of(shuffled, ACCURACY, ["last"]), "baseline", ACCURACY)}
    tests = {name: stats.ttest_rel(values, POOR) for name, values in (("l2rw", GOOD), ("reed", NEAR))}
    assert {name: each.difference.p for name, each in found.items()} == pytest.approx({name: test.pvalue for name, test in tests.items()})
    adjusted = holm([tests[name].pvalue for name in found])
    assert [each.p for each in found.values()] == pytest.approx(adjusted)
    assert found["l2rw"].difference.mean == pytest.approx(100 * (np.mean(GOOD) - np.mean(POOR)))


def test_a_smaller_error_wins() -> None:
    found = {each.row.method: each.difference for each in against(rows_of(RECORDS, ERROR, ["last"]), "baseline", ERROR)}
    assert found["l2rw"].mean == pytest.approx(-100 * (np.mean(GOOD) - np.mean(POOR)))
    assert found["l2rw"].wins == 5


def test_a_column_without_the_reference_shows_values() -> None:
    text = render([*RECORDS, *trials("reed", [*NEAR], noise__rate=0.2)], reference="baseline")
    (line,) = (line for line in text.splitlines() if "reed" in line)
    mean = 100 * np.mean(NEAR)
    assert f"{mean:.2f} ± " in line
    assert f"+{100 * (np.mean(NEAR) - np.mean(POOR)):.2f} ± " in line


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "csv"])
def test_the_caption_says_what_was_tested(form: str) -> None:
    text = render(RECORDS, form, reference="baseline")
    assert "adjusted by Holm over the column" in text
    assert (r"+30.20 & $\pm$" if form == "latex" else "+30.20 ± ") in text
    assert "(5 of 5) *" in text
    assert "may be the best of its column" in render(RECORDS, form)
    assert "may be the best" not in render(trials("reed", [*NEAR]), form)


def test_csv_has_a_row_for_each_comparison() -> None:
    rows = list(csv.DictReader(io.StringIO(render(RECORDS, "csv", reference="baseline"))))
    assert {row["method"] for row in rows} == {"l2rw", "reed"}
    assert all(float(row["p"]) <= float(row["p_holm"]) and row["wins"] == "5" for row in rows)


def test_an_unknown_reference_is_one_sentence_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no method to compare with.*'baselin'.*baseline"):
        render(RECORDS, reference="baselin")


def test_the_report_takes_a_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, RECORDS)
    assert report.main([str(tmp_path), "--reference", "baseline"]) == 0
    assert "paired differences" in capsys.readouterr().out


# --- over settings

SETTINGS = [each for rate in (0.2, 0.4) for each in (trials("reed", NEAR, noise__rate=rate), trials("baseline", POOR, noise__rate=rate))]
GRID = [record for each in SETTINGS for record in each]


def test_aggregates_over_settings_are_within_trials() -> None:
    shifted = trials("reed", [value - 0.3 for value in reversed(NEAR)], noise__rate=0.6)
    records = [*GRID, *shifted, *trials("baseline", POOR, noise__rate=0.6)]
    found, settings, seeds = overall(rows_of(records, ACCURACY, ["last"]), ACCURACY)
    means = [100 * (2 * NEAR[seed] + NEAR[4 - seed] - 0.3) / 3 for seed in range(5)]
    assert (len(settings), seeds) == (3, [0, 1, 2, 3, 4])
    (reed,) = (each for each in found if each.method == "reed")
    low, high = stats.t.interval(0.95, 4, loc=np.mean(means), scale=stats.sem(means))
    assert reed.aggregates["mean"].mean == pytest.approx(np.mean(means))
    assert reed.aggregates["mean"].half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("metric", [ACCURACY, ERROR])
def test_the_better_method_has_rank_one(metric: Metric) -> None:
    found, _, _ = overall(rows_of(GRID, metric, ["last"]), metric)
    assert {each.method: each.aggregates["average rank"].mean for each in found} == {"reed": 1.0, "baseline": 2.0}


def test_only_common_settings_and_seeds_count() -> None:
    records = [*GRID, *trials("baseline", POOR, noise__rate=0.9), *trials("reed", [*NEAR, 0.1], noise__rate=0.1)]
    _, settings, seeds = overall(rows_of(records, ACCURACY, ["last"]), ACCURACY)
    assert (len(settings), seeds) == (2, [0, 1, 2, 3, 4])
    with pytest.raises(UserError, match="share no setting"):
        overall(rows_of([*trials("reed", NEAR), *trials("l2rw", GOOD, noise__rate=0.2)], ACCURACY, ["last"]), ACCURACY)


def test_a_diverged_method_is_named_and_refused() -> None:
    with pytest.raises(UserError, match="trials of l2rw diverged"):
        overall(rows_of([*GRID, *trials("l2rw", [None, *GOOD], noise__rate=0.2)], ACCURACY, ["last"]), ACCURACY)


def test_two_cells_of_one_name_and_setting_have_no_aggregate() -> None:
    rows = rows_of(GRID, ACCURACY, ["last"])
    with pytest.raises(UserError, match=f"two cells of one setting have the name {rows[0].method}"):
        overall([*rows, rows[0]._replace(key="another")], ACCURACY)


@pytest.mark.parametrize("form", FORMATS)
def test_the_report_shows_aggregates_in_every_format(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, GRID)
    assert report.main([str(tmp_path), "--overall", "--format", form]) == 0
    text = capsys.readouterr().out
    assert "average rank" in text
    assert form == "csv" or "Aggregates over 2 settings within each trial" in text


def test_aggregates_take_one_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, GRID)
    assert report.main([str(tmp_path), "--overall", "--y", "test_error", "ece"]) == 2
    assert "--overall takes one metric" in capsys.readouterr().err
