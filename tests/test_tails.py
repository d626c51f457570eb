"""Long tails of published data sets, the images that they keep, and tails together with label noise in both orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import labels as label_counts
from benchmark import redrawn, trial
from benchmark.config import cells
from benchmark.records.store import read_record
from benchmark.training.evaluation import shot_groups
from datasets import torch_file
from datasets.augment import Preprocessing
from datasets.frequency_noise import FrequencyFlip
from datasets.imbalance import Exponential, Imbalance, Step
from datasets.noise import Corruption, NoNoise, UniformFlip
from datasets.source import Source
from datasets.task import Split, Task, make_task
from robust_benchmark.errors import UserError
from tests.conftest import kept_in
from tests.test_axes import CIFAR_LT, balanced_source, labels_of, shipped

RNG = np.random.default_rng
NOTHING_HELD_OUT = Split(clean_per_class=0)


def task_of(source: Source, noise: Corruption, imbalance: Imbalance, split: Split = NOTHING_HELD_OUT, seed: int = 0) -> Task:
    return make_task(source, noise, split, Preprocessing(), seed, imbalance=imbalance)


def counted(labels: torch.Tensor, classes: int = 10) -> list[int]:
    return torch.bincount(labels, minlength=classes).tolist()


# --- the published sets


@pytest.mark.parametrize(
    ("classes", "rho", "size", "smallest"),
    [
        (10, 10, 20_431, 500),
        (10, 20, 17_023, 250),
        (10, 50, 13_996, 100),
        (10, 100, 12_406, 50),
        (10, 200, 11_203, 25),
        (100, 10, 19_573, 50),
        (100, 20, 15_907, 25),
        (100, 50, 12_608, 10),
        (100, 100, 10_847, 5),
        (100, 200, 9_502, 2),
    ],
)
def test_long_tails_of_cifar_have_the_published_sizes(classes: int, rho: float, size: int, smallest: int) -> None:
    counts = Exponential(rho).counts(labels_of(*[50_000 // classes] * classes), classes)
    assert (counts.sum(), counts[0], counts[-1]) == (size, 50_000 // classes, smallest)
    assert (np.diff(counts) <= 0).all()


@pytest.mark.parametrize(("rho", "groups"), [(50, (41, 41, 18)), (100, (35, 35, 30)), (200, (30, 31, 39))])
def test_classes_of_long_tailed_cifar_100_have_the_published_shots(rho: float, groups: tuple[int, ...]) -> None:
    found = shot_groups(Exponential(rho).counts(labels_of(*[500] * 100), 100))
    assert tuple(int(found[name].sum()) for name in ("many", "medium", "few")) == groups


def published_images(labels: np.ndarray, counts: list[int]) -> list[list[int]]:
    """The published recipe, written again with NumPy's global generator: the kept positions, class by class."""
    state = np.random.get_state()
    np.random.seed(0)
    kept = []
    for label, count in enumerate(counts):
        members = np.where(labels == label)[0]
        np.random.shuffle(members)
        kept.append(members[:count].tolist())
    np.random.set_state(state)
    return kept


@pytest.mark.parametrize("imbalance", [Exponential(10, images="published"), Step(10, images="published")])
@pytest.mark.parametrize("seed", [0, 7])
def test_published_images_are_those_of_the_recipe_in_each_trial(imbalance: Imbalance, seed: int) -> None:
    source = balanced_source(50)
    labels = source.train_labels.numpy()
    expected = published_images(labels, imbalance.counts(labels, 10).tolist())
    for split in (NOTHING_HELD_OUT, Split(clean_per_class=1)):
        task = task_of(source, NoNoise(), imbalance, split, seed)
        others = np.setdiff1d(np.concatenate(expected), task.train_positions.numpy())
        assert len(task.train) + len(task.clean) == sum(map(len, expected))
        assert len(others) == len(task.clean)  # the clean set is a part of the kept images


def test_random_images_differ_between_trials() -> None:
    first, second = (task_of(balanced_source(50), NoNoise(), Exponential(10), seed=seed).train_positions for seed in (0, 1))
    assert counted(balanced_source(50).train_labels[first]) == counted(balanced_source(50).train_labels[second])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("rho", "total"), [(10, 512_503_043), (50, 349_804_152), (100, 309_748_569)])
