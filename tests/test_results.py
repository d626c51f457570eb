"""The records in results/reference are whole, and every row of the paper's tables trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark import ROOT, fingerprint, run
from benchmark.analysis.captions import DIRTY
from benchmark.analysis.layout import FORMATS
from benchmark.analysis.tables import render
from benchmark.config import cells
from benchmark.records.store import Store, read_all
from tests.conftest import kept_in


def test_every_shipped_record_says_which_revision_made_it_and_comes_from_committed_code() -> None:
    records, errors = read_all(ROOT / "results" / "reference")
    assert errors == []
    assert len(records) > 100
    revisions = [record["environment"]["revision"] for record in records]
    assert all(re.fullmatch(r"[0-9a-f]{12}", revision.removesuffix(DIRTY)) for revision in revisions)
    clean = [record for record, revision in zip(records, revisions, strict=True) if not revision.endswith(DIRTY)]
    committed = {part for record in clean for part in record["fingerprint"].items()}
    for record, revision in zip(records, revisions, strict=True):
        if revision.endswith(DIRTY):  # something else in its checkout differed
            stale = fingerprint.stale_parts(record["fingerprint"], fingerprint.of(record["config"]))
            assert {(part, record["fingerprint"][part]) for part in stale} <= committed


@pytest.mark.parametrize("rewritten", [False, True])
def test_short_records_give_the_same_tables_as_whole_ones(rewritten: bool, tmp_path: Path) -> None:
    directory = ROOT / "results" / "reference"
    records, _ = read_all(directory)
    if rewritten:
        directory = tmp_path
        for record in records:
            Store(directory).write(record)
    short, errors = read_all(directory, whole=False)
    assert errors == []
    for metric in ("test_accuracy", "weights_auroc"):
        assert [render(short, form, metric) for form in FORMATS] == [render(records, form, metric) for form in FORMATS]


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_every_row_of_the_papers_tables_trains(table: str, tmp_path: Path) -> None:
    small = ["dataset=digits", "model=convnet", "trainer=digits", "trainer.steps=4", "trials=1", "split.clean_total=100"]
    overrides = [f"experiment={table}", *small, *kept_in(tmp_path)]
    assert run.main(overrides) == 0
    records, errors = read_all(tmp_path / "results")
    assert errors == []
    assert {record["status"] for record in records} == {"done"}
    assert {record["key"] for record in records} == {cell.key for cell in cells(overrides)}
    assert len(records) == len(cells(overrides)[0].config.experiment.rows)
