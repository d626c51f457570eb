"""Given labels from a file: in every format, by the positions of a trial, and with one sentence for an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.augment import Preprocessing
from datasets.file_noise import FileNoise
from datasets.task import Split, Task, draw, make_task
from robust_benchmark.errors import UserError
from tests.conftest import toy_source

CLASSES = ("class0", "class1", "class2")
GIVEN = np.random.default_rng(0).integers(0, 3, 120)  # of the toy source's 120 training images
NAMES = np.array(CLASSES)[GIVEN]


def task_of(path: Path) -> Task:
    return make_task(toy_source(), FileNoise(str(path)), Split(clean_per_class=5, hyper_validation=15), Preprocessing(), 0)


def write(path: Path, labels: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, labels)
    else:
        path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return path


@pytest.mark.parametrize("labels", [GIVEN, GIVEN.astype(np.uint8), NAMES], ids=["numbers", "bytes", "names"])
@pytest.mark.parametrize("ending", ["npy", "csv", "txt"])
def test_given_labels_are_the_file_s_and_true_ones_the_source_s(ending: str, labels: np.ndarray, tmp_path: Path) -> None:
    task = task_of(write(tmp_path / f"labels.{ending}", labels))
    assert task.train.labels.dtype == torch.int64
    assert task.train.labels.tolist() == GIVEN[task.train_positions.numpy()].tolist()
    assert task.train.true_labels.tolist() == toy_source().train_labels[task.train_positions].tolist()
    assert task.clean.wrong() == 0


def test_rate_and_transition_matrix_are_counted(tmp_path: Path) -> None:
    task = task_of(write(tmp_path / "labels.npy", GIVEN))
    true, given = task.train.true_labels, task.train.labels
    assert task.noise_rate == (true != given).double().mean().item()
    assert task.transition_matrix[1, 2].item() == pytest.approx(given[true == 1].eq(2).double().mean().item())


def test_a_file_of_true_labels_makes_no_noise(tmp_path: Path) -> None:
    task = task_of(write(tmp_path / "labels.txt", toy_source().train_labels.numpy()))
    assert (task.train.wrong(), task.noise_rate) == (0, 0)


def test_a_changed_file_is_other_data_in_the_digest_of_what_is_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.npy", GIVEN)
    split = Split(clean_per_class=0)
    before, again = (draw(toy_source(), FileNoise(str(path)), split, 0).digest for _ in range(2))
    write(path, np.append(GIVEN[:-1], 2 - GIVEN[-1] if GIVEN[-1] != 1 else 0))
    assert before == again != draw(toy_source(), FileNoise(str(path)), split, 0).digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", "0\n1\n", r"labels.txt holds 2 labels, and the data set has 120 training images"),
        ("labels.txt", "class0\n" * 119 + "clas1\n", r"labels.txt, entry 120 of 120: no class 'clas1'; nearest: class1"),
        ("labels.csv", "0\n" * 119 + "3\n", r"labels.csv, entry 120 of 120: class 3 is not in 0 .. 2"),
        ("labels.csv", "0,1\n" * 120, r"labels.csv holds no labels \(line 1 has 2 columns, not 1\)"),
        ("labels.npy", "no array", r"labels.npy holds no labels"),
        ("labels.json", "[]", r"labels are read from a .npy, .csv or .txt file, and .*labels.json is none"),
    ],
)
def test_a_wrong_file_is_one_sentence(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        task_of(tmp_path / name)


def test_a_missing_file_and_an_array_of_floats_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*labels.npy with labels"):
        task_of(tmp_path / "labels.npy")
    with pytest.raises(UserError, match="type float64, not one of whole numbers or names"):
        task_of(write(tmp_path / "labels.npy", GIVEN.astype(float)))
