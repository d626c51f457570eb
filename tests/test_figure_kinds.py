"""The numbers behind each kind of figure, against definitions written out and scikit-learn; and what the command says of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score, roc_curve

from benchmark import ROOT, report
from benchmark.analysis.figures import KINDS, draw
from benchmark.analysis.figures.axes import positions, scale_of
from benchmark.analysis.figures.canvas import plt, spread
from benchmark.analysis.figures.detection import ENDING, RANKED_BY, detection_figure, precision_at, roc, suspicion_of
from benchmark.analysis.figures.forest import by_setting, forest_figure
from benchmark.analysis.figures.heatmap import heatmap_figure, means
from benchmark.analysis.figures.pareto import front
from benchmark.analysis.figures.profile import improvement_figure
from benchmark.analysis.figures.transition import counted
from benchmark.metrics import METRICS
from benchmark.records.store import Record, Store, read_record
from benchmark.redrawn import labels_of
from benchmark.training.artifacts import place
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of
from tests.test_figures import request

ACCURACY = METRICS["test_accuracy"]


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def trial(method: str, accuracy: float, seed: int = 0, **options: Any) -> Record:
    return record_of(config_of(method__name=method, **options), seed, [entry(100, accuracy)])


# --- labels beside lines


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_spread_places_keep_their_order_and_their_distance(places: list[float]) -> None:
    found = spread(places, 0.1)
    order = np.argsort(places, kind="stable")
    assert np.diff(np.array(found)[order]) == pytest.approx(np.maximum(0.1, np.diff(np.array(found)[order])))
    assert min(found) >= -1e-9
    assert max(found) <= 1 + 1e-9


def test_places_that_are_apart_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])


def test_spread_places_are_the_nearest_by_the_sum_of_squares() -> None:
    places, gap = np.array([0.5, 0.52, 0.55, 0.9, 0.91]), 0.08
    apart = [{"type": "ineq", "fun": lambda found, at=at: found[at + 1] - found[at] - gap} for at in range(4)]
    best = minimize(lambda found: ((found - places) ** 2).sum(), np.linspace(0, 1, 5), bounds=[(0, 1)] * 5, constraints=apart)
    assert spread(places.tolist(), gap) == pytest.approx(best.x.tolist(), abs=1e-3)


# --- axes


@pytest.mark.parametrize(
    ("option", "values", "scale"),
    [
        ("noise.rate", [0, 0.1, 0.5], "linear"),
        ("noise.ratio", [0.9, 0.995], "logit"),
        ("imbalance.ratio", [0.5, 1.0], "linear"),
        ("split.clean_total", [15, 50, 1000], "log"),
        ("split.clean_total", [0, 10, 1000], "even"),
        ("split.clean_per_class", [1, 5, 10], "linear"),
    ],
)
def test_an_axis_suits_its_values(option: str, values: list[float], scale: str) -> None:
    assert scale_of(option, values) == scale


def test_a_logarithmic_axis_can_be_asked_for() -> None:
    assert scale_of("split.clean_per_class", [1, 5, 10], logarithmic=True) == "log"


def test_places_on_each_scale() -> None:
    assert positions([0.9, 0.5], "logit", []) == pytest.approx([math.log10(9), 0])
    assert positions([10, 1000], "log", []) == pytest.approx([1, 3])
    assert positions([1000, 0], "even", [1000, 0, 10, 10]).tolist() == [2, 0]


# --- detection

SCORES = [(seed, ties) for seed in range(4) for ties in (False, True)]


def scores(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wrong = rng.random(60) < 0.4
    suspicion = rng.normal(size=60) + wrong
    return (suspicion.round() if ties else suspicion), wrong


@pytest.mark.parametrize(("seed", "ties"), SCORES)
def test_roc_is_scikit_learns(seed: int, ties: bool) -> None:
    suspicion, wrong = scores(seed, ties)
    false, true, _ = roc_curve(wrong, suspicion, drop_intermediate=False)
    found = roc(suspicion, wrong)
    np.testing.assert_allclose(found, [false, true])
    assert np.trapezoid(found[1], found[0]) == pytest.approx(roc_auc_score(wrong, suspicion))


@pytest.mark.parametrize(("seed", "ties"), SCORES)
def test_precision_at_k_is_the_mean_over_random_orders_of_equal_scores(seed: int, ties: bool) -> None:
    suspicion, wrong = scores(seed, ties)
    rng, k = np.random.default_rng(7), np.array([1, 5, 20, 41, 60])
    orders = [np.lexsort([rng.random(60), -suspicion]) for _ in range(2000 if ties else 1)]
    expected = np.mean([wrong[order].cumsum()[k - 1] / k for order in orders], axis=0)
    np.testing.assert_allclose(precision_at(k, suspicion, wrong), expected, atol=0.03 if ties else 1e-12)


def evidence(wrong: list[bool], weights: list[float], losses: list[float]) -> pd.DataFrame:
    given = [1 if each else 0 for each in wrong]
    return pd.DataFrame({"given_label": given, "true_label": [0] * len(wrong), "loss": losses, "weight": weights})


def test_low_weights_are_suspicious_and_high_losses_where_there_are_no_weights() -> None:
    wrong = [True, False, False]
    suspicion, found, by = suspicion_of(evidence(wrong, [0.1, math.nan, 2.0], [0, 0, 0]))
    assert (suspicion.tolist(), found.tolist(), by) == ([-0.1, -2.0], [True, False], "weight")
    suspicion, found, by = suspicion_of(evidence(wrong, [math.nan] * 3, [3, 1, 2]))
    assert (suspicion.tolist(), found.tolist(), by) == ([3, 1, 2], wrong, "loss")


def test_curves_are_drawn_of_the_methods_that_kept_evidence(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    records = [trial(method, 0.5, seed) for method in ("l2rw", "reed", "without") for seed in range(3)]
    for each in records[:6]:
        path = tmp_path / each["key"] / f"seed-{each['seed']}{ENDING}"
        path.parent.mkdir(exist_ok=True)
        weights = [0.0, 1.0, 2.0, 1.5] if each["method"] == "l2rw" else [math.nan] * 4
        evidence([True, False, False, False], weights, [0.1, 2.0, 0.2, 0.3]).to_parquet(path)
    asked = request(records)
    figure = detection_figure(type(asked)(**{**vars(asked), "checkpoint_dir": tmp_path}))
    curve, precision = figure.axes
    assert curve.lines[0].get_ydata().tolist() == [100] * 201  # the wrong label has the least weight
    assert curve.lines[1].get_ydata()[66] == pytest.approx(0, abs=1)  # and the least loss, so that all right ones come before it
    assert precision.lines[0].get_ydata()[[0, 200]].tolist() == [100, 25]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["l2rw", "reed"]


def test_a_ranking_applies_to_every_method(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    records = [trial(method, 0.5) for method in ("l2rw", "reed")]
    for each in records:
        path = tmp_path / each["key"] / f"seed-0{ENDING}"
        path.parent.mkdir()
        table = evidence([True, False, False, False], [1.0, 0.0, 0.0, 0.0] if each["method"] == "l2rw" else [math.nan] * 4, [0.0, 1, 1, 1])
        table.assign(margin=[-1.0, 0, 1, 2], wrong_events=[3, 1, 0, 1]).to_parquet(path)
    for ranking, found in (("loss", 0), ("margin", 100), ("wrong_events", 100)):
        figure = detection_figure(type(request(records))(**{**vars(request(records)), "checkpoint_dir": tmp_path, "ranking": ranking}))
        assert [line.get_ydata()[1] for line in figure.axes[0].lines] == pytest.approx([found] * 2)
        assert f"Examples are ranked by {RANKED_BY[ranking]}." in " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_wrong_ranking_and_evidence_without_it_are_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    each = trial("l2rw", 0.5)
    path = tmp_path / each["key"] / f"seed-0{ENDING}"
    path.parent.mkdir()
    evidence([True, False, False, False], [math.nan] * 4, [1.0] * 4).to_parquet(path)  # as earlier versions kept it
    draw([each], tmp_path / "figure.png", kind="detection", checkpoint_dir=tmp_path)
    with pytest.raises(UserError, match="has no column wrong_events, because an earlier version kept it"):
        draw([each], tmp_path / "figure.png", kind="detection", checkpoint_dir=tmp_path, ranking="wrong_events")
    with pytest.raises(UserError, match="no ranking 'weights'; nearest: wrong_events"):
        draw([each], tmp_path / "figure.png", kind="detection", checkpoint_dir=tmp_path, ranking="weights")
    with pytest.raises(UserError, match="a figure of kind training has no ranking"):
        draw([each], tmp_path / "figure.png", ranking="loss")


def test_evidence_lies_where_runs_write_it() -> None:
    assert place("kept", "0123", 4, "evidence") == Path("kept") / "0123" / f"seed-4{ENDING}"


def test_without_evidence_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"has no evidence of these trials; .* --checkpoint-dir, or train them with keep=\[evidence\]",
    ):
        draw([trial("l2rw", 0.5)], tmp_path / "figure.png", kind="detection", checkpoint_dir=tmp_path)


def test_evidence_on_other_data_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    each = trial("l2rw", 0.5)
    path = tmp_path / each["key"] / f"seed-0{ENDING}"
    path.parent.mkdir()
    evidence([True] * 9, [1.0] * 9, [1.0] * 9).to_parquet(path)
    with pytest.raises(UserError, match="is not the evidence on the 4 training examples of"):
        draw([each | {"path": "there"}], tmp_path / "figure.png", kind="detection", checkpoint_dir=tmp_path)


# --- transition matrices


def test_the_realised_matrix_has_the_shares_of_each_true_class() -> None:
    rng = np.random.default_rng(0)
    given, true = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    expected = [[np.mean(given[true == row] == column) for column in range(3)] for row in range(3)]
    np.testing.assert_allclose(counted(given, true, 3), expected)
    assert counted([0], [0], 2).tolist() == [[1, 0], [0, 0]]


def shipped() -> Record:
    """A record of L2RW on digits, 40 % background flip, whose data comes with scikit-learn."""
    return read_record(next((ROOT / "results/reference/digits/digits/bgflip").glob("l2rw-000217a62e7a/seed-0.json")))


def test_the_labels_of_a_record_are_drawn_again_from_its_data() -> None:
    found = shipped()
    labels = labels_of(found)
    assert (labels.given != labels.true).sum() == found["data"]["wrong_labels"]["train"]
    assert np.bincount(labels.given, minlength=10).tolist() == found["data"]["train_labels_per_class"]
    background = np.argmax(found["data"]["train_labels_per_class"])
    T = 0.6 * np.eye(10)
    T[:, background] += 0.4
    np.testing.assert_allclose(labels.stated, T)


def test_labels_of_other_data_are_not_those_of_the_record() -> None:
    with pytest.raises(UserError, match="comes from different images or labels than the data on this machine"):
        labels_of(shipped() | {"seed": 1})


# --- Pareto front


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_the_front_is_what_no_other_point_dominates(points: list[tuple[int, int]]) -> None:
    def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    expected = [not any(dominates(other, each) for other in points) for each in points]
    assert front(*zip(*points, strict=True)).tolist() == expected


# --- methods by settings


def grid() -> list[Record]:
    values = {("a", 0.2): (0.9, 0.8, 0.85), ("a", 0.4): (0.5, 0.6, 0.55), ("b", 0.2): (0.7, 0.7, 0.9)}
    return [trial(method, value, seed, noise__rate=rate) for (method, rate), found in values.items() for seed, value in enumerate(found)]


def fields(axis: Axes) -> list[str]:
    """The texts of a table of shades in reading order; its vertical axis points down."""
    return [text.get_text() for text in sorted(axis.texts, key=lambda text: text.get_position()[::-1])]


def test_the_heat_map_has_means_with_the_best_method_first_and_a_dash_where_nothing_was_run() -> None:
    rows = by_setting(request(grid()), ACCURACY)
    methods, found = means(rows, ACCURACY)
    assert list(rows) == ["Digits, background flip 20 %", "Digits, background flip 40 %"]
    assert methods == ["b", "a"]
    np.testing.assert_allclose(found, [[np.mean([70, 70, 90]), math.nan], [85, 55]])
    assert means(by_setting(request(grid(), "test_error"), METRICS["test_error"]), METRICS["test_error"])[0] == ["b", "a"]
    (axis,) = heatmap_figure(request(grid())).axes
    assert fields(axis) == ["76.7", "–", "85.0", "55.0"]


def test_names_of_settings_are_wrapped_between_words() -> None:
    names = {"bgflip": "background flip", "uniflip": "uniform flip", "pairflip": "pair flip", "instance": "instance-dependent noise"}
    records = [trial("a", 0.9, 0, noise__name=noise, noise__rate=rate) for noise in names for rate in (0.2, 0.4)]
    (axis,) = heatmap_figure(request(records)).axes
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert len(labels) == 8
    assert max(map(len, labels[0].splitlines())) < len(labels[0])  # on several lines
    assert {label.replace("\n", " ") for label in labels} == {f"Digits, {name} {rate} %" for name in names.values() for rate in (20, 40)}


def test_a_forest_has_every_trial_as_a_point_beside_its_mean_and_interval() -> None:
    axis = forest_figure(request(grid())).axes[0]
    drawn = [sorted(line.get_xdata()) for line in axis.lines]
    assert drawn[1] == [pytest.approx(85)]
    assert drawn[0] == pytest.approx([85 - 4.3027 * 5 / math.sqrt(3), 85 + 4.3027 * 5 / math.sqrt(3)], rel=1e-4)
    assert drawn[2] == pytest.approx([80, 85, 90])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]


def test_a_method_improves_on_another_in_as_many_trials_as_it_wins() -> None:
    records = [trial("a", value, seed) for seed, value in enumerate((0.9, 0.8, 0.5, 0.6))]
    records += [trial("b", value, seed) for seed, value in enumerate((0.8, 0.8, 0.6, 0.5))]  # a wins two, loses one, one tie
    (axis,) = improvement_figure(request(records)).axes
    assert fields(axis) == ["–", "62", "38", "–"]
    (axis,) = improvement_figure(request(records, "test_error")).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]  # by the lower error


def test_a_figure_says_that_trials_diverged_and_a_comparison_over_settings_refuses_them(tmp_path: Path) -> None:
    records = [*grid(), record_of(config_of(method__name="a", noise__rate=0.2), 3, [entry(50)], done=False)]
    (text,) = (each for each in forest_figure(request(records)).texts if "Circles" in each.get_text())
    assert text.get_text().replace("\n", " ").endswith(" 1 trial diverged.")
    with pytest.raises(UserError, match="trials of a diverged"):
        improvement_figure(request(records))


# --- the command


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for method, rate, seed in product(("reed", "l2rw"), (0.2, 0.4), range(3)):
        Store(tmp_path / "results").write(trial(method, 0.5 + rate + 0.01 * seed, seed, noise__rate=rate))
    return tmp_path / "results"


def test_help_lists_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: " in printed for name in KINDS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--kind", "fores"], "no kind of figure 'fores'; nearest: forest "),
        (["--kind", "against"], "a figure of kind against needs an option for its axis, such as --x noise.rate"),
        (["--x", "noise.rat"], "no numeric option of these records 'noise.rat'; nearest: noise.rate "),
        (["--width", "colum"], "no width of figures 'colum'; nearest: column "),
        (["--kind", "pareto", "--x", "seconds"], "no cost 'seconds'; nearest: relative_seconds "),
        (["--kind", "pareto", "--cost", "none.json"], "cannot read none.json"),
        (["--kind", "heatmap", "--y", "nll", "ece"], "none of these records has nll|a figure of kind heatmap shows one metric "),
        (["--kind", "forest", "--select", "last", "last5"], "a figure of kind forest shows one selection, not last, last5"),
        (["--kind", "confusion", "--select", "last5"], "--select applies to tables and to figures of kind against, forest, "),
        (["--kind", "weights"], "no record has example weights on a hyper-validation set "),
        (["--kind", "transition"], "record .* comes from different images or labels than the data on this machine"),
    ],
)
def test_what_a_figure_cannot_show_is_one_sentence(
    options: list[str], sentence: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(results), "--figure", str(results / "figure.png"), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert re.match(f"error: ({sentence})", printed), printed
    assert not (results / "figure.png").exists()


def test_a_figure_needs_a_file(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(results), "--width", "column"]) == 2
    assert capsys.readouterr().err == "error: --width column is an option of figures and needs --figure FILE\n"


def test_a_column_is_narrower_than_a_page(results: Path) -> None:
    widths = {}
    for width in ("column", "full"):
        assert report.main([str(results), "--figure", str(results / f"{width}.svg"), "--kind", "forest", "--width", width]) == 0
        widths[width] = (results / f"{width}.svg").read_text(encoding="utf-8").split('width="')[1].split("pt")[0]
    assert (float(widths["column"]), float(widths["full"])) == (3.3 * 72, 6.9 * 72)
