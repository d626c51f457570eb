"""Figures of records: the numbers behind lines, matrices and histograms, and the files that are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmark.analysis.figures import (
    _best_last_value_first,
    _confusions,
    _interval,
    _lines,
    _percent_interval,
    against,
    confusion,
    draw,
    training,
    weight_shares,
)
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of

EDGES = [0.0, 0.1, 0.2]


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def record(method: str = "reed", seed: int = 0, history: Sequence[dict[str, Any]] = (), done: bool = True, **parts: Any) -> Record:
    """A record as a run writes it: `noise__rate=0.2` sets an option, any other word one of the fields."""
    options = {word: value for word, value in parts.items() if "__" in word}
    fields = {word: value for word, value in parts.items() if "__" not in word}
    return record_of(config_of(method__name=method, **options), seed, history, done, **fields)


def rows(data: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(data[list(columns)].itertuples(index=False, name=None))


# --- lines along training


def test_training_has_a_row_an_evaluation_in_percent() -> None:
    records = [record("reed", seed, [entry(50, 0.5), entry(100, 0.75)]) for seed in (0, 1)]
    data = training(records, ["test_accuracy"])
    assert list(data.columns) == ["method", "setting", "metric", "x", "value"]
    assert rows(data, "x", "value") == [(50, 50), (100, 75)] * 2
    assert set(rows(data, "method", "setting", "metric")) == {("reed", "digits bgflip", "test_accuracy")}


def test_steps_are_counted_over_all_phases() -> None:
    phases = [
        *[entry(step, 0.1, "pretraining") for step in (40, 80, 90)],
        *[entry(step, 0.2, "main") for step in (40, 80)],
        *[entry(step, 0.3, "fine-tuning") for step in (5, 10)],
    ]
    data = training([record(history=phases)], ["test_accuracy"])
    assert data["x"].tolist() == [40, 80, 90, 90 + 40, 90 + 80, 170 + 5, 170 + 10]
    assert data["value"].tolist() == pytest.approx([10] * 3 + [20] * 2 + [30] * 2)


def test_a_trials_steps_do_not_run_on_into_the_next_trial() -> None:
    two = [record(seed=seed, history=[entry(80, 0.1, "pretraining"), entry(40, 0.2)]) for seed in (0, 1)]
    assert training(two, ["test_accuracy"])["x"].tolist() == [80, 120, 80, 120]


def test_training_has_each_metric_asked_for_where_an_evaluation_has_it() -> None:
    history = [entry(50, 0.5, weights_auroc=0.9), entry(100, 0.625)]
    data = training([record(history=history)], ["test_error", "weights_auroc"])
    assert rows(data, "metric", "x", "value") == [("test_error", 50, 50), ("weights_auroc", 50, 90), ("test_error", 100, 37.5)]


def test_the_test_error_is_what_the_accuracy_leaves_of_100() -> None:
    history = [entry(50, 0.25), entry(100, 0.985)]
    error, accuracy = (training([record(history=history)], [metric])["value"] for metric in ("test_error", "test_accuracy"))
    assert (error + accuracy).tolist() == pytest.approx([100, 100])
    assert error.tolist() == pytest.approx([75, 1.5])


def test_the_evaluation_at_which_a_trial_diverged_makes_no_row() -> None:
    diverged = record(seed=1, history=[entry(50, 0.5), entry(100)], done=False)
    data = training([record(history=[entry(50, 0.5), entry(100, 0.75)]), diverged], ["test_accuracy"])
    assert data["value"].notna().all()
    assert data.loc[data["x"] == 100, "value"].tolist() == [75]


def test_settings_part_the_lines() -> None:
    records = [record(history=[entry(50, 0.5)], noise__rate=rate) for rate in (0.2, 0.4)]
    assert training(records, ["test_accuracy"])["setting"].tolist() == ["digits bgflip rate=0.2", "digits bgflip rate=0.4"]


def test_a_metric_that_no_evaluation_has_is_told_with_the_nearest() -> None:
    records = [record(history=[entry(50, 0.5, weights_auroc=0.9)])]
    with pytest.raises(UserError, match=r"^no metric 'weights_aurok'; nearest: weights_auroc "):
        training(records, ["test_accuracy", "weights_aurok"])
    with pytest.raises(UserError, match=r"^none of these records has few_shot_accuracy: it is absent if the training set "):
        training(records, ["few_shot_accuracy"])


# --- lines against an option


def sweep(*values: tuple[float, float, float]) -> list[Record]:
    """Records of (seed, noise rate, accuracy)."""
    return [record(seed=int(seed), history=[entry(50, 0.1), entry(100, accuracy)], noise__rate=rate) for seed, rate, accuracy in values]


def test_against_has_a_row_a_finished_trial_of_its_last_step() -> None:
    data = against(sweep((0, 0.2, 0.75), (1, 0.2, 0.5), (0, 0.4, 0.25)), "noise.rate", ["test_accuracy"])
    assert rows(data, "x", "value") == [(0.2, 75), (0.2, 50), (0.4, 25)]
    assert set(data["setting"]) == {"digits bgflip"}  # the option is on the axis


def test_against_has_several_metrics() -> None:
    records = [record(history=[entry(100, 0.75, weights_precision=0.5)]), record("l2rw", history=[entry(100, 0.25)])]
    data = against(records, "trainer.steps", ["test_error", "weights_precision"])
    assert rows(data, "method", "metric", "x", "value") == [
        ("reed", "test_error", 100, 25),
        ("reed", "weights_precision", 100, 50),
        ("l2rw", "test_error", 100, 75),
    ]


def test_against_leaves_diverged_trials_out() -> None:
    diverged = record(seed=1, history=[entry(50, 0.9), entry(100)], done=False, noise__rate=0.2, metrics={"test_accuracy": 0.9})
    data = against([*sweep((0, 0.2, 0.75)), diverged], "noise.rate", ["test_accuracy"])
    assert rows(data, "x", "value") == [(0.2, 75)]


def test_against_leaves_out_records_without_a_number_for_the_option() -> None:
    records = [*sweep((0, 0.2, 0.75)), record(history=[entry(100, 0.5)], noise__rate=None)]
    assert against(records, "noise.rate", ["test_accuracy"])["x"].tolist() == [0.2]


def test_another_option_that_varies_parts_the_lines() -> None:
    records = [record(history=[entry(100, 0.5)], noise__rate=rate, split__clean_per_class=size) for rate in (0.2, 0.4) for size in (1, 10)]
    data = against(records, "split.clean_per_class", ["test_accuracy"])
    assert rows(data, "setting", "x") == [(f"digits bgflip rate={rate}", size) for rate in (0.2, 0.4) for size in (1, 10)]


@pytest.mark.parametrize(
    ("option", "nearest"),
    [("noise.rat", "noise.rate"), ("split.clean_per_clas", "split.clean_per_class"), ("trainer.name", "trainer.")],
)
def test_an_option_that_no_record_has_as_a_number_is_told_with_the_nearest(option: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"^no numeric option of these records '{option}'; nearest: {nearest}"):
        against(sweep((0, 0.2, 0.75)), option, ["test_accuracy"])


@pytest.mark.parametrize("option", ["split.stratified", "noise.background"])
def test_a_truth_value_or_nothing_is_no_axis(option: str) -> None:
    with pytest.raises(UserError, match=r"^no numeric option"):
        against(sweep((0, 0.2, 0.75)), option, ["test_accuracy"])


def test_a_metric_that_no_record_has_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^no metric 'test_acuracy'; nearest: test_accuracy "):
        against(sweep((0, 0.2, 0.75)), "noise.rate", ["test_acuracy"])


# --- order and bands of the lines


def line(method: str, *points: tuple[int, float], **options: Any) -> Record:
    return record(method, history=[entry(step, accuracy) for step, accuracy in points], **options)


CROSSING = [
    line("falling", (50, 0.9), (100, 0.3)),
    line("rising", (50, 0.1), (100, 0.8)),
    line("longer", (50, 0.95), (100, 0.2), (200, 0.5)),
]


def test_the_legend_follows_the_ends_of_the_lines_from_the_top() -> None:
    data = training(CROSSING, ["test_accuracy"])
    assert _best_last_value_first(data) == ["rising", "longer", "falling"]
    assert _best_last_value_first(training(CROSSING, ["test_error"])) == ["falling", "longer", "rising"]


def test_the_order_is_by_the_mean_over_trials_and_settings() -> None:
    records = [
        *[record("uneven", seed, [entry(10, accuracy)], noise__rate=0.2) for seed, accuracy in enumerate([0.9, 0.8])],
        record("uneven", 0, [entry(10, 0.1)], noise__rate=0.4),  # a mean of 0.6 over all three
        *[record("even", 0, [entry(10, 0.7)], noise__rate=rate) for rate in (0.2, 0.4)],
    ]
    assert _best_last_value_first(training(records, ["test_accuracy"])) == ["even", "uneven"]


def test_the_drawn_legend_reads_like_the_picture() -> None:
    figure = _lines(training(CROSSING, ["test_accuracy"]), "step", False)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["rising", "longer", "falling"]
    ends = {drawn.get_color(): drawn.get_ydata()[-1] for drawn in figure.axes[0].lines if len(drawn.get_ydata())}
    shown = [ends[handle.get_color()] for handle in legend.get_lines()]
    assert shown == pytest.approx([80, 50, 30])  # each in the colour of its own line


def test_the_band_is_the_student_t_interval_and_of_one_trial_no_wider_than_its_line() -> None:
    values = pd.Series([70.0, 72.0, 77.0])
    assert _percent_interval(values) == pytest.approx(stats.t.interval(0.95, 2, loc=73, scale=stats.sem(values)))
    assert _percent_interval(pd.Series([70.0])) == (70, 70)


def test_the_band_of_a_metric_that_is_no_percentage_has_no_upper_end() -> None:
    assert _interval(pd.Series([0.0, 120.0, 0.0])) == pytest.approx((0, 40 + 4.303 * 40), rel=1e-3)


def test_the_line_runs_through_the_means_over_trials() -> None:
    figure = _lines(against(sweep((0, 0.2, 0.5), (1, 0.2, 0.75), (0, 0.4, 0.25)), "noise.rate", ["test_accuracy"]), "noise.rate", False)
    axis = figure.axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[0.2, 62.5], [0.4, 25]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("noise.rate", "Test accuracy (%)")


def test_metrics_of_one_unit_share_a_panel_and_those_of_several_have_a_row_each() -> None:
    records = [record(history=[entry(50, 0.5, ece=0.1, nll=0.7), entry(100, 0.75, ece=0.2, nll=0.9)])]
    shared = _lines(training(records, ["test_accuracy", "ece"]), "step", False)
    assert [axis.get_ylabel() for axis in shared.axes] == ["%"]
    rows = _lines(training(records, ["test_accuracy", "nll"]), "step", False)
    labels = [axis.get_ylabel().replace("\n", " ") for axis in rows.axes]
    assert labels == [
        "Test accuracy (%)",
        "Negative log-likelihood on the test set (nats)",
    ]
    assert [axis.lines[0].get_ydata().tolist() for axis in rows.axes] == [[50, 75], [0.7, 0.9]]


def test_steps_are_counted_on_where_two_phases_have_one_name() -> None:
    phases = [entry(step, 0.1, "fine-tuning") for step in (5, 10, 5, 10)]
    assert training([record(history=phases)], ["test_accuracy"])["x"].tolist() == [5, 10, 15, 20]


# --- confusion matrices


def test_confusion_is_the_mean_over_trials_of_the_rows_shares() -> None:
    counts = np.random.default_rng(0).integers(1, 40, (3, 5, 5))  # rows and trials of unequal size
    found = confusion([record(seed=seed, per_class={"confusion_matrix": trial.tolist()}) for seed, trial in enumerate(counts)])
    shares = [[[100 * cell / sum(row) for cell in row] for row in trial] for trial in counts.tolist()]
    np.testing.assert_allclose(found, np.mean(shares, axis=0))
    np.testing.assert_allclose(found.sum(axis=1), 100)
    assert not np.allclose(found, 100 * counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None])  # and not of the pooled counts


def test_a_right_classifier_has_100_on_the_diagonal() -> None:
    np.testing.assert_array_equal(confusion([record(per_class={"confusion_matrix": [[4, 0], [0, 9]]})]), [[100, 0], [0, 100]])


def test_a_class_without_test_images_has_an_empty_row() -> None:
    np.testing.assert_array_equal(confusion([record(per_class={"confusion_matrix": [[4, 0], [0, 0]]})]), [[100, 0], [0, 0]])


# --- example weights


def histograms(right: list[int], wrong: list[int], other: list[int] | None = None) -> dict[str, Any]:
    """Counts of the mixed panel; `other` those of both kinds in the panel of single classes."""
    other = other or [1, 1, 1]
    return {"edges": EDGES, "mixed": {"right": right, "wrong": wrong}, "one_class": {"right": other, "wrong": other}}


def test_weight_shares_are_pooled_over_trials_and_sum_to_100_per_kind() -> None:
    records = [
        record("l2rw", 0, weight_histograms=histograms([10, 0, 0], [3, 1, 0], [2, 1, 1])),
        record("l2rw", 1, weight_histograms=histograms([0, 15, 15], [0, 0, 4], [0, 0, 4])),
    ]
    shares = weight_shares(records)
    kinds = shares.groupby(["panel", "label"])["share"].apply(list).to_dict()
    assert kinds["mixed", "right"] == pytest.approx([25, 37.5, 37.5])  # 10, 15 and 15 of 40, however they fall on the trials
    assert kinds["mixed", "wrong"] == pytest.approx([37.5, 12.5, 50])
    assert kinds["one_class", "right"] == kinds["one_class", "wrong"] == pytest.approx([25, 12.5, 62.5])
    assert [sum(values) for values in kinds.values()] == pytest.approx([100] * 4)
    assert shares["edge"].tolist() == EDGES * 4


def test_a_kind_without_an_example_has_shares_of_zero() -> None:
    shares = weight_shares([record("l2rw", weight_histograms=histograms([1, 2, 1], [0, 0, 0]))])
    assert shares.loc[(shares["panel"] == "mixed") & (shares["label"] == "wrong"), "share"].tolist() == [0, 0, 0]


def test_weight_shares_part_methods_and_settings_and_pass_over_methods_without_weights() -> None:
    counts = histograms([1, 2, 1], [4, 0, 0])
    records = [
        record("l2rw", weight_histograms=counts, noise__rate=0.2),
        record("l2rw", weight_histograms=counts, noise__rate=0.4),
        record("mentornet", weight_histograms=counts, noise__rate=0.4),
        record("reed", noise__rate=0.4),
    ]
    assert set(rows(weight_shares(records), "method", "setting")) == {
        ("l2rw", "digits bgflip rate=0.2"),
        ("l2rw", "digits bgflip rate=0.4"),
        ("mentornet", "digits bgflip rate=0.4"),
    }


def test_weight_shares_leave_diverged_trials_out() -> None:
    records = [
        record("l2rw", 0, weight_histograms=histograms([1, 0, 0], [0, 0, 1])),
        record("l2rw", 1, done=False, weight_histograms=histograms([0, 9, 0], [9, 0, 0])),
    ]
    shares = weight_shares(records)
    assert shares.loc[(shares["panel"] == "mixed") & (shares["label"] == "right"), "share"].tolist() == [100, 0, 0]


def test_records_without_weights_are_told() -> None:
    with pytest.raises(UserError, match=r"split\.hyper_validation"):
        weight_shares([record("reed"), record("baseline")])


# --- files


def drawable() -> list[Record]:
    """Two methods at two noise rates, two trials each and one that diverged, with all that figures are drawn of."""
    counts = histograms([1, 5, 2], [6, 1, 0])
    trials = [
        record(
            method,
            seed,
            [entry(50, 0.4 + rate, train_accuracy=0.7), entry(100, 0.5 + rate + 0.1 * seed, train_accuracy=0.8)],
            noise__rate=rate,
            per_class={"confusion_matrix": [[8, 2 + seed], [1, 9]]},
            weight_histograms=counts,
        )
        for method in ("reed", "l2rw")
        for rate in (0.2, 0.4)
        for seed in (0, 1)
    ]
    return [*trials, record("l2rw", 2, [entry(50)], done=False, noise__rate=0.4)]


def is_png(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and min(image.size) > 200 and len(np.unique(np.asarray(image.convert("L")))) > 2


def is_pdf(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF") and b"/MediaBox" in content


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "training"},
        {"kind": "training", "y": ["test_accuracy", "train_accuracy"]},
        {"kind": "against", "x": "noise.rate", "y": "test_error", "logarithmic": True},
        {"kind": "confusion"},
        {"kind": "weights"},
    ],
    ids=["training", "two metrics", "against", "confusion", "weights"],
)
def test_every_kind_is_written_as_both_png_and_pdf_for_a_path_without_ending(options: dict[str, Any], tmp_path: Path) -> None:
    draw(drawable(), tmp_path / "figure", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]
    assert is_png(tmp_path / "figure.png")
    assert is_pdf(tmp_path / "figure.pdf")


@pytest.mark.parametrize(("name", "is_right"), [("figure.png", is_png), ("figure.pdf", is_pdf)])
def test_an_ending_decides_the_one_file_that_is_written(name: str, is_right: Any, tmp_path: Path) -> None:
    draw(drawable(), tmp_path / name, kind="confusion")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert is_right(tmp_path / name)


def test_a_logarithmic_axis_is_the_x_axis_alone() -> None:
    records = [line("l2rw", (10, 0.1 * place), split__clean_per_class=size) for place, size in enumerate((1, 10, 100), 1)]
    data = against(records, "split.clean_per_class", ["test_accuracy"])
    axis = _lines(data, "split.clean_per_class", True).axes[0]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    assert _lines(data, "split.clean_per_class", False).axes[0].get_xscale() == "linear"


def test_a_setting_without_a_method_leaves_its_panel_empty() -> None:
    counts = {"confusion_matrix": [[3, 1], [0, 4]]}
    records = [record("reed", per_class=counts, noise__rate=0.2), record("l2rw", per_class=counts, noise__rate=0.4)]
    assert sorted(axis.get_title() for axis in _confusions(records).axes) == [
        "",
        "",
        "l2rw\ndigits bgflip rate=0.4",
        "reed\ndigits bgflip rate=0.2",
    ]


@pytest.mark.parametrize("kind", ["training", "against", "confusion", "weights"])
def test_only_diverged_trials_are_nothing_to_draw(kind: str, tmp_path: Path) -> None:
    diverged = [record("l2rw", history=[entry(50)], done=False)]
    with pytest.raises(UserError):
        draw(diverged, tmp_path / "figure.png", kind=kind, x="noise.rate")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no kind of figure 'confusoin'; nearest: confusion "):
        draw(drawable(), tmp_path / "figure.png", kind="confusoin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["figure.svg", "figure.jpeg", "figure.v2"])
def test_another_ending_is_the_users_mistake(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.png or \.pdf") as error:
        draw(drawable(), tmp_path / name)
    assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_number_of_a_figure_is_missing_where_records_have_it() -> None:
    data = training(drawable(), ["test_accuracy", "train_accuracy"])
    assert len(data) == 2 * 2 * 2 * 2 * 2  # methods, rates, trials, evaluations, metrics
    assert not any(math.isnan(value) for value in data["value"])