def test_published_images_of_cifar_10_are_those_of_its_authors(rho: float, total: int, real_data: Path) -> None:
    """Their positions in the file's order; the labels in this order come from the file of human labels."""
    labels = np.asarray(torch_file.load(real_data / "cifar-n" / "CIFAR-10_human.pt")["clean_label"])
    kept = Exponential(rho, images="published").select(labels, 10, RNG(0))
    by_class = {label: kept[labels[kept] == label][:5].tolist() for label in (1, 9)}
    assert by_class == {1: [6489, 3605, 5683, 39489, 48021], 9: [22220, 38393, 22240, 25393, 19625]}
    assert kept.sum() == total


# --- noise that depends on the sizes of classes


def expected_labels(T: np.ndarray, counts: list[int]) -> np.ndarray:
    return np.asarray(counts) @ T


def test_flips_in_proportion_to_class_sizes_keep_the_tail_as_published() -> None:
    noise = FrequencyFlip(0.5)
    T = noise.transition_matrix(noise.targets_for(np.array(CIFAR_LT), 0, RNG(0)))
    assert expected_labels(T, CIFAR_LT).round().astype(int).tolist() == [4278, 3098, 1991, 1234, 752, 456, 275, 165, 99, 60]
    precision = np.array(CIFAR_LT) * T.diagonal() / expected_labels(T, CIFAR_LT)
    assert precision[9] == pytest.approx(0.42, abs=0.005)


@pytest.mark.parametrize("rule", ["others", "all"])
def test_its_matrix_is_its_formula_and_the_expected_share_of_wrong_labels_is_the_rate(rule: str) -> None:
    n, rate = np.array([60.0, 30.0, 10.0]), 0.3
    noise = FrequencyFlip(rate, rule)
    T = noise.transition_matrix(noise.targets_for(n.astype(int), 0, RNG(0)))
    share = rate / (1 - 0.36 - 0.09 - 0.01)
    for i in range(3):
        for j in range(3):
            others = (1 - rate) * (i == j) + rate * (0 if i == j else n[j] / (100 - n[i]))
            everyone = (1 - share) * (i == j) + share * n[j] / 100
            assert T[i, j] == pytest.approx(others if rule == "others" else everyone)
    assert (n * (1 - T.diagonal())).sum() / 100 == pytest.approx(rate)


def test_flips_to_all_classes_leave_class_sizes_as_they_are_in_expectation() -> None:
    noise = FrequencyFlip(0.3, "all")
    T = noise.transition_matrix(noise.targets_for(np.array(CIFAR_LT), 0, RNG(0)))
    assert expected_labels(T, CIFAR_LT) == pytest.approx(CIFAR_LT)


@pytest.mark.parametrize(("rule", "exact"), [("others", True), ("all", False)])
def test_drawn_labels_follow_the_matrix(rule: str, exact: bool) -> None:
    task = task_of(balanced_source(), FrequencyFlip(0.4, rule), Exponential(100))
    assert counted(task.train.true_labels) == CIFAR_LT
    assert task.transition_matrix is not None
    found, T = label_counts.counts(task.train, 10).toarray(), task.transition_matrix.numpy()
    n = np.array(CIFAR_LT)[:, None]
    assert (np.abs(found - n * T) <= 5 * np.sqrt(n * T * (1 - T)) + 1).all()
    wrong = task.train.wrong()
    assert wrong is not None
    assert abs(wrong - 0.4 * len(task.train)) <= (0.5 if exact else 4 * np.sqrt(0.24 * len(task.train)))
    assert task.noise_rate == 0.4


