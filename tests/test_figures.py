"""Figures of records: the numbers behind lines, matrices and histograms, and the files. Other kinds: test_figure_kinds.py."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from benchmark.analysis.figures import KINDS, canvas, draw, lines, matrices
from benchmark.analysis.figures.canvas import plt
from benchmark.analysis.figures.intervals import interval
from benchmark.analysis.figures.matrices import confusion
from benchmark.analysis.figures.request import Request
from benchmark.analysis.figures.weights import weight_shares
from benchmark.analysis.selection import LAST
from benchmark.analysis.style import method_looks
from benchmark.config import cells
from benchmark.metrics import METRICS, metric
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


def training(records: Sequence[Record], names: Sequence[str]) -> pd.DataFrame:
    return lines.training(records, [metric(name) for name in names])


def against(records: Sequence[Record], option: str, names: Sequence[str]) -> pd.DataFrame:
    return lines.against(records, option, [metric(name) for name in names])


def request(records: Sequence[Record], *metrics: str, x: str | None = None, logarithmic: bool = False, width: float = 6.9) -> Request:
    measured = tuple(metric(name) for name in metrics or ("test_accuracy",))
    return Request(records, method_looks(records), measured, x, logarithmic, (LAST,), width, Path("kept"), Path("data"))


def rows(data: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(data[list(columns)].itertuples(index=False, name=None))


# --- lines along training


def test_training_has_a_row_an_evaluation_in_percent() -> None:
    records = [record("reed", seed, [entry(50, 0.5), entry(100, 0.75)]) for seed in (0, 1)]
    data = training(records, ["test_accuracy"])
    assert list(data.columns) == ["method", "setting", "metric", "x", "value"]
    assert rows(data, "x", "value") == [(50, 50), (100, 75)] * 2
    assert set(rows(data, "method", "setting", "metric")) == {("reed", "Digits, background flip 40 %", "test_accuracy")}


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


def test_a_diverged_trial_makes_no_row_also_before_its_end() -> None:
    diverged = record(seed=1, history=[entry(50, 0.25), entry(100)], done=False)
    data = training([record(history=[entry(50, 0.5), entry(100, 0.75)]), diverged], ["test_accuracy"])
    assert rows(data, "x", "value") == [(50, 50), (100, 75)]


def test_settings_part_the_lines() -> None:
    records = [record(history=[entry(50, 0.5)], noise__rate=rate) for rate in (0.2, 0.4)]
    assert training(records, ["test_accuracy"])["setting"].tolist() == ["Digits, background flip 20 %", "Digits, background flip 40 %"]


def test_a_metric_that_no_evaluation_has_gives_an_error_with_the_nearest_name() -> None:
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
    assert set(data["setting"]) == {"Digits, background flip"}  # the option is on the axis


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


def test_the_value_that_an_identity_omits_is_on_the_axis() -> None:
    (today,) = cells(["split.clean_noise_rate=0"])
    assert "clean_noise_rate" not in today.identity["split"]
    records = [record(history=[entry(100, 0.75)]), record(history=[entry(100, 0.5)], split__clean_noise_rate=0.2)]
    data = against(records, "split.clean_noise_rate", ["test_accuracy"])
    assert rows(data, "x", "value") == [(0, 75), (0.2, 50)]
    assert len(set(data["setting"])) == 1


def test_another_option_that_varies_parts_the_lines() -> None:
    records = [record(history=[entry(100, 0.5)], noise__rate=rate, split__clean_per_class=size) for rate in (0.2, 0.4) for size in (1, 10)]
    data = against(records, "split.clean_per_class", ["test_accuracy"])
    assert rows(data, "setting", "x") == [(f"Digits, background flip {rate} %", size) for rate in (20, 40) for size in (1, 10)]


@pytest.mark.parametrize(
    ("option", "nearest"),
    [("noise.rat", "noise.rate"), ("split.clean_per_clas", "split.clean_per_class"), ("trainer.name", "trainer.")],
)
def test_an_option_that_no_record_has_as_a_number_gives_an_error_with_the_nearest_name(option: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"^no numeric option of these records '{option}'; nearest: {nearest}"):
        against(sweep((0, 0.2, 0.75)), option, ["test_accuracy"])


@pytest.mark.parametrize("option", ["split.stratified", "noise.background"])
def test_a_truth_value_or_nothing_is_no_axis(option: str) -> None:
    with pytest.raises(UserError, match=r"^no numeric option"):
        against(sweep((0, 0.2, 0.75)), option, ["test_accuracy"])


def test_a_metric_that_no_record_has_gives_an_error_with_the_nearest_name() -> None:
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


def order(data: pd.DataFrame) -> list[str]:
    return [line.method for line in lines.lines_of(data, METRICS[data["metric"].iloc[0]])]


def test_lines_come_in_the_order_in_which_they_end_from_the_top() -> None:
    assert order(training(CROSSING, ["test_accuracy"])) == ["rising", "longer", "falling"]
    assert order(training(CROSSING, ["test_error"])) == ["falling", "longer", "rising"]


def test_each_line_has_its_name_beside_its_end_and_no_two_names_touch() -> None:
    records = [line(f"method {place}", (50, 0.5), (100, 0.5 + place / 1000)) for place in range(6)]  # which all but coincide
    figure = lines.training_figure(request(records))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without the line that leads there
    assert [text.get_text() for text in axis.texts] == [f"method {place}" for place in reversed(range(6))]
    assert all(upper.y0 >= lower.y0 + upper.height * 0.8 for upper, lower in pairwise(sorted(boxes, key=lambda box: -box.y0)))
    assert not figure.legends


def test_lines_that_are_too_many_for_names_get_a_legend() -> None:
    records = [line(f"method {place}", (50, 0.5), (100, place / 24)) for place in range(24)]
    (legend,) = lines.training_figure(request(records)).legends
    assert [text.get_text() for text in legend.get_texts()] == [f"method {place}" for place in reversed(range(24))]


def test_the_interval_is_that_of_student_t_and_of_fewer_than_three_trials_there_is_none() -> None:
    values = [70.0, 72.0, 77.0]
    low, mean, high = interval(values, METRICS["test_accuracy"])
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, loc=73, scale=stats.sem(values)))
    assert mean == 73
    for few in (values[:1], values[:2]):
        low, mean, high = interval(few, METRICS["test_accuracy"])
        assert (math.isnan(low), mean, math.isnan(high)) == (True, np.mean(few), True)


@pytest.mark.parametrize("name", ["test_accuracy", "test_error"])
def test_an_interval_of_a_share_stays_between_0_and_100(name: str) -> None:
    assert interval([100.0, 99.0, 80.0], METRICS[name])[2] == 100
    assert interval([0.0, 1.0, 20.0], METRICS[name])[0] == 0


def test_an_interval_is_cut_where_its_metric_ends_and_nowhere_else() -> None:
    values, half_width = [0.0, 120.0, 0.0], 4.303 * 40
    assert interval(values, METRICS["nll"]) == pytest.approx((0, 40, 40 + half_width), rel=1e-3)
    assert interval(values, METRICS["train_loss"]) == pytest.approx((40 - half_width, 40, 40 + half_width), rel=1e-3)


def test_the_note_says_how_many_trials_and_where_intervals_are_cut() -> None:
    def note(*trials: int) -> str:
        records = sweep(*[(seed, rate, 0.5) for rate, count in enumerate(trials) for seed in range(count)])
        data = against(records, "noise.rate", ["test_error"])
        return " ".join(lines.sentences(data.groupby(lines.LINES[:4])["value"].agg(list), [METRICS["test_error"]], "bars"))

    assert note(3, 3) == "Means are over 3 trials. Bars are 95 % confidence intervals (Student t), clipped at 0 and 100 %."
    assert (
        note(2, 4)
        == "Means are over 2 to 4 trials. Bars are 95 % confidence intervals (Student t) for at least 3 trials, clipped at 0 and 100 %."
    )
    assert note(1, 2) == "Means are over 1 to 2 trials. Fewer than 3 trials have no interval."


def test_the_line_runs_through_the_means_over_trials_and_the_ticks_are_the_tested_values() -> None:
    figure = lines.against_figure(request(sweep((0, 0.2, 0.5), (1, 0.2, 0.75), (0, 0.4, 0.25)), x="noise.rate"))
    axis = figure.axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[0.2, 62.5], [0.4, 25]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Noise rate", "Test accuracy (%)")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["20 %", "40 %"]


def test_class_ratios_stand_as_far_apart_as_their_odds() -> None:
    records = [record(history=[entry(100, 0.5)], noise__ratio=ratio) for ratio in (0.9, 0.99, 0.999)]
    axis = lines.against_figure(request(records, "test_error", x="noise.ratio")).axes[0]
    assert axis.lines[0].get_xdata() == pytest.approx([math.log10(9), math.log10(99), math.log10(999)])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["9:1", "99:1", "999:1"]


def test_each_metric_has_a_panel_of_its_own_in_its_own_unit() -> None:
    records = [record(history=[entry(50, 0.5, ece=0.1, nll=0.7), entry(100, 0.75, ece=0.2, nll=0.9)])]
    figure = lines.training_figure(request(records, "test_accuracy", "nll"))
    labels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes]
    assert labels == ["Test accuracy (%)", "Negative log-likelihood on the test set (nats)"]
    assert [axis.lines[0].get_ydata().tolist() for axis in figure.axes] == [[50, 75], [0.7, 0.9]]


def test_a_panel_is_left_out_where_a_setting_lacks_the_metric() -> None:
    records = [record(history=[entry(50, 0.5, nll=0.7)], noise__rate=0.2), record(history=[entry(50, 0.5)], noise__rate=0.4)]
    figure = lines.training_figure(request(records, "test_accuracy", "nll"))
    assert [(axis.get_title(loc="left")[-4:], axis.get_ylabel()[:4]) for axis in figure.axes if axis.axison] == [
        ("20 %", "Test"),
        ("40 %", ""),
        ("20 %", "Nega"),
    ]


def test_of_lines_that_lie_on_each_other_the_lower_ones_are_wider() -> None:
    records = [line("wide", (50, 0.5), (100, 0.5)), line("narrow", (50, 0.5), (100, 0.5)), line("alone", (50, 0.1), (100, 0.9))]
    drawn = {each.get_linewidth() for each in lines.training_figure(request(records)).axes[0].lines}
    assert len(drawn) == 2
    found = lines.lines_of(training(records, ["test_accuracy"]), METRICS["test_accuracy"])
    assert dict(zip([each.method for each in found], lines.depths(found, 0.5), strict=True)) == {"alone": 0, "narrow": 1, "wide": 0}


def test_a_method_looks_the_same_in_a_figure_of_some_methods_as_in_one_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(canvas, "write", lambda function, request, paths: seen.append(request.shown_looks()))
    records = drawable()
    named = [each | {"method": "L2RW", "label": "l2rw"} for each in records if each["method"] == "l2rw"]  # as an experiment's rows name it
    draw(records, tmp_path / "all.png", of=records)
    draw(named, tmp_path / "one.png", of=records)
    assert seen[0]["l2rw"] == seen[1]["L2RW"] != seen[0]["reed"]


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
        ("l2rw", "Digits, background flip 20 %"),
        ("l2rw", "Digits, background flip 40 %"),
        ("mentornet", "Digits, background flip 40 %"),
    }


def test_weight_shares_leave_diverged_trials_out() -> None:
    records = [
        record("l2rw", 0, weight_histograms=histograms([1, 0, 0], [0, 0, 1])),
        record("l2rw", 1, done=False, weight_histograms=histograms([0, 9, 0], [9, 0, 0])),
    ]
    shares = weight_shares(records)
    assert shares.loc[(shares["panel"] == "mixed") & (shares["label"] == "right"), "share"].tolist() == [100, 0, 0]


def test_records_without_weights_are_an_error() -> None:
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


def is_svg(path: Path) -> bool:
    root = ElementTree.parse(path).getroot()
    return root.tag == "{http://www.w3.org/2000/svg}svg" and len(root.findall(".//{*}path")) > 10


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "training"},
        {"kind": "training", "y": ["test_accuracy", "train_accuracy"]},
        {"kind": "against", "x": "noise.rate", "y": "test_error", "logarithmic": True},
        {"kind": "confusion"},
        {"kind": "weights"},
        {"kind": "forest", "width": "column"},
        {"kind": "heatmap"},
        {"kind": "profile"},
        {"kind": "improvement"},
    ],
    ids=["training", "two metrics", "against", "confusion", "weights", "forest", "heatmap", "profile", "improvement"],
)
def test_every_kind_is_written_as_both_png_and_pdf_for_a_path_without_ending(options: dict[str, Any], tmp_path: Path) -> None:
    records = [each for each in drawable() if each["status"] == "done"]
    draw(records, tmp_path / "figure", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]
    assert is_png(tmp_path / "figure.png")
    assert is_pdf(tmp_path / "figure.pdf")


@pytest.mark.parametrize(("name", "is_right"), [("figure.png", is_png), ("figure.pdf", is_pdf), ("figure.svg", is_svg)])
def test_an_ending_decides_the_one_file_that_is_written(name: str, is_right: Any, tmp_path: Path) -> None:
    draw(drawable(), tmp_path / name, kind="confusion")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert is_right(tmp_path / name)


def test_each_matrix_says_its_method_and_its_setting() -> None:
    counts = {"confusion_matrix": [[3, 1], [0, 4]]}
    records = [record("reed", per_class=counts, noise__rate=0.2), record("l2rw", per_class=counts, noise__rate=0.4)]
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in matrices.confusion_figure(request(records)).axes]
    assert titles == ["reed Digits, background flip 20 %", "l2rw Digits, background flip 40 %"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_diverged_trials_are_nothing_to_draw(kind: str, tmp_path: Path) -> None:
    diverged = [record("l2rw", history=[entry(50)], done=False)]
    with pytest.raises(UserError):
        draw(diverged, tmp_path / "figure.png", kind=kind, x="noise.rate")
    assert list(tmp_path.iterdir()) == []


def test_the_same_records_give_the_same_files(tmp_path: Path) -> None:
    for ending in ("png", "pdf", "svg"):
        once, again = tmp_path / f"once.{ending}", tmp_path / f"again.{ending}"
        for path in (once, again):
            draw(drawable(), path, kind="training")
        assert once.read_bytes() == again.read_bytes()


ODD = ["$\\alpha$ $", "名前", "two\nlines", "x" * 200, "<&>\"'", "reed:base.beta=[1,2]"]


@pytest.mark.parametrize("kind", ["training", "forest", "heatmap", "confusion"])
def test_names_with_odd_characters_are_drawn(kind: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    records = [each | {"method": name} for name in ODD for each in drawable()[:2]]
    draw(records, tmp_path / "figure.svg", kind=kind)
    assert is_svg(tmp_path / "figure.svg")
    assert not recwarn


def test_too_many_methods_are_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    records = [drawable()[0] | {"method": f"method {place}"} for place in range(1000)]
    with pytest.raises(UserError, match=r"^a figure of kind training shows at most 24 methods, not 1000; choose some with --methods$"):
        draw(records, tmp_path / "figure.png")


def test_an_unknown_kind_gives_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no kind of figure 'confusoin'; nearest: confusion "):
        draw(drawable(), tmp_path / "figure.png", kind="confusoin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["figure.jpeg", "figure.v2"])
def test_another_ending_is_the_users_mistake(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must have the suffix \.png, \.pdf or \.svg") as error:
        draw(drawable(), tmp_path / name)
    assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_number_of_a_figure_is_missing_where_records_have_it() -> None:
    data = training(drawable(), ["test_accuracy", "train_accuracy"])
    assert len(data) == 2 * 2 * 2 * 2 * 2  # methods, rates, trials, evaluations, metrics
    assert not any(math.isnan(value) for value in data["value"])
