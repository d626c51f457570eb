"""Tables for programs: CSV and Parquet."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from benchmark import report
from benchmark.analysis.frames import frame, parquet
from benchmark.analysis.rows import Row
from tests.test_tables import record, trials, write

pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")

RECORDS = [
    *trials("reed", [0.60, 0.61, 0.62], noise__rate=0.2),
    *trials("reed", [0.50, 0.51, None], noise__rate=0.4, noise__background=[0, 1]),
    *trials("l2rw", [0.80, 0.84, 0.85], needs=("clean_set",), noise__rate=0.4, noise__background=3),
]


def test_the_columns_before_the_options_are_those_of_rows_and_the_metric() -> None:
    columns = list(frame(RECORDS, ["test_accuracy", "test_error"]))
    fields = [name for name in Row._fields if name != "values"]
    assert columns[: len(fields) + 1] == [*fields, "metric"]
    assert {"noise.rate", "method.beta", "trainer.steps", "dataset.source.test_size"} <= {*columns}


def test_each_row_has_the_options_of_its_own_cell() -> None:
    table = frame(RECORDS, ["test_accuracy"]).set_index(["method", "noise.rate"])
    assert table["mean"].to_dict() == pytest.approx({("reed", 0.2): 61, ("reed", 0.4): 50.5, ("l2rw", 0.4): 83})
    assert table.loc[("l2rw", 0.4), "noise.background"] == "3"  # as text, as the others are lists


def test_parquet_has_the_numbers_of_csv_and_the_types_of_each_column() -> None:
    table = frame(RECORDS, ["test_accuracy"])
    read = pd.read_parquet(io.BytesIO(parquet(table)))
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert list(read) == list(again)
    assert read["mean"].tolist() == again["mean"].tolist()
    assert read["half_width"].isna().tolist() == again["half_width"].isna().tolist()
    assert [read[name].dtype.kind for name in ("mean", "half_width", "trials", "noise.rate", "trainer.steps")] == [*"ffifi"]
    assert read["split.stratified"].dtype == bool


def test_the_command_writes_parquet_to_a_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", RECORDS)
    command = [str(tmp_path / "results"), "--format", "parquet"]
    assert report.main(command) == 2
    assert capsys.readouterr().err == "error: --format parquet needs --output FILE, because a terminal cannot show it\n"
    output = tmp_path / "table.parquet"
    for more in ([], ["--reference", "reed"], ["--overall", "--methods", "l2rw"]):
        assert report.main([*command, *more, "--output", str(output)]) == 0
        assert len(pd.read_parquet(output)) == {0: 3, 2: 0, 3: 3}[len(more)]  # no column has both methods
    assert capsys.readouterr().out == ""


def test_without_pyarrow_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", [record()])
    monkeypatch.setattr("benchmark.analysis.frames.find_spec", lambda name: None)
    assert report.main([str(tmp_path / "results"), "--format", "parquet", "--output", str(tmp_path / "table.parquet")]) == 2
    assert capsys.readouterr().err == "error: --format parquet needs pyarrow: pip install pyarrow\n"
    assert not (tmp_path / "table.parquet").exists()
