"""Tables of records: intervals, the order of rows, names of settings, and the report command."""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tabulate import tabulate

from benchmark import ROOT, report
from benchmark.analysis.layout import FORMATS, laid_out
from benchmark.analysis.rows import frame, summary
from benchmark.analysis.settings import settings_of
from benchmark.analysis.tables import render
from benchmark.records.store import Record, Store
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of


def record(method: str = "reed", accuracy: float | None = 0.5, seed: int = 0, needs: tuple[str, ...] = (), **options: Any) -> Record:
    """A record as a run writes it; accuracy None is a diverged trial, and `noise__rate=0.2` sets an option."""
    config = config_of(method__name=method, **options)
    return record_of(config, seed, [entry(100, accuracy)], done=accuracy is not None, needs=list(needs))


def trials(method: str, accuracies: Sequence[float | None], **options: Any) -> list[Record]:
    return [record(method, accuracy, seed, **options) for seed, accuracy in enumerate(accuracies)]


# --- rows and groups


def test_a_cell_has_the_mean_and_interval_of_its_trials_in_percent() -> None:
    (row,) = summary(trials("reed", [0.70, 0.72, 0.77])).itertuples()
    low, high = stats.t.interval(0.95, 2, loc=73, scale=stats.sem([70, 72, 77]))
    assert row.mean == pytest.approx(73)
    assert row.half_width == pytest.approx((high - low) / 2)
    assert (row.trials, row.diverged) == (3, 0)


def test_a_method_stands_in_its_group_by_its_mean_over_all_settings() -> None:
    uneven = [*trials("uneven", [0.1], noise__rate=0.2), *trials("uneven", [0.9], noise__rate=0.4)]
    even = [*trials("even", [0.4], noise__rate=0.2), *trials("even", [0.4], noise__rate=0.4)]
    assert [row.method for row in summary([*uneven, *even]).itertuples()] == ["even", "even", "uneven", "uneven"]


def test_methods_are_grouped_by_what_they_see_fewest_first_and_sorted_by_accuracy_within() -> None:
    records = [
        record("l2rw", 0.9, needs=("clean_set",)),
        record("clean_only", 0.3, needs=("clean_set",)),
        record("both", 0.1, needs=("clean_set", "noise_rate")),
        record("weighted", 0.7, needs=("transition_matrix",)),
        record("reed", 0.6),
        record("baseline", 0.5),
    ]
    rows = [(row.sees, row.method) for row in summary(records).itertuples()]
    assert rows == [
        ("noisy labels", "baseline"),
        ("noisy labels", "reed"),
        ("noisy labels + clean set", "clean_only"),
        ("noisy labels + clean set", "l2rw"),
        ("noisy labels + transition matrix", "weighted"),
        ("noisy labels + clean set + noise rate", "both"),
    ]


def test_a_diverged_trial_is_counted_and_left_out_of_the_mean() -> None:
    (row,) = summary(trials("reed", [0.7, None, 0.8])).itertuples()
    assert row.mean == pytest.approx(75)
    assert (row.trials, row.diverged) == (2, 1)
    assert "70.00, 80.00 (1 diverged)" in render(trials("reed", [0.7, None, 0.8]))


def test_a_cell_whose_trials_all_diverged_says_so() -> None:
    assert "- (2 diverged)" in render(trials("reed", [None, None]))
    (row,) = summary(trials("reed", [None, None])).itertuples()
    assert math.isnan(row.mean)


def test_a_single_trial_stands_without_an_interval() -> None:
    table = render([record(accuracy=0.625)])
    assert "62.50" in table
    assert "±" not in table.splitlines()[2]
    assert "nan" not in table.lower()


def test_frame_has_a_row_a_trial() -> None:
    rows = frame([*trials("reed", [0.7, None]), record("l2rw", 0.9, needs=("clean_set",))])
    assert rows["method"].tolist() == ["reed", "reed", "l2rw"]
    assert rows["seed"].tolist() == [0, 1, 0]
    assert rows["diverged"].tolist() == [False, True, False]
    assert rows["mean"].iloc[[0, 2]].tolist() == pytest.approx([70, 90])
    assert math.isnan(rows["mean"].iloc[1])


