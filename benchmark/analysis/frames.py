"""Tables for CSV and Parquet: a row for each cell, metric and selection."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pandas as pd

from benchmark.analysis.rows import counting, ordered, rows_of, summary
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import leaves_of, text_of
from benchmark.analysis.significance import Compared, against
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

COMPARED = ["selection", "sees", "method", "setting", "difference", "half_width", "p", "p_holm", "wins", "trials", "diverged", "key"]


def frame(records: Sequence[Record], metrics: Sequence[str], selections: Sequence[str] = (LAST,), reference: str = "") -> pd.DataFrame:
    """The data of `benchmark.analysis.tables.render`: the fields of Row or COMPARED, `metric`, and each option by its dotted name.

    Raises UserError like `render`.
    """
    parts = [_compared(records, name, selections, reference) if reference else summary(records, name, selections) for name in metrics]
    table = pd.concat([part.assign(metric=name) for part, name in zip(parts, metrics, strict=True)], ignore_index=True)
    return table.join(_options({record["key"]: record["config"] for record in records}), on="key")


def _options(configs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A column for each option, sorted by name, indexed by key. A column with values of several types becomes text."""
    table = pd.DataFrame.from_dict(leaves_of(configs), orient="index")
    return table.sort_index(axis=1).apply(_of_one_type)


def _of_one_type(column: pd.Series) -> pd.Series:
    """
    >>> _of_one_type(pd.Series([[0, 1], 3, "all"])).tolist()
    ['[0, 1]', '3', 'all']
    """
    types = {type(value) for value in column.dropna()}
    if column.dtype != object or (len(types) == 1 and not types & {list, dict}):
        return column
    return column.map(lambda value: None if value is None else str(value))


def parquet(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file. Raises UserError without pyarrow."""
    if find_spec("pyarrow") is None:
        raise UserError("--format parquet needs pyarrow: pip install pyarrow")
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def _compared(records: Sequence[Record], name: str, selections: Sequence[str], reference: str) -> pd.DataFrame:
    """A row for each comparison, by COMPARED."""
    metric = metric_of(name)
    rows = ordered(rows_of(records, metric, counting(metric, selections)), metric)
    return pd.DataFrame(map(_comparison, against(rows, reference, metric)), columns=COMPARED)


def _comparison(compared: Compared) -> tuple[Any, ...]:
    row, found, p = compared
    about = row.selection, row.sees, row.method, text_of(row.setting)
    return *about, found.mean, found.half_width, found.p, p, found.wins, found.trials, row.diverged, row.key
