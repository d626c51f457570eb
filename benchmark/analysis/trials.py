"""Trials as a data frame, for `robust_benchmark.load`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.rows import sees
from benchmark.analysis.settings import leaves_of
from benchmark.records.store import Record, read_all

COLUMNS = ["method", "dataset", "noise", "seed", "status", "sees", "key", "path"]
MANY = 3  # the largest number of unreadable records with separate warnings


def load(root: str | os.PathLike[str]) -> pd.DataFrame:
    """See `robust_benchmark.load`."""
    records, errors = read_all(Path(root), whole=False)
    for error in errors[:MANY]:
        warnings.warn(str(error), stacklevel=3)
    if len(errors) > MANY:
        warnings.warn(f"{len(errors) - MANY} more records under {root} cannot be read", stacklevel=3)
    return frame(records)


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each record: COLUMNS, then metrics, then options, in the order of their first occurrence."""
    read = list(records)
    options = {key: _hashable(leaves) for key, leaves in leaves_of({record["key"]: record["config"] for record in read}).items()}
    rows = [(_about(record), record["metrics"], options[record["key"]]) for record in read]
    columns = dict.fromkeys([*COLUMNS, *(name for part in (1, 2) for row in rows for name in row[part])])
    return pd.DataFrame([about | metrics | options for about, metrics, options in rows], columns=list(columns))


def _about(record: Record) -> dict[str, Any]:
    names = {part: record["config"][part]["name"] for part in ("dataset", "noise")}
    return names | {"sees": sees(record)} | {name: record[name] for name in ("method", "seed", "status", "key", "path")}


def _hashable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Lists become text, because data frames cannot group by lists."""
    return {name: str(value) if isinstance(value, list) else value for name, value in options.items()}
