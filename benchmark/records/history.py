"""The evaluations of a trial: rows during training, columns in its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def over_phases(history: Mapping[str, Sequence[Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the evaluations of `rows`, each with its step counted over all phases; in `step` each phase counts from its own start.

    >>> [step for step, _ in over_phases({"phase": ["warm-up", "main", "main"], "step": [5, 2, 4]})]
    [5, 7, 9]
    """
    before, last, phase = 0, 0, None
    for entry in rows(history):
        if phase not in (None, entry["phase"]) or entry["step"] <= last:  # two phases may have the same name
            before += last
        phase, last = entry["phase"], entry["step"]
        yield before + last, entry
