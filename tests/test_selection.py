"""Selection of a trial's evaluation: the last one, or one chosen by validation labels, by the test set or by its position."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import report
from benchmark.analysis.experiment import Found, Wanted, comparison
from benchmark.analysis.experiment import render as render_experiment
from benchmark.analysis.figures import draw
from benchmark.analysis.figures.lines import against
from benchmark.analysis.rows import summary
from benchmark.analysis.selection import SELECTIONS, check_selection, value
from benchmark.analysis.tables import render
from benchmark.metrics import METRICS
from benchmark.records.store import Record, Store
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of

GIVEN, TRUE = "hyper_validation_accuracy_on_given_labels", "hyper_validation_accuracy"


def evaluation(step: int, test: float, given: float = 0.5, true: float = 0.5, phase: str = "main", **metrics: float) -> dict[str, Any]:
    return entry(step, test, phase, **{GIVEN: given, TRUE: true}, **metrics)


def record(history: list[dict[str, Any]], method: str = "reed", seed: int = 0, done: bool = True, **options: Any) -> Record:
    return record_of(config_of(method__name=method, **options), seed, history, done)


def accuracy(history: list[dict[str, Any]], selection: str) -> float:
    return value(record(history), METRICS["test_accuracy"], selection)


# --- one trial

THREE = [evaluation(10, 0.7, given=0.6, true=0.5), evaluation(20, 0.9, given=0.5, true=0.6), evaluation(30, 0.6, given=0.4, true=0.7)]


@pytest.mark.parametrize(("selection", "expected"), [("last", 60), ("noisy_validation", 70), ("clean_validation", 60), ("oracle", 90)])
def test_each_selection_takes_the_evaluation_with_the_highest_score_of_its_own(selection: str, expected: float) -> None:
    assert accuracy(THREE, selection) == pytest.approx(expected)


@pytest.mark.parametrize("selection", ["noisy_validation", "clean_validation", "oracle"])
def test_of_equal_evaluations_the_earliest_is_taken(selection: str) -> None:
    history = [evaluation(step, 0.5, train_accuracy=step / 100) for step in (10, 20, 30)]
    assert value(record(history), METRICS["train_accuracy"], selection) == pytest.approx(10)


LATE = [name for name in SELECTIONS if name != "equal_compute"]  # which look at the last phase alone


@pytest.mark.parametrize("selection", LATE)
@pytest.mark.parametrize("names", [("pretraining", "main"), ("main", "fine-tuning"), ("fine-tuning", "fine-tuning")])
def test_only_the_last_phase_counts_though_an_earlier_one_was_better(selection: str, names: tuple[str, str]) -> None:
    first, last = names
    earlier = [evaluation(step, 0.9, 0.9, 0.9, first) for step in (10, 20, 30, 40, 50)]
    assert accuracy([*earlier, evaluation(10, 0.3, phase=last), evaluation(20, 0.3, phase=last)], selection) == pytest.approx(30)


def test_last5_is_the_mean_over_the_last_five_evaluations() -> None:
    history = [evaluation(step, step / 100) for step in range(10, 80, 10)]  # 0.1 to 0.7
    assert accuracy(history, "last5") == pytest.approx(50)
    assert accuracy(history[:3], "last5") == pytest.approx(20)  # of all there are


def test_last5_leaves_out_evaluations_that_lack_the_metric() -> None:
    history = [evaluation(10, 0.5), evaluation(20, 0.5, ece=0.2), evaluation(30, 0.5, ece=0.1)]
    assert value(record(history), METRICS["ece"], "last5") == pytest.approx(15)


@pytest.mark.parametrize("name", ["test_error", "nll", "train_accuracy"])
def test_any_metric_of_the_history_is_that_of_the_chosen_evaluation(name: str) -> None:
    rng = np.random.default_rng(0)
    history = [evaluation(step, *rng.random(3), nll=rng.random(), train_accuracy=rng.random()) for step in range(10, 210, 10)]
    for selection, by in (("noisy_validation", GIVEN), ("clean_validation", TRUE), ("oracle", "test_accuracy")):
        best = max(history, key=lambda row: row[by])
        assert value(record(history), METRICS[name], selection) == pytest.approx(METRICS[name].of(best))


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_diverged_trial_has_no_value_and_neither_has_a_metric_that_was_not_measured(selection: str) -> None:
    diverged = record([evaluation(10, 0.9), entry(20)], done=False)
    assert math.isnan(value(diverged, METRICS["test_accuracy"], selection))
    assert math.isnan(value(record(THREE), METRICS["few_shot_accuracy"], selection))


# --- tables

TWO = [record(THREE), record([evaluation(10, 0.5, given=0.9), evaluation(20, 0.4, given=0.8)], seed=1)]


def test_selections_side_by_side_are_columns_of_each_setting() -> None:
    other = [record(THREE, noise__rate=0.2)]
    header, _, line = render([*TWO, *other], selections=["last", "noisy_validation"]).splitlines()[:3]
    columns = [f"digits bgflip rate={rate}, {name}" for rate in (0.2, 0.4) for name in ("last", "noisy_validation")]
    assert [cell.strip() for cell in header.split("  ") if cell.strip()] == ["sees", "method", *columns]
    assert [cell.strip() for cell in line.split("  ") if cell.strip()][2:] == ["60.00", "70.00", "60.00, 40.00", "70.00, 50.00"]


def test_methods_stand_in_the_order_of_the_first_selection() -> None:
    rising = record([evaluation(10, 0.2, given=0.9), evaluation(20, 0.8, given=0.1)], "rising")
    falling = record([evaluation(10, 0.7, given=0.9), evaluation(20, 0.3, given=0.1)], "falling")
    for selections, order in ((["last", "noisy_validation"], ["falling", "rising"]), (["noisy_validation", "last"], ["rising", "falling"])):
        table = summary([rising, falling], selections=selections)
        assert list(dict.fromkeys(table["method"])) == order


@pytest.mark.parametrize("name", [name for name in LATE if name != "last"])
def test_the_caption_says_in_words_which_evaluation_counts(name: str) -> None:
    text = render(TWO, selections=[name])
    assert f"{name}: {SELECTIONS[name].words}." in text
    assert "last step" not in text


def test_the_caption_of_the_oracle_calls_it_no_fair_result() -> None:
    text = render(TWO, selections=["oracle"])
    assert "with the highest test accuracy, an upper bound and not a fair result" in text


def test_clean_validation_labels_are_among_what_is_seen() -> None:
    assert set(summary(TWO, selections=["clean_validation"])["sees"]) == {"noisy labels + clean validation labels"}
    assert set(summary(TWO, selections=["noisy_validation"])["sees"]) == {"noisy labels"}
    both = summary(TWO, selections=["last", "clean_validation"])
    assert dict(zip(both["selection"], both["sees"], strict=True)) == {
        "last": "noisy labels",
        "clean_validation": "noisy labels + clean validation labels",
    }


def test_an_experiment_is_held_against_the_paper_by_the_first_selection_and_has_the_others_beside() -> None:
    wanted = Wanted("reed", TWO[0]["config"], TWO[0]["key"], 2)
    found = [Found(wanted, TWO, 1.0)]
    rows = {"reed": {"name": "Reed", "digits": [60.0, 1.0]}}
    (row,) = comparison(found, rows, "noisy_validation").itertuples()
    assert (row.ours.mean, row.difference) == (pytest.approx(60), pytest.approx(0))
    text = render_experiment(found, rows, [], selections=["noisy_validation", "last"])
    assert all(column in text.splitlines()[0] for column in ("ours, noisy_validation", "ours, last"))
    assert " 60.00 " in text.splitlines()[2]
    assert " 50.00 " in text.splitlines()[2]
    assert "last: the last step." in text


def test_a_figure_against_an_option_has_a_panel_for_each_selection() -> None:
    data = against(TWO[:1], "noise.rate", [METRICS["test_accuracy"]], ["last", "oracle"])
    assert list(zip(data["setting"], data["value"], strict=True)) == [
        ("Digits, background flip", 60),
        (f"Digits, background flip; {SELECTIONS['oracle'].words}", 90),
    ]


def test_a_figure_along_training_rejects_a_selection(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--select applies to tables and to figures of kind against, .*, not to kind training"):
        draw(TWO, tmp_path / "figure.png", selections=["oracle"])


# --- mistakes


def test_an_unknown_selection_is_reported_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^no selection 'noisy_validatoin'; nearest: noisy_validation "):
        check_selection("noisy_validatoin", TWO)


WITHOUT = [record([entry(10, 0.5), entry(20, 0.6)])]


@pytest.mark.parametrize("name", ["noisy_validation", "clean_validation"])
def test_records_without_a_hyper_validation_set_are_one_sentence_and_status_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in WITHOUT:
        Store(tmp_path).write(each)
    assert report.main([str(tmp_path), "--select", name]) == 2
    message = capsys.readouterr()
    assert message.out == ""
    assert message.err == (
        f"error: --select {name} needs a hyper-validation set, and none of these records has one (split.hyper_validation)\n"
    )


@pytest.mark.parametrize("name", ["oracle", "last5"])
def test_selections_without_validation_labels_need_no_hyper_validation_set(name: str) -> None:
    assert render(WITHOUT, selections=[name])


def test_trials_without_a_hyper_validation_set_are_left_out_beside_others_that_have_one() -> None:
    table = summary([*TWO, record([entry(10, 0.5)], "bare")], selections=["noisy_validation"])
    assert table["method"].tolist() == ["reed"]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_only_diverged_trials_say_so_for_any_selection(selection: str) -> None:
    assert "- (1 diverged)" in render([record([entry(10)], done=False)], selections=[selection])


def test_the_command_shows_selections_of_records_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for each in TWO:
        Store(tmp_path).write(each)
    assert report.main([str(tmp_path), "--select", "last", "noisy_validation", "last"]) == 0
    assert capsys.readouterr().out == render(TWO, selections=["last", "noisy_validation"])
    assert report.main([str(tmp_path), "--select", "lasst"]) == 2
    assert capsys.readouterr().err.startswith("error: no selection 'lasst'; nearest: last")
