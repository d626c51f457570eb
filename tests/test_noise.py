"""Label noise: exact counts, the transition matrix, the paper's two generators and the released code's variant."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from datasets.noise import BackgroundFlip, Corruption, NoNoise, UniformFlip
from robust_benchmark.errors import UserError

RNG = np.random.default_rng


def noisy(corruption: Corruption, labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    targets = corruption.targets(classes, seed, RNG(seed))
    return corruption.corrupt(labels, targets, RNG(seed))


def balanced(n: int, classes: int) -> np.ndarray:
    return np.arange(n) % classes


def empirical_transition(labels: np.ndarray, corrupted: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes))
    for true, seen in zip(labels, corrupted, strict=True):
        counts[true, seen] += 1
    return counts


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.29, 0.4, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_flip_makes_exactly_the_rate_of_labels_wrong(rate: float, classes: int) -> None:
    labels = balanced(1000, classes)
    assert (noisy(UniformFlip(rate), labels, classes) != labels).sum() == round(rate * 1000)


@pytest.mark.parametrize("rate", [0.0, 0.29, 0.38, 1.0])
@pytest.mark.parametrize("n", [1, 7, 100, 101])
def test_flips_are_exact_in_sets_of_any_size(rate: float, n: int) -> None:
    labels = balanced(n, 4)
    assert (noisy(UniformFlip(rate), labels, 4) != labels).sum() == round(rate * n)


def test_an_empty_set_stays_empty() -> None:
    assert noisy(UniformFlip(0.4), np.zeros(0, dtype=np.int64), 3).shape == (0,)


@pytest.mark.parametrize("corruption", [NoNoise(), UniformFlip(0), UniformFlip(0, "released"), BackgroundFlip(0, 1)])
def test_no_label_changes_at_rate_zero(corruption: Corruption) -> None:
    labels = balanced(500, 5)
    assert np.array_equal(noisy(corruption, labels, 5), labels)


def test_the_given_labels_are_not_changed_in_place() -> None:
    labels = balanced(100, 4)
    noisy(UniformFlip(1.0), labels, 4)
    assert np.array_equal(labels, balanced(100, 4))


def test_noisy_labels_keep_their_type() -> None:
    assert noisy(BackgroundFlip(0.4), balanced(100, 4), 4).dtype == np.int64


def test_every_example_is_as_likely_to_be_picked() -> None:
    labels, rounds = balanced(50, 5), 2000
    flips = sum((noisy(UniformFlip(0.4), labels, 5, seed) != labels).astype(int) for seed in range(rounds))
    # picking 20 of 50 without replacement: variance of each count is 0.4 * 0.6 * rounds, their sum is fixed
    statistic = ((flips - 0.4 * rounds) ** 2).sum() / (0.24 * rounds) * 49 / 50
    assert stats.chi2.sf(statistic, 49) > 1e-3


@pytest.mark.parametrize(
    ("corruption", "expected_wrong"),
    [
        (UniformFlip(0.4), {10: 0.4, 100: 0.4}),
        (UniformFlip(0.4, "released"), {10: 0.36, 100: 0.396}),
        (BackgroundFlip(0.4, 3), {10: 0.36, 100: 0.396}),
    ],
)
@pytest.mark.parametrize("classes", [10, 100])
def test_share_of_wrong_labels_is_the_papers(corruption: Corruption, expected_wrong: dict[int, float], classes: int) -> None:
    T = corruption.transition_matrix(corruption.targets(classes, 0, RNG(0)))
    assert 1 - np.trace(T) / classes == pytest.approx(expected_wrong[classes])
    labels = balanced(50_000, classes)
    wrong = (noisy(corruption, labels, classes) != labels).mean()
    assert wrong == pytest.approx(expected_wrong[classes], abs=4 * np.sqrt(0.4 * 0.1 * 0.9 / 50_000))


@pytest.mark.parametrize(
    "corruption", [UniformFlip(0.3), UniformFlip(0.6, "released"), BackgroundFlip(0.4, 2), UniformFlip(1.0), BackgroundFlip(1.0, 0)]
)
def test_labels_follow_the_transition_matrix(corruption: Corruption) -> None:
    classes, labels = 5, balanced(20_000, 5)
    T = corruption.transition_matrix(corruption.targets(classes, 0, RNG(0)))
    counts = empirical_transition(labels, noisy(corruption, labels, classes), classes)
    assert counts[T == 0].sum() == 0
    for true in range(classes):
        possible = T[true] > 0
        expected = T[true, possible] * counts[true].sum()
        if possible.sum() > 1:
            assert stats.chisquare(counts[true, possible], expected * counts[true].sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_flip_has_the_symmetric_transition_matrix(rate: float, classes: int) -> None:
    corruption = UniformFlip(rate)
    T = corruption.transition_matrix(corruption.targets(classes, 0, RNG(0)))
    for true in range(classes):
        for seen in range(classes):
            assert T[true, seen] == pytest.approx(1 - rate if true == seen else rate / (classes - 1))


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_background_flip_has_the_transition_matrix_of_one_column(rate: float) -> None:
    corruption = BackgroundFlip(rate, 2)
    T = corruption.transition_matrix(corruption.targets(4, 0, RNG(0)))
    for true in range(4):
        for seen in range(4):
            assert T[true, seen] == pytest.approx((1 - rate) * (true == seen) + rate * (seen == 2))


@pytest.mark.parametrize("corruption", [NoNoise(), UniformFlip(0.7), UniformFlip(0.7, "released"), BackgroundFlip(0.7)])
def test_rows_of_the_transition_matrix_are_distributions(corruption: Corruption) -> None:
    T = corruption.transition_matrix(corruption.targets(7, 0, RNG(0)))
    assert T.shape == (7, 7)
    assert T.min() >= 0
    assert T.sum(axis=1) == pytest.approx(np.ones(7))


def test_released_uniform_flip_never_gives_the_last_class_and_may_give_the_true_one() -> None:
    labels = balanced(9000, 3)
    corrupted = noisy(UniformFlip(1.0, "released"), labels, 3)
    assert set(corrupted) == {0, 1}
    assert (corrupted == labels).mean() == pytest.approx(1 / 3, abs=0.02)  # half of classes 0 and 1, none of class 2


def test_background_flip_leaves_the_background_class_alone() -> None:
    labels = balanced(1000, 5)
    corrupted = noisy(BackgroundFlip(0.6, 3), labels, 5)
    assert np.array_equal(corrupted[labels == 3], labels[labels == 3])


def test_background_flip_changes_labels_to_the_background_only() -> None:
    labels = balanced(1000, 5)
    corrupted = noisy(BackgroundFlip(0.6, 3), labels, 5)
    assert set(corrupted[corrupted != labels]) == {3}


def test_background_flip_at_rate_one_labels_everything_background() -> None:
    assert set(noisy(BackgroundFlip(1.0, 1), balanced(100, 4), 4)) == {1}


@pytest.mark.parametrize(("classes", "share", "purity"), [(10, 0.46, 0.2174), (100, 0.406, 0.0246)])
def test_share_and_purity_of_the_background_label_are_the_papers(classes: int, share: float, purity: float) -> None:
    labels = balanced(100_000, classes)
    background = noisy(BackgroundFlip(0.4, 7), labels, classes) == 7
    assert background.mean() == pytest.approx(share, abs=0.002)
    assert (labels[background] == 7).mean() == pytest.approx(purity, abs=0.004)


@pytest.mark.parametrize("seed", range(4))
def test_a_given_background_class_holds_in_every_trial(seed: int) -> None:
    assert set(BackgroundFlip(0.4, 3).targets(10, seed, RNG(seed)).argmax(axis=1)) == {3}


def test_a_list_of_background_classes_gives_one_to_each_trial_in_turn() -> None:
    paper = BackgroundFlip(0.4, [0, 1, 3, 5, 7])
    drawn = [int(paper.targets(10, seed, RNG(0))[0].argmax()) for seed in range(7)]
    assert drawn == [0, 1, 3, 5, 7, 0, 1]


def test_background_classes_are_drawn_uniformly_where_none_is_given() -> None:
    rng = RNG(0)
    drawn = [int(BackgroundFlip(0.4).targets(5, 0, rng)[0].argmax()) for _ in range(2000)]
    counts = [drawn.count(background) for background in range(5)]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_drawn_background_class_is_one_for_all_true_classes() -> None:
    assert len(set(BackgroundFlip(0.4).targets(10, 0, RNG(5)).argmax(axis=1))) == 1


@pytest.mark.parametrize("corruption", [UniformFlip(0.4), UniformFlip(0.4, "released"), BackgroundFlip(0.4)])
def test_same_random_numbers_give_the_same_labels(corruption: Corruption) -> None:
    labels = balanced(300, 6)
    assert np.array_equal(noisy(corruption, labels, 6, seed=3), noisy(corruption, labels, 6, seed=3))
    assert not np.array_equal(noisy(corruption, labels, 6, seed=3), noisy(corruption, labels, 6, seed=4))


def test_labels_wrong_at_a_low_rate_are_wrong_alike_at_a_higher_one() -> None:
    labels = balanced(500, 5)
    low, high = (noisy(UniformFlip(rate), labels, 5) for rate in (0.2, 0.5))
    wrong = low != labels
    assert np.array_equal(low[wrong], high[wrong])


def test_noise_keeps_every_example_in_the_training_set() -> None:
    labels = balanced(30, 3)
    assert np.array_equal(UniformFlip(0.4).select(labels, 3, RNG(0)), np.arange(30))


@pytest.mark.parametrize("generator", [UniformFlip, BackgroundFlip])
@pytest.mark.parametrize("rate", [-0.1, 1.4, float("nan")])
def test_a_rate_outside_zero_to_one_is_named(generator: type[Corruption], rate: float) -> None:
    with pytest.raises(UserError, match=rf"noise rate {rate:g} is not in \[0, 1\]"):
        generator(rate)  # type: ignore[call-arg]


@pytest.mark.parametrize("rate", ["high", None, True])
def test_a_rate_that_is_no_number_is_named(rate: object) -> None:
    with pytest.raises(UserError, match=rf"noise rate must be a number, not {rate!r}"):
        UniformFlip(rate)  # type: ignore[arg-type]


def test_unknown_targets_name_the_nearest() -> None:
    with pytest.raises(UserError, match="'realeased'; nearest: released"):
        UniformFlip(0.4, "realeased")


@pytest.mark.parametrize("background", [10, -1, [1, 10]])
def test_a_background_class_that_is_none_is_named_with_the_limit(background: int | list[int]) -> None:
    with pytest.raises(UserError, match=r"background class (10|-1) is not in 0 .. 9"):
        BackgroundFlip(0.4, background).targets(10, 0, RNG(0))


@pytest.mark.parametrize("background", [[], "cat", 3.5, ["cat"]])
def test_a_background_that_is_no_class_and_no_list_of_classes_is_a_users_error(background: object) -> None:
    with pytest.raises(UserError, match="background"):
        BackgroundFlip(0.4, background).targets(10, 0, RNG(0))  # type: ignore[arg-type]
