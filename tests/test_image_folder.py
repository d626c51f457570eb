"""Anyone's own pictures: decoded as PIL decodes them, cached, and refused with a sentence where something is wrong."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import image_folder
from datasets.source import Source
from robust_benchmark.errors import UserError


def paint(file: Path, seed: int | list[int], side: tuple[int, int] = (9, 7), mode: str = "RGB") -> None:
    """Write a picture of random pixels, of width and height `side`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side[1], side[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)


def decode(file: Path, size: int | None = None) -> np.ndarray:
    """(3, height, width) as PIL says."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes: three PNG or JPEG training pictures and two test pictures of each."""
    root = tmp_path / "pictures"
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "ant"):
            for number in range(count):
                suffix = ".jpg" if number == 1 else ".png"
                paint(root / part / name / f"{number}{suffix}", seed=[count, ord(name[0]), number])
    return root


def load(root: Path, size: int | None = None) -> Source:
    return image_folder.load(str(root), size, str(root.parent / "cache"))


def cached(root: Path) -> list[Path]:
    return sorted((root.parent / "cache").glob("*"))


def test_pixels_are_those_that_pil_decodes(tree: Path) -> None:
    source = load(tree)
    for part, images in (("train", source.train_images), ("test", source.test_images)):
        files = sorted((tree / part / "ant").iterdir()) + sorted((tree / part / "cat").iterdir())
        assert np.array_equal(images.numpy(), np.stack([decode(file) for file in files]))


def test_classes_are_the_sorted_folders_and_labels_their_order(tree: Path) -> None:
    source = load(tree)
    assert source.classes == ("ant", "cat")
    assert source.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.test_labels.tolist() == [0, 0, 1, 1]


def test_pictures_keep_their_height_and_width(tree: Path) -> None:
    assert load(tree).train_images.shape == (6, 3, 7, 9)


@pytest.mark.parametrize("size", [4, 16])
def test_pictures_are_resized_where_a_size_is_given(tree: Path, size: int) -> None:
    paint(tree / "train" / "ant" / "3.png", seed=50, side=(20, 30))
    images = load(tree, size).train_images
    assert images.shape == (7, 3, size, size)
    assert np.array_equal(images[3].numpy(), decode(tree / "train" / "ant" / "3.png", size))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_pictures_of_any_mode_become_rgb(tree: Path, mode: str) -> None:
    odd = tree / "train" / "ant" / f"9.{'tif' if mode == 'CMYK' else 'png'}"
    paint(odd, seed=50, mode=mode)
    assert np.array_equal(load(tree).train_images[3].numpy(), decode(odd))


def test_only_pictures_are_read_whatever_else_lies_there(tree: Path) -> None:
    (tree / "train" / "ant" / "notes.txt").write_text("not a picture")
    (tree / "train" / "readme.md").write_text("not a class")
    assert len(load(tree).train_labels) == 6


def test_pictures_in_capitals_and_in_subfolders_are_read(tree: Path) -> None:
    paint(tree / "train" / "cat" / "more" / "x.PNG", seed=60)
    assert load(tree).train_labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_the_second_time_no_picture_is_decoded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tree)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    second = load(tree)
    assert torch.equal(first.train_images, second.train_images)
    assert torch.equal(first.test_images, second.test_images)
    assert torch.equal(first.train_labels, second.train_labels)
    assert second.classes == first.classes


def test_a_changed_picture_is_read_anew(tree: Path) -> None:
    before = load(tree).train_images
    changed = tree / "train" / "ant" / "0.png"
    paint(changed, seed=99)
    os.utime(changed, ns=(1, 1))  # a coarse clock might not have moved on
    after = load(tree).train_images
    assert np.array_equal(after[0].numpy(), decode(changed))
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1:], after[1:])


def test_added_removed_and_moved_pictures_are_noticed(tree: Path) -> None:
    load(tree)
    paint(tree / "train" / "ant" / "7.png", seed=70)
    assert load(tree).train_labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    (tree / "train" / "ant" / "0.png").unlink()
    assert load(tree).train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tree / "train" / "ant" / "7.png").rename(tree / "train" / "cat" / "7.png")
    source = load(tree)
    assert source.train_labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert np.array_equal(source.train_images[5].numpy(), decode(tree / "train" / "cat" / "7.png"))


def test_every_size_has_a_cache_of_its_own(tree: Path) -> None:
    assert [load(tree, size).train_images.shape[-1] for size in (None, 5, None, 5)] == [9, 5, 9, 5]


