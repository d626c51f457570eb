"""A trial's task: disjoint sets, the clean set, the corrupted hyper-validation set, and common data of trials and methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets.augment import Preprocessing
from datasets.imbalance import ClassImbalance
from datasets.noise import BackgroundFlip, Corruption, NoNoise, UniformFlip
from datasets.source import Source
from datasets.task import Examples, Split, Task, make_task
from robust_benchmark.errors import UserError
from tests.conftest import toy_source, toy_task


def numbered_source(n: int = 200, classes: int = 4, test: int = 20) -> Source:
    """Every image is its own number, in the base 256, so that examples can be traced back to the source."""

    def part(first: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.arange(first, first + size)
        images = torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8).reshape(size, 1, 1, 2)
        return images, numbers * 7 % classes

    return Source(*part(0, n), *part(n, test), classes=tuple("abcdefghij"[:classes]))


def numbers(examples: Examples) -> list[int]:
    pairs = examples.images.long().reshape(-1, 2)
    return (256 * pairs[:, 0] + pairs[:, 1]).tolist()


def numbered_task(corruption: Corruption | None = None, seed: int = 0, sees_clean: bool = True, n: int = 200, **split: object) -> Task:
    sizes = Split(**{"clean_per_class": 5, "hyper_validation": 30, **split})  # type: ignore[arg-type]
    return make_task(numbered_source(n), corruption or UniformFlip(0.4), sizes, Preprocessing(), seed, sees_clean)


def sets_of(task: Task) -> list[Examples]:
    return [task.train, task.clean, task.hyper_validation]


@pytest.mark.parametrize("stratified", [True, False])
def test_train_clean_and_hyper_validation_share_no_image_and_leave_none_out(stratified: bool) -> None:
    task = numbered_task(stratified=stratified)
    assert sorted(numbers(task.train) + numbers(task.clean) + numbers(task.hyper_validation)) == list(range(200))
    assert [len(part) for part in sets_of(task)] == [150, 20, 30]


def test_the_test_set_is_the_sources() -> None:
    task = numbered_task()
    assert numbers(task.test) == list(range(200, 220))
    assert torch.equal(task.test.labels, numbered_source().test_labels)


def test_every_image_keeps_its_true_label() -> None:
    for part in sets_of(numbered_task()):
        assert part.true_labels.tolist() == [number * 7 % 4 for number in numbers(part)]


def test_training_and_hyper_validation_labels_are_wrong_at_exactly_the_rate() -> None:
    task = numbered_task(UniformFlip(0.4))
    assert (task.train.wrong(), task.hyper_validation.wrong()) == (60, 12)


def test_clean_and_test_labels_are_right() -> None:
    task = numbered_task(UniformFlip(1.0))
    assert (task.clean.wrong(), task.test.wrong()) == (0, 0)
    assert torch.equal(task.clean.labels, task.clean.true_labels)


def test_wrong_counts_the_labels_that_differ_from_the_true_ones() -> None:
    examples = Examples(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 0]))
    assert examples.wrong() == 2
    assert len(examples) == 4


@pytest.mark.parametrize("seed", range(6))
def test_hyper_validation_has_the_background_class_of_the_training_set(seed: int) -> None:
    task = numbered_task(BackgroundFlip(1.0), seed)
    background = task.transition_matrix[0].argmax()
    assert (task.train.labels == background).all()
    assert (task.hyper_validation.labels == background).all()


def test_backgrounds_differ_between_trials() -> None:
    backgrounds = [numbered_task(BackgroundFlip(1.0), seed).train.labels[0].item() for seed in range(12)]
    assert len(set(backgrounds)) > 1


def test_trials_take_the_listed_backgrounds_in_turn() -> None:
    backgrounds = [numbered_task(BackgroundFlip(1.0, [2, 0, 3]), seed).train.labels[0].item() for seed in range(4)]
    assert backgrounds == [2, 0, 3, 2]


def test_training_and_hyper_validation_labels_are_corrupted_independently() -> None:
    task = numbered_task(n=170, clean_per_class=5, hyper_validation=75)
    assert len(task.train) == len(task.hyper_validation) == 75
    wrong = [part.labels != part.true_labels for part in (task.train, task.hyper_validation)]
    assert not torch.equal(*wrong)


@pytest.mark.parametrize("seed", range(3))
def test_a_stratified_clean_set_holds_every_class_alike(seed: int) -> None:
    assert torch.bincount(numbered_task(seed=seed, clean_per_class=7).clean.labels).tolist() == [7, 7, 7, 7]


@pytest.mark.parametrize("total", [1, 3, 6, 15, 16])
def test_a_stratified_clean_set_of_any_total_is_as_even_as_can_be(total: int) -> None:
    counts = torch.bincount(numbered_task(clean_total=total).clean.labels, minlength=4)
    assert counts.sum() == total
    assert counts.max() - counts.min() <= 1


def test_the_classes_that_get_one_clean_image_more_differ_between_trials() -> None:
    larger = {tuple(torch.bincount(numbered_task(seed=seed, clean_total=5).clean.labels).tolist()) for seed in range(20)}
    assert larger == {(2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)}


def test_clean_total_decides_over_clean_per_class() -> None:
    assert len(numbered_task(clean_per_class=10, clean_total=6).clean) == 6


def test_an_unstratified_clean_set_is_a_uniform_draw() -> None:
    draws = [numbered_task(seed=seed, stratified=False, clean_total=20).clean for seed in range(300)]
    assert {len(clean) for clean in draws} == {20}
    counts = np.array([(clean.labels == 0).sum().item() for clean in draws])
    # 20 of 200 without replacement, a quarter of class 0: hypergeometric of mean 5 and variance 20 * 3/16 * 180/199
    variance = 20 * 3 / 16 * 180 / 199
    assert counts.mean() == pytest.approx(5, abs=4 * np.sqrt(variance / 300))
    assert counts.var() == pytest.approx(variance, rel=0.35)


def test_an_unstratified_clean_set_of_a_size_a_class_has_the_same_size_in_all() -> None:
    assert len(numbered_task(clean_per_class=5, stratified=False).clean) == 20


def test_there_may_be_no_clean_and_no_hyper_validation_image() -> None:
    task = numbered_task(clean_per_class=0, hyper_validation=0)
    assert [len(part) for part in sets_of(task)] == [200, 0, 0]
    assert task.train.wrong() == 80


def test_same_seed_same_task() -> None:
    first, second = numbered_task(seed=3), numbered_task(seed=3)
    for one, other in zip(sets_of(first), sets_of(second), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_another_seed_another_split_and_other_flips() -> None:
    first, second = numbered_task(seed=3), numbered_task(seed=4)
    for one, other in zip(sets_of(first), sets_of(second), strict=True):
        assert set(numbers(one)) != set(numbers(other))


@pytest.mark.parametrize("other", [UniformFlip(0.0), UniformFlip(0.7), UniformFlip(0.4, "released"), BackgroundFlip(0.4), NoNoise()])
def test_all_noises_of_a_trial_share_the_split(other: Corruption) -> None:
    for one, another in zip(sets_of(numbered_task(UniformFlip(0.4))), sets_of(numbered_task(other)), strict=True):
        assert numbers(one) == numbers(another)


def test_hyper_validation_does_not_depend_on_the_clean_set() -> None:
    few, many = numbered_task(clean_per_class=1), numbered_task(clean_per_class=10)
    assert numbers(few.hyper_validation) == numbers(many.hyper_validation)
    assert torch.equal(few.hyper_validation.labels, many.hyper_validation.labels)


def test_making_a_task_leaves_the_source_as_it_was() -> None:
    source, untouched = toy_source(), toy_source()
    make_task(source, UniformFlip(1.0), Split(clean_per_class=5), Preprocessing(), 0)
    assert torch.equal(source.train_labels, untouched.train_labels)
    assert torch.equal(source.train_images, untouched.train_images)


def test_returned_clean_images_are_trained_on_with_right_labels() -> None:
    held_out = numbered_task(clean_returns=True, sees_clean=True)
    returned = numbered_task(clean_returns=True, sees_clean=False)
    assert sorted(numbers(returned.train)) == sorted(numbers(held_out.train) + numbers(held_out.clean))
    came_back = [position for position, number in enumerate(numbers(returned.train)) if number in numbers(held_out.clean)]
    assert torch.equal(returned.train.labels[came_back], returned.train.true_labels[came_back])


def test_whether_clean_images_return_changes_no_other_label() -> None:
    held_out = numbered_task(clean_returns=True, sees_clean=True)
    returned = numbered_task(clean_returns=True, sees_clean=False)
    labels = dict(zip(numbers(returned.train), returned.train.labels.tolist(), strict=True))
    assert [labels[number] for number in numbers(held_out.train)] == held_out.train.labels.tolist()
    for one, other in zip(sets_of(held_out)[1:], sets_of(returned)[1:], strict=True):
        assert numbers(one) == numbers(other)


def test_clean_images_do_not_return_unless_the_split_says_so() -> None:
    assert numbers(numbered_task(sees_clean=False).train) == numbers(numbered_task(sees_clean=True).train)


@pytest.mark.parametrize(("sees_clean", "minority", "majority"), [(True, 20, 70), (False, 25, 75)])
def test_in_the_imbalance_task_only_methods_that_see_the_clean_set_are_left_without_it(
    sees_clean: bool, minority: int, majority: int
) -> None:
    source = toy_source(n=300, classes=2)
    split = Split(clean_per_class=5, clean_returns=True)
    task = make_task(source, ClassImbalance(0.75, total=100), split, Preprocessing(), 0, sees_clean)
    assert torch.bincount(task.train.labels).tolist() == [minority, majority]


def test_a_task_reports_its_noise_rate_and_transition_matrix() -> None:
    task = toy_task(UniformFlip(0.3))
    assert task.noise_rate == 0.3
    assert task.transition_matrix.dtype == torch.float64
    assert task.transition_matrix.numpy() == pytest.approx(np.array([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]))
    assert task.classes == ("class0", "class1", "class2")


def test_a_task_moves_to_a_device_whole() -> None:
    moved = toy_task().to(torch.device("meta"))
    for part in (*sets_of(moved), moved.test):
        assert {part.images.device.type, part.labels.device.type, part.true_labels.device.type} == {"meta"}


# the toy source has 120 training images, 40 of each of three classes
@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"hyper_validation": -1}, "hyper_validation must be at least 0, not -1"),
        ({"hyper_validation": 120}, "hyper_validation 120 leaves nothing of 120 training images"),
        ({"clean_total": -2}, "must be at least 0, not -2"),
        ({"clean_total": 106}, "clean set of 106 images is larger than the 105 training images"),
        ({"clean_total": 106, "stratified": False}, "clean set of 106 images is larger than the 105 training images"),
        ({"clean_total": 105, "stratified": False}, "no training image is left beside 105 clean and 15 hyper-validation images"),
    ],
)
def test_a_split_that_does_not_fit_names_the_value_and_the_limit(split: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        toy_task(**split)


def test_a_clean_set_larger_than_a_class_names_the_class_and_its_size() -> None:
    with pytest.raises(UserError, match="clean set of 5 images of class 'class0' is larger than the class, which has 2"):
        toy_task(ClassImbalance(0.9, total=40), hyper_validation=0, clean_per_class=5)


def test_examples_of_a_source_must_be_bytes_with_one_label_each() -> None:
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="training data must be uint8 images"):
        Source(images.float(), labels, images, labels, ("a", "b"))
    with pytest.raises(ValueError, match="test labels must be int64"):
        Source(images, labels, images, labels[:3], ("a", "b"))
    with pytest.raises(ValueError, match=r"test labels must lie in 0 .. 1"):
        Source(images, labels, images, labels + 1, ("a", "b"))
