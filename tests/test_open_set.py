"""Open-set noise: images of a donor under given labels, how every measure counts them, and what a user does wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark import donors, labels, prepare, run, trial
from benchmark.config import cells
from benchmark.records.store import read_record, text_of
from benchmark.redrawn import labels_of
from benchmark.training import artifacts
from benchmark.training.detection import WeightLog
from benchmark.training.evaluation import Evaluator
from benchmark.training.trainer import Settings, Trainer
from datasets.augment import Preprocessing
from datasets.imbalance import Exponential
from datasets.mapped import mapped
from datasets.noise import NoNoise
from datasets.open_set import OpenSet
from datasets.source import Source
from datasets.task import Split, Task, draw, make_task
from methods.base import Knowledge, Method
from methods.baseline import Baseline
from methods.coteaching import Coteaching
from methods.l2rw import L2RW
from methods.schedules import Schedule, Schedules
from methods.weighted import Weighted
from robust_benchmark.errors import UserError
from tests.conftest import PixelsAreLogits, kept_in, records, small_convnet, toy_source

K = 3
SPLIT = Split(clean_per_class=5, hyper_validation=30)
CPU = torch.device("cpu")


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    """A file of 200 images, each with its own number in all pixels; no toy image is of one colour."""
    path = tmp_path / "donor.npy"
    np.save(path, np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 1, 8, 8)))
    return path


def task_of(donor: Path, rate: float = 0.3, seed: int = 0, source: Source | None = None, **options: Any) -> Task:
    return make_task(source or toy_source(), OpenSet(rate, str(donor)), SPLIT, Preprocessing(), seed, **options)


def plain_task(seed: int = 0) -> Task:
    return make_task(toy_source(), NoNoise(), SPLIT, Preprocessing(), seed)


def is_donors(images: torch.Tensor) -> torch.Tensor:
    return (images.flatten(1) == images.flatten(1)[:, :1]).all(dim=1)


# --- the images


@pytest.mark.parametrize("rate", [0.1, 0.29, 0.5, 1.0])
def test_exactly_the_rate_of_the_images_is_replaced_and_every_label_stays(donor: Path, rate: float) -> None:
    task, plain = task_of(donor, rate), plain_task()
    for part in ("train", "hyper_validation"):
        found, before = getattr(task, part), getattr(plain, part)
        new = is_donors(found.images)
        assert new.sum() == round(rate * len(found))
        assert torch.equal(found.labels, before.labels)
        assert torch.equal(found.images[~new], before.images[~new])
        assert torch.equal(found.true_labels, torch.where(new, K, before.true_labels))
    assert torch.equal(task.replaced, is_donors(task.train.images))


def test_new_images_are_the_donors_own_without_repetition(donor: Path) -> None:
    task = task_of(donor, 0.5)
    parts = [part.images[is_donors(part.images)] for part in (task.train, task.hyper_validation)]
    shown = torch.cat(parts)[:, 0, 0, 0].tolist()
    assert len(set(shown)) == len(shown) > 50
    assert shown != sorted(shown)


def test_the_clean_and_the_test_set_do_not_change(donor: Path) -> None:
    task, plain = task_of(donor, 1.0), plain_task()
    for part in ("clean", "test"):
        assert torch.equal(getattr(task, part).images, getattr(plain, part).images)
        assert getattr(task, part).wrong() == 0


def test_the_clean_images_that_return_to_training_are_not_replaced(donor: Path) -> None:
    source, split = toy_source(), replace(SPLIT, clean_returns=True)
    task = make_task(source, OpenSet(1.0, str(donor)), split, Preprocessing(), 0, sees_clean=False)
    assert is_donors(task.train.images).tolist() == [True] * 75 + [False] * 15


def test_the_draw_depends_on_the_seed_alone_and_a_lower_rate_replaces_some_of_the_same_images(donor: Path) -> None:
    one, again, other, fewer = task_of(donor), task_of(donor), task_of(donor, seed=1), task_of(donor, 0.1)
    assert torch.equal(one.train.images, again.train.images)
    assert one.digests == again.digests != other.digests
    assert not torch.equal(one.train_positions[one.replaced], other.train_positions[other.replaced])
    assert {*fewer.train_positions[fewer.replaced].tolist()} < {*one.train_positions[one.replaced].tolist()}


def test_the_digest_of_the_draw_detects_a_changed_donor_file(donor: Path) -> None:
    before = draw(toy_source(), OpenSet(0.3, str(donor)), SPLIT, 0).digest
    np.save(donor, np.load(donor) + 1)
    assert draw(toy_source(), OpenSet(0.3, str(donor)), SPLIT, 0).digest != before


def test_a_rate_of_zero_is_right_labels_with_a_known_matrix(donor: Path) -> None:
    task, plain = task_of(donor, 0.0), plain_task()
    assert torch.equal(task.train.images, plain.train.images)
    assert task.digests == plain.digests
    assert (task.noise_rate, task.transition_matrix.tolist()) == (0, np.eye(K).tolist())


def test_images_in_a_mapped_file_are_replaced_alike(donor: Path, tmp_path: Path) -> None:
    source = toy_source()
    np.save(tmp_path / "images.npy", source.train_images.numpy())
    in_file = task_of(donor, source=replace(source, train_images=mapped(tmp_path / "images.npy")))
    assert torch.equal(in_file.train.images[:], task_of(donor).train.images)
    assert in_file.digests["drawn"] == task_of(donor).digests["drawn"]


# --- how measures count them


def test_the_noise_rate_is_the_share_of_new_images_and_there_is_no_matrix(donor: Path) -> None:
    task = task_of(donor)
    assert task.train.wrong() == round(0.3 * 75)
    assert task.noise_rate == task.train.wrong() / 75
    assert task.transition_matrix is None


def test_given_labels_of_new_images_are_memorised_wrong_labels_and_accuracies_on_true_labels_leave_them_out(donor: Path) -> None:
    task = task_of(donor)
    evaluator = Evaluator(task, 0)
    method = PredictsGivenLabels(task)
    found, _ = evaluator.evaluate(method)
    assert found["wrong_labels_memorised"] == 1
    assert found["train_accuracy"] == found["train_accuracy_on_given_labels"] == 1
    assert found["hyper_validation_accuracy"] == found["hyper_validation_accuracy_on_given_labels"] == 1


class PredictsGivenLabels(Baseline):
    """Looks up the given label of each normalised training or hyper-validation image; predicts class 0 for another image."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = PixelsAreLogits()
        self.labels = {}
        for part in (task.train, task.hyper_validation):
            for image, label in zip(task.preprocessing.normalise(part.images), part.labels.tolist(), strict=True):
                self.labels[image.numpy().tobytes()] = label

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        given = [self.labels.get(image.numpy().tobytes(), 0) for image in images]
        return torch.nn.functional.one_hot(torch.tensor(given), K).float()


