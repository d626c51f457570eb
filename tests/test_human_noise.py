"""Human labels: each image gets its own label for any order of images, and nothing in the file is executed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import run
from benchmark.config import cells
from datasets import human, image_folder
from datasets.augment import Preprocessing
from datasets.human import HumanLabels
from datasets.imbalance import Exponential
from datasets.source import Source
from datasets.streams import numpy_stream
from datasets.task import Split, Task, make_task
from robust_benchmark.errors import UserError
from tests.conftest import kept_in, records

N, CLASSES = 60, 10
COLUMNS = {"aggre": "aggre_label", "rand1": "random_label1", "rand2": "random_label2", "rand3": "random_label3", "worse": "worse_label"}
WRONG = {"aggre": 4505, "rand1": 8617, "rand2": 9061, "rand3": 8820, "worse": 20104}  # of 50,000, as counted in the authors' file
CLEAN = np.random.default_rng(0).permutation(np.arange(N) % CLASSES)


def given(kind: str) -> np.ndarray:
    """A label for each image that differs from kind to kind and names the image: all ten pairs of label and class occur."""
    return (CLEAN + np.arange(N) // 7 + len(kind) + ord(kind[-1])) % CLASSES


def write(root: Path, content: object = None, name: str = "CIFAR-10_human.pt") -> Path:
    """A file in the authors' layout: a dictionary of int64 arrays, pickled by torch."""
    file = root / "cifar-n" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"clean_label": CLEAN, **{column: given(kind) for kind, column in COLUMNS.items()}} if content is None else content, file)
    return file


def source(order: np.ndarray | None = None) -> Source:
    """Images in CIFAR's order, or in another one; each shows its index in CIFAR's order."""
    index = np.arange(N) if order is None else order
    images = torch.from_numpy(index.astype(np.uint8))[:, None, None, None].expand(N, 1, 2, 2).contiguous()
    labels = torch.from_numpy(CLEAN[index])
    return Source(images, labels, images, labels, tuple("abcdefghij"))


def class_by_class() -> np.ndarray:
    """The index in CIFAR's order of each image in an image folder."""
    return np.concatenate([np.flatnonzero(label == CLEAN) for label in range(CLASSES)])


def known(monkeypatch: pytest.MonkeyPatch, images: Source) -> None:
    """These images, in their order, are the ones that the stored checksum is of."""
    monkeypatch.setattr(human, "JPEG_CHECKSUM", human.checksum(images))