# --- metrics


def measured(method: str, metrics: dict[str, float], **options: Any) -> Record:
    return record_of(config_of(method__name=method, **options), 0, [entry(100, 0.5, **metrics)])


def test_percents_are_shown_in_percent_and_other_metrics_in_their_own_units() -> None:
    trial = measured("reed", {"worst_class_accuracy": 0.125, "ece": 0.0625, "nll": 1.23456, "brier": 0.123456})
    shown = {name: render([trial], metrics=name).split()[10] for name in ("worst_class_accuracy", "ece", "nll", "brier")}
    assert shown == {"worst_class_accuracy": "12.50", "ece": "6.25", "nll": "1.235", "brier": "0.1235"}


@pytest.mark.parametrize(
    ("metric", "caption"),
    [
        ("worst_class_accuracy", "Test accuracy of the worst class in %, mean ± "),
        ("nll", "Negative log-likelihood on the test set in nats, mean ± "),
        ("brier", "Brier score, mean ± "),
    ],
)
def test_the_caption_names_the_metric_and_its_unit(metric: str, caption: str) -> None:
    assert caption in render([measured("reed", {metric: 0.5})], metrics=metric)


@pytest.mark.parametrize(("metric", "order"), [("macro_f1", ["low", "middle", "high"]), ("ece", ["high", "middle", "low"])])
def test_the_best_stands_last_whichever_direction_is_better(metric: str, order: list[str]) -> None:
    records = [measured(name, {metric: value}) for name, value in (("middle", 0.5), ("high", 0.9), ("low", 0.1))]
    assert summary(records, metric)["method"].tolist() == order


def test_a_method_whose_trials_all_diverged_stands_first_in_its_group() -> None:
    for metric in ("test_accuracy", "test_error"):
        rows = summary([record("gone", None), record("poor", 0.1), record("rich", 0.9)], metric)
        assert rows["method"].tolist()[0] == "gone"


def test_several_metrics_are_tables_one_below_the_other_and_one_table_in_csv() -> None:
    records = [measured("reed", {"worst_class_accuracy": 0.25, "ece": 0.125})]
    names = ["worst_class_accuracy", "ece"]
    assert render(records, metrics=names) == "\n".join(render(records, metrics=name) for name in names)
    rows = list(csv.DictReader(io.StringIO(render(records, "csv", names))))
    assert [(row["metric"], float(row["mean"])) for row in rows] == [("worst_class_accuracy", 25), ("ece", 12.5)]


def test_cells_that_lack_the_metric_are_left_out() -> None:
    records = [measured("l2rw", {"weights_auroc": 0.75}), measured("reed", {})]
    assert summary(records, "weights_auroc")["method"].tolist() == ["l2rw"]


MISTAKES = {
    "weights_aurok": "no metric 'weights_aurok'; nearest: weights_auroc ",
    "weights_auroc": "none of these records has weights_auroc: it is absent for methods that neither weight nor select examples",
    "hyper_validation_accuracy": "none of these records has hyper_validation_accuracy: it is absent without a hyper-validation set",
    "ece": "none of these records has ece: records of earlier versions lack it",
}


