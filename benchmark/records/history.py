"""The evaluations of a trial: rows during training, columns in its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a list for each name in any of the rows, with None if a row lacks it.

    >>> columns([{"step": 1, "ece": 0.5}, {"step": 2}])
    {'step': [1, 2], 'ece': [0.5, None]}
    """
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def rows(history: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the evaluations, in order, without missing values.

    >>> rows({"step": [1, 2], "ece": [0.5, None]})
    [{'step': 1, 'ece': 0.5}, {'step': 2}]
    """
    names, values = list(history), zip(*history.values(), strict=True)
    return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in values]
