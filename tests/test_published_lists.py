"""ImageNet-LT, Places-LT and iNaturalist 2018 through their own choices, on small trees with lines as in the published lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark import ROOT, trial
from benchmark.config import Cell, cells
from datasets import list_files, places365
from datasets.source import Source
from robust_benchmark.errors import UserError
from tests.test_published_data import paint, put, shown

Lists = tuple[list[str], list[str]]  # training and test lines
LISTS = {
    "imagenet_lt": ("ImageNet_LT_train.txt", "ImageNet_LT_test.txt"),
    "places_lt": ("Places_LT_train.txt", "Places_LT_test.txt"),
    "inaturalist18": ("iNaturalist18_train.txt", "iNaturalist18_val.txt"),
}
PLACES: dict[str, Lists] = {
    "train": (
        ["train/airfield/00004851.jpg 0", "train/church-indoor/00004851.jpg 1", "train/airfield/00004596.jpg 0"],
        ["val/church-indoor/Places365_val_00027944.jpg 1", "val/airfield/Places365_val_00003597.jpg 0"],
    ),
    "data_256": (
        ["data_256/a/airfield/00004851.jpg 0", "data_256/c/church/indoor/00004851.jpg 1", "data_256/a/airfield/00004596.jpg 0"],
        ["val_256/Places365_val_00027944.jpg 1", "val_256/Places365_val_00003597.jpg 0"],
    ),
}
SAMPLES: dict[str, Lists] = {
    "imagenet_lt": (
        ["train/n01440764/n01440764_190.JPEG 0", "train/n01440764/n01440764_8.JPEG 0", "train/n01443537/n01443537_190.JPEG 1"],
        ["val/n01440764/ILSVRC2012_val_00029930.JPEG 0", "val/n01443537/ILSVRC2012_val_00017700.JPEG 1"],
    ),
    "places_lt": PLACES["train"],
    "inaturalist18": (
        ["train_val2018/Plantae/1/6a9d.jpg 1", "train_val2018/Insecta/0/6a9d.jpg 0", "train_val2018/Plantae/1/77aa.jpg 1"],
        ["train_val2018/Plantae/1/9f8e.jpg 1", "train_val2018/Insecta/0/cb75.jpg 0"],
    ),
}


def make_tree(root: Path, choice: str, lists: Lists, pictures: Lists) -> None:
    """Write lists and pictures; each picture shows its class."""
    for file, lines in zip(LISTS[choice], lists, strict=True):
        put(root / choice / file, lines)
    for line in (*pictures[0], *pictures[1]):
        path, _, label = line.rpartition(" ")
        paint(root / choice / path, int(label))


def md5_of(lines: Sequence[str]) -> str:
    return hashlib.md5("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def cell_of(root: Path, choice: str, *more: str) -> Cell:
    """The cell of two classes with the lengths and checksums of the sample lists."""
    train, test = SAMPLES[choice]
    sizes = [f"dataset.source.{option}={value}" for option, value in (("classes", 2), ("train_count", 3), ("test_count", 2))]
    (cell,) = cells([f"dataset={choice}", f"data_dir={root}", "dataset.size=8", "model=mlp", *sizes, *checked(train, test), *more])
    return cell


def checked(*lists: Sequence[str]) -> list[str]:
    """The overrides that require these lists."""
    return [f"dataset.source.{part}_md5=[{md5_of(lines)}]" for part, lines in zip(("train", "test"), lists, strict=True)]


def source_of(root: Path, choice: str, *more: str) -> Source:
    return trial.source_of(cell_of(root, choice, *more))


# --- the three choices


@pytest.mark.parametrize("choice", SAMPLES)
def test_each_choice_reads_its_lists_and_pictures(tmp_path: Path, choice: str) -> None:
    lists = SAMPLES[choice]
    make_tree(tmp_path, choice, lists, lists)
    source = source_of(tmp_path, choice)
    assert source.train_labels.tolist() == shown(source.train_images) == [int(line[-1]) for line in lists[0]]
    assert source.test_labels.tolist() == shown(source.test_images) == [int(line[-1]) for line in lists[1]]
    assert source.train_true_labels is None


@pytest.mark.parametrize("pictures", PLACES)
@pytest.mark.parametrize("lists", PLACES)
def test_places_lt_reads_lists_of_either_dialect_with_pictures_of_either(tmp_path: Path, lists: str, pictures: str) -> None:
    make_tree(tmp_path, "places_lt", PLACES[lists], PLACES[pictures])
    source = source_of(tmp_path, "places_lt", *checked(*PLACES[lists]))
    assert source.train_labels.tolist() == shown(source.train_images) == [0, 1, 0]
    assert source.test_labels.tolist() == shown(source.test_images) == [1, 0]


@pytest.mark.parametrize("lists", PLACES)
def test_a_picture_that_is_in_neither_layout_is_named_by_its_list(tmp_path: Path, lists: str) -> None:
    path = PLACES[lists][1][0].rpartition(" ")[0]
    make_tree(tmp_path, "places_lt", PLACES[lists], PLACES[lists])
    (tmp_path / "places_lt" / path).unlink()
    with pytest.raises(UserError, match=rf"^1 of the 5 pictures .+ the first is {tmp_path / 'places_lt' / path}: complete the copy"):
        source_of(tmp_path, "places_lt", *checked(*PLACES[lists]))


@pytest.mark.parametrize(("first", "second"), [("train", "data_256"), ("data_256", "train")])
def test_each_line_of_one_dialect_becomes_the_line_of_the_other(first: str, second: str) -> None:
    for lines, others in zip(PLACES[first], PLACES[second], strict=True):
        for line, expected in zip(lines, others, strict=True):
            path, _, label = line.rpartition(" ")
            assert f"{places365.other(path, ('airfield', 'church-indoor')[int(label)])} {label}" == expected


def test_a_path_of_neither_dialect_stays(tmp_path: Path) -> None:
    listed = [("images/1.jpg", 0), ("2.jpg", 1)]
    assert places365.resolved(tmp_path, listed, listed) == (listed, listed)


# --- checksums


@pytest.mark.parametrize("part", [0, 1])
def test_a_list_with_another_checksum_is_named_with_both(tmp_path: Path, part: int) -> None:
    train, test = SAMPLES["places_lt"]
    lists = (train[::-1], test) if part == 0 else (train, test[::-1])
    make_tree(tmp_path, "places_lt", lists, lists)
    file, published = tmp_path / "places_lt" / LISTS["places_lt"][part], md5_of(SAMPLES["places_lt"][part])
    found = rf"^{file} has the MD5 checksum {md5_of(lists[part])}"
    sentence = rf"{found}, and the published list of places_lt has {published}: get .+partial=true"
    with pytest.raises(UserError, match=sentence):
        source_of(tmp_path, "places_lt")
    assert len(source_of(tmp_path, "places_lt", "dataset.partial=true").train_labels) == 3


def test_any_of_several_checksums_is_enough(tmp_path: Path) -> None:
    lists = SAMPLES["places_lt"]
    make_tree(tmp_path, "places_lt", lists, lists)
    options = {"root": str(tmp_path), "train": LISTS["places_lt"][0], "test": LISTS["places_lt"][1], "cache": str(tmp_path / "cache")}
    assert list_files.load("places_lt", **options, train_md5=["0" * 32, md5_of(lists[0])])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"has {'0' * 32} or {'1' * 32}: get the published list"):
        list_files.load("places_lt", **options, test_md5=["0" * 32, "1" * 32])  # type: ignore[arg-type]


def test_checksums_are_lists_of_texts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.source.test_md5 must be a list.*, not 'abc'"):
        cell_of(tmp_path, "imagenet_lt", "dataset.source.test_md5=abc")


@pytest.mark.parametrize("choice", SAMPLES)
def test_checksums_do_not_change_the_key(tmp_path: Path, choice: str) -> None:
    assert cell_of(tmp_path, choice, "dataset.source.test_md5=[]").key == cell_of(tmp_path, choice).key


def test_the_page_has_the_checksums_that_are_checked() -> None:
    rows = re.findall(r"`(\w+\.txt)`.*\| `([0-9a-f]{32})` \| yes", (ROOT / "docs" / "published-data.md").read_text(encoding="utf-8"))
    found = set()
    for choice, files in LISTS.items():
        (cell,) = cells([f"dataset={choice}"])
        for part, file in zip(("train", "test"), files, strict=True):
            found |= {(file, each) for each in cell.config.dataset["source"].get(f"{part}_md5", ())}
    assert set(rows) == found
    assert len(found) == 6
