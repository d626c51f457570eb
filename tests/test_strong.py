"""The strong view: operations against torchvision's on single images, draws against their distributions, cutout against all squares."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from datasets import strong
from datasets.augment import Preprocessing
from datasets.strong import MAGNITUDE, OPERATIONS, cutout, operate, strong_view

FILL = 77
BLENDS = ("brightness", "contrast", "color", "sharpness")  # the order of float32 operations may cost them one level
FORBIDDEN = ("aten._local_scalar_dense", "aten.nonzero", "aten.lift_fresh", "aten.bincount", "aten.is_nonzero", "aten.equal")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, channels: int = 3, height: int = 32, width: int = 32, low: int = 0, high: int = 256) -> torch.Tensor:
    return torch.randint(low, high, (n, channels, height, width), dtype=torch.uint8, generator=generator(1))


def operated(images: torch.Tensor, name: str, signs: torch.Tensor, magnitude: float = MAGNITUDE) -> torch.Tensor:
    return operate(images, torch.full((len(images),), OPERATIONS.index(name)), signs, magnitude, FILL)


def affine(image: torch.Tensor, translate: tuple[int, int] = (0, 0), slope: tuple[float, float] = (0, 0)) -> torch.Tensor:
    shear = [math.degrees(math.atan(one)) for one in slope]
    return tv.affine(image, 0, list(translate), 1, shear, fill=[FILL], center=[0, 0])


def by_torchvision(image: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    """One operation on one image; magnitude: with its sign."""
    right, down = (int(150 / 331 * side * magnitude) for side in (image.shape[2], image.shape[1]))
    operations = {
        "identity": lambda: image,
        "autocontrast": lambda: tv.autocontrast(image),
        "equalize": lambda: tv.equalize(image),
        "rotate": lambda: tv.rotate(image, 30 * magnitude, fill=[FILL]),
        "solarize": lambda: tv.solarize(image, round(255 * (1 - abs(magnitude)))),
        "color": lambda: tv.adjust_saturation(image, 1 + 0.9 * magnitude),
        "posterize": lambda: tv.posterize(image, 8 - round(4 * abs(magnitude))),
        "contrast": lambda: tv.adjust_contrast(image, 1 + 0.9 * magnitude),
        "brightness": lambda: tv.adjust_brightness(image, 1 + 0.9 * magnitude),
        "sharpness": lambda: tv.adjust_sharpness(image, 1 + 0.9 * magnitude),
        "shear_x": lambda: affine(image, slope=(0.3 * magnitude, 0)),
        "shear_y": lambda: affine(image, slope=(0, 0.3 * magnitude)),
        "translate_x": lambda: affine(image, translate=(right, 0)),
        "translate_y": lambda: affine(image, translate=(0, down)),
    }
    return operations[name]()


def assert_levels_close(ours: torch.Tensor, theirs: torch.Tensor, levels: int) -> None:
    assert (ours.short() - theirs.short()).abs().max() <= levels


@pytest.mark.parametrize("magnitude", [MAGNITUDE, 0.3, 29 / 30])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 20, 33)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions_on_each_image(name: str, shape: tuple[int, int, int], magnitude: float) -> None:
    images, signs = random_images(8, *shape, low=20, high=200), torch.tensor([-1, 1] * 4)
    ours = operated(images, name, signs, magnitude)
    theirs = torch.stack([by_torchvision(image, name, sign * magnitude) for image, sign in zip(images, signs.tolist(), strict=True)])
    assert ours.dtype == torch.uint8
    assert_levels_close(ours, theirs, levels=name in BLENDS)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_images_of_one_level_or_of_two_are_stretched_as_torchvisions(name: str) -> None:
    flat, two = torch.full((1, 1, 20, 20), 90, dtype=torch.uint8), random_images(1, 1, 20, 20, low=90, high=92)
    for image in (flat, two, torch.cat([two, flat, two], 1)):
        assert torch.equal(operated(image, name, torch.ones(1)), by_torchvision(image[0], name, MAGNITUDE)[None])


def test_images_of_a_batch_meet_their_own_operations() -> None:
    images = random_images(2 * len(OPERATIONS), 3, 16, 16)
    operation, sign = torch.arange(len(OPERATIONS)).repeat(2), torch.tensor([1, -1]).repeat_interleave(len(OPERATIONS))
    together = operate(images, operation, sign, MAGNITUDE, FILL)
    for position in range(len(images)):
        one = slice(position, position + 1)
        assert torch.equal(together[one], operate(images[one], operation[one], sign[one], MAGNITUDE, FILL))


def test_torchvisions_randaugment_has_the_same_outcomes_at_the_same_magnitude() -> None:
    image = random_images(1, low=20, high=200)
    outcomes = [operated(image, name, torch.tensor([sign])).short() for name, sign in itertools.product(OPERATIONS, (-1, 1))]
    torchvisions = v2.RandAugment(num_ops=1, magnitude=14, num_magnitude_bins=31, fill=FILL)
    met = set()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(400):
            outcome = torchvisions(image).short()
            distances = [int((outcome - one).abs().max()) for one in outcomes]
            assert min(distances) <= 1
            met.add(OPERATIONS[distances.index(min(distances)) // 2])
    assert met == set(OPERATIONS)


def drawn(monkeypatch: pytest.MonkeyPatch, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Operations and signs that a batch of n meets, (rounds, n) each."""
    met: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(strong, "operate", lambda images, operation, sign, *_: met.append((operation, sign)) or images)
    strong_view(random_images(n, 1, 2, 2), FILL, generator())
    operations, signs = zip(*met, strict=True)
    return torch.stack(operations).numpy(), torch.stack(signs).numpy()


