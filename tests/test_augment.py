"""Augmentation against a plain loop over all crops, and normalisation against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from benchmark.config import cells
from benchmark.options import preprocessing
from datasets import augment
from datasets.augment import Preprocessing
from datasets.noise import NoNoise
from datasets.source import Source
from datasets.strong import OPERATIONS, cutout, operate
from datasets.task import Split, make_task
from robust_benchmark.errors import UserError
from tests.conftest import toy_source


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, channels: int = 3, height: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randint(1, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator(1))


def crops(image: np.ndarray, pad: int, flip: bool) -> dict[tuple[int, int, bool], np.ndarray]:
    """Every outcome that augmentation may have for one image, by row offset, column offset and mirroring."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    outcomes = {}
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            crop = padded[:, top : top + height, left : left + width]
            outcomes[top, left, False] = crop
            if flip:
                outcomes[top, left, True] = crop[:, :, ::-1]
    return outcomes


def drawn_outcomes(pad: int, flip: bool, n: int) -> list[tuple[int, int, bool]]:
    """Return the outcome for each of n copies of one image; fails if a copy has none."""
    image = random_images(1)
    augmented = Preprocessing(pad=pad, flip=flip).augment(image.expand(n, -1, -1, -1), generator()).numpy()
    by_bytes = {np.ascontiguousarray(crop).tobytes(): key for key, crop in crops(image[0].numpy(), pad, flip).items()}
    return [by_bytes[one.tobytes()] for one in augmented]


@pytest.mark.parametrize(("pad", "flip"), [(2, True), (2, False), (0, True), (1, True), (4, False)])
def test_augmented_images_are_crops_of_the_padded_image_or_their_mirror_images(pad: int, flip: bool) -> None:
    images = random_images(40)
    augmented = Preprocessing(pad=pad, flip=flip).augment(images, generator())
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    for image, outcome in zip(images.numpy(), augmented.numpy(), strict=True):
        assert any(np.array_equal(outcome, crop) for crop in crops(image, pad, flip).values())


@pytest.mark.parametrize(("pad", "flip"), [(2, True), (1, False), (0, True)])
def test_every_crop_and_mirror_image_is_as_likely(pad: int, flip: bool) -> None:
    outcomes = drawn_outcomes(pad, flip, 5000)
    possible = (2 * pad + 1) ** 2 * (1 + flip)
    counts = [outcomes.count(outcome) for outcome in set(outcomes)]
    assert len(counts) == possible
    assert stats.chisquare(counts).pvalue > 1e-3


def test_images_of_a_batch_are_augmented_independently() -> None:
    outcomes = drawn_outcomes(2, True, 5000)
    pairs = np.zeros((2, 2))
    for (_, _, first), (_, _, second) in zip(outcomes[::2], outcomes[1::2], strict=True):
        pairs[int(first), int(second)] += 1
    assert stats.chi2_contingency(pairs).pvalue > 1e-3


def test_without_padding_and_mirroring_images_stay_as_they_are() -> None:
    images = random_images(5)
    assert torch.equal(Preprocessing().augment(images, generator()), images)


def test_augmentation_does_not_change_the_stored_images() -> None:
    images = random_images(20)
    Preprocessing(pad=2, flip=True).augment(images, generator())
    assert torch.equal(images, random_images(20))


def test_same_random_numbers_give_the_same_augmentation() -> None:
    images, preprocessing = random_images(50), Preprocessing(pad=2, flip=True)
    assert torch.equal(preprocessing.augment(images, generator(3)), preprocessing.augment(images, generator(3)))
    assert not torch.equal(preprocessing.augment(images, generator(3)), preprocessing.augment(images, generator(4)))


def test_channels_of_an_image_move_together() -> None:
    grey = random_images(30, channels=1).expand(-1, 3, -1, -1)
    augmented = Preprocessing(pad=2, flip=True).augment(grey, generator())
    assert torch.equal(augmented[:, 0], augmented[:, 1])
    assert torch.equal(augmented[:, 0], augmented[:, 2])


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0.0, 1.0), (0.1307, 0.3081)])
def test_normalisation_is_its_formula(mean: float, std: float) -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    expected = (images.numpy().astype(np.float64) / 255 - mean) / std
    normalised = Preprocessing(mean, std).normalise(images)
    assert normalised.dtype == torch.float32
    assert normalised.numpy() == pytest.approx(expected, abs=1e-6)


def test_the_papers_cifar_input_lies_in_minus_one_to_one_with_padding_black() -> None:
    paper = Preprocessing(mean=0.5, std=0.5, pad=2, flip=True)
    white = torch.full((200, 3, 32, 32), 255, dtype=torch.uint8)
    inputs = paper.normalise(paper.augment(white, generator()))
    assert sorted(inputs.unique().tolist()) == pytest.approx([-1, 1], abs=1e-6)


def test_normalisation_does_not_change_the_stored_images() -> None:
    images = random_images(4)
    Preprocessing().normalise(images)
    assert torch.equal(images, random_images(4))


def test_the_view_none_is_the_images_and_draws_nothing() -> None:
    images, drawn_from = random_images(5), generator()
    assert Preprocessing(pad=2, flip=True).view("none", images, drawn_from) is images
    assert torch.equal(drawn_from.get_state(), generator().get_state())


