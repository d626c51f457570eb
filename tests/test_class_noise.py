"""Noise by classes alone: any class, the published maps, the next class, and any transition matrix, exact or sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from datasets.augment import Preprocessing
from datasets.class_noise import AsymmetricFlip, BlockFlip, MatrixNoise, PairFlip, Symmetric, whole_counts
from datasets.noise import Corruption, Seen
from datasets.source import Source
from datasets.superclasses import CIFAR100
from datasets.task import Split, Task, make_task
from robust_benchmark.errors import UserError
from tests.conftest import toy_task
from tests.test_task import numbered_task

RNG = np.random.default_rng
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
MNIST = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
TOGETHER = (  # the fine labels of CIFAR-100 of each superclass, as its files have them
    [[4, 30, 55, 72, 95], [1, 32, 67, 73, 91], [54, 62, 70, 82, 92], [9, 10, 16, 28, 61], [0, 51, 53, 57, 83]],
    [[22, 39, 40, 86, 87], [5, 20, 25, 84, 94], [6, 7, 14, 18, 24], [3, 42, 43, 88, 97], [12, 17, 37, 68, 76]],
    [[23, 33, 49, 60, 71], [15, 19, 21, 31, 38], [34, 63, 64, 66, 75], [26, 45, 77, 79, 99], [2, 11, 35, 46, 98]],
    [[27, 29, 44, 78, 93], [36, 50, 65, 74, 80], [47, 52, 56, 59, 96], [8, 13, 48, 58, 90], [41, 69, 81, 85, 89]],
)
COARSE = {fine: members for part in TOGETHER for members in part for fine in members}
FINE = tuple(sorted(name for group in CIFAR100 for name in group))  # the order of CIFAR-100's fine labels


def source_of(classes: tuple[str, ...], n: int = 1000) -> Source:
    images, labels = torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n) % len(classes)
    return Source(images, labels, images, labels, classes)


def map_of(corruption: Corruption, classes: tuple[str, ...]) -> dict[int, int]:
    """The flips of Q."""
    targets = corruption.on(source_of(classes)).targets(len(classes), 0, RNG(0))
    assert (targets.sum(axis=1) == 1).all()
    return {old: new for old, new in enumerate(targets.argmax(axis=1).tolist()) if old != new}


def asymmetric_task(rate: float, classes: tuple[str, ...], n: int = 1000) -> Task:
    return make_task(source_of(classes, n), AsymmetricFlip(rate), Split(clean_per_class=0), Preprocessing(), 0)


def test_objects_flip_by_the_published_map_in_any_order_of_the_classes() -> None:
    assert map_of(AsymmetricFlip(), OBJECTS) == CIFAR
    turned = OBJECTS[::-1]
    assert map_of(AsymmetricFlip(), turned) == {9 - old: 9 - new for old, new in CIFAR.items()}


@pytest.mark.parametrize("name", ["{}", "{} - word"])
def test_digits_flip_by_the_published_map(name: str) -> None:
    assert map_of(AsymmetricFlip(), tuple(name.format(digit) for digit in range(10))) == MNIST


@pytest.mark.parametrize("classes", [("4", "9"), ("a", "b", "c"), tuple(f"class{k}" for k in range(10))])
def test_other_classes_flip_to_the_next(classes: tuple[str, ...]) -> None:
    expected = {k: (k + 1) % len(classes) for k in range(len(classes))}
    assert map_of(AsymmetricFlip(), classes) == map_of(PairFlip(), classes) == expected


def test_the_superclasses_of_cifar100_are_those_of_its_coarse_labels() -> None:
    assert len(FINE) == len({*FINE}) == len(COARSE) == 100
    for group in CIFAR100:
        assert [FINE.index(name) for name in group] == COARSE[FINE.index(group[0])]


def test_cifar100_flips_to_the_next_class_of_the_true_superclass() -> None:
    flips = map_of(AsymmetricFlip(), FINE)
    assert sorted(flips) == sorted(flips.values()) == list(range(100))
    for old, new in flips.items():
        assert new == COARSE[old][(COARSE[old].index(old) + 1) % 5]


def test_exactly_the_rate_of_cifar100_is_wrong_as_every_class_flips() -> None:
    task = asymmetric_task(0.4, FINE)
    assert task.train.wrong() == 400
    assert all(given in COARSE[true] for true, given in zip(task.train.true_labels.tolist(), task.train.labels.tolist(), strict=True))


def test_blocks_of_five_keep_six_of_the_flips_of_cifar100_within_a_superclass() -> None:
    flips = map_of(BlockFlip(), FINE)
    assert flips == {label: label - 4 if label % 5 == 4 else label + 1 for label in range(100)}
    assert sum(new in COARSE[old] for old, new in flips.items()) == 6


@pytest.mark.parametrize(("block", "classes"), [(5, 12), (4, 10), (20, 10)])
def test_blocks_that_do_not_divide_the_classes_are_named(block: int, classes: int) -> None:
    with pytest.raises(UserError, match=rf"noise.block={block} must divide the number of classes, which is {classes}"):
        BlockFlip(0.4, block).targets(classes, 0, RNG(0))
    with pytest.raises(UserError, match="noise block must be at least 2, not 1"):
        BlockFlip(0.4, 1)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_symmetric_noise_draws_from_all_classes_so_some_labels_stay_right(classes: int) -> None:
    n, rate = 12_000, 0.5
    task = make_task(source_of(tuple(f"c{k}" for k in range(classes)), n), Symmetric(rate), Split(clean_per_class=0), Preprocessing(), 0)
    assert task.transition_matrix.numpy() == pytest.approx((1 - rate) * np.eye(classes) + rate / classes)
    expected = rate * (classes - 1) / classes * n
    assert abs(task.train.wrong() - expected) < 4 * (rate * n / classes * (classes - 1) / classes) ** 0.5  # binomial: rate n draws
    true, given = task.train.true_labels.numpy(), task.train.labels.numpy()
    counts = np.bincount((given - true) % classes, minlength=classes)[1:]
    assert classes == 2 or stats.chisquare(counts).pvalue > 1e-3


def test_pairs_name_classes_or_number_them() -> None:
    assert map_of(AsymmetricFlip(0.4, [["cat", "dog"], [0, "truck"], ["8", 2]]), OBJECTS) == {3: 5, 0: 9, 8: 2}


def test_half_of_the_classes_flip_so_half_of_the_rate_is_wrong() -> None:
    n, rate = 20_000, 0.4
    task = asymmetric_task(rate, OBJECTS, n)
    true, given = task.train.true_labels.numpy(), task.train.labels.numpy()
    for label in range(10):
        wrong = given[(true == label) & (given != true)]
        assert set(wrong) == ({CIFAR[label]} if label in CIFAR else set())
        if label in CIFAR:  # round(rate n) of n are picked, a hypergeometric number of this class: at most binomial
            assert abs(len(wrong) - rate * n / 10) < 4 * (n / 10 * rate * (1 - rate)) ** 0.5
    assert abs(task.train.wrong() - rate / 2 * n) < 4 * (n / 2 * rate * (1 - rate)) ** 0.5


def test_the_task_knows_rate_and_transition_matrix_of_asymmetric_noise() -> None:
    task = asymmetric_task(0.3, OBJECTS)
    expected = np.eye(10)
    for old, new in CIFAR.items():
        expected[old, old], expected[old, new] = 0.7, 0.3
    assert task.noise_rate == 0.3
    assert task.transition_matrix.numpy() == pytest.approx(expected)


@pytest.mark.parametrize("rate", [0.0, 0.45, 1.0])
def test_pair_flip_makes_exactly_the_rate_of_labels_the_next_class(rate: float) -> None:
    task = numbered_task(PairFlip(rate), clean_per_class=0, hyper_validation=0)
    wrong = task.train.labels != task.train.true_labels
    assert wrong.sum() == round(rate * 200)
    assert torch.equal(task.train.labels[wrong], (task.train.true_labels[wrong] + 1) % 4)


def test_a_pair_with_an_unknown_class_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no class 'catt'; nearest: cat"):
        map_of(AsymmetricFlip(0.4, [["catt", "dog"]]), OBJECTS)
    with pytest.raises(UserError, match=r"class 10 is not in 0 .. 9"):
        map_of(AsymmetricFlip(0.4, [["cat", 10]]), OBJECTS)
    with pytest.raises(UserError, match="noise pairs let class 'cat' flip to more than one class"):
        map_of(AsymmetricFlip(0.4, [["cat", "dog"], [3, "frog"]]), OBJECTS)


@pytest.mark.parametrize("pairs", [[], {"cat": "dog"}, "cat", ["cat", "dog"], [["cat", "dog", "cat"]]])
def test_pairs_that_are_none_are_refused(pairs: object) -> None:
    with pytest.raises(UserError, match="noise pairs must be a list of pairs of classes"):
        AsymmetricFlip(0.4, pairs)  # type: ignore[arg-type]


# --- any matrix


def random_matrix(classes: int, seed: int) -> np.ndarray:
    matrix = RNG(seed).dirichlet(np.full(classes, 0.5), classes)
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_counts_by_a_matrix_are_the_expected_ones_to_less_than_one(seed: int) -> None:
    classes, rng = int(RNG(seed).integers(2, 9)), RNG(seed)
    T, labels = random_matrix(classes, seed), rng.integers(0, classes, 501)
    seen = Seen(labels, np.arange(501), source_of(tuple("abcdefgh"[:classes]), 501), 0)
    given = MatrixNoise(T.tolist()).relabel(seen, T, RNG(1))
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, given), 1)
    n = np.bincount(labels, minlength=classes)
    assert (counts.sum(axis=1) == n).all()
    assert (np.abs(counts - n[:, None] * T) < 1 + 1e-9).all()


def test_whole_expected_counts_are_met_in_spite_of_float_rounding() -> None:
    assert whole_counts(100 * np.array([0.29, 0.71])).tolist() == [29, 71]
    assert whole_counts(np.array([1.5, 1.5])).tolist() == [2, 1]
    assert whole_counts(np.zeros(3)).tolist() == [0, 0, 0]


def test_which_images_of_a_class_get_which_label_is_random() -> None:
    given = [numbered_task(MatrixNoise([[0.5, 0.5, 0, 0], *np.eye(4)[1:].tolist()]), seed).train for seed in (0, 1)]
    wrong = [{int(i) for i in torch.nonzero(each.labels != each.true_labels).flatten()} for each in given]
    assert wrong[0] != wrong[1]


def test_the_task_knows_the_matrix_and_the_share_of_wrong_labels() -> None:
    T = [[0.9, 0.1, 0], [0, 1, 0], [0.5, 0, 0.5]]
    task = toy_task(MatrixNoise(T), hyper_validation=0, clean_per_class=0)
    assert task.transition_matrix.tolist() == T
    assert task.train.wrong() == 4 + 20  # of 40 in each class
    assert task.noise_rate == pytest.approx(24 / 120)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_labels_follow_the_rows_of_the_matrix(seed: int) -> None:
    n, classes = 30_000, 5
    T = random_matrix(classes, seed)
    T[0] = [0.5, 0, 0.5, 0, 0]  # zeros at the end and within a row
    task = make_task(source_of(tuple("abcde"), n), MatrixNoise(T.tolist(), "sampled"), Split(clean_per_class=0), Preprocessing(), seed)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (task.train.true_labels.numpy(), task.train.labels.numpy()), 1)
    assert counts[T == 0].sum() == 0
    for row, observed in zip(T, counts, strict=True):
        expected = (row * observed.sum())[row > 0]
        assert stats.chisquare(observed[row > 0], expected * observed.sum() / expected.sum()).pvalue > 1e-4
    assert task.transition_matrix.numpy() == pytest.approx(T)
    assert task.noise_rate == task.train.wrong() / n


def test_sampled_counts_vary_as_much_as_independent_draws_and_exact_ones_do_not() -> None:
    T = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0, 0.5, 0.5]]
    wrong = {
        counts: [toy_task(MatrixNoise(T, counts), seed, hyper_validation=0, clean_per_class=0).train.wrong() for seed in range(200)]
        for counts in ("exact", "sampled")
    }
    assert {*wrong["exact"]} == {12 + 16 + 20}  # of 40 in each class
    variance = 40 * (0.3 * 0.7 + 0.4 * 0.6 + 0.5 * 0.5)
    assert np.mean(wrong["sampled"]) == pytest.approx(48, abs=4 * (variance / 200) ** 0.5)
    assert np.var(wrong["sampled"], ddof=1) == pytest.approx(variance, rel=4 * (2 / 199) ** 0.5)


def test_unknown_counts_name_the_nearest() -> None:
    with pytest.raises(UserError, match="no noise counts 'sample'; nearest: sampled"):
        MatrixNoise([[1, 0], [0, 1]], "sample")


def test_a_class_of_a_million_images_has_as_many_labels() -> None:
    T = np.array([[0.9, 0.1 + 9e-7], [0.5, 0.5]])  # sums to 1 within the tolerance of a matrix
    labels = np.zeros(1_200_000, dtype=np.int64)
    given = MatrixNoise(T.tolist()).relabel(Seen(labels, np.arange(len(labels)), source_of(("a", "b")), 0), T, RNG(0))
    assert abs(given.sum() - 120_000) < 3


@pytest.mark.parametrize("ending", ["npy", "csv", "txt", "pt"])
def test_a_matrix_from_a_file_is_the_same(ending: str, tmp_path: Path) -> None:
    T, path = random_matrix(3, 0), tmp_path / f"T.{ending}"
    if ending == "npy":
        np.save(path, T)
    elif ending == "pt":
        torch.save(torch.from_numpy(T), path)
    else:
        np.savetxt(path, T, delimiter="," if ending == "csv" else " ", fmt="%.17g")
    assert np.array_equal(MatrixNoise(str(path)).targets(3, 0, RNG(0)), T)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.9, 0.2], [0, 1]], "row 0 of the noise matrix must be at least 0 everywhere and sum to 1; it sums to 1.1"),
        ([[1, 0], [1.5, -0.5]], "row 1 of the noise matrix must be at least 0"),
        ([[float("nan"), 1], [0, 1]], "row 0 of the noise matrix"),
        ([[0.5, 0.5]], "must be square, .*; this one is 1 x 2"),
        ([[1], [0, 1]], "must be square, .*; this one is no matrix of numbers"),
        (0.4, "must be square"),
        ("missing.npy", "no file missing.npy with a noise matrix"),
    ],
)
def test_what_is_no_transition_matrix_is_refused_in_one_sentence(matrix: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MatrixNoise(matrix)  # type: ignore[arg-type]


def test_a_broken_file_and_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "T.csv").write_text("1,0\n0,one\n")
    with pytest.raises(UserError, match="holds no noise matrix"):
        MatrixNoise(str(tmp_path / "T.csv"))
    (tmp_path / "T.pt").write_text("1,0")
    with pytest.raises(UserError, match=r"T.pt holds no noise matrix \(it is no file of torch.save"):
        MatrixNoise(str(tmp_path / "T.pt"))
    with pytest.raises(UserError, match="the noise matrix has 2 rows, and the data set has 3 classes"):
        toy_task(MatrixNoise([[1, 0], [0, 1]]))
