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
    elif path.suffix in (".pt", ".pth"):
        torch.save(labels.tolist() if labels.dtype.kind == "U" else torch.from_numpy(labels), path)
    else:
        path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return path


@pytest.mark.parametrize("labels", [GIVEN, GIVEN.astype(np.uint8), NAMES], ids=["numbers", "bytes", "names"])
@pytest.mark.parametrize("ending", ["npy", "pt", "pth", "csv", "txt"])
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
        ("labels.json", "[]", r"labels are read from a .npy, .pt, .pth, .csv or .txt file, and .*labels.json is none"),
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


@pytest.mark.parametrize("content", [GIVEN, GIVEN.astype(np.int32), GIVEN.tolist()], ids=["array", "narrow", "list"])
def test_a_torch_file_may_hold_an_array_or_a_list(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "labels.pt")
    task = task_of(tmp_path / "labels.pt")
    assert task.train.labels.tolist() == GIVEN[task.train_positions.numpy()].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(120), "type float32, not one of whole numbers or names"),
        (torch.zeros(120, dtype=torch.bfloat16), "no file of torch.save with one tensor, array or list"),
        (torch.zeros(60, 2, dtype=torch.int64), "an array of 2 dimensions"),
        (torch.zeros(7, dtype=torch.int64), "holds 7 labels, and the data set has 120 training images"),
        (torch.full((120,), 3), r"entry 1 of 120: class 3 is not in 0 .. 2"),
        ([0] * 119 + [0.5], "type float64, not one of whole numbers or names"),
        ({"noisy_label": GIVEN}, "a dict, not a tensor, an array or a list"),
        ([[0], [0, 1]], "no file of torch.save with one tensor, array or list"),
        (Path("."), "no file of torch.save with one tensor, array or list"),
    ],
    ids=["floats", "half floats", "pairs", "short", "unknown class", "a float", "dictionary", "ragged", "an object"],
)
def test_a_wrong_torch_file_is_one_sentence(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "labels.pt")
    with pytest.raises(UserError, match=message) as error:
        task_of(tmp_path / "labels.pt")
    assert "\n" not in str(error.value)


class Harmful:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.made,)


def test_nothing_in_a_torch_file_is_executed(tmp_path: Path) -> None:
    torch.save(Harmful(tmp_path / "made"), tmp_path / "labels.pt")
    with pytest.raises(UserError, match=r"no file of torch.save with one tensor"):
        task_of(tmp_path / "labels.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("label", ["1.0", "0.5", "-1", "nan", ""])
def test_a_text_that_is_no_class_is_named_with_its_line(label: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("class0\n" * 7 + f"{label}\n" + "class0\n" * 112)
    with pytest.raises(UserError, match=rf"labels.txt, entry 8 of 120: no class '{label}'"):
        task_of(tmp_path / "labels.txt")
