"""The records in the speed measurement of tables are like those of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmark.records.store import FIELDS, Store, digest, read_all
from benchmark.speed import records as made_up


def test_made_up_records_are_whole_trials_five_a_cell(tmp_path: Path) -> None:
    for record in made_up.records(100):
        Store(tmp_path).write(record)
    records, errors = read_all(tmp_path)
    assert errors == []
    assert Counter(record["key"] for record in records) == dict.fromkeys({digest(record["config"], 12) for record in records}, 5)
    assert len(records) == 100
    assert all(record.keys() == {*FIELDS, "path"} for record in records)
    assert any(record["weight_histograms"] for record in records)


def test_a_row_has_what_its_headers_say() -> None:
    ((records, seconds, cpu, each, peak),) = made_up.rows(10)
    assert int(records) == 10
    assert min(map(float, (seconds, cpu, each, peak))) > 0
