"""The two axes of a trial, imbalance and then noise; the draws of older records; and impure clean sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import ROOT, trial
from benchmark.config import cells
from benchmark.objects import make
from benchmark.records.store import Record, read_all
from datasets.augment import Preprocessing
from datasets.imbalance import ClassImbalance, Exponential, Imbalance, Majority, Step
from datasets.noise import BackgroundFlip, Corruption, NoNoise, UniformFlip
from datasets.source import Source
from datasets.task import Split, draw, make_task
from methods.base import Knowledge, View
from robust_benchmark.errors import UserError
from tests.conftest import toy_source

RNG = np.random.default_rng
CIFAR_LT = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]  # at rho 100, Cao et al. (2019)
PLAIN = Preprocessing()


def labels_of(*counts: int) -> np.ndarray:
    return RNG(0).permutation(np.repeat(np.arange(len(counts)), counts))


def balanced_source(per_class: int = 5000, classes: int = 10) -> Source:
    labels = torch.arange(per_class * classes) % classes
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return Source(images, labels, images[:classes], labels[:classes], tuple(map(str, range(classes))))


# --- imbalance alone


@pytest.mark.parametrize(
    ("imbalance", "published"),
    [
        (Exponential(10), [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (Exponential(100), CIFAR_LT),
        (Exponential(200), [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25]),
        (Exponential(1), [5000] * 10),
        (Step(100), [5000] * 5 + [50] * 5),
        (Step(10, rare=0.3), [5000] * 7 + [500] * 3),
        (Majority(0.91, majority=2, total=1000), [10, 10, 910, *[10] * 7]),
    ],
)
def test_counts_are_the_published_ones(imbalance: Imbalance, published: list[int]) -> None:
    labels = labels_of(*[5000] * 10)
    selected = imbalance.select(labels, 10, RNG(0))
    assert np.bincount(labels[selected]).tolist() == published
    assert len(np.unique(selected)) == sum(published)


@pytest.mark.parametrize("rho", [2.0, 10.0, 37.5, 100.0])
def test_a_tail_of_unequal_classes_is_the_largest_that_they_allow(rho: float) -> None:
    available = RNG(int(rho)).integers(400, 600, 7)
    counts = Exponential(rho).counts(labels_of(*available), 7)
    shares = rho ** (-np.arange(7) / 6)
    assert counts.tolist() == (counts[0] * shares + 1e-9).astype(int).tolist()
    assert (counts <= available).all()
    assert ((counts[0] + 1) * shares > available).any()


def test_which_images_stay_is_random_and_the_same_for_every_noise_of_a_trial() -> None:
    def kept(noise: Corruption, seed: int) -> list[int]:
        return draw(balanced_source(200, 4), noise, Split(clean_per_class=1), seed, imbalance=Exponential(10)).train.tolist()

    assert kept(NoNoise(), 0) == kept(UniformFlip(0.4), 0) == kept(BackgroundFlip(0.4), 0) != kept(NoNoise(), 1)


@pytest.mark.parametrize(
    ("imbalance", "message"),
    [
        (Exponential(1000), "exponential imbalance of rho 1000 asks for 0 images of class 2, which has 40; at least 1 is needed"),
        (Step(50), "step imbalance of rho 50 asks for 0 images of class"),
        (Majority(0.99), "imbalance ratio 0.99 asks for 0 images of class 0, which has 40"),
        (Majority(0.5, majority=3), r"majority class 3 is not in 0 .. 2"),
        (Majority(0.5, majority="cat"), "majority class 'cat' is not a whole number"),  # type: ignore[arg-type]
    ],
)
def test_an_imbalance_that_leaves_a_class_empty_is_one_sentence(imbalance: Imbalance, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_task(toy_source(), NoNoise(), Split(clean_per_class=1), PLAIN, 0, imbalance=imbalance)


def test_a_class_without_images_is_named_and_not_the_head_of_the_tail() -> None:
    with pytest.raises(UserError, match="asks for 0 images of class 1, which has 0"):
        Exponential(10).counts(labels_of(50, 0, 50), 3)


def test_a_clean_set_that_takes_all_of_a_rare_class_is_named() -> None:
    with pytest.raises(UserError, match=r"the clean set takes all 4 images of class 'class2': give fewer by split.clean_per_class"):
        make_task(toy_source(), NoNoise(), Split(clean_per_class=4), PLAIN, 0, imbalance=Exponential(10))


@pytest.mark.parametrize("make", [Exponential, Step])
def test_a_rho_below_one_is_named(make: Any) -> None:
    with pytest.raises(UserError, match=r"rho must be at least 1, not 0.5"):
        make(0.5)


# --- imbalance, then noise


def test_the_tail_is_by_true_labels_and_the_noise_is_exact_on_what_is_left() -> None:
    task = make_task(balanced_source(), UniformFlip(0.5), Split(clean_per_class=0), PLAIN, 0, imbalance=Exponential(100))
    assert torch.bincount(task.train.true_labels).tolist() == CIFAR_LT
    assert task.train.wrong() == round(0.5 * sum(CIFAR_LT))
    given = torch.bincount(task.train.labels, minlength=10).numpy()
    n = np.array(CIFAR_LT)
    expected = 0.5 * n + 0.5 / 9 * (n.sum() - n)
    assert expected.round().astype(int).tolist() == [2911, 2021, 1487, 1168, 976, 861, 792, 751, 726, 711]
    assert (np.abs(given - expected) < 4 * (n / 4 + (n.sum() - n) * 0.5 / 9) ** 0.5).all()


def test_noise_before_the_tail_would_give_other_counts() -> None:
    source, n = balanced_source(1000), np.array([1000, 774, 599, 464, 359, 278, 215, 166, 129, 100])
    after = make_task(source, UniformFlip(0.5), Split(clean_per_class=0), PLAIN, 0, imbalance=Exponential(10)).train
    noisy = make_task(source, UniformFlip(0.5), Split(clean_per_class=0), PLAIN, 0).train
    before = noisy.take(Exponential(10).select(noisy.labels.numpy(), 10, RNG(0)))
    assert np.abs(torch.bincount(after.true_labels).numpy() - n).max() <= 1  # the tail is that of the true labels
    assert torch.bincount(before.labels).max() > 5 * torch.bincount(before.labels).min()  # here it is that of the given ones
    assert torch.bincount(after.labels).max() < 3 * torch.bincount(after.labels).min()
    assert abs(len(before) - len(after)) < 200
    assert torch.bincount(before.true_labels).tolist() != torch.bincount(after.true_labels).tolist()


def test_without_noise_only_the_tail_is_left_and_the_hyper_validation_set_is_spared() -> None:
    split = Split(clean_per_class=5, hyper_validation=400)
    task = make_task(balanced_source(1000, 4), UniformFlip(0.0), split, PLAIN, 0, imbalance=Exponential(10))
    counts = torch.bincount(task.train.true_labels).double() + 5
    assert task.train.wrong() == 0
    assert (counts[0] / counts[-1]).item() == pytest.approx(10, rel=0.02)
    assert torch.bincount(task.hyper_validation.true_labels).min() > 70
    assert len(task.hyper_validation) == 400
    assert torch.bincount(task.clean.labels).tolist() == [5] * 4


# --- draws of older records

# of revision 8adbcb5, which had no such axis, for seed 3 on `numbered`
DRAWN = {
    ("none", "plain", True): "95cc7dee67034355",
    ("none", "returns", True): "fb241aa34b850c1b",
    ("none", "returns", False): "233331790dff62b1",
    ("none", "unstratified", True): "3eb37ef2676a8958",
    ("uniflip", "plain", True): "899b0af397e956e1",
    ("uniflip", "returns", False): "d833a25303d58967",
    ("uniflip", "unstratified", True): "160da1a30551e279",
    ("released", "plain", False): "c2f99edd04c0ceb7",
    ("released", "returns", True): "6d6318b987aac8b9",
    ("bgflip", "plain", True): "747205fb6388bf9f",
    ("bgflip", "returns", False): "34d711cd81a18bd3",
    ("imbalance", "plain", True): "ffc7de870578bd76",
    ("imbalance", "returns", False): "1845a15effd65e4c",
    ("imbalance", "unstratified", True): "98d51283f1e63a48",
}
NOISES = {
    "none": NoNoise(),
    "uniflip": UniformFlip(0.4),
    "released": UniformFlip(0.4, "released"),
    "bgflip": BackgroundFlip(0.4),
    "imbalance": ClassImbalance(0.7, total=70),
}
SPLITS = {
    "plain": Split(clean_per_class=5, hyper_validation=30),
    "returns": Split(clean_per_class=2, clean_returns=True),
    "unstratified": Split(clean_total=7, stratified=False, hyper_validation=3),
}


@pytest.mark.parametrize(("noise", "split", "sees_clean"), DRAWN)
def test_without_imbalance_all_draws_are_those_of_earlier_revisions(noise: str, split: str, sees_clean: bool) -> None:
    numbers = torch.arange(240)
    pictures = (numbers % 251).to(torch.uint8).reshape(240, 1, 1, 1)
    source = Source(pictures, numbers * 7 % 4, pictures[:4], torch.arange(4), tuple("abcd"))
    imbalance = make("imbalance", cells(["imbalance=none"])[0].config.imbalance)
    assert draw(source, NOISES[noise], SPLITS[split], 3, sees_clean, imbalance).digest == DRAWN[noise, split, sees_clean]


def shipped(folder: str) -> list[Record]:
    found, errors = read_all(ROOT / "results" / "reference" / folder)
    assert errors == []
    return found


def test_shipped_records_on_digits_are_of_the_images_and_labels_that_are_drawn_today() -> None:
    today = {cell.key: cell for cell in cells(["experiment=digits"])}
    records = [record for record in shipped("digits") if record["key"] in today and record["seed"] in (0, 3)]
    assert len(records) > 30
    for record in records:
        assert trial.digests_of(today[record["key"]], record["seed"]) == record["digests"]


def test_shipped_records_of_figure_2_keep_their_keys_and_draws(real_data: Path) -> None:
    today = {cell.key: cell for cell in cells(["experiment=fig2", f"data_dir={real_data}"])}
    records = shipped("fig2")
    assert {record["key"] for record in records} <= today.keys()
    for record in records:
        assert trial.digests_of(today[record["key"]], record["seed"]) == record["digests"]


# --- impure clean sets


@pytest.mark.parametrize(("rate", "wrong"), [(0.0, 0), (0.1, 2), (0.25, 5), (1.0, 20)])
def test_exactly_the_share_of_clean_labels_is_wrong_and_each_is_another_class(rate: float, wrong: int) -> None:
    source = balanced_source(100, 4)
    task = make_task(source, UniformFlip(0.4), Split(clean_per_class=5, clean_noise_rate=rate), PLAIN, 0)
    assert task.clean.wrong() == (task.clean.labels != task.clean.true_labels).sum() == wrong
    assert torch.bincount(task.clean.true_labels).tolist() == [5] * 4
    pure = make_task(source, UniformFlip(0.4), Split(clean_per_class=5), PLAIN, 0)
    assert torch.equal(task.train.labels, pure.train.labels)
    assert torch.equal(task.clean.true_labels, pure.clean.true_labels)
    assert (task.digests == pure.digests) == (rate == 0)


def test_impure_clean_images_return_to_training_with_their_wrong_labels() -> None:
    split = Split(clean_per_class=5, clean_noise_rate=0.5, clean_returns=True)
    task = make_task(balanced_source(100, 4), NoNoise(), split, PLAIN, 0, sees_clean=False)
    assert task.train.wrong() == 10


def test_methods_see_the_labels_of_an_impure_clean_set_and_not_the_true_ones() -> None:
    task = make_task(toy_source(), NoNoise(), Split(clean_per_class=5, clean_noise_rate=0.4), PLAIN, 0)
    seen = View(Knowledge.CLEAN_SET, 3, task.train.labels, lambda: iter(()), task).clean_set
    assert torch.equal(seen.labels, task.clean.labels)
    assert torch.equal(seen.true_labels, task.clean.labels)


def test_records_count_the_wrong_labels_of_the_clean_set() -> None:
    (cell,) = cells(["method=l2rw", "split.clean_noise_rate=0.2", "trainer.steps=2", "model.width=2", "device=cpu"])
    trainer = trial.prepare(cell, 0)
    assert trial._data(trainer.task)["wrong_labels"]["clean"] == 20
    assert cell.key != cells(["method=l2rw", "trainer.steps=2", "model.width=2"])[0].key


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_share_of_wrong_clean_labels_out_of_range_is_named(rate: float) -> None:
    with pytest.raises(UserError, match=rf"split.clean_noise_rate {rate:g} is not in \[0, 1\]"):
        make_task(balanced_source(100, 4), NoNoise(), Split(clean_noise_rate=rate), PLAIN, 0)
