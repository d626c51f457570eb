"""Published datasets: their known pixels and counts, and the error if they are not available."""

from __future__ import annotations

import pickle
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets as published_datasets

from datasets import digits, published
from datasets.augment import Preprocessing
from datasets.imbalance import ClassImbalance
from datasets.source import Source
from datasets.task import Split, make_task
from robust_benchmark.errors import UserError

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # published counts of the digits 0 to 9
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
READERS = {
    "MNIST": "MNIST/raw",
    "FashionMNIST": "FashionMNIST/raw",
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, read by its specification: two zeros, type 8, the number of dimensions, their sizes, the bytes."""
    raw = path.read_bytes()
    assert raw[:3] == bytes([0, 0, 8])
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_idx_dataset(raw: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    raw.mkdir(parents=True)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (30, 28, 28)),
        "train-labels-idx1-ubyte": np.arange(30) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28)),
        "t10k-labels-idx1-ubyte": np.arange(20) % 10,
    }
    for name, array in arrays.items():
        write_idx(raw / name, array)
    return arrays


# ---- scikit-learn's digits


def test_digits_are_the_1797_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    source, bunch = digits.load(), load_digits()
    images = torch.cat([source.train_images, source.test_images]).numpy()
    labels = torch.cat([source.train_labels, source.test_labels]).numpy()
    found = Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    published = Counter(
        (bytes(round(level * 255 / 16) for level in image.ravel()), int(label))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    )
    assert len(images) == 1797
    assert found == published


@pytest.mark.parametrize("test_size", [500, 1, 1000])
def test_digits_have_a_test_set_of_the_size_asked_for(test_size: int) -> None:
    source = digits.load(test_size)
    assert source.test_images.shape == (test_size, 1, 8, 8)
    assert source.train_images.shape == (1797 - test_size, 1, 8, 8)


def test_digits_have_the_same_test_set_every_time() -> None:
    first, second = digits.load(), digits.load()
    assert torch.equal(first.test_images, second.test_images)
    assert torch.equal(first.train_labels, second.train_labels)


def test_test_digits_are_a_fair_sample_of_all_classes() -> None:
    assert torch.bincount(digits.load().test_labels).min() > 30


@pytest.mark.parametrize("test_size", [-5, 1797])
def test_a_test_size_that_leaves_no_train_and_test_set_is_a_users_error(test_size: int) -> None:
    with pytest.raises(UserError, match=str(test_size)):
        digits.load(test_size)


# ---- what torchvision reads


@pytest.fixture(scope="module")
def mnist(real_data: Path) -> Source:
    return published.load("MNIST", str(real_data))


@pytest.fixture(scope="module")
def mnist49(real_data: Path) -> Source:
    return published.load_mnist49(str(real_data))


def test_mnist_has_the_published_counts(mnist: Source) -> None:
    assert torch.bincount(mnist.train_labels).tolist() == MNIST_TRAIN
    assert torch.bincount(mnist.test_labels).tolist() == MNIST_TEST
    assert len(mnist.classes) == 10


def test_mnist_pixels_are_those_of_the_files(mnist: Source, real_data: Path) -> None:
    raw = real_data / "MNIST" / "raw"
    assert np.array_equal(mnist.train_images[:, 0], read_idx(raw / "train-images-idx3-ubyte"))
    assert np.array_equal(mnist.test_images[:, 0], read_idx(raw / "t10k-images-idx3-ubyte"))
    assert np.array_equal(mnist.train_labels, read_idx(raw / "train-labels-idx1-ubyte"))


def test_fours_and_nines_are_all_of_mnists(mnist49: Source) -> None:
    assert torch.bincount(mnist49.train_labels).tolist() == [MNIST_TRAIN[4], MNIST_TRAIN[9]]
    assert torch.bincount(mnist49.test_labels).tolist() == [982, 1009]
    assert mnist49.classes == ("4", "9")


@pytest.mark.parametrize(("label", "digit"), [(0, 4), (1, 9)])
def test_label_0_is_a_four_and_label_1_a_nine(mnist49: Source, mnist: Source, label: int, digit: int) -> None:
    assert torch.equal(mnist49.train_images[mnist49.train_labels == label], mnist.train_images[mnist.train_labels == digit])
    assert torch.equal(mnist49.test_images[mnist49.test_labels == label], mnist.test_images[mnist.test_labels == digit])


def test_the_small_test_set_is_the_first_250_of_each(real_data: Path, mnist: Source) -> None:
    small = published.load_mnist49(str(real_data), test_per_class=250)
    for label, digit in ((0, 4), (1, 9)):
        first = mnist.test_images[mnist.test_labels == digit][:250]
        assert torch.equal(small.test_images[small.test_labels == label], first)
    assert len(small.train_labels) == MNIST_TRAIN[4] + MNIST_TRAIN[9]


def test_the_papers_imbalance_task_has_the_papers_counts(mnist49: Source) -> None:
    split, imbalance = Split(clean_per_class=5, clean_returns=True), ClassImbalance(0.995, total=5000)
    ours, baseline = (make_task(mnist49, imbalance, split, Preprocessing(), 0, sees_clean) for sees_clean in (True, False))
    assert torch.bincount(ours.train.labels).tolist() == [20, 4970]
    assert torch.bincount(ours.clean.labels).tolist() == [5, 5]
    assert torch.bincount(baseline.train.labels).tolist() == [25, 4975]


@pytest.mark.parametrize("reader", ["MNIST", "FashionMNIST"])
def test_idx_files_where_the_error_says_are_read(tmp_path: Path, offline: None, reader: str) -> None:
    arrays = write_idx_dataset(tmp_path / READERS[reader])
    source = published.load(reader, str(tmp_path))
    assert np.array_equal(source.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(source.test_images[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert source.train_labels.tolist() == [digit % 10 for digit in range(30)]


def test_some_of_the_training_images_are_the_same_ones_every_time_each_once_with_its_label(tmp_path: Path) -> None:
    arrays = write_idx_dataset(tmp_path / READERS["MNIST"])
    first, again, whole = (published.load("MNIST", str(tmp_path), train_size=size) for size in (12, 12, 30))
    assert (first.digest, len(first.train_labels)) == (again.digest, 12)
    positions = [
        next(n for n, image in enumerate(arrays["train-images-idx3-ubyte"]) if np.array_equal(image, chosen))
        for chosen in first.train_images[:, 0].numpy()
    ]
    assert positions == sorted(set(positions)) != list(range(12))
    assert first.train_labels.tolist() == [position % 10 for position in positions]
    assert np.array_equal(whole.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(first.test_images[:, 0], arrays["t10k-images-idx3-ubyte"])


@pytest.mark.parametrize("train_size", [0, 31, 1.5])
def test_more_training_images_than_there_are_or_none_are_a_users_error(tmp_path: Path, train_size: float) -> None:
    write_idx_dataset(tmp_path / READERS["MNIST"])
    with pytest.raises(UserError, match=f"train_size .*{train_size}"):
        published.load("MNIST", str(tmp_path), train_size=train_size)  # type: ignore[arg-type]


def test_ten_thousand_of_mnists_images_are_a_fair_sample_of_the_digits(mnist: Source, real_data: Path) -> None:
    some = torch.bincount(published.load("MNIST", str(real_data), train_size=10_000).train_labels).numpy()
    share = np.array(MNIST_TRAIN) / 60_000
    z = (some - 10_000 * share) / np.sqrt(10_000 * share * (1 - share) * 50_000 / 59_999)  # hypergeometric
    assert some.sum() == 10_000
    assert np.abs(z).max() < 4


@pytest.mark.parametrize(("reader", "key", "classes"), [("CIFAR10", "labels", 10), ("CIFAR100", "fine_labels", 100)])
def test_cifar_planes_become_channels_and_fine_labels_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None, reader: str, key: str, classes: int
) -> None:
    read: Any = getattr(published_datasets, reader)
    batches = {name: [[file, None] for file, _ in getattr(read, name)] for name in ("train_list", "test_list")}
    for name, files in batches.items():
        monkeypatch.setattr(read, name, files)  # without the checksums of the real files
    monkeypatch.setattr(read, "meta", {**read.meta, "md5": None})
    folder = tmp_path / READERS[reader]
    folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for file, _ in batches["train_list"] + batches["test_list"]:
        rows.append(rng.integers(0, 256, (4, 3072), dtype=np.uint8))  # a row: 1,024 red, 1,024 green, 1,024 blue values
        (folder / file).write_bytes(pickle.dumps({"data": rows[-1], key: [0, 1, 2, classes - 1], "coarse_labels": [0] * 4}))
    (folder / read.meta["filename"]).write_bytes(pickle.dumps({read.meta["key"]: [f"name {label}" for label in range(classes)]}))

    source = published.load(reader, str(tmp_path))

    assert np.array_equal(source.train_images, np.concatenate(rows[:-1]).reshape(-1, 3, 32, 32))
    assert np.array_equal(source.test_images, rows[-1].reshape(-1, 3, 32, 32))
    assert source.test_labels.tolist() == [0, 1, 2, classes - 1]
    assert source.classes[-1] == f"name {classes - 1}"


@pytest.mark.parametrize("reader", READERS)
def test_offline_the_error_says_what_to_put_where(tmp_path: Path, offline: None, reader: str) -> None:
    with pytest.raises(UserError) as raised:
        published.load(reader, str(tmp_path))
    message = str(raised.value)
    assert message.startswith(f"{reader} is not in {tmp_path} and could not be downloaded")
    assert message.endswith(str(tmp_path / READERS[reader]))
    assert "\n" not in message


def test_offline_four_vs_nine_asks_for_mnist(tmp_path: Path, offline: None) -> None:
    with pytest.raises(UserError, match="MNIST is not in"):
        published.load_mnist49(str(tmp_path))


def test_offline_a_relative_directory_is_reported_in_full(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        published.load("CIFAR10", "data")
    assert str(tmp_path / "data" / "cifar-10-batches-py") in str(raised.value)


@pytest.mark.parametrize("kept", [0, 3, 1000])
def test_a_damaged_file_is_a_users_error_that_says_where_it_lies(tmp_path: Path, offline: None, kept: int) -> None:
    write_idx_dataset(tmp_path / "MNIST" / "raw")
    damaged = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(UserError, match="MNIST/raw"):
        published.load("MNIST", str(tmp_path))