@pytest.mark.parametrize("metric", MISTAKES)
@pytest.mark.parametrize("form", ["text", "csv"])
def test_a_metric_that_is_unknown_or_absent_is_one_sentence_and_status_2(
    metric: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, RECORDS)
    assert report.main([str(tmp_path), "--y", "test_accuracy", metric, "--format", form]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error: {MISTAKES[metric]}")


def test_no_record_is_nothing_to_show() -> None:
    with pytest.raises(UserError, match="no records to show"):
        render([])


# --- where the numbers come from


def from_revision(revision: str, seed: int) -> Record:
    return record(seed=seed) | {"environment": {"device": "a CPU", "revision": revision}}


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        (["aaa"], "From revision aaa."),
        (["bbb", "aaa", "bbb"], "From 2 revisions: aaa, bbb."),
        (["a", "b", "c", "d"], "From 4 revisions: a, b, c, d."),
        (["a", "b", "c", "d", "e", "f"], "From 6 revisions: a, b, c, d and 2 more."),
        (["aaa", "aaa-dirty", "aaa"], "From revision aaa. 1 of 3 trials comes from a checkout with uncommitted changes."),
        (["aaa-dirty", "bbb-dirty"], "From 2 revisions: aaa, bbb. 2 of 2 trials come from a checkout with uncommitted changes."),
        (["aaa", "unknown"], "From revision aaa. 1 of 2 trials comes from an unknown revision."),
    ],
)
def test_the_caption_names_revisions_and_uncommitted_changes(revisions: list[str], expected: str) -> None:
    text = render([from_revision(revision, seed) for seed, revision in enumerate(revisions)])
    assert text.endswith(f"On: a CPU. {expected}\n")


def test_the_caption_counts_the_trials_of_earlier_code() -> None:
    older = record(seed=1)
    older["fingerprint"] = older["fingerprint"] | {"method": "0" * 12}
    assert render([record(seed=0), older]).endswith(" 1 of 2 trials comes from an earlier version of method reed.\n")


# --- settings


def test_one_setting_is_named_by_dataset_and_noise_only() -> None:
    assert settings_of([record("reed"), record("l2rw")]) == ["digits bgflip"] * 2


def test_a_setting_names_the_option_that_differs() -> None:
    assert settings_of([record(noise__rate=0.2), record(noise__rate=0.4)]) == ["digits bgflip rate=0.2", "digits bgflip rate=0.4"]


def test_options_that_vary_together_are_named_once() -> None:
    records = [record(model__name="convnet", model__width=16), record(model__name="lenet", model__width=8)]
    assert settings_of(records) == ["digits bgflip convnet", "digits bgflip lenet"]


def test_different_settings_always_have_different_words() -> None:
    options = [{}, {"noise__rate": 0.2}, {"split__clean_per_class": 5}, {"trainer__steps": 7}, {"noise__rate": 0.2, "trainer__steps": 7}]
    settings = settings_of([record(**option) for option in options])
    assert len(set(settings)) == len(options)


def test_options_of_the_method_make_no_setting() -> None:
    assert len(set(settings_of([record(method__beta=0.1), record(method__beta=0.9)]))) == 1


def test_equal_names_of_different_groups_can_be_setting_options() -> None:
    records = [record(model__width=1, trainer__width=2), record(model__width=2, trainer__width=1), record(model__width=1, trainer__width=1)]
    assert len(set(settings_of(records))) == 3


# --- formats

RECORDS = [
    *trials("baseline", [0.50, 0.60], noise__rate=0.2),
    *trials("baseline", [0.40, 0.44], noise__rate=0.4),
    *trials("l2rw", [0.80, 0.84], needs=("clean_set",), noise__rate=0.4),
]


def test_text_has_a_row_a_method_and_a_column_a_setting() -> None:
    header, rule, *lines = render(RECORDS, "text").splitlines()
    assert [cell.strip() for cell in header.split("  ") if cell.strip()] == [
        "sees",
        "method",
        "digits bgflip rate=0.2",
        "digits bgflip rate=0.4",
    ]
    assert set(rule) == {"-", " "}
    assert " ".join(lines[0].split()) == "noisy labels baseline 50.00, 60.00 40.00, 44.00"
    assert " ".join(lines[1].split()) == "noisy labels + clean set l2rw 80.00, 84.00"


