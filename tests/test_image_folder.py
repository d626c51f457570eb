"""A user's pictures: decoded as by PIL, cached, and rejected with one sentence if something is wrong."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import run
from benchmark.config import cells
from datasets import image_folder
from datasets.augment import Preprocessing
from datasets.noise import NoNoise
from datasets.source import UNKNOWN, Source
from datasets.task import Split, make_task
from robust_benchmark.errors import UserError
from tests.conftest import kept_in


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


def test_only_pictures_are_read_despite_other_files(tree: Path) -> None:
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


def test_a_changed_picture_is_read_again(tree: Path) -> None:
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


# ---- true labels that are known of some pictures, or of none


def clean(root: Path, *names: str) -> None:
    for name in names or ("ant", "cat"):
        for number in range(2):
            paint(root / "clean" / name / f"{number}.png", seed=[7, ord(name[0]), number])


def test_true_labels_are_the_given_ones_unless_the_user_says_otherwise(tree: Path) -> None:
    assert load(tree).train_true_labels is None
    hidden = image_folder.load(str(tree), None, str(tree.parent / "cache"), true_labels=False)
    assert hidden.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert hidden.true_labels.tolist() == [UNKNOWN] * 6


def test_clean_pictures_follow_those_of_train_and_only_their_labels_are_true(tree: Path) -> None:
    load(tree)
    clean(tree)
    source = load(tree)
    assert source.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert source.true_labels.tolist() == [UNKNOWN] * 6 + [0, 0, 1, 1]
    assert np.array_equal(source.train_images[6].numpy(), decode(tree / "clean" / "ant" / "0.png"))
    assert np.array_equal(source.test_images[0].numpy(), decode(tree / "test" / "ant" / "0.png"))


def test_clean_pictures_are_the_clean_set_and_nothing_else_is(tree: Path) -> None:
    clean(tree)
    made = make_task(load(tree), NoNoise(), Split(), Preprocessing(), 0)
    assert made.clean.labels.tolist() == made.clean.true_labels.tolist() == [0, 0, 1, 1]
    assert made.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert made.train.wrong() is None


@pytest.mark.parametrize("stratified", [True, False])
def test_without_any_true_label_the_clean_set_is_empty(tree: Path, stratified: bool) -> None:
    source = image_folder.load(str(tree), None, str(tree.parent / "cache"), true_labels=False)
    task = make_task(source, NoNoise(), Split(clean_per_class=1, stratified=stratified), Preprocessing(), 0)
    assert (len(task.train), len(task.clean)) == (6, 0)


def test_a_class_that_clean_lacks_is_named(tree: Path) -> None:
    clean(tree, "ant")
    with pytest.raises(UserError, match=re.escape(f"no pictures in {tree / 'clean' / 'cat'}")):
        load(tree)


def test_a_class_that_only_clean_has_is_named(tree: Path) -> None:
    clean(tree, "ant", "cat", "dog")
    with pytest.raises(UserError, match="clean holds class 'dog', which train/ has not"):
        load(tree)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_true_labels_is_true_or_false(tree: Path, value: object) -> None:
    with pytest.raises(UserError, match=re.escape(f"dataset.true_labels must be true or false, not {value!r}")):
        image_folder.load(str(tree), None, str(tree.parent / "cache"), true_labels=value)  # type: ignore[arg-type]


def test_options_that_are_younger_than_records_change_no_key_at_their_old_values() -> None:
    before, same, other = (cells(["dataset=image_folder", "dataset.path=x", *more])[0] for more in ([], *TRUTH))
    assert "true_labels" not in before.canonical
    assert before.key == same.key != other.key
    assert cells(["dataset=cifar10_jpeg", "noise=bgflip"])[0].identity["dataset"]["source"] == {"path": "cifar10-jpeg"}


TRUTH = (["dataset.true_labels=true"], ["dataset.true_labels=false"])


# ---- labels.csv


@pytest.fixture
def flat(tree: Path) -> Path:
    """The tree with its six training pictures in no class folders: a0 to a2 are ants and c0 to c2 are cats."""
    for name in ("ant", "cat"):
        for file in sorted((tree / "train" / name).iterdir()):
            file.rename(tree / "train" / f"{name[0]}{file.name}")
        (tree / "train" / name).rmdir()
    return tree


FILES = ["a0.png", "a1.jpg", "a2.png", "c0.png", "c1.jpg", "c2.png"]
GIVEN = ["ant", "cat", "ant", "cat", "cat", "ant"]
TRUE = ["ant", "ant", "ant", "cat", "cat", "cat"]
GIVEN_ROWS = [[f"train/{file}", given] for file, given in zip(FILES, GIVEN, strict=True)]
TRUE_ROWS = [[*row, true] for row, true in zip(GIVEN_ROWS, TRUE, strict=True)]


def write_table(root: Path, header: str, rows: list[list[str]], encoding: str = "utf-8") -> None:
    (root / "labels.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n", encoding=encoding)


def test_a_table_gives_labels_and_leaves_the_true_ones_unknown(flat: Path) -> None:
    write_table(flat, "path,given", GIVEN_ROWS)
    source = load(flat)
    assert source.classes == ("ant", "cat")
    assert source.train_labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert source.true_labels.tolist() == [UNKNOWN] * 6
    assert np.array_equal(source.train_images.numpy(), np.stack([decode(flat / "train" / file) for file in FILES]))
    assert source.test_labels.tolist() == [0, 0, 1, 1]


def test_a_table_with_true_labels_makes_a_task_with_counted_noise(flat: Path) -> None:
    write_table(flat, "path,given,true", TRUE_ROWS)
    source = load(flat)
    assert source.true_labels.tolist() == [0, 0, 0, 1, 1, 1]
    made = make_task(source, NoNoise(), Split(clean_per_class=0), Preprocessing(), 0)
    assert made.train.wrong() == 2
    assert made.noise_rate == 2 / 6


def test_the_order_of_rows_and_columns_spaces_and_a_byte_order_mark_do_not_matter(flat: Path) -> None:
    write_table(flat, "path,given,true", TRUE_ROWS)
    plain = load(flat)
    write_table(flat, "true , path,given", [[true, f" ./{path}", given] for path, given, true in reversed(TRUE_ROWS)], "utf-8-sig")
    assert load(flat).digest == plain.digest


def test_a_table_overrules_class_folders(tree: Path) -> None:
    files = [file.relative_to(tree).as_posix() for file in sorted((tree / "train").rglob("*.*"))]
    write_table(tree, "path,given", [[file, "cat" if "ant" in file else "ant"] for file in files])
    assert load(tree).train_labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_a_changed_table_needs_no_picture_decoded_again(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(flat, "path,given", GIVEN_ROWS)
    before = load(flat)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    write_table(flat, "path,given,true", TRUE_ROWS)
    after = load(flat)
    assert torch.equal(before.train_images, after.train_images)
    assert before.digest != after.digest


def test_clean_pictures_stand_beside_a_table_of_given_labels(flat: Path) -> None:
    clean(flat)
    write_table(flat, "path,given", GIVEN_ROWS)
    source = load(flat)
    assert source.train_labels.tolist() == [0, 1, 0, 1, 1, 0, 0, 0, 1, 1]
    assert source.true_labels.tolist() == [UNKNOWN] * 6 + [0, 0, 1, 1]


def test_two_contrary_sources_of_true_labels_are_refused(flat: Path) -> None:
    write_table(flat, "path,given,true", TRUE_ROWS)
    with pytest.raises(UserError, match=r"labels.csv has true labels of all pictures in train/, and dataset.true_labels=false says"):
        image_folder.load(str(flat), None, str(flat.parent / "cache"), true_labels=False)
    clean(flat)
    with pytest.raises(UserError, match=r"labels.csv has true labels of all pictures in train/, and only pictures in .*clean have them"):
        load(flat)


def changed(row: int, column: int, value: str) -> list[list[str]]:
    rows = [list(each) for each in TRUE_ROWS]
    rows[row][column] = value
    return rows


HEADER = "path,given,true"
WRONG_TABLES = {
    "blank given label": (HEADER, changed(1, 1, " "), "row 3: 'given' is blank"),
    "blank true label": (HEADER, changed(1, 2, ""), "row 3: 'true' is blank; give it in all rows, or leave the column out"),
    "blank path": (HEADER, changed(0, 0, ""), "row 2: 'path' is blank"),
    "two classes in a cell": (HEADER, changed(2, 1, "cat;ant"), "row 4: no class 'cat;ant'; nearest: "),
    "unknown given class": (HEADER, changed(5, 1, "catt"), "row 7: no class 'catt'; nearest: cat"),
    "unknown true class": (HEADER, changed(5, 2, "aunt"), "row 7: no class 'aunt'; nearest: ant"),
    "unknown column": ("path,givn,true", TRUE_ROWS, "row 1: no column 'givn'; nearest: given"),
    "one more column": ("path,given,true,weight", TRUE_ROWS, "row 1: no column 'weight'; nearest: "),
    "semicolons": ("path;given", GIVEN_ROWS, "row 1: no column 'path;given'; nearest: "),
    "column twice": ("path,given,given", TRUE_ROWS, "row 1: column 'given' stands there twice"),
    "true without given": ("path,true", GIVEN_ROWS, "row 1: column 'given' is missing"),
    "no path": ("given,true", GIVEN_ROWS, "row 1: column 'path' is missing"),
    "missing picture": (HEADER, changed(3, 0, "train/c9.png"), r"row 5: there is no picture 'train/c9.png' below .*train"),
    "path without train/": (HEADER, changed(3, 0, "c0.png"), r"row 5: there is no picture 'c0.png' below .*paths start with train/"),
    "test picture": (HEADER, changed(3, 0, "test/ant/0.png"), "row 5: there is no picture 'test/ant/0.png' below"),
    "absolute path": (HEADER, changed(3, 0, "/etc/passwd"), "row 5: there is no picture '/etc/passwd' below"),
    "picture twice": (HEADER, [*TRUE_ROWS, TRUE_ROWS[0]], "row 8: an earlier row has the picture train/a0.png as well"),
    "picture without a row": (HEADER, TRUE_ROWS[:-1], r"labels.csv has no row for the picture train/c2.png"),
    "too many cells": (HEADER, [*TRUE_ROWS[:-1], [*TRUE_ROWS[-1], "x"]], "row 7 has 4 cells, and the header has 3"),
    "too few cells": (HEADER, [*TRUE_ROWS[:-1], TRUE_ROWS[-1][:2]], "row 7 has 2 cells, and the header has 3"),
    "a class that no row gives": ("path,given", [[path, "ant"] for path, _ in GIVEN_ROWS], r"no row of .*labels.csv gives class 'cat'"),
    "no rows": (HEADER, [], "labels.csv has no row for the picture train/a0.png"),
    "nothing": ("", [], "row 1: column 'path' is missing"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_mistake_in_the_table_is_one_sentence_that_names_the_row(case: str, flat: Path) -> None:
    header, rows, said = WRONG_TABLES[case]
    write_table(flat, header, rows)
    with pytest.raises(UserError, match=said) as raised:
        load(flat)
    assert str(flat / "labels.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_in_another_encoding_is_refused(flat: Path) -> None:
    write_table(flat, "path,given", [*GIVEN_ROWS[:-1], ["train/c2.png", "ánt"]], "latin-1")
    with pytest.raises(UserError, match=r"labels.csv is not a readable table of comma-separated values in UTF-8"):
        load(flat)


def test_a_table_in_place_of_pictures_names_the_folder(flat: Path) -> None:
    write_table(flat, "path,given", GIVEN_ROWS)
    shutil.rmtree(flat / "train")
    with pytest.raises(UserError, match=re.escape(f"no pictures in {flat / 'train'}")):
        load(flat)


def test_a_stranger_beside_a_table_is_held_against_the_folders_of_test(flat: Path) -> None:
    write_table(flat, "path,given", GIVEN_ROWS)
    clean(flat, "ant", "cat", "dog")
    with pytest.raises(UserError, match="clean holds class 'dog', which test/ has not"):
        load(flat)


def test_a_cache_that_cannot_be_written_is_one_sentence(tree: Path) -> None:
    (tree.parent / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the decoded pictures to .*file/below"):
        image_folder.load(str(tree), None, str(tree.parent / "file" / "below"))


# ---- pictures and files that are hostile


def sixteen_bits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**16, (7, 9), dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_grey_of_16_bits_keeps_its_high_byte_as_colours_of_16_bits_do(tree: Path, suffix: str) -> None:
    odd = tree / "train" / "ant" / f"9{suffix}"
    if suffix == ".pgm":
        odd.write_bytes(b"P5 9 7 65535\n" + sixteen_bits().astype(">u2").tobytes())
    else:
        Image.fromarray(sixteen_bits()).save(odd)
    assert np.array_equal(load(tree).train_images[3].numpy(), np.stack([sixteen_bits() // 256] * 3))


@pytest.mark.parametrize(("dtype", "kind"), [(np.int32, "whole"), (np.float32, "float")])
def test_pictures_of_32_bits_are_refused(tree: Path, dtype: type, kind: str) -> None:
    Image.fromarray(sixteen_bits().astype(dtype)).save(tree / "train" / "ant" / "9.tif")
    with pytest.raises(UserError, match=rf"9.tif holds {kind} numbers of 32 bits, which do not say what is white: convert it"):
        load(tree)


ODD = {  # objects that replace a file, and their error messages
    "pipe": (os.mkfifo, "is a named pipe, but a file is needed there"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, but a file is needed there"),
    "directory": (Path.mkdir, "is a directory, but a file is needed there"),
    "link to a directory": (lambda path: path.symlink_to(path.parent), "is a directory, but a file is needed there"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "is a broken link"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
}


@pytest.mark.parametrize("place", ["train/ant/0.png", "labels.csv"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_refused_and_never_opened(tree: Path, kind: str, place: str) -> None:
    (tree / place).unlink(missing_ok=True)
    make, said = ODD[kind]
    make(tree / place)
    with pytest.raises(UserError, match=rf"^{re.escape(str(tree / place))} {said}"):
        load(tree)


@pytest.mark.parametrize("kind", ["pipe", "broken link"])
def test_what_is_no_folder_of_clean_pictures_is_refused(tree: Path, kind: str) -> None:
    ODD[kind][0](tree / "clean")
    with pytest.raises(UserError, match=re.escape(f"no directory {tree / 'clean'}")):
        load(tree)


@pytest.mark.parametrize("kind", ["pipe", "device", "broken link"])
def test_what_is_no_cache_is_replaced(tree: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = load(tree)
    (cache,) = cached(tree)
    cache.unlink()
    ODD[kind][0](cache)
    assert torch.equal(load(tree).train_images, before.train_images)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_cache_with_a_damaged_header_is_made_again(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load(tree)
    (cache,) = cached(tree)
    cache.write_bytes(bytes(80) + cache.read_bytes()[80:])
    assert torch.equal(load(tree).train_images, before.train_images)
    assert capsys.readouterr().err == f"cache {cache} is damaged or another file: the pictures are decoded again\n"


@pytest.mark.parametrize("size", [10**5, 10**9])
def test_a_size_that_the_machine_has_no_room_for_is_refused_before_anything_is_decoded(tree: Path, size: int) -> None:
    with pytest.raises(
        UserError, match=rf"10 pictures of {size}x{size} pixels need [\d,.]+ GB of .* give a smaller dataset.size"
    ) as raised:
        load(tree, size)
    assert f"{30 * size**2 / 1e9:,.1f} GB of the disk" in str(raised.value)


def test_a_folder_that_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)  # root may read all
    with pytest.raises(UserError, match=r"train cannot be read \(Permission denied\)"):
        load(tree)


def test_pictures_too_small_for_a_model_are_refused_before_training(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"data_dir={tmp_path}", *kept_in(tmp_path)]
    options = ["dataset=image_folder", f"dataset.path={tree}", "dataset.size=1", "split.clean_per_class=1", "method=baseline", "trials=1"]
    assert run.main([*options, *places, "model=convnet", "processes=1"]) != 0
    assert "model convnet cannot take images of 3 x 1 x 1 (" in capsys.readouterr().err


# ---- real pictures


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