def test_accuracies_on_true_labels_are_absent_if_every_image_is_replaced(donor: Path) -> None:
    task = task_of(donor, 1.0)
    found, _ = Evaluator(task, 0).evaluate(PredictsGivenLabels(task))
    assert not {"train_accuracy", "hyper_validation_accuracy"} & found.keys()
    assert found["train_accuracy_on_given_labels"] == 1


def test_detection_counts_new_images_as_wrong_labels(donor: Path) -> None:
    task = task_of(donor)
    log, weights = WeightLog(task.train), torch.rand(75, generator=torch.Generator().manual_seed(0)) - 0.2 * task.replaced
    log.note(torch.arange(75), weights.abs())
    expected = roc_auc_score(~task.replaced.numpy(), weights.abs().numpy())
    assert log.report(task.train)["weights_auroc"] == pytest.approx(expected, abs=1e-12)
    assert len(log.precision_per_class(task.train, K)) == K


def trainer_of(method: Method, task: Task) -> Trainer:
    settings = Settings(Schedules(main=Schedule(4, 0.05)), batch_size=20, evaluate_every=2, evidence=True)
    return Trainer(method, small_convnet, task, settings, 0, CPU)


@pytest.mark.parametrize("method", [Baseline, L2RW, Coteaching])
def test_a_trial_is_recorded_with_the_number_of_new_images_of_each_label(donor: Path, method: type[Method]) -> None:
    task = task_of(donor, imbalance=Exponential(4))  # groups of classes by their counts
    trainer = trainer_of(method(), task)
    trainer.run()
    (cell,) = cells(["method=baseline", "trials=1"])
    record = trial._record(cell, 0, trainer)
    record["path"] = "here"
    text_of(record)  # refuses what the schema does
    data, new = record["data"], is_donors(task.train.images)
    by_label = [int((task.train.labels[new] == label).sum()) for label in range(K)]
    assert data["replaced_images_per_given_label"] == by_label
    assert sum(by_label) == data["wrong_labels"]["train"] == round(0.3 * len(task.train))
    assert data["given_labels_per_true_class"] == np.diag(data["train_true_labels_per_class"]).tolist()
    assert [a + b for a, b in zip(data["train_true_labels_per_class"], by_label, strict=True)] == data["train_labels_per_class"]
    assert "transition_matrix" not in data
    assert record["weight_histograms"] == {}
    assert record["metrics"]["wrong_labels_memorised"] >= 0


def test_a_record_of_other_noise_has_no_such_number() -> None:
    assert "replaced_images_per_given_label" not in labels.of_record(plain_task())


def test_the_lines_of_labels_give_the_share_of_new_images_of_each_label(donor: Path) -> None:
    task = task_of(donor)
    new = task.replaced & (task.train.labels == 1)
    n = int((task.train.labels == 1).sum())
    line = f"class1: {n} examples with this given label, {new.sum()} of another data set ({int(new.sum()) / n:.2%})"
    assert [*labels.lines(task)][1] == line


