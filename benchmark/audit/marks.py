"""The user's marks: which suspects are wrong. They are read from CSV, measure the precision, and clean the data."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.audit.calibration import Marked
from benchmark.audit.data import Audited
from robust_benchmark.errors import FEW, UserError, choice, unknown
from robust_benchmark.files import regular

COLUMNS = ("name", "given", "mark", "label")
MARKS = ("right", "wrong", "unsure")


class Mark(NamedTuple):
    """A mark of one example. label: the right label, as an index; None drops the example if it is wrong"""

    mark: str
    label: int | None


def read(path: Path, data: Audited) -> dict[int, Mark]:
    """Return the marks by position. Raises UserError for a file that is not of this data."""
    positions = {name: position for position, name in enumerate(data.names)}
    found: dict[int, Mark] = {}
    for where, row in _rows(path):
        if row["name"] not in positions:
            raise UserError(f"{where}: this data has no example '{row['name']}'")
        position = positions[row["name"]]
        given = data.classes[data.labels[position]]
        if row["given"] != given:
            raise UserError(
                f"{where}: example '{row['name']}' has the label '{given}' and not '{row['given']}': the marks are of other data"
            )
        if position in found:
            raise UserError(f"{where}: an earlier row marks '{row['name']}' as well")
        found[position] = Mark(_mark(where, row["mark"]), _label(where, row["label"], data.classes))
    return found


def _rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    regular(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
            if absent:
                raise UserError(f"{path} has no column '{absent[0]}'; marks have the columns {', '.join(COLUMNS)}")
            return [(f"{path}, row {lines.line_num}", {name: (row[name] or "").strip() for name in COLUMNS}) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable table of comma-separated values in UTF-8 ({error})") from error


def _mark(where: str, mark: str) -> str:
    try:
        return choice("mark", mark, MARKS)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _label(where: str, label: str, classes: Sequence[str]) -> int | None:
    if label and label not in classes:
        raise UserError(f"{where}: {unknown('class', label, classes, FEW)}")
    return classes.index(label) if label else None


def sampled(marks: Mapping[int, Mark], order: Sequence[int]) -> list[int]:
    """Return the marked examples at the start of a random order, up to the first one without a mark.

    These are a random sample, whatever else is marked; an example that was skipped because it is hard ends it.
    """
    length = next((place for place, position in enumerate(order) if position not in marks), len(order))
    return list(order[:length])


def counted(marks: Mapping[int, Mark], positions: Sequence[int]) -> Marked:
    """Return the number of marks of each kind."""
    kinds = [marks[position].mark for position in positions]
    return Marked(*(kinds.count(kind) for kind in ("wrong", "right", "unsure")))


def cleaned(data: Audited, marks: Mapping[int, Mark]) -> tuple[pd.DataFrame, int, int]:
    """Return the data without the errors that are marked, and the numbers of relabelled and of dropped examples.

    A wrong example gets its marked label; without one, it is dropped. Tables keep their columns; pictures become `path` and the label.
    """
    label = data.label
    rows = pd.DataFrame({"path" if data.files else "name": data.names}) if data.table is None else data.table.reset_index(drop=True)
    labels = np.array(data.classes, dtype=object)[data.labels] if data.table is None else rows[label].to_numpy(dtype=object, copy=True)
    wrong = {position: mark.label for position, mark in marks.items() if mark.mark == "wrong"}
    spelled = _spelled(labels, data)
    for position, right in wrong.items():
        if right is not None:
            labels[position] = spelled[right]
    dropped = [position for position, right in wrong.items() if right is None]
    return rows.assign(**{label: labels}).drop(index=dropped), len(wrong) - len(dropped), len(dropped)


def _spelled(labels: np.ndarray, data: Audited) -> dict[int, object]:
    """Return each class as the data spells it, such as 3 or 'cat'."""
    first = {int(label): position for position, label in reversed([*enumerate(data.labels)])}
    return {label: labels[first[label]] if label in first else name for label, name in enumerate(data.classes)}
