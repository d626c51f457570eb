"""A record is used only for its own data; a record of earlier code is marked, and made again on request."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import fingerprint, run, trial
from benchmark.config import cells
from benchmark.recorded import recorded, set_stale_aside
from benchmark.records.store import read_all, read_record, text_of
from datasets.source import Source
from robust_benchmark.errors import UserError
from tests.conftest import toy_source

FOLDER = ["dataset=image_folder", "model=convnet", "trainer=digits", "trainer.steps=3", "trials=2", "split.clean_per_class=2"]


def places(root: Path) -> list[str]:
    return [f"{name}_dir={root}/{name}" for name in ("results", "checkpoint", "data")]


def picture(file: Path, brightness: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), brightness, dtype=np.uint8)).save(file)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """The overrides of a run on a folder of pictures, which has made its records."""
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            for number in range(8):
                picture(tmp_path / "pictures" / part / name / f"{number}.png", 100 * label + number)
    overrides = [*FOLDER, f"dataset.path={tmp_path}/pictures", "method=baseline", *places(tmp_path)]
    assert run.main(overrides) == 0
    return overrides


def test_records_of_other_pictures_are_not_served(pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(pictures) == 0
    picture(tmp_path / "pictures" / "train" / "cat" / "0.png", 222)
    trial._source.cache_clear()  # a later command
    trial._digests.cache_clear()
    capsys.readouterr()
    assert run.main(pictures) == 2
    message = capsys.readouterr().err
    assert "and 1 more were made from other images or labels" in message
    assert "rerun=stale" in message
    assert len(message.splitlines()) == 1
    before = {each["seed"]: each["digests"] for each in read_all(tmp_path / "results")[0]}
    assert run.main([*pictures, "rerun=stale"]) == 0
    after = {each["seed"]: each["digests"] for each in read_all(tmp_path / "results")[0]}
    assert before.keys() == after.keys()
    assert all(before[seed]["source"] != after[seed]["source"] for seed in before)
    assert len(list((tmp_path / "results").rglob("seed-*.stale"))) == 2
    assert run.main(pictures) == 0


def test_pictures_that_are_away_do_not_hide_finished_records(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    trial._digests.cache_clear()
    capsys.readouterr()
    assert run.main(pictures) == 0
    assert "2 of 2 trials are in" in capsys.readouterr().out


CALLS: list[bool] = []


def downloaded(download: bool = True) -> Source:
    """A data set that is on this machine after its download."""
    CALLS.append(download)
    if not any(CALLS):
        raise UserError("no files")
    return toy_source(200, 3)


def test_a_data_set_is_loaded_once_for_digests_and_trials_and_downloaded_only_if_it_is_missing() -> None:
    (cell,) = cells(["method=baseline", "trials=1", "split.hyper_validation=10", "split.clean_per_class=2"])
    source = {"_target_": f"{__name__}.downloaded", "download": True}
    cell = replace(cell, config=replace(cell.config, dataset=cell.config.dataset | {"source": source}))
    CALLS.clear()
    assert trial.digests_of(cell, 0) is None
    assert trial.source_of(cell).classes == toy_source(200, 3).classes
    assert CALLS == [False, False, True]
    trial._source.cache_clear()  # a later command
    CALLS[:] = [True]
    assert trial.digests_of(cell, 0) == trial.task_of(cell, 0, sees_clean=False).digests
    assert CALLS == [True, False]


def test_other_labels_have_another_digest_and_the_same_ones_the_same() -> None:
    (one,), (rate,), (method,) = (cells([*extra, "trials=1"]) for extra in ([], ["noise.rate=0.2"], ["method=reed"]))
    assert trial.digests_of(one, 0) == trial.digests_of(method, 0)
    assert trial.digests_of(one, 0) != trial.digests_of(one, 1)
    assert trial.digests_of(one, 0)["source"] == trial.digests_of(rate, 0)["source"]  # type: ignore[index]
    assert trial.digests_of(one, 0)["drawn"] != trial.digests_of(rate, 0)["drawn"]  # type: ignore[index]


def test_a_record_holds_the_digests_of_today(tmp_path: Path) -> None:
    overrides = ["method=reed", "trials=1", "trainer.steps=2", *places(tmp_path)]
    assert run.main(overrides) == 0
    (record,), _ = read_all(tmp_path / "results")
    (cell,) = cells(overrides)
    assert record["digests"] == trial.digests_of(cell, 0)
    assert record["fingerprint"] == fingerprint.of(cell.identity) == trial.code_of(cell)
    assert [each.key for each in cells(record["overrides"])] == [record["key"]]


def commit(repository: Path) -> str:
    """Make an empty commit, and return its first digits."""
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "--allow-empty", "--quiet", "-m", "x"], check=True)
    return subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_commit_during_training_does_not_change_the_recorded_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(trial, "ROOT", tmp_path)
    monkeypatch.setattr(trial, "_revision", functools.cache(trial._revision.__wrapped__))
    trained = commit(tmp_path)
    (cell,) = cells(["method=baseline", "trials=1"])
    trial.prepare(cell, 0)
    assert commit(tmp_path) != trained
    assert trial.environment(torch.device("cpu"))["revision"] == trained


def test_a_record_of_earlier_code_is_served_with_a_sentence_and_made_again_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["method=reed,baseline", "trials=2", "trainer.steps=2", *places(tmp_path)]
    assert run.main(overrides) == 0
    path = sorted((tmp_path / "results").rglob("reed-*/seed-1.json"))[0]
    record = read_record(path)
    path.write_text(text_of(record | {"fingerprint": record["fingerprint"] | {"method": "0" * 12}}))
    capsys.readouterr()
    assert run.main(overrides) == 0
    assert "1 of 2 trials comes from an earlier version of method reed." in capsys.readouterr().out
    assert run.main([*overrides, "rerun=stale"]) == 0
    assert "earlier version" not in capsys.readouterr().out
    assert read_record(path)["metrics"] == record["metrics"]
    assert [file.name for file in (tmp_path / "results").rglob("*.stale")] == ["seed-1.stale"]


def test_a_record_that_another_command_has_just_made_again_is_not_set_aside(tmp_path: Path) -> None:
    overrides = ["method=reed", "trials=1", "trainer.steps=2", *places(tmp_path)]
    assert run.main(overrides) == 0
    (cell,) = cells(overrides)
    path = trial.path(cell, 0)
    made_again = path.read_text()
    record = read_record(path)
    path.write_text(text_of(record | {"fingerprint": record["fingerprint"] | {"method": "0" * 12}}))
    stale = recorded([(cell, 0)])
    path.write_text(made_again)
    assert set_stale_aside([(cell, 0)], stale)[cell.key, 0]["fingerprint"] == record["fingerprint"]
    assert [file.name for file in path.parent.iterdir()] == ["seed-0.json"]
    path.unlink()
    assert set_stale_aside([(cell, 0)], stale) == {}


def test_an_unknown_rerun_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["rerun=old"]) == 2
    assert capsys.readouterr().err == "error: no rerun 'old'; nearest: stale (2 known: missing, stale)\n"


def test_a_checkpoint_of_other_code_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["method=reed", "trials=1", "trainer.steps=2", *places(tmp_path)]
    (cell,) = cells(overrides)
    saved = trial.checkpoints(cell, 0)
    saved.save({"step": 1})
    assert saved.load() == {"step": 1}
    saved.remove()
    saved._origin = saved._origin | {"method": "0" * 12}
    saved.save({"step": 1})
    assert trial.checkpoints(cell, 0).load() is None
    assert "is of other code or data (method): the trial starts again" in capsys.readouterr().err