@pytest.mark.parametrize(("pad", "flip"), [(2, True), (1, False), (0, True), (0, False)])
def test_the_weak_view_draws_offsets_then_mirrors_and_nothing_else(pad: int, flip: bool) -> None:
    images, drawn_from, again = random_images(20), generator(), generator()
    weak = Preprocessing(pad=pad, flip=flip).view("weak", images, drawn_from)
    top, left = torch.randint(0, 2 * pad + 1, (2, 20), generator=again).tolist() if pad or flip else ([0] * 20, [0] * 20)
    mirrored = (torch.rand(20, generator=again) < 0.5).tolist() if flip else [False] * 20
    for image, outcome, *key in zip(images.numpy(), weak.numpy(), top, left, mirrored, strict=True):
        assert np.array_equal(outcome, crops(image, pad, flip)[tuple(key)])
    assert torch.equal(drawn_from.get_state(), again.get_state())


@pytest.mark.parametrize(("mean", "fill"), [(0.5, 128), (0.0, 0), (1.0, 255)])
def test_the_strong_view_begins_with_the_weak_one_and_fills_with_the_mean_pixel(mean: float, fill: int) -> None:
    preprocessing, images = Preprocessing(mean=mean, pad=2, flip=True), random_images(20)
    weak, strong, later = preprocessing.view("weak", images, generator()), preprocessing.view("strong", images, generator()), generator()
    preprocessing.view("weak", images, later)
    assert torch.equal(strong, augment.strong_view(weak, fill, later))


def test_an_unknown_strength_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"no view 'strongest'; nearest: strong \(3 known: none, strong, weak\)"):
        Preprocessing().view("strongest", random_images(1), generator())


@pytest.mark.parametrize(("pad", "flip", "random"), [(0, False, False), (1, False, True), (0, True, True)])
def test_the_weak_view_is_random_where_it_crops_or_mirrors(pad: int, flip: bool, random: bool) -> None:
    assert Preprocessing(pad=pad, flip=flip).random is random


def test_a_mean_that_is_no_pixel_is_refused() -> None:
    with pytest.raises(UserError, match=r"mean 127.5 is not in \[0, 1\]"):
        Preprocessing(mean=127.5)


# --- a mean and a deviation for each channel

MEANS, STDS = [0.49, 0.48, 0.44], [0.2, 0.25, 0.3]


@pytest.mark.parametrize(("mean", "std"), [(MEANS, STDS), (MEANS, 0.5), (0.5, STDS)])
def test_channels_are_normalised_by_their_own_mean_and_deviation(mean: float | list[float], std: float | list[float]) -> None:
    images = random_images(5)
    found = Preprocessing(mean, std).normalise(images)  # type: ignore[arg-type]
    for channel in range(3):
        m, s = (values[channel] if isinstance(values, list) else values for values in (mean, std))
        torch.testing.assert_close(found[:, channel], (images[:, channel].float() / 255 - m) / s)


def test_equal_values_of_all_channels_are_the_number_bit_for_bit() -> None:
    images = random_images(50, height=8, width=8)
    number, listed = Preprocessing(0.47, 0.23, pad=1), Preprocessing([0.47] * 3, [0.23] * 3, pad=1)  # type: ignore[arg-type]
    assert torch.equal(number.normalise(images), images.float().mul_(1 / (255 * 0.23)).sub_(0.47 / 0.23))
    assert torch.equal(number.normalise(images), listed.normalise(images))
    assert torch.equal(number.view("strong", images, generator()), listed.view("strong", images, generator()))


def test_the_strong_view_fills_each_channel_with_its_mean() -> None:
    images = torch.full((300, 3, 8, 8), 255, dtype=torch.uint8)
    means = [0.2, 0.4, 0.6]
    found = cutout(images, Preprocessing(means)._fill(images), generator())  # type: ignore[arg-type]
    covered = (found != 255).all(dim=1)
    assert covered.flatten(1).any(dim=1).all()
    assert (found.permute(0, 2, 3, 1)[covered] == torch.tensor([51, 102, 153])).all()
    turn = torch.full((300,), OPERATIONS.index("translate_x"))
    moved = operate(images, turn, torch.ones_like(turn), 1.0, Preprocessing(means)._fill(images))  # type: ignore[arg-type]
    assert torch.equal(moved[:, :, :, 0].unique(dim=0), torch.tensor([51, 102, 153], dtype=torch.uint8)[None, :, None].expand(1, 3, 8))


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5], []])
def test_another_number_of_values_than_channels_is_named(name: str, values: list[float]) -> None:
    message = f"dataset.preprocessing.{name} has {len(values)} values, and images have 3 channels: give one for each"
    with pytest.raises(UserError, match=message):
        Preprocessing(**{name: values}).check(random_images(2))  # type: ignore[arg-type]


def test_a_task_checks_the_channels_of_its_images_and_not_of_features() -> None:
    with pytest.raises(UserError, match="std has 3 values, and images have 1 channels"):
        make_task(toy_source(), NoNoise(), Split(), Preprocessing(std=[1, 1, 1]), 0)  # type: ignore[arg-type]
    features = Source(torch.zeros(9, 4), torch.arange(9) % 3, torch.zeros(3, 4), torch.arange(3), ("a", "b", "c"))
    task = make_task(features, NoNoise(), Split(clean_per_class=1), Preprocessing(mean=MEANS), 0)  # type: ignore[arg-type]
    assert torch.equal(task.preprocessing.normalise(task.train.images), task.train.images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [0.5, 1.5]}, r"mean 1.5 is not in \[0, 1\]"),
        ({"std": [0.5, 0]}, "std must be at least"),
        ({"std": ["a"]}, "std must be a num"),
    ],
)
def test_each_value_of_a_list_is_checked(values: dict[str, list], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preprocessing(**values)


def test_values_of_channels_come_from_the_command_line() -> None:
    (cell,) = cells(["dataset=cifar10", "dataset.preprocessing.mean=[0.49,0.48,0.44]"])
    (number,) = cells(["dataset=cifar10"])
    assert preprocessing(cell.config) == Preprocessing(tuple(MEANS), 0.5, 2, True)
    assert cell.key != number.key