def test_every_directory_has_a_cache_of_its_own(tree: Path) -> None:
    picture = Path("train", "ant", "0.bmp")
    paint(tree / picture, seed=98)
    other = tree.parent / "others"
    shutil.copytree(tree, other)
    paint(other / picture, seed=99)
    shutil.copystat(tree / picture, other / picture)  # name, length and time of change are now the same, the pixels are not
    assert not torch.equal(load(other).train_images[0], load(tree).train_images[0])


def test_changing_the_loaded_images_leaves_the_cache_alone(tree: Path) -> None:
    load(tree).train_images.zero_()
    assert load(tree).train_images.float().mean() > 50


def test_a_missing_directory_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no directory .*nowhere.*train: image_folder reads <path>/train/<class>"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named(tree: Path, part: str) -> None:
    shutil.rmtree(tree / part)
    with pytest.raises(UserError, match=re.escape(f"no directory {tree / part}")):
        load(tree)


def test_an_empty_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="train holds 0 class folders; at least 2 are needed"):
        load(tmp_path / "pictures")


def test_one_class_is_not_enough(tree: Path) -> None:
    shutil.rmtree(tree / "train" / "cat")
    with pytest.raises(UserError, match="holds 1 class folders; at least 2 are needed"):
        load(tree)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_pictures_is_named(tree: Path, part: str) -> None:
    for file in (tree / part / "cat").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=re.escape(f"no pictures in {tree / part / 'cat'}")):
        load(tree)


def test_a_class_that_is_missing_from_test_is_named(tree: Path) -> None:
    shutil.rmtree(tree / "test" / "cat")
    with pytest.raises(UserError, match=re.escape(f"no pictures in {tree / 'test' / 'cat'}")):
        load(tree)


def test_a_class_that_only_test_has_is_named(tree: Path) -> None:
    paint(tree / "test" / "dog" / "0.png", seed=80)
    with pytest.raises(UserError, match="test holds class 'dog', which train/ has not"):
        load(tree)


@pytest.mark.parametrize("name", ["9.png", "9.jpg", "9.gif", "9.bmp", "9.tif", "9.webp", "9.ppm"])
@pytest.mark.parametrize("damage", ["no picture", "cut off", "empty"])
def test_a_broken_picture_is_named(tree: Path, name: str, damage: str) -> None:
    broken = tree / "train" / "cat" / name
    paint(broken, seed=80)
    whole = broken.read_bytes()
    broken.write_bytes({"no picture": b"Lorem ipsum dolor sit amet", "cut off": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(UserError, match=re.escape(f"{broken} is not a readable picture")):
        load(tree)


def test_a_broken_picture_leaves_no_cache_and_its_repair_is_read(tree: Path) -> None:
    broken = tree / "train" / "cat" / "9.png"
    broken.write_bytes(b"")
    with pytest.raises(UserError):
        load(tree)
    assert cached(tree) == []
    paint(broken, seed=80)
    assert np.array_equal(load(tree).train_images[-1].numpy(), decode(broken))


def test_unequal_sizes_name_the_picture_both_sizes_and_the_option(tree: Path) -> None:
    paint(tree / "test" / "cat" / "9.png", seed=80, side=(12, 10))
    with pytest.raises(UserError, match=r"cat/9.png is 12x10 pixels and .*ant/0.png is 9x7: give dataset.size=SIDE"):
        load(tree)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_none_blames_the_size_and_no_picture(tree: Path, size: int) -> None:
    with pytest.raises(UserError, match=rf"size.*{size}") as raised:
        load(tree, size)
    assert ".png" not in str(raised.value)


def test_real_cifar10_pictures_are_read_as_pil_decodes_them(real_data: Path, tmp_path: Path) -> None:
    files = {part: [] for part in ("train", "test")}  # type: dict[str, list[Path]]
    for part, found in files.items():
        for name in sorted(folder.name for folder in (real_data / "cifar10-jpeg" / part).iterdir()):
            (tmp_path / "cifar" / part / name).mkdir(parents=True)
            for file in sorted((real_data / "cifar10-jpeg" / part / name).iterdir())[:5]:
                found.append(Path(shutil.copy(file, tmp_path / "cifar" / part / name)))

    source = load(tmp_path / "cifar")

    assert source.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert source.train_images.shape == source.test_images.shape == (50, 3, 32, 32)
    assert source.train_labels.tolist() == sorted(list(range(10)) * 5)
    assert np.array_equal(source.train_images.numpy(), np.stack([decode(file) for file in files["train"]]))
    assert np.array_equal(source.test_images.numpy(), np.stack([decode(file) for file in files["test"]]))