def test_the_hyper_validation_set_gets_the_matrix_of_the_training_set() -> None:
    task = task_of(balanced_source(2000), FrequencyFlip(0.5), Exponential(100), Split(clean_per_class=0, hyper_validation=4000))
    given = counted(task.hyper_validation.labels)
    wrong = task.hyper_validation.labels[task.hyper_validation.labels != task.hyper_validation.true_labels]
    assert len(wrong) == 2000
    assert given[0] > 3 * given[9]  # although its true classes are of equal size


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (lambda: FrequencyFlip(1.2), r"^noise rate 1.2 is not in \[0, 1\]$"),
        (lambda: FrequencyFlip(0.2, "other"), r"^no noise targets 'other'; nearest: others \(2 known: all, others\)$"),
        (
            lambda: FrequencyFlip(0.7, "all").targets_for(np.array([60, 30, 10]), 0, RNG(0)),
            r"^noise rate 0.7 is above 0.54, the largest that noise.targets=all gives at these class sizes$",
        ),
        (
            lambda: FrequencyFlip().targets_for(np.array([5, 0]), 0, RNG(0)),
            "^noise=frequency needs training images of at least two classes$",
        ),
    ],
)
def test_a_mistake_in_the_noise_is_one_sentence(noise: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        noise()


# --- noise, then imbalance


def test_after_noise_the_given_labels_have_the_tail_and_the_true_ones_do_not() -> None:
    task = task_of(balanced_source(1000), UniformFlip(0.5), Exponential(10, after_noise=True))
    given, true = counted(task.train.labels), counted(task.train.true_labels)
    shares = 10 ** (-np.arange(10) / 9)
    assert given == (given[0] * shares + 1e-9).astype(int).tolist()
    before = counted(task_of(balanced_source(1000), UniformFlip(0.5), Exponential(10)).train.true_labels)
    assert before[0] > 5 * before[9]
    assert true[0] < 3 * true[9]


def test_after_noise_the_labels_that_stay_are_those_of_the_noise_without_imbalance() -> None:
    source, split = balanced_source(200), NOTHING_HELD_OUT
    late = task_of(source, UniformFlip(0.5), Step(4, images="published", after_noise=True), split)
    assert (late.train.wrong() or 0) / len(late.train) == pytest.approx(0.5, abs=0.06)
    again = task_of(source, UniformFlip(0.5), Exponential(1, images="published", after_noise=True), split)
    labels = dict(zip(again.train_positions.tolist(), again.train.labels.tolist(), strict=True))
    positions = late.train_positions.tolist()
    shared = [position for position in positions if position in labels]
    assert len(shared) > 200
    assert all(labels[position] == late.train.labels[positions.index(position)] for position in shared)


def test_after_noise_rate_and_matrix_are_counted_because_the_choice_changes_them() -> None:
    task = task_of(balanced_source(1000), UniformFlip(0.5), Exponential(10, after_noise=True))
    assert task.transition_matrix is not None
    found = label_counts.counts(task.train, 10).toarray()
    np.testing.assert_allclose(task.transition_matrix, found / found.sum(axis=1, keepdims=True))
    assert task.noise_rate == (task.train.wrong() or 0) / len(task.train)
    assert task.transition_matrix[0, 0] > 2 * task.transition_matrix[9, 9]  # right labels of rare classes are dropped, wrong ones stay


@pytest.mark.parametrize("after_noise", [False, True])
def test_without_noise_both_orders_give_the_same_tail(after_noise: bool) -> None:
    task = task_of(balanced_source(), UniformFlip(0.0), Exponential(100, after_noise=after_noise))
    assert counted(task.train.labels) == counted(task.train.true_labels) == CIFAR_LT


def test_the_clean_set_after_noise_is_right_and_disjoint_from_the_training_set() -> None:
    task = task_of(balanced_source(500), UniformFlip(0.4), Exponential(5, after_noise=True), Split(clean_per_class=5, hyper_validation=100))
    assert counted(task.clean.labels) == [5] * 10
    assert task.clean.wrong() == 0
    assert len(task.train_positions.unique()) == len(task.train)
    assert task.train.wrong() != 0


def test_a_tail_by_given_labels_is_available_for_labels_that_the_data_brings() -> None:
    true = torch.arange(400) % 4
    given = torch.where(torch.arange(400) % 3 == 0, (true + 1) % 4, true)
    pictures = torch.zeros(400, 1, 1, 1, dtype=torch.uint8)
    source = Source(pictures, given, pictures[:4], torch.arange(4), tuple("abcd"), train_true_labels=true)
    task = task_of(source, NoNoise(), Exponential(8, after_noise=True))
    assert counted(task.train.labels, 4)[0] == 100
    assert counted(task.train.labels, 4)[3] == 12


# --- records and keys


def test_a_record_has_class_counts_and_realised_rates_of_both_biases() -> None:
    task = task_of(balanced_source(500), FrequencyFlip(0.4), Exponential(10))
    found = label_counts.of_record(task)
    given, true = task.train.labels.numpy(), task.train.true_labels.numpy()
    table = [[int(((true == i) & (given == j)).sum()) for j in range(10)] for i in range(10)]
    assert found["given_labels_per_true_class"] == table
    assert found["train_labels_per_class"] == [int((given == j).sum()) for j in range(10)]
    assert found["train_true_labels_per_class"] == [500, 387, 299, 232, 179, 139, 107, 83, 64, 50]
    assert found["wrong_labels_per_true_class"] == [int(((true == i) & (given != i)).sum()) for i in range(10)]
    assert sum(found["wrong_labels_per_true_class"]) == round(0.4 * len(given))
    assert len(found["transition_matrix"]) == 10


def test_shipped_long_tails_keep_their_keys_and_draws() -> None:
    today = {cell.key: cell for cell in cells(["experiment=digits_longtail"])}
    records = [record for record in shipped("digits_longtail") if record["seed"] == 0]
    assert {record["key"] for record in records} <= today.keys()
    assert len(records) >= 10
    for record in records:
        assert trial.digests_of(today[record["key"]], record["seed"]) == record["digests"]


def test_new_options_make_new_keys_and_their_defaults_make_none() -> None:
    tail = ["method=resample", "imbalance=exponential", "imbalance.rho=10"]
    new = ["imbalance.images=published", "imbalance.after_noise=true", "method.exponent=0.5"]
    old = ["imbalance.images=random", "imbalance.after_noise=false", "method.exponent=0"]
    assert len({cells([*tail, option])[0].key for option in new}) == 3
    assert {cells([*tail, option])[0].key for option in old} == {cells(tail)[0].key}


# --- the clean set before the tail, and the grids


def test_a_clean_set_that_comes_first_leaves_the_tail_to_the_rest() -> None:
    task = task_of(balanced_source(500), NoNoise(), Exponential(100), Split(clean_per_class=10, clean_first=True))
    assert counted(task.clean.labels) == [10] * 10
    assert counted(task.train.labels) == Exponential(100).counts(labels_of(*[490] * 10), 10).tolist()
    with pytest.raises(UserError, match="a clean set of 10 images of class '8' is larger than the class, which has 8"):
        task_of(balanced_source(500), NoNoise(), Exponential(100), Split(clean_per_class=10))


@pytest.mark.parametrize("after_noise", [False, True])
def test_a_clean_set_that_comes_first_is_the_same_for_every_imbalance_and_in_no_other_set(after_noise: bool) -> None:
    split = Split(clean_per_class=10, clean_first=True, hyper_validation=200)
    tail = task_of(balanced_source(100), UniformFlip(0.4), Exponential(10, after_noise=after_noise), split)
    whole = task_of(balanced_source(100), UniformFlip(0.4), Imbalance(), split)
    assert tail.digests["source"] == whole.digests["source"]
    assert counted(tail.clean.labels) == counted(whole.clean.labels) == [10] * 10
    assert len(whole.train) == 1000 - 100 - 200
    assert tail.clean.wrong() == 0
    assert (tail.train.wrong() or 0) > 0


def test_the_grid_of_tails_has_five_settings_on_which_every_trial_has_each_class() -> None:
    found = cells(["experiment=tail_atlas"])
    options = [(each.identity["imbalance"], each.identity["noise"]) for each in found]
    settings = {(tail["name"], tail.get("rho", tail.get("ratio")), noise["name"], noise.get("rate")) for tail, noise in options}
    assert settings == {
        ("exponential", 10, "none", None),
        ("exponential", 50, "none", None),
        ("majority", 0.9, "none", None),
        ("exponential", 10, "uniflip", 0.4),
        ("exponential", 10, "bgflip", 0.4),
    }
    methods = {each.choice for each in found}
    assert len(found) == 5 * len(methods)
    assert {each.config.trials for each in found} == {5}
    for cell in (each for each in found if each.choice == "l2rw"):
        assert min(counted(trial.task_of(cell, 0).train.true_labels)) >= 1


def test_the_grid_of_impure_clean_sets_has_a_figure_against_their_noise() -> None:
    found = cells(["experiment=clean_noise"])
    assert {each.identity["split"].get("clean_noise_rate", 0.0) for each in found} == {0.0, 0.1, 0.2, 0.4}
    assert found[0].config.experiment.figure == {"kind": "against", "x": "split.clean_noise_rate"}


def test_a_user_who_gives_an_option_of_a_named_combination_has_dropped_them_all() -> None:
    found = cells(["experiment=tail_atlas", "method=crt", "imbalance=step", "noise=none"])
    assert [each.identity["imbalance"]["name"] for each in found] == ["step"]


@pytest.mark.parametrize("options", [["noise=frequency"], ["noise=uniflip"], ["noise=uniflip", "imbalance.after_noise=true"]])
def test_the_matrix_of_a_figure_is_the_one_that_the_trial_recorded(options: list[str], tmp_path: Path) -> None:
    tail = ["dataset=digits", "imbalance=exponential", "imbalance.rho=5", "split.clean_first=true", "method=baseline", "trainer.steps=2"]
    (cell,) = cells([*tail, *options, *kept_in(tmp_path), "trials=1", "device=cpu"])
    trial.run(cell, 0)
    record = read_record(trial.path(cell, 0))
    stated, recorded = redrawn.labels_of(record).stated, record["data"].get("transition_matrix")
    assert (stated is None) == (recorded is None)
    if stated is not None:
        np.testing.assert_allclose(stated, recorded, atol=1e-6)