@pytest.mark.parametrize("lines", [[], [["noisy labels", "reed", "55.00 ± 63.53"], ["", "a longer name", ""]]])
def test_text_is_laid_out_as_tabulate_does(lines: list[list[str]]) -> None:
    headers = ["sees", "method", "digits bgflip rate=0.2"]
    theirs = tabulate(lines, headers=headers, tablefmt="simple", disable_numparse=True)
    assert laid_out(headers, lines, "text") == "\n".join(line.rstrip() for line in theirs.splitlines())


def test_markdown_is_a_table_of_pipes() -> None:
    lines = [line for line in render(RECORDS, "markdown").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1] for row in cells] == ["method", cells[1][1], "baseline", "l2rw"]
    assert set(cells[1][1]) <= {"-", ":"}
    assert cells[3] == ["noisy labels + clean set", "l2rw", "", "80.00, 84.00"]


def test_latex_is_a_booktabs_table_with_a_caption_and_the_origin_as_a_comment() -> None:
    text = render([*RECORDS, record("s_model", 0.5, noise__rate=0.4)], "latex")
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert comments == [r"% needs \usepackage{booktabs,siunitx}", "% On: a CPU. From revision 0123456789ab."]
    body = text.partition(r"\begin{table}")[2]
    assert all(rule in body for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:test-accuracy}"))
    assert r"\caption{Test accuracy in \%, mean $\pm$ 95 \% confidence" in body
    assert r"s\_model" in body
    assert "s_model" not in body
    assert "%" not in body.replace(r"\%", "")


def test_latex_has_what_methods_see_as_a_line_above_each_group() -> None:
    lines = [line.strip() for line in render(RECORDS, "latex").splitlines()]
    assert lines[lines.index(r"\midrule") :][:3] == [
        r"\midrule",
        r"\multicolumn{3}{l}{\textit{noisy labels}} \\",
        r"baseline & 50.00, 60.00 & 40.00, 44.00 \\",
    ]
    assert lines.count(r"\midrule") == 2
    assert r"\multicolumn{3}{l}{\textit{noisy labels + clean set}} \\" in lines


def test_csv_has_a_row_a_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(render(RECORDS, "csv"))))
    assert [(row["method"], row["setting"], float(row["mean"])) for row in rows] == [
        ("baseline", "digits bgflip rate=0.2", pytest.approx(55)),
        ("baseline", "digits bgflip rate=0.4", pytest.approx(42)),
        ("l2rw", "digits bgflip rate=0.4", pytest.approx(82)),
    ]
    assert [int(row["trials"]) for row in rows] == [2, 2, 2]


def test_numbers_of_latex_have_their_interval_in_a_column_of_their_own_and_the_same_width() -> None:
    text = render([*trials("reed", [0.60, 0.61, 0.62]), *trials("l2rw", [0.5, 0.7, 0.9])], "latex")
    low, high = (stats.t.interval(0.95, 2, loc=0, scale=stats.sem(values)) for values in ([60, 61, 62], [50, 70, 90]))
    assert r"\begin{tabular}{lS[table-format=2.2]@{\,}l}" in text
    assert rf"reed & 61.00 & $\pm$\,\phantom{{0}}{low[1]:.2f} \\" in text
    assert rf"l2rw & 70.00 & $\pm$\,{high[1]:.2f} \\" in text


@pytest.mark.parametrize(("form", "bold"), [("text", "92.00 ± 2.48"), ("markdown", "**92.00 ± 2.48**"), ("latex", r"\bfseries 92.00")])
def test_the_marked_method_with_the_best_mean_is_bold_where_a_format_can_show_it(form: str, bold: str) -> None:
    good, near, poor = [0.91, 0.92, 0.93], [0.905, 0.925, 0.92], [0.5, 0.51, 0.5]
    text = render([*trials("good", good), *trials("near", near), *trials("poor", poor)], form)
    assert bold in text
    assert text.count(r"\bfseries 9" if form == "latex" else "**") == {"text": 0, "markdown": 2, "latex": 1}[form]
    assert ("Bold: the marked method with the best mean." in text) == (form != "text")


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_the_caption_tells_the_interval_the_trials_and_the_device(form: str) -> None:
    text = render(RECORDS, form)
    assert "Student t" in text
    assert "2 trials" in text
    assert "a CPU" in text


