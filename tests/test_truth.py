"""True labels of a data set in addition to its given ones, for all, some or no images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmark import trial
from benchmark.analysis.selection import check_selection, value
from benchmark.config import cells
from benchmark.metrics import METRICS
from benchmark.records.store import Record, text_of
from benchmark.training import artifacts
from benchmark.training.trainer import Settings, Trainer
from datasets.augment import Preprocessing
from datasets.imbalance import Step
from datasets.noise import NoNoise, UniformFlip
from datasets.source import UNKNOWN, Source
from datasets.task import Split, Task, make_task
from methods.base import Knowledge, Method
from methods.baseline import Baseline
from methods.coteaching import Coteaching
from methods.l2rw import L2RW
from methods.schedules import Schedule, Schedules
from methods.weighted import Weighted
from robust_benchmark.errors import UserError
from tests.conftest import small_convnet, toy_source

PLAIN = Preprocessing()


def given_source(vouched: int | None = 0) -> Source:
    """Return a source with one third of wrong labels. vouched: number of known true labels per class, None: all"""
    source = toy_source(300)
    true = source.train_labels.clone()
    given = torch.where(torch.arange(300) % 10 < 3, (true + 1) % 3, true)
    if vouched is not None:
        true[torch.arange(300) >= 3 * vouched] = UNKNOWN  # classes come in turn
    return replace(source, train_labels=given, train_true_labels=true)


def given_task(vouched: int | None = 0, **split: Any) -> Task:
    return make_task(given_source(vouched), NoNoise(), Split(**{"hyper_validation": 40, **split}), PLAIN, 0)


def trainer_of(method: Method, task: Task, steps: int = 4) -> Trainer:
    settings = Settings(Schedules(main=Schedule(steps, 0.05)), batch_size=20, evaluate_every=2, evidence=True)
    return Trainer(method, small_convnet, task, settings, 0, torch.device("cpu"))


def record_of(trainer: Trainer) -> Record:
    (cell,) = cells(["method=baseline", "noise=none", "trials=1"])
    record = trial._record(cell, 0, trainer)
    text_of(record)  # refuses numbers that are not finite
    return record


def test_given_labels_beside_known_true_ones_have_their_rate_and_matrix_counted() -> None:
    task = given_task(None, clean_per_class=5)
    wrong = task.train.labels != task.train.true_labels
    assert task.noise_rate == wrong.double().mean().item() > 0.2
    assert task.transition_matrix[0, 2] == 0
    assert task.transition_matrix.diagonal().mean().item() == pytest.approx(1 - task.noise_rate, abs=0.02)
    assert torch.equal(task.clean.labels, task.clean.true_labels)


def test_a_task_of_unknown_truth_has_neither_rate_nor_matrix_nor_clean_set() -> None:
    task = given_task(0)
    assert (task.noise_rate, task.transition_matrix, task.train.wrong(), task.hyper_validation.wrong()) == (None, None, None, None)
    assert [len(part) for part in (task.train, task.clean, task.hyper_validation)] == [260, 0, 40]
    with pytest.raises(UserError, match="clean set of 6 images is larger than the 0 training images that it can be of"):
        given_task(0, clean_total=6)


def test_vouched_rows_are_the_clean_set_and_in_no_other() -> None:
    task = given_task(8)
    assert torch.bincount(task.clean.labels).tolist() == [8, 8, 8]
    assert torch.equal(task.clean.labels, task.clean.true_labels)
    assert [len(part) for part in (task.train, task.hyper_validation)] == [300 - 24 - 40, 40]
    assert (task.train.true_labels == UNKNOWN).all()
    assert task.train_positions.min() >= 24
    fewer = given_task(8, clean_total=6)
    assert torch.bincount(fewer.clean.labels).tolist() == [2, 2, 2]
    assert fewer.train_positions.min() >= 24


def test_imbalance_counts_given_labels_where_true_ones_are_unknown() -> None:
    task = make_task(given_source(8), NoNoise(), Split(), PLAIN, 0, imbalance=Step(3, rare=0.34))
    counts = torch.bincount(task.train.labels)
    assert counts[0] == counts[1] == 3 * counts[2] + counts[0] % 3


def test_metrics_and_records_without_true_labels_lack_what_needs_them() -> None:
    trainer = trainer_of(L2RW(), given_task(8))
    trainer.run()
    record = record_of(trainer)
    of_truth = {
        "train_accuracy",
        "hyper_validation_accuracy",
        "wrong_labels_memorised",
        "weights_auroc",
        "weights_auprc",
        "weights_precision",
    }
    for found in (record["metrics"], record["history"]):
        assert not of_truth & found.keys()
        assert {"test_accuracy", "train_accuracy_on_given_labels", "hyper_validation_accuracy_on_given_labels"} <= found.keys()
        assert "effective_batch_share" in found
    assert all(METRICS[name].absent for name in of_truth)
    assert "weights_precision" not in record["per_class"]
    assert record["weight_histograms"] == {}
    assert record["data"]["wrong_labels"] == {"train": None, "clean": 0, "hyper_validation": None}
    assert record["data"]["noise_rate"] is None
    assert not {"train_true_labels_per_class", "wrong_labels_per_true_class"} & record["data"].keys()


def test_noisy_validation_selects_without_true_labels_and_clean_validation_says_why_it_does_not() -> None:
    trainer = trainer_of(Baseline(), given_task(0))
    trainer.run()
    record = record_of(trainer)
    scores = record["history"]["hyper_validation_accuracy_on_given_labels"]
    best = record["history"]["test_accuracy"][scores.index(max(scores))]
    assert value(record, METRICS["test_accuracy"], "noisy_validation") == pytest.approx(100 * best)
    check_selection("noisy_validation", [record])
    with pytest.raises(UserError, match="clean_validation needs true labels of the hyper-validation set, and none of these records"):
        check_selection("clean_validation", [record])


@pytest.mark.parametrize("vouched", [0, 8, None])
def test_unknown_true_labels_are_missing_in_the_evidence(vouched: int | None, tmp_path: Path) -> None:
    trainer = trainer_of(Baseline(), given_task(vouched))
    trainer.run()
    record = record_of(trainer)
    artifacts.keep(["evidence"], trainer, str(tmp_path), record)
    table = pd.read_parquet(artifacts.place(tmp_path, record["key"], 0, "evidence"))
    assert table["given_label"].tolist() == trainer.task.train.labels.tolist()
    if vouched is None:
        assert table["true_label"].tolist() == trainer.task.train.true_labels.tolist()
    else:
        assert table["true_label"].isna().all()


@pytest.mark.parametrize(
    ("method", "what"), [(Weighted(), "transition matrix"), (Coteaching(), "noise rate")], ids=["weighted", "coteaching"]
)
def test_methods_that_need_the_truth_are_refused_in_one_sentence(method: Method, what: str) -> None:
    assert method.needs & Knowledge.OF_TRUTH
    with pytest.raises(UserError, match=f"needs the {what}, which derive from true labels, and this data set does not know them"):
        trainer_of(method, given_task(8))


def test_methods_that_need_the_clean_set_work_with_vouched_rows_and_say_what_is_missing_without() -> None:
    trainer = trainer_of(L2RW(), given_task(8))
    assert trainer.run().history[-1]["test_accuracy"] > 0
    with pytest.raises(UserError, match="L2RW needs a clean set, and this data set knows no true labels: vouch for some of them"):
        trainer_of(L2RW(), given_task(0))


@pytest.mark.parametrize("vouched", [0, 8, None])
def test_synthetic_noise_on_given_labels_is_refused(vouched: int | None) -> None:
    with pytest.raises(UserError, match=r"UniformFlip makes wrong labels from true ones, .* given labels of its own: choose noise=none"):
        make_task(given_source(vouched), UniformFlip(0.4), Split(), PLAIN, 0)
