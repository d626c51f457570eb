"""Trials as a data frame: what `robust_benchmark.load` gives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

import pandas as pd

from benchmark.analysis.tables import flatten, sees
from benchmark.records.store import Record, read_each
from robust_benchmark.errors import UserError

COLUMNS = ["method", "dataset", "noise", "seed", "status", "sees", "key", "path"]
MANY = 3  # unreadable records that are warned of one by one


def load(root: str | os.PathLike[str]) -> pd.DataFrame:
    """See `robust_benchmark.load`."""
    found: dict[tuple[str, int], tuple[str, Record]] = {}
    errors = []
    for path, record in read_each(root, whole=False):
        if isinstance(record, UserError):
            errors.append(record)
        else:
            found.setdefault((record["key"], record["seed"]), (path, record))
    for error in errors[:MANY]:
        warnings.warn(str(error), stacklevel=3)
    if len(errors) > MANY:
        warnings.warn(f"{len(errors) - MANY} more records under {root} cannot be read", stacklevel=3)
    return frame(found.values())


def frame(trials: Iterable[tuple[str, Record]]) -> pd.DataFrame:
    """A row for each trial, given by the path of its file and its record: COLUMNS, then metrics, then options, as they first appear."""
    rows = [(_about(path, record), _metrics(record), _options(record)) for path, record in trials]
    columns = dict.fromkeys([*COLUMNS, *(name for part in (1, 2) for row in rows for name in row[part])])
    return pd.DataFrame([about | metrics | options for about, metrics, options in rows], columns=list(columns))


def _about(path: str, record: Record) -> dict[str, Any]:
    config = record["config"]
    names = {"method": record["method"], "dataset": config["dataset"]["name"], "noise": config["noise"]["name"]}
    return names | {"seed": record["seed"], "status": record["status"], "sees": sees(record), "key": record["key"], "path": path}


def _metrics(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record["metrics"].items() if isinstance(value, int | float)}


def _options(record: Record) -> dict[str, Any]:
    """By dotted name, without the names of classes, which are no options."""
    return {name: value for name, value in flatten(record["config"]).items() if not name.rpartition(".")[2].startswith("_")}
