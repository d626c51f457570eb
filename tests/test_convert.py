"""Conversion of records of schema 1 to today's schema, with equal numbers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmark import ROOT, convert, trial
from benchmark.config import cells
from benchmark.records.history import rows
from benchmark.records.store import read_all

OLD = "a86bc0c7ebff"  # the last revision that wrote schema 1
FOLDER = "results/reference/digits/digits/bgflip"


def shown(path: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "show", f"{OLD}:{path}"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the history of this checkout up to {OLD}")
    return done.stdout


@pytest.fixture
def old(tmp_path: Path) -> dict:
    """A record of S-Model +Conf, which has two phases, as schema 1 kept it, at its place under tmp_path."""
    folders = [name for name in shown(f"{FOLDER}/").splitlines() if name.startswith("s_model")]
    for folder in folders:
        text = shown(f"{FOLDER}/{folder}seed-2.json")
        record = json.loads(text)
        if record["config"]["method"]["init"] == "confusion" and record["config"]["noise"]["background"] is None:
            path = tmp_path / "digits" / "bgflip" / folder / "seed-2.json"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            return record
    raise AssertionError("no such record")


def test_a_converted_record_has_the_old_numbers_and_today_s_key_labels_and_digests(old: dict, tmp_path: Path) -> None:
    assert convert.main([str(tmp_path)]) == 0
    (new,), errors = read_all(tmp_path)
    assert errors == []
    (cell,) = cells(["method=s_model_conf", "noise=bgflip"])
    assert (new["key"], new["method"], new["config"]) == (cell.key, "s_model_conf", cell.identity)
    assert new["digests"] == trial.digests_of(cell, 2)
    assert rows(new["history"]) == old["metrics"]["history"]
    assert new["per_class"]["confusion_matrix"] == old["metrics"]["confusion_matrix"]
    assert new["metrics"].items() <= old["metrics"].items()
    assert all(new[field] == old[field] for field in ("seed", "status", "needs", "data", "timing", "environment"))
    assert set(new["fingerprint"]) == {"method", "model", "data", "trainer"}
    assert "unknown" not in new["fingerprint"].values()
    assert convert.main([str(tmp_path)]) == 0  # nothing is left to do
    assert read_all(tmp_path)[0] == [new]


def test_an_edited_record_is_not_converted(old: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = tmp_path.rglob("seed-2.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(str(old["metrics"]["test_accuracy"]), "0.99"), encoding="utf-8")
    assert convert.main([str(tmp_path)]) == 2
    assert "was changed after it was written" in capsys.readouterr().err
    assert path.exists()


def test_a_directory_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: no results directory {tmp_path}/none\n"
