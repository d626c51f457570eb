"""The baselines with a clean set: clean examples weighed up, and labels changed by a classifier of the clean set."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from benchmark import trial
from benchmark.config import Cell, cells
from benchmark.training.trainer import Trainer
from methods.base import Batch, Knowledge
from methods.clean_weighted import CleanWeighted
from methods.registry import build
from methods.relabel import Relabel
from robust_benchmark import RobustClassifier
from robust_benchmark.errors import UserError
from tests.by_hand import CLASSES, Bare, bench, some_images, some_labels
from tests.references import cross_entropies, softmax
from tests.resuming import trainer_of

N = 20
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()
IMAGES = some_images(N, shape=(1, 1, CLASSES), scale=2.0)
Z = IMAGES.numpy().reshape(N, CLASSES)


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_a_clean_example_counts_as_so_many_noisy_ones(weight: float) -> None:
    b = bench({"name": "clean_weighted", "weight": weight}, LABELS, IMAGES, lambda _: Bare())
    index = torch.arange(N) + N // 2  # the second half is clean
    loss = b.method.loss(Batch(IMAGES, LABELS, index))
    counts = np.where(index.numpy() >= N, weight, 1.0)
    assert loss.item() == pytest.approx((counts * cross_entropies(Z, Y)).sum() / counts.sum(), rel=1e-6)


def test_the_clean_set_joins_with_its_labels() -> None:
    for name in ("clean_weighted", "relabel", "glc"):
        trainer = trainer_of(build({"name": name}), steps=4)
        phase = next(phase for phase in trainer.phases if phase.name == "main")
        joined = phase.before(trainer.view)
        assert torch.equal(joined.labels, trainer.task.clean.labels)
        assert torch.equal(joined.images, trainer.task.clean.images)


def test_relabelling_changes_the_labels_that_the_clean_classifier_contradicts_surely() -> None:
    b = bench({"name": "relabel", "confidence": 0.7}, LABELS, IMAGES, lambda _: Bare())
    initial = b.method.model.output.weight.detach().clone()
    b.method.model.output.weight.data *= 0.8  # as after training on the clean set
    clean = b.phases()[1].before(b.view)
    p = softmax(0.8 * Z)
    expected = [int(row.argmax()) if row.max() > 0.7 else y for row, y in zip(p, Y.tolist(), strict=True)]
    assert expected != Y.tolist()
    assert b.method.labels.tolist() == [*expected, *clean.labels.tolist()]
    torch.testing.assert_close(b.method.model.output.weight.detach(), initial)
    found = b.method.loss(b.batch(torch.arange(N)))
    assert found.loss.item() == pytest.approx(cross_entropies(Z, np.array(expected)).mean())
    np.testing.assert_allclose(found.example_weights.numpy(), p[np.arange(N), Y] / N, rtol=1e-6)


def test_relabelling_trains_on_clean_images_first() -> None:
    trainer: Trainer = trainer_of(Relabel(), steps=4)
    assert [phase.source for phase in trainer.phases] == ["clean", "train"]


def test_confidence_of_one_changes_nothing_and_of_zero_everything() -> None:
    for confidence, expected in ((1.0, Y), (0.0, Z.argmax(axis=1))):
        b = bench({"name": "relabel", "confidence": confidence}, LABELS, IMAGES, lambda _: Bare())
        b.phases()[1].before(b.view)
        assert b.method.labels[:N].tolist() == expected.tolist()


def test_they_declare_the_clean_set() -> None:
    assert CleanWeighted().needs == Relabel().needs == Knowledge.CLEAN_SET


def cell_of(method: str, *split: str) -> Cell:
    """The cell of this method on the ten digits."""
    (cell,) = cells([f"method={method}", "model=mlp", "trainer.steps=2", *(f"split.{each}" for each in split)])
    return cell


@pytest.mark.parametrize("method", ["clean_only", "relabel"])
@pytest.mark.parametrize("split", [["clean_total=5"], ["clean_total=15", "stratified=false"]], ids=["few", "unstratified"])
def test_training_that_starts_with_a_clean_set_without_some_classes_is_refused_and_names_them(method: str, split: list[str]) -> None:
    cell = cell_of(method, *split)
    there = set(trial.task_of(cell, 0).clean.labels.tolist())
    missing = [f"'{digit}'" for digit in range(10) if digit not in there]
    assert missing
    sentence = f"method {method} first trains on the clean set alone, which has no example of {', '.join(missing)}: give split.stratified"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}"):
        trial.prepare(cell, 0)


@pytest.mark.parametrize(("method", "split"), [("clean_only", "clean_total=15"), ("relabel", "clean_total=10"), ("l2rw", "clean_total=5")])
def test_a_clean_set_with_each_class_is_enough_and_other_methods_accept_any(method: str, split: str) -> None:
    assert trial.prepare(cell_of(method, split), 0).steps > 0


def test_an_array_of_clean_examples_without_a_class_is_refused() -> None:
    x, y = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 3
    classifier = RobustClassifier("clean_only", overrides=["trainer.steps=2"])
    with pytest.raises(UserError, match=r"has no example of '2': vouch for examples of each class$"):
        classifier.fit(x, y, X_clean=x[y < 2], y_clean=y[y < 2])