def task(noise: HumanLabels, of: Source, **split: int) -> Task:
    return make_task(of, noise, Split(**{"clean_per_class": 1, "hyper_validation": 10, **split}), Preprocessing(), seed=0)


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("by_class", [False, True])
def test_every_image_has_the_label_that_the_file_gives_to_it(
    tmp_path: Path, kind: str, by_class: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    images = source(class_by_class() if by_class else None)
    known(monkeypatch, source(class_by_class()))
    made = task(HumanLabels(kind, str(tmp_path)), images)
    for part in (made.train, made.hyper_validation):
        shown = part.images[:, 0, 0, 0].numpy().astype(int)
        assert np.array_equal(part.labels, given(kind)[shown])
        assert np.array_equal(part.true_labels, CLEAN[shown])


def test_the_clean_set_is_right_and_an_empty_hyper_validation_set_is_none(tmp_path: Path) -> None:
    write(tmp_path)
    made = task(HumanLabels("worse", str(tmp_path)), source(), hyper_validation=0)
    assert made.clean.wrong() == 0
    assert len(made.hyper_validation) == 0


def test_labels_stay_with_their_images_on_a_long_tail(tmp_path: Path) -> None:
    write(tmp_path)
    noise, split = HumanLabels("rand2", str(tmp_path)), Split(clean_per_class=0)
    made = make_task(source(), noise, split, Preprocessing(), 0, imbalance=Exponential(3))
    shown = made.train.images[:, 0, 0, 0].numpy().astype(int)
    assert len(shown) < N
    assert np.array_equal(made.train.labels, given("rand2")[shown])


def test_rate_and_transition_matrix_are_counted_on_the_training_set(tmp_path: Path) -> None:
    write(tmp_path)
    made = task(HumanLabels("aggre", str(tmp_path)), source())
    true, labels = made.train.true_labels.numpy(), made.train.labels.numpy()
    counts = np.array([[np.sum((true == i) & (labels == j)) for j in range(CLASSES)] for i in range(CLASSES)])
    assert made.transition_matrix is not None
    assert np.allclose(made.transition_matrix, counts / counts.sum(axis=1, keepdims=True))
    assert made.noise_rate == np.mean(true != labels)


def test_cifar_100_labels_are_read_from_lists_too(tmp_path: Path) -> None:
    write(tmp_path, {"clean_label": CLEAN.tolist(), "noisy_label": given("aggre").tolist()}, "CIFAR-100_human.pt")
    made = task(HumanLabels("fine", str(tmp_path)), source())
    assert np.array_equal(made.train.labels, given("aggre")[made.train.images[:, 0, 0, 0].numpy().astype(int)])


@pytest.mark.parametrize("of", ["other order", "one image less"])
def test_images_that_are_not_those_of_the_file_are_refused(tmp_path: Path, of: str) -> None:
    write(tmp_path)
    whole = source(np.roll(np.arange(N), 1))
    less = Source(*(part[1:] for part in (whole.train_images, whole.train_labels, whole.test_images, whole.test_labels)), whole.classes)
    with pytest.raises(UserError, match=r"CIFAR-10_human.pt is of other images.*neither in CIFAR's order nor class by class"):
        task(HumanLabels("worse", str(tmp_path)), whole if of == "other order" else less)


def bright(order: np.ndarray) -> Source:
    """Images in an order, each of another mean brightness."""
    plain = source(order)
    return replace(plain, train_images=plain.train_images * 4)


def test_two_swapped_images_of_a_class_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    order = class_by_class()
    known(monkeypatch, bright(order))
    assert task(HumanLabels("worse", str(tmp_path)), bright(order)).train.wrong()
    order[[0, 5]] = order[[5, 0]]
    with pytest.raises(UserError, match=r"CIFAR-10_human.pt has no labels for these images: .* in another order; use dataset=cifar10"):
        task(HumanLabels("worse", str(tmp_path)), bright(order))


def test_a_decoder_that_differs_by_one_in_each_pixel_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    images = bright(class_by_class())
    known(monkeypatch, images)
    other = images.train_images + torch.randint(0, 2, images.train_images.shape, generator=torch.Generator().manual_seed(0))
    made = task(HumanLabels("worse", str(tmp_path)), replace(images, train_images=other.to(torch.uint8)))
    assert torch.equal(made.train.labels, task(HumanLabels("worse", str(tmp_path)), images).train.labels)


def test_the_checksum_is_that_of_the_definition() -> None:
    images = torch.randint(0, 256, (20, 3, 6, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.arange(20) % 2
    weights = numpy_stream(0, "order of human labels").random((8, 20))
    quarters = images.numpy().astype(float).reshape(20, 3, 2, 3, 2, 2).mean(axis=(3, 5)).reshape(20, 12)
    expected = [sum((row[i] - row.mean()) * quarters[i] for i in range(20)) for row in weights]
    assert np.allclose(human.checksum(Source(images, labels, images, labels, ("a", "b"))), expected)


def test_a_data_set_with_given_labels_of_its_own_takes_no_human_ones(tmp_path: Path) -> None:
    write(tmp_path)
    whole = source()
    own = Source(whole.train_images, (whole.train_labels + 1) % 10, whole.test_images, whole.test_labels, whole.classes, whole.train_labels)
    with pytest.raises(UserError, match="choose noise=none"):
        task(HumanLabels("worse", str(tmp_path)), own)


def test_a_missing_file_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"no file {tmp_path}/cifar-n/CIFAR-10_human.pt: put .*UCSC-REAL/cifar-10-100n"):
        task(HumanLabels("worse", str(tmp_path)), source())


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no noise.kind 'worst'; nearest: worse"):
        HumanLabels("worst")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("executed"),)


DAMAGED = {
    "no dictionary": [1, 2],
    "no labels": {"clean_label": CLEAN},
    "unequal lengths": {"clean_label": CLEAN, "worse_label": CLEAN[1:]},
    "a class that no image has": {"clean_label": CLEAN, "worse_label": CLEAN + 1},
    "a negative class": {"clean_label": CLEAN, "worse_label": CLEAN - 1},
    "two dimensions": {"clean_label": CLEAN[None], "worse_label": CLEAN[None]},
    "words": {"clean_label": CLEAN, "worse_label": ["cat"] * N},
    "something to execute": {"clean_label": CLEAN, "worse_label": Harmful()},
    "objects in an array": {"clean_label": CLEAN, "worse_label": np.array([Harmful()] * N)},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_file_that_is_not_the_authors_is_one_sentence_and_never_executed(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, DAMAGED[case])
    with pytest.raises(UserError, match="is not the authors' file, with labels 'clean_label' and 'worse_label'") as raised:
        task(HumanLabels("worse", str(tmp_path)), source())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("raw", [b"", b"Lorem ipsum", pickle.dumps({"clean_label": CLEAN, "worse_label": Harmful()}, protocol=2)], ids=len)
def test_other_bytes_are_one_sentence_and_never_executed(raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path).write_bytes(raw)
    with pytest.raises(UserError, match="is not the authors' file"):
        task(HumanLabels("worse", str(tmp_path)), source())
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("alias", "plain"), [("cifar10n", "cifar10"), ("cifar10n_jpeg", "cifar10_jpeg")])
def test_the_data_set_with_human_labels_is_the_plain_one_with_this_noise(alias: str, plain: str) -> None:
    assert cells([f"dataset={alias}", "noise.kind=aggre"])[0].key == cells([f"dataset={plain}", "noise=human", "noise.kind=aggre"])[0].key
    assert cells([f"dataset={alias}", "noise=none"])[0].key == cells([f"dataset={plain}", "noise=none"])[0].key


def test_cifar_100n_is_of_the_hundred_classes() -> None:
    (cell,) = cells(["dataset=cifar100n"])
    assert cell.identity["noise"] == {"name": "human", "kind": "fine"}
    assert cell.key == cells(["dataset=cifar100", "noise=human", "noise.kind=fine"])[0].key


def test_where_the_file_lies_is_no_part_of_a_key() -> None:
    assert cells(["dataset=cifar10n", "data_dir=/a"])[0].key == cells(["dataset=cifar10n", "data_dir=/b"])[0].key


def test_the_record_of_a_run_on_a_folder_of_pictures_has_the_share_of_wrong_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    seen = [0] * CLASSES
    for label in CLEAN:
        for part in ("train", "test"):
            file = tmp_path / "cifar10-jpeg" / part / f"class{label}" / f"{seen[label]:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (label, seen[label], 0)).save(file)
        seen[label] += 1
    options = ["trials=1", "trainer.steps=2", "method=baseline", "model=mlp", "split.hyper_validation=0", "split.clean_per_class=0"]
    places = [f"data_dir={tmp_path}", *kept_in(tmp_path)]
    known(monkeypatch, image_folder.load("cifar10-jpeg", cache=f"{tmp_path}/image_folder", root=str(tmp_path)))
    assert run.main(["dataset=cifar10n_jpeg", *options, *places]) == 0
    (record,) = records(tmp_path)
    wrong = int((given("worse") != CLEAN).sum())
    assert record["data"]["wrong_labels"]["train"] == wrong
    assert record["data"]["noise_rate"] == wrong / N
    assert record["data"]["train_labels_per_class"] == np.bincount(given("worse"), minlength=CLASSES).tolist()


# ---- the authors' file on all real images


@pytest.fixture(scope="module")
def pictures(real_data: Path) -> Source:
    """CIFAR-10 as JPEG pictures, decoded once into the cache that commands with this data_dir use."""
    return image_folder.load("cifar10-jpeg", cache=str(real_data / "image_folder"), root=str(real_data), resident=False)


def test_the_real_pictures_with_two_of_a_class_swapped_are_refused(pictures: Source, real_data: Path) -> None:
    order = np.arange(50_000)
    order[[3, 4000]] = order[[4000, 3]]
    swapped = replace(pictures, train_images=pictures.train_images.take(order))
    with pytest.raises(UserError, match="in another order"):
        make_task(swapped, HumanLabels("worse", str(real_data)), Split(clean_per_class=0), Preprocessing(), 0)


@pytest.mark.parametrize("kind", WRONG)
def test_the_real_file_has_the_published_share_of_wrong_labels(kind: str, pictures: Source, real_data: Path) -> None:
    made = make_task(pictures, HumanLabels(kind, str(real_data)), Split(clean_per_class=0), Preprocessing(), 0)
    assert made.train.wrong() == WRONG[kind]
    assert made.noise_rate == WRONG[kind] / 50_000


def test_the_real_worse_labels_confuse_cars_and_trucks_as_counted_independently(pictures: Source, real_data: Path) -> None:
    made = make_task(pictures, HumanLabels("worse", str(real_data)), Split(clean_per_class=0), Preprocessing(), 0)
    assert made.transition_matrix is not None
    found = {pair: round(float(made.transition_matrix[pair]), 3) for pair in ((1, 9), (9, 1), (3, 5), (5, 3), (4, 7))}
    assert found == {(1, 9): 0.247, (9, 1): 0.282, (3, 5): 0.206, (5, 3): 0.183, (4, 7): 0.152}