def test_columns_stand_in_the_order_of_their_numbers() -> None:
    rates = [0.4, 0.05, 0.1]
    header = render([record(noise__rate=rate) for rate in rates]).splitlines()[0]
    assert sorted(rates) == sorted(rates, key=lambda rate: header.index(f"rate={rate}"))


def test_two_cells_of_a_method_in_one_setting_both_show() -> None:
    records = [record("reed", 0.25, method__beta=0.1), record("reed", 0.75, method__beta=0.9)]
    assert "75.00 / 25.00" in render(records)


@pytest.mark.parametrize("form", FORMATS)
def test_the_order_in_which_records_are_read_does_not_change_the_table(form: str) -> None:
    assert render(RECORDS[::-1], form) == render(RECORDS, form)


# --- many settings


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and line == line.lstrip() and "  " not in line and "Student" not in line]


def columns(text: str) -> list[list[str]]:
    """The columns of each table, after those of groups and methods."""
    lines = [line for line in text.splitlines() if line.startswith("sees  ")]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()][2:] for line in lines]


GRID = [
    record(dataset__name=dataset, noise__name=noise, noise__rate=rate)
    for dataset in ("digits", "mnist")
    for noise in ("bgflip", "uniflip")
    for rate in (0.1, 0.2, 0.3)
]


def test_up_to_eight_settings_are_one_table_without_a_heading() -> None:
    text = render(GRID[:8])
    assert len(columns(text)) == 1
    assert len(columns(text)[0]) == 8
    assert text.startswith("sees ")


def test_more_settings_are_split_by_data_set_first() -> None:
    text = render(GRID)
    assert headings(text) == ["digits", "mnist"]
    assert columns(text) == [[f"{noise} rate={rate}" for noise in ("bgflip", "uniflip") for rate in (0.1, 0.2, 0.3)]] * 2
    assert text.count("Student t") == 1  # one caption below them all


def test_they_are_split_by_noise_and_further_options_until_eight_are_left() -> None:
    records = [
        record(noise__name=noise, noise__rate=rate, split__clean_per_class=size)
        for noise in ("bgflip", "uniflip")
        for rate in (0.1, 0.2, 0.3)
        for size in (1, 5, 10)
    ]
    text = render(records)
    assert headings(text) == [f"digits {noise} rate={rate}" for noise in ("bgflip", "uniflip") for rate in (0.1, 0.2, 0.3)]
    assert columns(text) == [[f"clean_per_class={size}" for size in (1, 5, 10)]] * 6


def test_one_option_with_more_than_eight_values_is_cut_into_tables_of_eight() -> None:
    text = render([record(noise__rate=rate / 20) for rate in range(18)])
    assert headings(text) == ["digits bgflip (1 of 3)", "digits bgflip (2 of 3)", "digits bgflip (3 of 3)"]
    assert [len(table) for table in columns(text)] == [8, 8, 2]
    assert [column for table in columns(text) for column in table] == [f"rate={rate / 20}" for rate in range(18)]


def test_a_setting_that_is_alone_in_its_table_or_lacks_the_option_has_its_whole_name() -> None:
    alone = [*[record(noise__rate=rate / 20) for rate in range(8)], record(dataset__name="mnist")]
    assert columns(render(alone))[1] == ["mnist bgflip rate=0.4"]
    without = [record(split__clean_total=total, noise__rate=rate) for rate in (0.1, 0.2, 0.3, 0.4, 0.5) for total in (None, 100)]
    assert columns(render(without))[0] == ["digits bgflip rate=0.1", "clean_total=100"]


