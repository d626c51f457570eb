"""`python -m benchmark.prepare`: afterwards all data of a grid is available and described, and nothing trains."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from benchmark import ROOT, prepare
from benchmark.training.trainer import Trainer
from datasets import digits


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("trains"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 5), ("test", 3)):
        for name in ("ant", "cat"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                picture.save(tmp_path / "pictures" / part / name / f"{number}.png")
    return tmp_path / "pictures"


def folder(pictures: Path, *more: str) -> list[str]:
    options = [f"dataset.path={pictures}", f"data_dir={pictures.parent / 'data'}", "model=mlp", "noise=none", "split.clean_per_class=2"]
    return ["dataset=image_folder", *options, *more]


def test_it_prints_sizes_classes_digest_and_the_labels_of_the_first_trial(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["noise=uniflip", "noise.rate=0.25", "split.hyper_validation=97", "split.clean_per_class=20"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"digits: 1,297 training and 500 test images of 1 x 8 x 8, digest {digits.load().digest}"
    assert others == [
        "  10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "  true labels: known for 1,297 of 1,297 training images",
        "  noise uniflip rate=0.25 targets=others: 1,000 training examples with 250 wrong labels (25.00%), 200 clean, 97 hyper-validation",
        "  model convnet: 6,138 parameters",
    ]


def test_a_grid_says_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["method=l2rw,reed,baseline", "noise=none,uniflip", "trainer.steps=10,20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["digits:", "10", "true", "noise", "model", "noise"]


def test_pictures_are_decoded_into_the_cache_that_training_reads(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(folder(pictures)) == 0
    assert f"cache: {pictures.parent / 'data' / 'image_folder'}" in capsys.readouterr().out
    prepare.trial._source.cache_clear()
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    assert prepare.main(folder(pictures)) == 0


def test_unknown_true_labels_are_said_to_be_so(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(folder(pictures, "dataset.true_labels=false", "split.clean_per_class=0")) == 0
    out = capsys.readouterr().out
    assert "true labels: known for 0 of 10 training images" in out
    assert "10 training examples with an unknown number of wrong labels, 0 clean" in out


def test_a_method_that_does_not_fit_the_data_hinders_nothing(pictures: Path) -> None:
    assert prepare.main(folder(pictures, "dataset.true_labels=false", "split.clean_per_class=0", "method=l2rw")) == 0


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "cifar100n"])
def test_what_cannot_be_downloaded_is_one_sentence_and_status_2(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    assert prepare.main([f"dataset={dataset}", f"data_dir={tmp_path}"]) == 2
    assert_one_sentence(capsys.readouterr().err, "could not be downloaded")


REFUSED = {
    "unknown data set": (["dataset=mnits"], "no dataset 'mnits'; nearest: mnist"),
    "unknown option": (["noise.rat=0.1"], "no option 'noise.rat'; nearest: noise.rate"),
    "no override": (["digits"], "'digits' is not accepted: options are name=value"),
    "no pictures": (["dataset=image_folder", "dataset.path=/none/such"], "no directory /none/such/train"),
    "human labels of other images": (["noise=human"], "cifar-n/CIFAR-10_human.pt"),
    "a model that takes no such images": (["model=torchvision", "model.arch=inception_v3"], "inception_v3"),
    "a clean set that is too large": (["split.clean_per_class=1000"], "a clean set of 10000 images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_sentence_and_status_2(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides, said = REFUSED[case]
    assert prepare.main([*overrides, f"data_dir={tmp_path}"]) == 2
    assert_one_sentence(capsys.readouterr().err, said)


def test_a_broken_picture_is_one_sentence_and_status_2(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = pictures / "train" / "cat" / "0.png"
    broken.write_bytes(b"Lorem ipsum")
    assert prepare.main(folder(pictures)) == 2
    assert_one_sentence(capsys.readouterr().err, f"{broken} is not a readable picture")


def assert_one_sentence(text: str, said: str) -> None:
    assert text.startswith("error: ")
    assert said in text
    assert text.count("\n") == 1


def test_it_is_a_command_of_the_installed_package() -> None:
    command = [sys.executable, "-m", "robust_benchmark", "prepare", "noise=none"]  # a process of its own: it changes the environment
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("digits: ")


def test_human_labels_of_real_pictures_are_counted(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("cifar10-jpeg", "cifar-n"):
        (tmp_path / part).symlink_to(real_data / part)  # so that the cache goes with the test
    assert prepare.main(["dataset=cifar10n_jpeg", f"data_dir={tmp_path}", "split.clean_per_class=0", "split.hyper_validation=0"]) == 0
    out = capsys.readouterr().out
    assert "cifar10_jpeg: 50,000 training and 10,000 test images of 3 x 32 x 32" in out
    assert "noise human kind=worse: 50,000 training examples with 20,104 wrong labels (40.21%)" in out
