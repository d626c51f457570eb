"""The result of a user's data set, noise or imbalance is checked before training, and each error is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets import arrays
from datasets.augment import Preprocessing
from datasets.imbalance import Imbalance, Majority
from datasets.noise import Corruption, Seen
from datasets.source import Source
from datasets.task import Split, Task, make_task
from robust_benchmark.errors import UserError
from tests.conftest import toy_source

N, CLASSES = 120, 3
SOURCE = toy_source(N, CLASSES)
WRONG_SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"train_labels": None}, "training labels must be int64 .*not a NoneType"),
    "lists": ({"test_images": [[1]]}, "test data must be .*not a list"),
    "float images": (
        {"train_images": SOURCE.train_images.float()},
        r"training data must be uint8 images .*not torch.float32 \(120, 1, 8, 8\)",
    ),
    "empty training set": (
        {"train_images": SOURCE.train_images[:0], "train_labels": SOURCE.train_labels[:0]},
        "training data must not be empty",
    ),
    "empty test set": ({"test_images": SOURCE.test_images[:0], "test_labels": SOURCE.test_labels[:0]}, "test data must not be empty"),
    "other length": ({"train_labels": SOURCE.train_labels[1:]}, r"as there are 120 training examples, not torch.int64 \(119,\)"),
    "labels from 1": ({"train_labels": SOURCE.train_labels + 1}, r"training labels must lie in 0 .. 2, not in 1 .. 3"),
    "labels of another type": ({"test_labels": SOURCE.test_labels.int()}, "test labels must be int64"),
    "one class": ({"classes": ("only",)}, "classes must be at least 2 different names"),
    "a class twice": ({"classes": ("a", "b", "a")}, "classes must be at least 2 different names"),
    "other size in tests": ({"test_images": SOURCE.test_images[:, :, :4]}, r"must be alike, not \(1, 8, 8\) and \(1, 4, 8\)"),
    "NaN": ({"train_images": torch.full((N, 2), torch.nan), "test_images": torch.zeros(N // 2, 2)}, "training data must be finite"),
}


@pytest.mark.parametrize("case", WRONG_SOURCES)
def test_a_source_that_is_wrong_says_what_is_expected(case: str) -> None:
    parts, said = WRONG_SOURCES[case]
    with pytest.raises(ValueError, match=said) as raised:
        replace(SOURCE, **parts)
    assert "\n" not in str(raised.value)


def test_a_test_set_may_lack_a_class() -> None:
    there = SOURCE.test_labels < 2
    assert len(replace(SOURCE, test_images=SOURCE.test_images[there], test_labels=SOURCE.test_labels[there]).test_labels) == 40


class Noise(Corruption):
    """Returns any value that a test sets."""

    def __init__(self, **given: Any) -> None:
        self.rate = given.get("rate", 0.5)
        self.given = given

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        return self.given.get("select", np.arange(len(labels)))

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        return self.given.get("targets", np.eye(num_classes))

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.given.get("relabel", seen.labels)

    def transition_matrix(self, targets: np.ndarray) -> np.ndarray | None:
        return self.given.get("transition_matrix")


def task(noise: Corruption | None = None, imbalance: Imbalance | None = None, source: Source = SOURCE) -> Task:
    return make_task(source, noise or Corruption(), Split(clean_per_class=0), Preprocessing(), 0, imbalance=imbalance)


MATRIX = r"must return a matrix \(3, 3\) of numbers"
WRONG_NOISES: list[tuple[dict[str, Any], str]] = [
    ({"rate": 1.5}, r"Noise.rate must be None or a number in \[0, 1\], not 1.5"),
    ({"rate": float("nan")}, "Noise.rate must be None or a number"),
    ({"rate": "half"}, "Noise.rate must be None or a number in .*, not 'half'"),
    ({"targets": None}, f"Noise.targets {MATRIX}, not a NoneType"),
    ({"targets": np.eye(2)}, rf"Noise.targets {MATRIX}, not float64 \(2, 2\)"),
    (
        {"targets": np.full((3, 3), 0.5)},
        rf"Noise.targets {MATRIX} that are at least 0 and sum to 1 in each row; row 0 is \[0.5, 0.5, 0.5\]",
    ),
    ({"targets": np.full((3, 3), np.nan)}, "row 0 is"),
    ({"targets": np.array([[1, 0, 0], [0, 2, -1], [0, 0, 1]])}, r"row 1 is \[0, 2, -1\]"),
    ({"transition_matrix": np.zeros((3, 3))}, f"Noise.transition_matrix {MATRIX}"),
    ({"relabel": np.zeros(N - 1, dtype=np.int64)}, r"Noise.relabel must return 120 numbers, int64 and in 0 .. 2, not int64 \(119,\)"),
    ({"relabel": np.zeros(N)}, r"not float64 \(120,\)"),
    ({"relabel": [0] * N}, "not a list"),
    ({"relabel": np.full(N, 3)}, "in 0 .. 2, and 3 is among them"),
    ({"relabel": np.full(N, -1)}, "in 0 .. 2, and -1 is among them"),
    ({"select": np.array([0, 120])}, "Noise.select must return whole numbers, int64 and in 0 .. 119, and 120 is among them"),
    ({"select": np.ones(N, dtype=bool)}, r"Noise.select must return whole numbers.*not bool \(120,\)"),
]


@pytest.mark.parametrize(("given", "said"), WRONG_NOISES)
def test_a_noise_that_gives_something_wrong_says_what_is_expected(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        task(Noise(**given))
    assert "\n" not in str(raised.value)


class Wanted(Imbalance):
    """Requests any value that a test sets."""

    def __init__(self, counts: Any) -> None:
        self.given = counts

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return self.given


@pytest.mark.parametrize(
    "counts", [np.array([1.0, 2.0, np.nan]), np.array([1, 2]), [1, 2, 3], "many"], ids=["NaN", "short", "list", "text"]
)
def test_an_imbalance_that_wants_something_wrong_says_what_is_expected(counts: Any) -> None:
    with pytest.raises(UserError, match=r"Wanted.wanted must return a whole number for each of 3 classes, not "):
        task(imbalance=Wanted(counts))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hyper_validation": 1.5}, "split.hyper_validation must be a whole number, not 1.5"),
        ({"clean_total": 2.5}, "split.clean_total must be a whole number, not 2.5"),
        ({"clean_per_class": "a"}, "split.clean_per_class must be a number, not 'a'"),
        ({"clean_per_class": -1}, "split.clean_per_class must be at least 0, not -1"),
    ],
)
def test_a_size_of_a_set_that_is_no_whole_number_is_named(sizes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_task(SOURCE, Corruption(), Split(**sizes), Preprocessing(), 0)


@pytest.mark.parametrize("total", ["abc", 10.5, -5])
def test_a_total_that_is_no_whole_number_is_named(total: Any) -> None:
    with pytest.raises(UserError, match=r"imbalance total must be .*"):
        Majority(0.9, total=total)


def test_spaces_at_the_ends_of_labels_make_no_class(tmp_path: Path) -> None:
    rows = "\n".join(f"{number},{'a ' if number % 3 else 'a'}\n{number},b" for number in range(9))
    (tmp_path / "t.csv").write_text(f"x,label\n{rows}\n")
    assert arrays.load(str(tmp_path / "t.csv")).classes == ("a", "b")
