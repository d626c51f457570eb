"""labels.csv in an image folder: the labels of its training pictures, with columns path, given and, if known, true."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets.source import UNKNOWN
from robust_benchmark.errors import FEW, UserError, unknown
from robust_benchmark.files import regular

COLUMNS = ("path", "given", "true")


class Picture(NamedTuple):
    """A training picture, its given label and its true label, which may be UNKNOWN."""

    file: Path
    given: int
    true: int


def read(table: Path, classes: Sequence[str], files: Sequence[Path]) -> list[Picture]:
    """Return `files`, which are below the folder of `table`, with the labels from its rows, given by class names.

    Rows may have any order, and the result has the order of `files`; without the column `true`, true labels are UNKNOWN.
    Raises UserError for an unknown, missing or repeated column, a blank cell, an unknown class, a row without its own picture, a
    picture without a row, or a class without a picture.
    """
    named = {file.relative_to(table.parent).as_posix(): file for file in files}
    found: dict[str, Picture] = {}
    for where, row in _rows(table):
        path = PurePosixPath(row["path"]).as_posix()
        if path not in named:
            raise UserError(f"{where}: there is no picture '{row['path']}' below {table.parent / 'train'} (paths start with train/)")
        if path in found:
            raise UserError(f"{where}: an earlier row has the picture {path} as well")
        true = _label(where, row["true"], classes) if "true" in row else UNKNOWN
        found[path] = Picture(named[path], _label(where, row["given"], classes), true)
    _check_complete(table, found, named, classes)
    return [found[path] for path in named]


def _rows(table: Path) -> list[tuple[str, dict[str, str]]]:
    """Yield each row by its columns, with the words that give its location."""
    regular(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            lines = csv.reader(file)
            columns = [cell.strip() for cell in next(lines, [])]
            _check_columns(table, columns)
            return [_row(f"{table}, row {lines.line_num}", cells, columns) for cells in lines if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} is not a readable table of comma-separated values in UTF-8 ({error})") from error


def _check_columns(table: Path, columns: list[str]) -> None:
    for column in columns:
        if column not in COLUMNS:
            raise UserError(f"{table}, row 1: {unknown('column', column, COLUMNS)}")
        if columns.count(column) > 1:
            raise UserError(f"{table}, row 1: column '{column}' stands there twice")
    for column in ("path", "given"):
        if column not in columns:
            raise UserError(f"{table}, row 1: column '{column}' is missing; the columns are path, given and, if you know it, true")


def _row(where: str, cells: list[str], columns: list[str]) -> tuple[str, dict[str, str]]:
    if len(cells) != len(columns):
        raise UserError(f"{where} has {len(cells)} cells, and the header has {len(columns)}")
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    for column, cell in row.items():
        if not cell:
            advice = "; give it in all rows, or leave the column out and put trusted pictures into clean/" if column == "true" else ""
            raise UserError(f"{where}: '{column}' is blank{advice}")
    return where, row


def _label(where: str, name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise UserError(f"{where}: {unknown('class', name, classes, FEW)}")
    return classes.index(name)


def _check_complete(table: Path, found: dict[str, Picture], named: dict[str, Path], classes: Sequence[str]) -> None:
    without_row = next((path for path in named if path not in found), None)
    if without_row is not None:
        raise UserError(f"{table} has no row for the picture {without_row}")
    given = {picture.given for picture in found.values()}
    for label, name in enumerate(classes):
        if label not in given:
            raise UserError(f"no row of {table} gives class '{name}', which test/ has")
