"""Instance-dependent noise: its distribution against SciPy and a plain loop, what it shares in a trial, and features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from datasets.augment import Preprocessing
from datasets.instance_noise import InstanceNoise, moments
from datasets.noise import Seen
from datasets.source import Source
from datasets.streams import numpy_stream
from datasets.task import Split, Task, make_task
from robust_benchmark.errors import UserError

RNG = np.random.default_rng
N, CLASSES = 2000, 4


def source_of(features: bool = False, n: int = N) -> Source:
    rng = RNG(0)
    labels = torch.arange(n) % CLASSES
    images = torch.from_numpy(rng.integers(0, 256, (n, 2, 3, 3)).astype(np.uint8))
    if features:
        images = torch.from_numpy((rng.normal(size=(n, 6)) * [1, 10, 100, 1e3, 0, 1] + 5).astype(np.float32))
    return Source(images, labels, images[:4], labels[:4], tuple("abcd"))


def seen_of(source: Source, seed: int = 0) -> Seen:
    positions = np.arange(len(source.train_labels))
    return Seen(source.train_labels.numpy()[positions], positions, source, seed)


def task_of(noise: InstanceNoise, seed: int = 0, features: bool = False) -> Task:
    return make_task(source_of(features), noise, Split(clean_per_class=5, hyper_validation=300), Preprocessing(), seed)


def mean_chance(rate: float) -> float:
    return float(stats.truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1))


@pytest.mark.parametrize("features", [False, True])
def test_rows_are_distributions_and_the_true_label_has_the_rest_of_the_chance_to_be_wrong(features: bool) -> None:
    seen = seen_of(source_of(features))
    found = InstanceNoise(0.3).probabilities(seen, RNG(1))
    assert found.min() >= 0
    assert found.sum(axis=1) == pytest.approx(np.ones(N))
    wrong = 1 - found[np.arange(N), seen.labels]
    law = stats.truncnorm(-3, 7, loc=0.3, scale=0.1)
    assert stats.kstest(wrong, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("rate", "expected"), [(0.1, 0.1288), (0.2, 0.2055), (0.3, 0.3004)])
def test_the_mean_chance_is_that_of_the_truncated_normal(rate: float, expected: float) -> None:
    seen = seen_of(source_of())
    found = 1 - InstanceNoise(rate).probabilities(seen, RNG(1))[np.arange(N), seen.labels]
    assert mean_chance(rate) == pytest.approx(expected, abs=5e-5)
    assert found.mean() == pytest.approx(expected, abs=4 * 0.1 / N**0.5)


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_the_share_of_wrong_labels_is_the_mean_chance_within_its_deviation(rate: float, features: bool) -> None:
    task = task_of(InstanceNoise(rate), features=features)
    n, share = len(task.train), mean_chance(rate)
    assert abs(task.train.wrong() - share * n) < 4 * (n * share * (1 - share)) ** 0.5
    assert task.noise_rate == task.train.wrong() / n


@pytest.mark.parametrize("features", [False, True])
def test_wrong_classes_follow_a_projection_of_the_normalised_input_by_true_class(features: bool) -> None:
    source = source_of(features, n=40)
    seen = seen_of(source, seed=7)
    found = InstanceNoise(0.4, scale=0.5).probabilities(seen, RNG(1))
    images = source.train_images.double().numpy()
    axes = (0,) if features else (0, 2, 3)
    deviation = images.std(axis=axes, keepdims=True)
    inputs = ((images - images.mean(axis=axes, keepdims=True)) / np.where(deviation > 0, deviation, 1)).reshape(40, -1)
    for x, label, row in zip(inputs, seen.labels, found, strict=True):
        W = numpy_stream(7, "instance noise", label).normal(size=(len(x), CLASSES))
        odds = np.exp([0.5 * x @ W[:, k] if k != label else -np.inf for k in range(CLASSES)])
        assert row[np.arange(CLASSES) != label] / (1 - row[label]) == pytest.approx((odds / odds.sum())[np.arange(CLASSES) != label])


def test_raw_inputs_are_projected_as_they_are() -> None:
    source = source_of(n=40)
    seen = seen_of(source, seed=7)
    found = InstanceNoise(0.4, scale=0.01, inputs="raw").probabilities(seen, RNG(1))
    for x, label, row in zip(source.train_images.double().flatten(1).numpy(), seen.labels, found, strict=True):
        W = numpy_stream(7, "instance noise", label).normal(size=(len(x), CLASSES))
        odds = np.exp([0.01 * x @ W[:, k] if k != label else -np.inf for k in range(CLASSES)])
        assert row / (1 - row[label]) * (np.arange(CLASSES) != label) == pytest.approx(odds / odds.sum())


def test_raw_pixels_of_the_released_scale_lead_most_labels_of_a_class_to_one_other_class() -> None:
    def favourite(inputs: str) -> float:
        task = task_of(InstanceNoise(1.0, scale=1.0, inputs=inputs))
        counts = np.zeros((CLASSES, CLASSES))
        np.add.at(counts, (task.train.true_labels.numpy(), task.train.labels.numpy()), 1)
        np.fill_diagonal(counts, 0)
        return float((counts.max(axis=1) / counts.sum(axis=1)).mean())

    assert favourite("standardised") < 0.6 < 0.7 < favourite("raw")


def test_unknown_inputs_name_the_nearest() -> None:
    with pytest.raises(UserError, match="no noise inputs 'standardized'; nearest: standardised"):
        InstanceNoise(0.4, inputs="standardized")


def test_the_default_scale_is_one_over_the_root_of_the_width_and_spreads_wrong_labels() -> None:
    seen = seen_of(source_of())
    soft, written_out, sharp = (InstanceNoise(0.4, scale).probabilities(seen, RNG(1)) for scale in (None, 18**-0.5, 5.0))
    assert soft == pytest.approx(written_out)

    def largest(found: np.ndarray) -> float:
        others = found.copy()
        others[np.arange(N), seen.labels] = 0
        return float((others.max(axis=1) / others.sum(axis=1)).mean())

    assert largest(soft) < 0.7 < 0.9 < largest(sharp)


def test_labels_depend_on_the_image_and_not_on_the_class_alone() -> None:
    task = task_of(InstanceNoise(1.0, scale=5.0))
    true, given = task.train.true_labels.numpy(), task.train.labels.numpy()
    first = given[true == 0]
    assert {1, 2, 3} <= set(first)  # pair flip would have one of them
    again = task_of(InstanceNoise(1.0, scale=5.0)).train.labels.numpy()
    assert np.array_equal(given, again)
    assert not np.array_equal(task_of(InstanceNoise(1.0, scale=5.0), seed=1).train.labels.numpy(), given)


def test_training_and_hyper_validation_set_share_the_projections_of_a_trial() -> None:
    source = source_of()
    whole, part = seen_of(source), Seen(source.train_labels.numpy()[500:700], np.arange(500, 700), source, 0)
    noise = InstanceNoise(1.0)
    one, other = noise.probabilities(whole, RNG(0))[500:700], noise.probabilities(part, RNG(1))

    def without_chance(found: np.ndarray) -> np.ndarray:
        others = found.copy()
        others[np.arange(200), part.labels] = 0
        return others / others.sum(axis=1, keepdims=True)

    assert without_chance(one) == pytest.approx(without_chance(other))


def test_the_transition_matrix_is_counted_on_the_training_set() -> None:
    task = task_of(InstanceNoise(0.4))
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (task.train.true_labels.numpy(), task.train.labels.numpy()), 1)
    assert task.transition_matrix.numpy() == pytest.approx(counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("features", [False, True])
def test_a_set_without_images_of_some_class_and_an_empty_set_have_noise(features: bool) -> None:
    source = source_of(features)
    for size in (0, 1):
        task = make_task(source, InstanceNoise(0.4), Split(clean_per_class=5, hyper_validation=size), Preprocessing(), 0)
        assert len(task.hyper_validation) == size
        assert 0 < task.train.wrong() < len(task.train)


def test_no_label_is_wrong_at_rate_zero() -> None:
    task = task_of(InstanceNoise(0.0))
    assert (task.train.wrong(), task.hyper_validation.wrong()) == (0, 0)


def test_moments_are_those_of_each_channel_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    images = source_of().train_images
    for size in (7, 5000):
        monkeypatch.setattr("datasets.instance_noise.CHUNK", size)
        mean, deviation = moments(images)
        assert mean[:, 0] == pytest.approx(images.double().mean(dim=(0, 2, 3)).numpy())
        assert deviation[:, 0] == pytest.approx(images.double().std(dim=(0, 2, 3), correction=0).numpy())


@pytest.mark.parametrize(("options", "message"), [((1.2,), "noise rate 1.2 is not in"), ((0.4, -1.0), "noise scale must be at least 0")])
def test_numbers_out_of_range_are_named(options: tuple[float, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        InstanceNoise(*options)