def test_every_cell_stands_in_one_of_the_tables_and_csv_stays_one() -> None:
    rng = np.random.default_rng(0)
    accuracies = [round(float(each), 4) for each in rng.random(40)]
    records = [record(accuracy=each, dataset__name=f"d{place % 3}", noise__rate=place / 50) for place, each in enumerate(accuracies)]
    text = render(records)
    cells = [cell for line in text.splitlines() if line.startswith("noisy labels") for cell in line.split()[3:]]
    assert sorted(cells) == sorted(f"{100 * each:.2f}" for each in accuracies)
    assert all(len(table) <= 8 for table in columns(text))
    assert len(list(csv.DictReader(io.StringIO(render(records, "csv"))))) == 40


def test_the_columns_of_several_selections_count_too() -> None:
    records = [record(noise__rate=rate / 20) for rate in range(8)]
    assert [len(table) for table in columns(render(records, selections=["last", "last5"]))] == [8, 8]


def test_each_table_of_latex_has_its_heading_in_its_caption_and_a_label_of_its_own() -> None:
    lines = [line.strip() for line in render(GRID, "latex").splitlines()]
    captions = [line for line in lines if line.startswith(r"\caption")]
    assert [caption[:22] for caption in captions] == [r"\caption{digits: Test ", r"\caption{mnist: Test a"]
    assert [line for line in lines if line.startswith(r"\label")] == [r"\label{tab:test-accuracy-1}", r"\label{tab:test-accuracy-2}"]


# --- the command


def write(root: Path, records: list[Record]) -> list[Path]:
    return [Store(root).write(each) for each in records]


@pytest.mark.parametrize("form", FORMATS)
def test_report_prints_the_table(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, RECORDS)
    assert report.main([str(tmp_path), "--format", form]) == 0
    captured = capsys.readouterr()
    assert captured.out == render(RECORDS, form)
    assert captured.err == ""


def test_report_writes_the_table_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", RECORDS)
    assert report.main([str(tmp_path / "results"), "--output", str(tmp_path / "table.txt")]) == 0
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") == render(RECORDS)
    assert capsys.readouterr().out == ""


FORBID_TORCH = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] != "torch", "torch was imported"

sys.meta_path.insert(0, Forbidden())
sys.path.insert(0, sys.argv.pop(1))
from benchmark.report import main
sys.exit(main(sys.argv[1:]))
"""


def test_report_makes_table_and_figure_without_ever_importing_torch(tmp_path: Path) -> None:
    write(tmp_path / "results", RECORDS)
    outputs = ["--figure", "figure.png", "--x", "noise.rate", "--output", "table.md", "--format", "markdown"]
    command = [sys.executable, "-c", FORBID_TORCH, str(ROOT), "results", *outputs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == render(RECORDS, "markdown")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_report_shows_only_the_methods_asked_for_and_knows_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [*trials("reed", [0.6, 0.7]), *trials("l2rw", [0.8, 0.9])])
    assert report.main([str(tmp_path), "--methods", "l2rw"]) == 0
    captured = capsys.readouterr().out
    assert "l2rw" in captured
    assert "reed" not in captured
    assert report.main([str(tmp_path), "--methods", "l2rw", "red"]) == 2
    assert "'red'; nearest: reed" in capsys.readouterr().err


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "empty"])
def test_a_missing_or_empty_directory_is_one_sentence_and_status_2(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "results")
    assert report.main([str(tmp_path / "results")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: no ")
    assert str(tmp_path / "results") in captured.err
    assert captured.err.count("\n") == 1


def test_a_truncated_record_is_an_error_and_the_others_make_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write(tmp_path, RECORDS)
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    assert report.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == render(RECORDS[1:])
    assert captured.err.startswith("error: record ")
    assert str(paths[0]) in captured.err
    assert captured.err.count("\n") == 1


def test_only_unreadable_records_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = write(tmp_path, RECORDS[:1])
    path.write_text("{")
    assert report.main([str(tmp_path)]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", RECORDS)
    assert report.main([str(tmp_path / "results"), "--output", str(tmp_path / "none" / "table.txt")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write ")