def test_each_image_meets_two_operations_uniform_and_independent_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, signs = drawn(monkeypatch, 20_000)
    assert operations.shape == (2, 20_000)
    pairs = np.bincount(operations[0] * len(OPERATIONS) + operations[1], minlength=len(OPERATIONS) ** 2)
    assert stats.chisquare(pairs).pvalue > 1e-3
    neighbours = np.bincount(operations[0, ::2] * len(OPERATIONS) + operations[0, 1::2], minlength=len(OPERATIONS) ** 2)
    assert stats.chisquare(neighbours).pvalue > 1e-3
    with_sign = Counter(zip(operations.ravel().tolist(), signs.ravel().tolist(), strict=True))
    assert set(signs.ravel().tolist()) == {-1, 1}
    assert stats.chisquare(list(with_sign.values())).pvalue > 1e-3


def test_draws_follow_the_generator_alone() -> None:
    images = random_images(1).expand(50, -1, -1, -1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, state = strong_view(images, FILL, generator(3)), torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(strong_view(images, FILL, generator(3)), first)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(strong_view(images, FILL, generator(4)), first)
    assert len({one.numpy().tobytes() for one in first}) == 50


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 9), (12, 8)])
def test_cutout_is_a_square_of_half_the_side_around_any_pixel_alike_clipped_at_edges(height: int, width: int) -> None:
    reach, whole = min(height, width) // 4, torch.full((height, width), 255, dtype=torch.uint8)
    holes = {}
    for row, column in itertools.product(range(height), range(width)):
        hole = whole.clone()
        hole[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach] = FILL
        holes[hole.numpy().tobytes()] = (row, column)
    images = whole.expand(100 * height * width, 3, -1, -1)
    cut = cutout(images, FILL, generator())
    assert torch.equal(cut, cut[:, :1].expand_as(cut))
    centres = Counter(holes[one[0].numpy().tobytes()] for one in cut)
    assert len(centres) == height * width
    assert stats.chisquare(list(centres.values())).pvalue > 1e-3


def test_cutout_of_a_cifar_image_is_16_pixels_wide() -> None:
    cut = cutout(torch.full((500, 3, 32, 32), 255, dtype=torch.uint8), FILL, generator())
    assert ((cut[:, 0] == FILL).any(1).sum(1).max(), (cut[:, 0] == FILL).any(2).sum(1).max()) == (16, 16)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 5, 7), (1, 2, 2), (3, 1, 1)])
def test_grey_and_tiny_images_have_strong_views(shape: tuple[int, int, int]) -> None:
    images = random_images(200, *shape)
    before = images.clone()
    view = strong_view(images, FILL, generator())
    assert (view.shape, view.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)


class NoWaiting(TorchDispatchMode):
    """Fails if the host reads a value, a shape depends on values, or host data goes to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not str(func).startswith(FORBIDDEN), func
        indices = args[1] if str(func).startswith("aten.index") and isinstance(args[1], list | tuple) else ()
        assert not any(one is not None and one.dtype == torch.bool for one in indices), "a mask as an index"
        return func(*args, **(kwargs or {}))


def test_views_never_wait_for_the_device() -> None:
    images, preprocessing = random_images(16), Preprocessing(pad=2, flip=True)
    with NoWaiting():
        for strength in ("none", "weak", "strong"):
            preprocessing.view(strength, images, generator())
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            images.sum().item()
        with pytest.raises(AssertionError, match="mask"):
            images[images > 3]
        with pytest.raises(AssertionError, match="lift_fresh"):
            torch.tensor([1, 2])
