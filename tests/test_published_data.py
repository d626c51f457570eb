"""Loaders of published data sets, on small trees of the same layout: every picture shows its true class as a grey."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmark import prepare, run
from datasets import animal10n, clothing1m, cnwl, food101n, list_files, webvision
from datasets.noise import NoNoise
from datasets.source import UNKNOWN, Source
from datasets.task import Split, draw
from robust_benchmark.errors import UserError

Load = Callable[..., Source]
NAMES = ("clothing1m", "webvision", "food101n", "animal10n", "cnwl", "lists")


def paint(file: Path, shown: int, side: int = 8) -> None:
    """Write a picture of class `shown`, of the grey 2 * shown."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (2 * shown,) * 3).save(file, format="PNG")


def shown(images: Any) -> list[int]:
    """The class that each image shows."""
    return [round(value) for value in (images[:].double().mean(dim=(1, 2, 3)) / 2).tolist()]


def put(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_clothing1m(root: Path) -> None:
    """14 classes; in each, two noisy pictures (one of the next class), and one of each clean set. One of these has a noisy label too."""
    noisy, right, keys = [], [], {part: [] for part in clothing1m.COUNTS}  # type: ignore[var-annotated]
    for label in range(14):
        for part in keys:
            for number in range(2 if part == "noisy_train" else 1):
                key = f"images/{label % 10}/{part}/{label},{number}.jpg"
                is_wrong = number == 1
                paint(root / key, (label + is_wrong) % 14)
                (noisy if part == "noisy_train" else right).append(f"{key} {label}")
                keys[part].append(key)
    noisy.append(f"{keys['clean_val'][0]} 13")
    put(root / "noisy_label_kv.txt", noisy)
    put(root / "clean_label_kv.txt", right[::-1])
    put(root / "category_names_eng.txt", [f"Garment {label}" for label in range(14)])
    for part, listed in keys.items():
        put(root / f"{part}_key_list.txt", listed)


def make_webvision(root: Path) -> None:
    """Three classes: two are read, with two pictures of each to train with, and one to test with in each test set."""
    put(root / "info/synsets.txt", [f"n0000000{label} beast {label}, animal" for label in range(3)])
    train = [(f"google/q000{query}/a{label}.jpg", label) for query in (2, 1) for label in range(3)]
    for path, label in train:
        paint(root / path, label)
    put(root / "info/train_filelist_google.txt", [f"{path} {label}" for path, label in train])
    put(root / "info/val_filelist.txt", [f"val{label}.jpg {label}" for label in (2, 1, 0)])
    for label in range(3):
        paint(root / f"val_images_256/val{label}.jpg", label)
        paint(root / f"imagenet/val/n0000000{label}/ILSVRC_{label}.JPEG", label)


def make_food101n(root: Path) -> None:
    """101 classes of three pictures: verified as right, verified as wrong, not verified; two classes in the list `train`."""
    noisy, original = root / "Food-101N_release", root / "food-101"
    names = [f"dish_{(label * 7) % 101}" for label in range(101)]  # not sorted
    keys = [f"{name}/{kind}{label}.jpg" for label, name in enumerate(names) for kind in "rwu"]
    for label, name in enumerate(names):
        for kind in "rwu":
            paint(noisy / "images" / name / f"{kind}{label}.jpg", (label + (kind == "w")) % 101)
        paint(original / "images" / name / f"{label}.jpg", label)
    put(noisy / "meta/classes.txt", ["class_name", *names])
    put(noisy / "meta/imagelist.tsv", ["class_name/key", *keys])
    heading, marks = "class_name/key\tverification_label", {"r": 1, "w": 0}
    rows = [f"{key}\t{marks[Path(key).name[0]]}" for key in keys if Path(key).name[0] in marks]
    put(noisy / "meta/verified_val.tsv", [heading, *rows, "dish_0/elsewhere.jpg\t1"])
    put(noisy / "meta/verified_train.tsv", [heading, *rows[:4]])
    put(original / "meta/test.txt", [f"{name}/{label}" for label, name in enumerate(names)])


def make_animal10n(root: Path) -> None:
    for label in range(10):
        for number, part in ((12, "training"), (3, "training"), (7, "testing")):
            paint(root / part / f"{label}_{number}.jpg", label)


def make_cnwl(root: Path) -> None:
    train = [(f"{'n0123' if number else 'b7'}{label}.jpg", label) for label in range(100) for number in (0, 1)]
    for name, label in train:
        paint(root / "all_images" / name, label)
    put(root / "split/red_noise_nl_0.2", [f"{name} {label}" for name, label in train])
    put(root / "split/red_noise_nl_0.05", [f"{name} {99 - label}" for name, label in train])
    put(root / "split/clean_validation", [f"ILSVRC_{label}.jpg {label}" for label in range(100)])
    for label in range(100):
        paint(root / f"validation/{label}/ILSVRC_{label}.jpg", label)


def make_lists(root: Path) -> None:
    """A long tail of three classes with 4, 2 and 1 pictures, a test picture of each, and a list of trusted pictures."""
    train = [(f"train/kind {label}/{number}.jpg", label) for label, count in enumerate((4, 2, 1)) for number in range(count)]
    for path, label in train:
        paint(root / path, label)
    for part, prefix in (("test", "val_256/Places_"), ("clean", "clean/")):
        for label in range(3):
            paint(root / f"{prefix}{label}.jpg", label)
        put(root / f"{part}.txt", [f"{prefix}{label}.jpg {label}" for label in range(3)])
    put(root / "train.txt", [f"{path} {label}" for path, label in train])


MAKERS = {name: globals()[f"make_{name}"] for name in NAMES}
LOADERS: dict[str, Load] = {
    "clothing1m": clothing1m.load,
    "webvision": lambda path, **options: webvision.load(path, **{"classes": 2} | options),
    "food101n": food101n.load,
    "animal10n": animal10n.load,
    "cnwl": cnwl.load,
    "lists": list_files.load,
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small copy of each data set; tests change no file in it."""
    root = tmp_path_factory.mktemp("copies")
    for name, make in MAKERS.items():
        make(root / name)
    return root


def load(copies: Path, name: str, **options: Any) -> Source:
    defaults = {"root": str(copies), "partial": True, "size": 8, "cache": str(copies / "cache")}
    return LOADERS[name](name, **defaults | options)


@pytest.fixture
def own(copies: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function that returns a copy of a data set that the test may change."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(copies / name, tmp_path / name))

    return copied


# --- what is read


def test_clothing1m_has_noisy_labels_and_the_truth_of_its_clean_set_only(copies: Path) -> None:
    source = load(copies, "clothing1m")
    noisy = [label for label in range(14) for _ in range(2)]
    assert source.train_labels.tolist() == noisy + list(range(14))
    assert source.true_labels.tolist() == [UNKNOWN] * 28 + list(range(14))
    assert shown(source.train_images) == [(label + number) % 14 for label in range(14) for number in (0, 1)] + list(range(14))
    assert shown(source.test_images) == source.test_labels.tolist() == list(range(14))
    assert source.classes[3] == "Garment 3"


@pytest.mark.parametrize(("clean", "count"), [("train", 14), ("none", 0)])
def test_the_clean_list_of_clothing1m_is_a_choice(copies: Path, clean: str, count: int) -> None:
    source = load(copies, "clothing1m", clean=clean)
    assert int((source.true_labels != UNKNOWN).sum()) == count
    assert len(source.train_labels) == 28 + count


@pytest.mark.parametrize(("name", "clean"), [("clothing1m", 14), ("food101n", 101), ("cnwl", 0), ("animal10n", 0), ("webvision", 0)])
def test_pictures_with_known_labels_are_the_clean_set_and_no_other_trains(copies: Path, name: str, clean: int) -> None:
    source = load(copies, name)
    drawn = draw(source, NoNoise(), Split(), seed=0)
    assert len(drawn.clean) == clean
    assert (source.true_labels[drawn.train] == UNKNOWN).all()
    assert len(drawn.train) + clean == len(source.train_labels)


def test_mini_webvision_drops_the_later_classes_and_keeps_the_order_of_the_list(copies: Path) -> None:
    source = load(copies, "webvision")
    assert source.classes == ("n00000000", "n00000001")
    assert source.train_labels.tolist() == shown(source.train_images) == [0, 1, 0, 1]
    assert source.true_labels.tolist() == [UNKNOWN] * 4
    assert source.test_labels.tolist() == shown(source.test_images) == [1, 0]


def test_mini_webvision_is_also_tested_on_imagenet(copies: Path) -> None:
    source = load(copies, "webvision", test="ilsvrc")
    assert source.test_labels.tolist() == shown(source.test_images) == [0, 1]


def test_food101n_trusts_labels_that_are_verified_as_right(copies: Path) -> None:
    source = load(copies, "food101n")
    assert source.classes[:3] == ("dish_0", "dish_7", "dish_14")
    unverified = [label for label in range(101) for _ in "wu"]
    assert source.train_labels.tolist() == unverified + list(range(101))
    assert source.true_labels.tolist() == [UNKNOWN] * 202 + list(range(101))
    assert shown(source.train_images)[:4] == [1, 0, 2, 1]
    assert shown(source.train_images)[202:] == list(range(101))
    assert source.test_labels.tolist() == shown(source.test_images) == list(range(101))


def test_the_verified_list_of_food101n_is_a_choice(copies: Path) -> None:
    known = load(copies, "food101n", clean="train").true_labels
    assert known[known != UNKNOWN].tolist() == [0, 1]
    assert (load(copies, "food101n", clean="none").true_labels == UNKNOWN).all()


def test_animal10n_has_its_labels_in_the_names_of_files(copies: Path) -> None:
    source = load(copies, "animal10n", size=None)
    assert source.train_labels.tolist() == shown(source.train_images) == [label for label in range(10) for _ in range(2)]
    assert source.true_labels.tolist() == [UNKNOWN] * 20
    assert source.test_labels.tolist() == shown(source.test_images) == list(range(10))


def test_red_mini_imagenet_reads_the_list_of_its_level(copies: Path) -> None:
    source = load(copies, "cnwl")
    assert source.train_labels.tolist() == shown(source.train_images) == [label for label in range(100) for _ in range(2)]
    assert (source.true_labels == UNKNOWN).all()
    assert source.test_labels.tolist() == shown(source.test_images) == list(range(100))
    other = load(copies, "cnwl", level=0.05)
    assert other.train_labels.tolist() == [99 - label for label in source.train_labels.tolist()]


def test_labels_of_a_list_are_true(copies: Path) -> None:
    source = load(copies, "lists", train_count=7, test_count=3, partial=False)
    assert source.train_true_labels is None
    assert source.train_labels.tolist() == shown(source.train_images) == [0, 0, 0, 0, 1, 1, 2]
    assert source.test_labels.tolist() == shown(source.test_images) == [0, 1, 2]


def test_labels_of_a_list_are_unknown_beside_a_list_of_trusted_ones_or_by_choice(copies: Path) -> None:
    assert load(copies, "lists", clean="clean.txt").true_labels.tolist() == [UNKNOWN] * 7 + [0, 1, 2]
    assert load(copies, "lists", true_labels=False).true_labels.tolist() == [UNKNOWN] * 7


def test_tabs_windows_line_ends_and_blank_lines_change_nothing(copies: Path, own: Callable[[str], Path]) -> None:
    root = own("lists")
    lines = (root / "train.txt").read_text().splitlines()
    (root / "train.txt").write_bytes("\r\n\r\n".join("\t".join(line.rsplit(" ", 1)) for line in lines).encode("utf-8-sig"))
    found = load(root.parent, "lists")
    assert torch.equal(found.train_labels, load(copies, "lists").train_labels)


def test_pictures_stay_in_the_mapped_cache_and_are_decoded_once(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(copies, "lists")
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    second = load(copies, "lists", resident=False)
    assert second.mapped_bytes == 10 * 3 * 8 * 8
    assert torch.equal(first.train_images[:], second.train_images[:])
    assert second.digest == first.digest


def test_another_size_is_decoded_again(copies: Path) -> None:
    assert load(copies, "lists", size=4).train_images.shape == (7, 3, 4, 4)
    assert load(copies, "lists", size=8).train_images.shape == (7, 3, 8, 8)


# --- copies that are incomplete or wrong


LISTS = {
    "clothing1m": "noisy_train_key_list.txt",
    "webvision": "info/train_filelist_google.txt",
    "food101n": "food-101/meta/test.txt",
    "cnwl": "split/clean_validation",
    "lists": "test.txt",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list_is_named_with_its_place(own: Callable[[str], Path], name: str) -> None:
    file = own(name) / LISTS[name]
    file.unlink()
    with pytest.raises(UserError, match=rf"^no file {file}, which is a list of .+docs/published-data.md"):
        load(file.parents[len(Path(LISTS[name]).parts)], name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_copy_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"^no directory {tmp_path / name}: put a copy of "):
        load(tmp_path, name)


PICTURES = {
    "clothing1m": ["images/3/noisy_train/3,0.jpg", "images/5/noisy_train/5,1.jpg"],
    "webvision": ["google/q0001/a1.jpg"],
    "food101n": ["Food-101N_release/images/dish_7/u1.jpg"],
    "cnwl": ["all_images/b742.jpg"],
    "lists": ["train/kind 0/1.jpg"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_missing_pictures_are_counted_and_the_first_is_named(
    own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = own(name)
    monkeypatch.setattr("datasets.listed.Copy.check_count", lambda *_: None)
    for path in PICTURES[name]:
        (root / path).unlink()
    count = len(PICTURES[name])
    with pytest.raises(UserError, match=rf"^{count} of the \d+ pictures .+ the first is {root / PICTURES[name][0]}: complete the copy, or"):
        load(root.parent, name, partial=False)


@pytest.mark.parametrize("name", PICTURES)
def test_a_partial_copy_leaves_missing_pictures_out(copies: Path, own: Callable[[str], Path], name: str) -> None:
    root = own(name)
    for path in PICTURES[name]:
        (root / path).unlink()
    found, whole = load(root.parent, name), load(copies, name)
    assert len(found.train_labels) == len(whole.train_labels) - len(PICTURES[name])
    assert found.test_labels.tolist() == whole.test_labels.tolist()


PUBLISHED = {
    "clothing1m": r"noisy_train_key_list.txt has 28 pictures, and in Clothing1M it has 1,000,000",
    "webvision": r"val_images_256 has 2 pictures, and in WebVision 1.0 it has 100",
    "food101n": r"imagelist.tsv has 303 pictures, and in Food-101N it has 310,009",
    "animal10n": r"training has 20 pictures, and in ANIMAL-10N it has 50,000",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_fewer_pictures_than_published_need_an_option(copies: Path, name: str) -> None:
    with pytest.raises(UserError, match=PUBLISHED[name] + r": complete it, or give dataset.partial=true, which the record states$"):
        load(copies, name, partial=False)


def test_a_list_of_another_length_than_required_is_reported(copies: Path) -> None:
    with pytest.raises(UserError, match=r"test.txt has 3 pictures, and in lists it has 4: complete it"):
        load(copies, "lists", test_count=4, partial=False)


WRONG_LINES = {
    "clothing1m, label": ("clothing1m", "noisy_label_kv.txt", "images/0/x.jpg 14", "'images/0/x.jpg 14' is not .+ 0 .. 13$"),
    "clothing1m, key": ("clothing1m", "noisy_train_key_list.txt", "images/0/x.jpg", "images/0/x.jpg, and noisy_label_kv.txt has no label"),
    "clothing1m, class": (
        "clothing1m",
        "category_names_eng.txt",
        "Cape",
        "15 lines with 15 different names of classes, and Clothing1M has 14",
    ),
    "webvision, label": ("webvision", "info/val_filelist.txt", "val9.jpg 1000", "label that is in 0 .. 999$"),
    "webvision, word": ("webvision", "info/train_filelist_google.txt", "google/x.jpg one", "'google/x.jpg one' is not a path and a label"),
    "food101n, class": (
        "food101n",
        "Food-101N_release/meta/imagelist.tsv",
        "stone/1.jpg",
        "line 'stone/1.jpg' does not begin with a class",
    ),
    "food101n, mark": ("food101n", "Food-101N_release/meta/verified_val.tsv", "dish_0/1.jpg\t2", "'dish_0/1.jpg 2' is not a picture and 0"),
    "cnwl, label": ("cnwl", "split/red_noise_nl_0.2", "n1.jpg -1", "label that is in 0 .. 99$"),
    "lists, label": ("lists", "test.txt", "val_256/Places_0.jpg 3", "label that is in 0 .. 2$"),
    "lists, gap": ("lists", "train.txt", "train/x.jpg 4", r"no picture with label 3: labels .+ \(largest: 4\)$"),
    "lists, no label": ("lists", "train.txt", "train/x.jpg", "is not a path and a label, separated by a space, with .+ a whole number$"),
    "lists, huge label": ("lists", "train.txt", f"train/x.jpg {'9' * 5000}", "is not a path and a label, separated"),
    "lists, absolute": ("lists", "train.txt", "/etc/x.jpg 0", "has the picture /etc/x.jpg: paths must be relative to "),
    "lists, twice": ("lists", "test.txt", "train/kind 0/1.jpg 0", "train/kind 0/1.jpg 2 times, and each picture may be in one set only$"),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_wrong_line_is_reported(own: Callable[[str], Path], case: str) -> None:
    name, file, line, sentence = WRONG_LINES[case]
    root = own(name)
    with (root / file).open("a", encoding="utf-8") as out:
        out.write(f"{line}\n")
    with pytest.raises(UserError, match=sentence):
        load(root.parent, name)


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_and_one_that_is_not_text_are_reported(own: Callable[[str], Path], name: str) -> None:
    file = own(name) / LISTS[name]
    root = file.parents[len(Path(LISTS[name]).parts)]
    file.write_text("\n")
    with pytest.raises(UserError, match=rf"^{file} is empty"):
        load(root, name)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=rf"^{file} is not a readable list"):
        load(root, name)


def test_a_class_without_a_picture_is_named(own: Callable[[str], Path]) -> None:
    root = own("animal10n")
    for file in (root / "training").glob("4_*"):
        file.unlink()
    with pytest.raises(UserError, match=r"has no training picture of 1 of the 10 classes of ANIMAL-10N, the first is class 4, 'cheetah'$"):
        load(root.parent, "animal10n")


def test_a_copy_without_any_picture_is_reported(own: Callable[[str], Path]) -> None:
    root = own("animal10n")
    for file in root.rglob("*.jpg"):
        file.unlink()
    with pytest.raises(UserError, match=r"has no training picture of 10 of the 10 classes"):
        load(root.parent, "animal10n")


def test_a_file_of_animal10n_without_a_label_is_named(own: Callable[[str], Path]) -> None:
    root = own("animal10n")
    paint(root / "training/12_7.jpg", 1)
    with pytest.raises(UserError, match=rf"^{root / 'training/12_7.jpg'}: names of pictures must be LABEL_NUMBER.jpg"):
        load(root.parent, "animal10n")


def test_too_few_classes_of_webvision_are_reported(copies: Path) -> None:
    with pytest.raises(UserError, match=r"synsets.txt has 3 classes, and dataset.classes is 50$"):
        load(copies, "webvision", classes=50)


def test_a_missing_folder_of_imagenet_is_named(own: Callable[[str], Path]) -> None:
    root = own("webvision")
    shutil.rmtree(root / "imagenet/val/n00000001")
    with pytest.raises(UserError, match=rf"^no directory {root / 'imagenet/val/n00000001'}: put a copy of WebVision 1.0 into {root} "):
        load(root.parent, "webvision", test="ilsvrc")


WRONG_OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "clean": ("clothing1m", {"clean": "vall"}, "no dataset.clean 'vall'; nearest: val"),
    "test": ("webvision", {"test": "imagenet"}, "no dataset.test 'imagenet'"),
    "level": ("cnwl", {"level": 0.7}, "dataset.level must be one of 0, 0.05, .+, not 0.7$"),
    "size": ("lists", {"size": 0}, "dataset.size must be at least 1, not 0$"),
    "partial": ("lists", {"partial": "yes"}, "dataset.partial must be true or false, not 'yes'$"),
    "true_labels": ("lists", {"true_labels": 1}, "dataset.true_labels must be true or false, not 1$"),
    "classes": ("lists", {"classes": 1}, "dataset.classes must be at least 2, not 1$"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_a_wrong_option_is_reported(copies: Path, case: str) -> None:
    name, options, sentence = WRONG_OPTIONS[case]
    with pytest.raises(UserError, match=sentence):
        load(copies, name, **options)


# --- on the command line


CHOICES = {
    "clothing1m": "42 training and 14 test images of 3 x 8 x 8",
    "mini_webvision": "4 training and 2 test",
    "food101n": "303 training and 101 test",
    "animal10n": "20 training and 10 test",
    "cnwl": "200 training and 100 test",
    "list_files": "7 training and 3 test",
}


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_of_a_data_set_is_prepared(copies: Path, choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"mini_webvision": ["dataset.classes=2"], "list_files": [f"dataset.path={copies / 'lists'}", "split.clean_per_class=0"]}
    options = [f"data_dir={copies}", "dataset.partial=true", "dataset.size=8", "model=mlp", *more.get(choice, [])]
    assert prepare.main([f"dataset={choice}", *options]) == 0
    assert f"{choice}: {CHOICES[choice]}" in capsys.readouterr().out


@pytest.mark.parametrize(("choice", "missing"), [("imagenet_lt", "imagenet_lt"), ("places_lt", "places_lt"), ("inaturalist18", "inat")])
def test_a_list_data_set_that_is_not_there_is_one_sentence(
    tmp_path: Path, choice: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([f"dataset={choice}", f"data_dir={tmp_path}"]) == 2
    assert f"error: no directory {tmp_path / missing}" in capsys.readouterr().err


def test_a_method_with_a_clean_set_trains_on_clothing1m(copies: Path, tmp_path: Path) -> None:
    small = ["trials=1", "model=mlp", "trainer=digits", "trainer.steps=2", "trainer.batch_size=4", "dataset.size=8", "dataset.partial=true"]
    places = [f"data_dir={copies}", f"results_dir={tmp_path / 'runs'}", f"checkpoint_dir={tmp_path / 'checkpoints'}"]
    assert run.main(["dataset=clothing1m", "method=l2rw", *small, *places]) == 0
    (record,) = (tmp_path / "runs").rglob("*.json")
    text = record.read_text()
    assert '"clean": 14' in text
    assert '"partial": true' in text