def test_the_evidence_has_the_number_of_classes_as_the_true_label_of_new_images(donor: Path, tmp_path: Path) -> None:
    task = task_of(donor)
    trainer = trainer_of(Baseline(), task)
    trainer.run()
    record = {"key": "0123", "seed": 0, "fingerprint": {}, "digests": {}}
    artifacts.keep(["evidence"], trainer, str(tmp_path), record)
    table = pd.read_parquet(artifacts.place(tmp_path, "0123", 0, "evidence"))
    assert ((table["true_label"] == K) == task.replaced.numpy()).all()


# --- methods


class SeesTruth(Baseline):
    needs = Knowledge.TRUE_LABELS


@pytest.mark.parametrize("method", [Weighted, SeesTruth])
def test_methods_that_need_the_matrix_or_true_labels_are_refused_in_one_sentence(donor: Path, method: type[Method]) -> None:
    with pytest.raises(UserError, match=f"^{method.__name__} needs a true class of each image, and images of another data set have none$"):
        trainer_of(method(), task_of(donor))


# --- the command


def places(root: Path) -> list[str]:
    return ["trials=1", "trainer.steps=2", *kept_in(root)]


def digits_donor(root: Path, n: int = 600) -> Path:
    path = root / "noise.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8))
    return path


def test_a_run_records_the_donor_in_its_key_and_repeats_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["noise=open_set", f"noise.donor={digits_donor(tmp_path)}", "method=baseline", *places(tmp_path)]
    assert run.main(command) == 0
    (record,) = records(tmp_path)
    assert record["config"]["noise"] == {"name": "open_set", "rate": 0.4, "donor": str(tmp_path / "noise.npy")}
    assert sum(record["data"]["replaced_images_per_given_label"]) == round(0.4 * record["data"]["sizes"]["train"])
    assert run.main(command) == 0
    with pytest.raises(UserError, match="has training images of another data set, which have no true class"):
        labels_of(read_record(record["path"]))
    capsys.readouterr()


def test_a_donor_can_be_a_configured_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.full((900, 1, 8, 8), 7, dtype=torch.uint8)
    stored = Source(images, torch.arange(900) % 2, images[:2], torch.tensor([0, 1]), ("shirt", "shoe"))
    asked = []

    def source_on_disk(name: str, data_dir: str) -> Source:
        asked.append((name, data_dir))
        return stored

    monkeypatch.setattr(donors, "source_on_disk", source_on_disk)
    (cell,) = cells(["noise=open_set", "noise.donor=fashion_mnist", "data_dir=elsewhere", "trials=1"])
    task = trial.task_of(cell, 0)
    assert asked == [("fashion_mnist", "elsewhere")]
    assert ((task.train.images == 7).flatten(1).all(dim=1) == task.replaced).all()


def test_a_configured_donor_is_read_from_the_disk_with_its_default_options() -> None:
    assert donors.source_on_disk("digits", "data").train_images.shape == (1297, 1, 8, 8)


@pytest.mark.parametrize(
    ("donor", "said"),
    [
        ("fashon_mnist", r"noise.donor=fashon_mnist: no dataset 'fashon_mnist'; nearest: fashion_mnist"),
        ("digits", r"noise.donor=digits has the classes of the training images, so it is no other data set"),
        ("wine", r"noise.donor=wine has images of float32 13, and the training images are uint8 1 x 8 x 8"),
        ("arrays", r"noise.donor=arrays: dataset=arrays has options without a default, such as a path"),
        ("absent.npy", r"no file absent.npy with images"),
    ],
)
def test_a_wrong_donor_is_one_sentence(donor: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["noise=open_set", f"noise.donor={donor}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_options_that_are_missing_or_out_of_range_are_one_sentence_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["noise=open_set"]) == 2
    assert "noise.donor has no default: give noise.donor=value" in capsys.readouterr().err
    assert run.main(["noise=open_set", "noise.donor=digits", "noise.rate=1.2"]) == 2
    assert "noise.rate must be a number in [0, 1], not 1.2" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"noise rate -0.1 is not in \[0, 1\]"):
        OpenSet(-0.1, "donor.npy")


def test_a_donor_that_is_too_small_of_another_shape_or_damaged_is_one_sentence(donor: Path) -> None:
    np.save(donor, np.zeros((20, 1, 8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match=r"donor.npy has 20 images, and a rate of 0.3 replaces 31$"):  # 22 of 75 and 9 of 30
        task_of(donor)
    for wrong, said in ((np.zeros((99, 8, 8), np.uint8), "uint8 8 x 8"), (np.zeros((99, 1, 8, 8)), "float64 1 x 8 x 8")):
        np.save(donor, wrong)
        with pytest.raises(UserError, match=f"has images of {said}, and the training images are uint8 1 x 8 x 8"):
            task_of(donor)
    donor.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"donor.npy holds no images \("):
        task_of(donor)


def test_tables_are_refused_in_one_sentence(donor: Path) -> None:
    table = Source(torch.rand(90, 4), torch.arange(90) % K, torch.rand(9, 4), torch.arange(9) % K, ("a", "b", "c"))
    with pytest.raises(UserError, match=r"^noise=open_set replaces images, and this data set is a table$"):
        task_of(donor, source=table)
