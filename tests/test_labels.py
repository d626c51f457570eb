"""What prepare and records say of the labels of each class: counts by a plain loop, and the matrix that the noise states."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import labels, prepare, report, trial
from benchmark.config import cells
from benchmark.records import schema
from benchmark.records.store import read_record
from datasets.class_noise import PairFlip, Symmetric
from datasets.instance_noise import InstanceNoise
from datasets.noise import Corruption, NoNoise, UniformFlip
from datasets.task import Task
from tests.conftest import kept_in, toy_task
from tests.test_truth import given_task


def counted(task: Task) -> np.ndarray:
    found = np.zeros((len(task.classes), len(task.classes)), dtype=int)
    for true, given in zip(task.train.true_labels.tolist(), task.train.labels.tolist(), strict=True):
        found[true, given] += 1
    return found


@pytest.mark.parametrize("noise", [NoNoise(), UniformFlip(0.4), Symmetric(0.5), PairFlip(0.3), InstanceNoise(0.4)])
def test_a_record_has_the_counts_of_given_labels_for_each_true_class(noise: Corruption) -> None:
    task = toy_task(noise)
    found, expected = labels.of_record(task), counted(task)
    assert found["given_labels_per_true_class"] == expected.tolist()
    assert found["train_true_labels_per_class"] == expected.sum(axis=1).tolist()
    assert found["train_labels_per_class"] == expected.sum(axis=0).tolist()
    assert found["wrong_labels_per_true_class"] == [sum(row) - row[label] for label, row in enumerate(expected.tolist())]
    assert sum(found["wrong_labels_per_true_class"]) == task.train.wrong()


def test_a_record_has_the_matrix_that_the_noise_states_and_not_one_that_is_counted() -> None:
    assert labels.of_record(toy_task(UniformFlip(0.4)))["transition_matrix"] == [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
    assert labels.of_record(toy_task(Symmetric(0.5)))["transition_matrix"][0] == [0.666667, 0.166667, 0.166667]
    for task in (toy_task(NoNoise()), toy_task(InstanceNoise(0.4)), given_task(None)):
        assert "transition_matrix" not in labels.of_record(task)


def test_without_true_labels_only_given_ones_are_counted() -> None:
    task = given_task(0)
    assert labels.of_record(task) == {"train_labels_per_class": torch.bincount(task.train.labels).tolist()}
    assert [*labels.lines(task)] == []


def test_a_line_for_each_class_has_its_realised_and_its_expected_share() -> None:
    task = toy_task(PairFlip(0.25), clean_per_class=0, hyper_validation=0)
    wrong = [sum(row) - row[label] for label, row in enumerate(counted(task).tolist())]
    assert sum(wrong) == 30
    assert [*labels.lines(task)] == [
        f"class{k}: 40 examples, {wrong[k]} wrong ({wrong[k] / 40:.2%}); given label class{k} (75.00%), class{(k + 1) % 3} (25.00%)"
        for k in range(3)
    ]


def test_prepare_prints_these_lines_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["noise=asymmetric", "noise.rate=0.5", "--labels"]) == 0
    out = capsys.readouterr().out
    (cell,) = cells(["noise=asymmetric", "noise.rate=0.5", "method=reed", "trials=1"])
    for line in labels.lines(trial.task_of(cell, 0)):
        assert f"    {line}\n" in out
    assert "given label 1 (50.00%), 7 (50.00%)" in out
    assert prepare.main(["noise=asymmetric", "noise.rate=0.5"]) == 0
    assert "given label" not in capsys.readouterr().out


def data_of(**changed: Any) -> dict[str, Any]:
    return trial._data(toy_task(UniformFlip(0.4))) | changed


MATRIX = labels.of_record(toy_task(UniformFlip(0.4)))["given_labels_per_true_class"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "counts of fewer classes": ({"given_labels_per_true_class": MATRIX[:2]}, "given_labels_per_true_class that is not of 3 x 3 classes"),
    "a short row": ({"transition_matrix": [[1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "transition_matrix that is not of 3 x 3 classes"),
    "other given labels": ({"given_labels_per_true_class": np.transpose(MATRIX).tolist()}, "that differ from train_"),
    "rows of another sum": ({"transition_matrix": [[0.5, 0.4, 0.0]] * 3}, "a transition_matrix whose rows do not sum to 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_counts_and_matrices_that_do_not_agree_are_named(case: str) -> None:
    changed, sentence = WRONG[case]
    assert [*schema._data(data_of())] == []
    assert sentence in next(iter(schema._data(data_of(**changed))))


def test_the_record_of_a_trial_is_valid_with_them(tmp_path: Path) -> None:
    (cell,) = cells(["method=reed", "noise=symmetric", "trainer.steps=2", "trials=1", *kept_in(tmp_path)])
    trial.run(cell, 0)
    found = read_record(trial.path(cell, 0))
    assert found["data"]["transition_matrix"][3][3] == pytest.approx(0.64)
    assert np.sum(found["data"]["given_labels_per_true_class"]) == found["data"]["sizes"]["train"]


def test_a_record_of_more_than_a_thousand_classes_is_valid_without_matrices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = np.array([f"species {number:04}" for number in range(1001)])
    X = np.random.default_rng(0).normal(size=(2002, 2)).astype(np.float32)
    np.savez(tmp_path / "table.npz", X=X, y=np.tile(names, 2), X_test=X[:1001], y_test=names)
    sizes = ["split.hyper_validation=0", "split.clean_per_class=0", "trainer.steps=2", "trials=1"]
    grid = ["dataset=arrays", "noise=uniflip", "method=baseline", *sizes, *kept_in(tmp_path), f"dataset.path={tmp_path}/table.npz"]
    (cell,) = cells(grid)
    trial.run(cell, 0)
    path = trial.path(cell, 0)
    found = read_record(path)
    assert path.stat().st_size < 300_000
    assert found["per_class"].keys() == {"accuracy"}
    assert np.mean(found["per_class"]["accuracy"]) == pytest.approx(found["metrics"]["test_accuracy"])  # one test image for each class
    assert sum(found["data"]["wrong_labels_per_true_class"]) == found["data"]["wrong_labels"]["train"] > 700
    assert not {"given_labels_per_true_class", "transition_matrix"} & found["data"].keys()
    without = SimpleNamespace(**found | {"per_class": {}})
    assert [*schema._per_class(without)] == ["is done but has no accuracy of each class"]
    figure = ["--kind", "confusion", "--figure", str(tmp_path / "figure.png")]
    assert report.main([str(tmp_path / "results"), *figure]) == 2
    assert "records of more than 1,000 classes have no confusion matrix" in capsys.readouterr().err
    assert report.main([str(tmp_path / "results"), "--html", str(tmp_path / "page.html")]) == 0
