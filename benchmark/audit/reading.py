"""Reads the user's data: a folder per class, a list of pictures, or a table. Every mistake is one sentence, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmark import trial
from benchmark.audit.data import Audited
from benchmark.config import Cell
from datasets import arrays, image_folder
from datasets.mapped import taken
from datasets.table_files import Roles, read
from datasets.task import Examples
from robust_benchmark.errors import FEW, UserError, unknown
from robust_benchmark.files import regular

PATH = "path"  # the column that makes a table a list of pictures
PART = "part of the audit"  # a column of our own, so that no column of the user has its name
LISTED = 5  # unreadable pictures in a message


def kind_of(path: Path) -> str:
    """Return pictures or table. Raises UserError for a path that is missing or has another format."""
    if path.is_dir():
        return "pictures"
    regular(path, ": the audit reads a folder with a folder for each class, or a table")
    return "pictures" if path.suffix.lower() == ".csv" and PATH in _header(path) else "table"


def load(path: Path, kind: str, options: Mapping[str, Any], label: str, clean: Path | None, cache: Path, skip: bool) -> Audited:
    """Return the user's data.

    kind: of `kind_of`; options: those of the composed data set, of which `size` and `features` are read
    label: column of the given labels; clean: trusted examples in the same form
    cache: folder of decoded pictures; skip: leave unreadable pictures out instead of refusing them
    Raises UserError.
    """
    if clean is not None and kind_of(clean) != kind:
        raise UserError(f"--clean {clean} has another form than {path}: both must be pictures or both tables")
    if kind == "table":
        return _table(path, label, clean, options.get("features"))
    return _pictures(path, label, clean, options.get("size"), cache, skip)


def of_suite(cell: Cell, seed: int) -> Audited:
    """Return the training set of a data set of the suite, with its noise; its clean set is trusted. True labels only measure the audit."""
    task = trial.task_of(cell, seed)
    train = task.train
    true = train.true_labels.numpy() if train.truth_is_known else None
    names = tuple(map(str, task.train_positions.tolist()))
    trusted = task.clean if len(task.clean) else None
    return Audited("suite", train.images, train.labels.numpy(), task.classes, names, trusted, true)


# --- tables


def _table(path: Path, label: str, clean: Path | None, features: Sequence[str] | None) -> Audited:
    rows = _rows(path, label)
    trusted = rows.iloc[:1] if clean is None else _rows(clean, label)  # the source needs a test row, which is not read without `clean`
    _check_columns(rows, trusted, clean)
    whole = pd.concat([rows.assign(**{PART: "train"}), trusted[rows.columns].assign(**{PART: "test"})], ignore_index=True)
    source = arrays.source_of(whole, Roles(label, split=PART), features=features, true_labels=False)
    vouched = None if clean is None else Examples(source.test_images, source.test_labels, source.test_labels)
    names = tuple(str(row) for row in range(1, len(rows) + 1))
    used = [name for name in rows.columns if name != label and (features is None or name in features)]
    return Audited(
        "table", source.train_images, source.train_labels.numpy(), source.classes, names, vouched, table=rows, label=label,
        notes=tuple(_missing(rows[used])),
    )  # fmt: skip


def _rows(path: Path, label: str) -> pd.DataFrame:
    table, roles = read(path, Roles(label))
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    if label not in table.columns:
        raise UserError(f"--label: {path}: {unknown('column', label, table.columns, FEW)}")
    if table.empty:
        raise UserError(f"{path} has no rows")
    return table if roles.split is None else table.drop(columns=roles.split)  # arrays to test on are audited like the others


def _check_columns(rows: pd.DataFrame, trusted: pd.DataFrame, clean: Path | None) -> None:
    absent = sorted(set(rows.columns) - set(trusted.columns))
    if absent:
        raise UserError(f"--clean {clean} has no column '{absent[0]}', which the table under audit has")


def _missing(rows: pd.DataFrame) -> list[str]:
    counts = rows.isna().sum()
    return [
        f"column '{name}' has {count} missing values: a model sees the column's mean there, and a feature that marks them"
        for name, count in counts[counts > 0].items()
    ]


# --- pictures


def _pictures(path: Path, label: str, clean: Path | None, size: int | None, cache: Path, skip: bool) -> Audited:
    rows = _listed(path, label)
    if rows[label].nunique() == 1:
        raise UserError(f"{path} has one class, '{rows[label].iloc[0]}': labels can only be wrong among at least 2 classes")
    trusted = rows.iloc[:0] if clean is None else _listed(clean, label)
    images, broken = _readable([*rows["file"], *trusted["file"]], size, cache, skip)
    rows, trusted = (part[~part["file"].isin(broken)] for part in (rows, trusted))
    labels, classes = _labels(rows, trusted, label, path, clean)
    n = len(rows)
    vouched = None if clean is None else Examples(taken(images, slice(n, None)), *(torch.from_numpy(labels[n:]),) * 2)
    return Audited(
        "pictures", taken(images, slice(n)), labels[:n], classes, tuple(rows["name"]), vouched, files=tuple(rows["file"]), label=label,
        notes=tuple(f"left out: {reason}" for reason in broken.values()),
    )  # fmt: skip


def _listed(path: Path, label: str) -> pd.DataFrame:
    """Return the columns file, name and the label, of a folder of class folders or a list."""
    if path.is_dir():
        return _of_folders(path, label)
    table = _rows(path, label)
    blank = np.flatnonzero(table[PATH].isna())
    if len(blank):
        raise UserError(f"{path}: column '{PATH}' is blank in row {blank[0] + 1}")
    names = table[PATH].astype(str)
    files = [Path(os.path.abspath(path.parent / name)) for name in names]
    _refuse_duplicates(path, files)
    return pd.DataFrame({"file": files, "name": names, label: table[label]}).set_axis(range(1, len(table) + 1), axis=0)


def _of_folders(path: Path, label: str) -> pd.DataFrame:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise UserError(f"{path} has no class folders: the audit reads {path}/<class>/*, or a table")
    if {folder.name for folder in folders} >= {"train", "test"}:
        raise UserError(f"{path} has the folders train and test, which are no classes: audit {path / 'train'}")
    files = [(file, folder.name) for folder in folders for file in image_folder._pictures(folder)]
    rows = [(Path(os.path.abspath(file)), file.relative_to(path).as_posix(), name) for file, name in files]
    return pd.DataFrame(rows, columns=["file", "name", label])


def _refuse_duplicates(path: Path, files: Sequence[Path]) -> None:
    first: dict[Path, int] = {}
    for row, file in enumerate(files, start=1):
        if file in first:
            raise UserError(f"{path}: rows {first[file]} and {row} have the same picture {file}: keep one of them")
        first[file] = row


def _labels(rows: pd.DataFrame, trusted: pd.DataFrame, label: str, path: Path, clean: Path | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels of rows and trusted rows, int64, and the classes, which are those of the rows."""
    _, _, classes = arrays._labels(rows, Roles(label))
    whole = pd.concat([rows, trusted], ignore_index=True).set_axis(range(1, len(rows) + len(trusted) + 1), axis=0)
    given, _, every = arrays._labels(whole, Roles(label))
    strangers = sorted(set(every) - set(classes))
    if strangers:
        raise UserError(f"--clean {clean} has a class that {path} has not: {unknown('class', strangers[0], classes, FEW)}")
    return given, classes


def _readable(files: Sequence[Path], size: int | None, cache: Path, skip: bool) -> tuple[Any, dict[Path, str]]:
    """Return the pixels of the pictures that can be read, and the reason for each that cannot. Raises UserError unless `skip`."""
    try:
        return _decoded(files, size, cache), {}
    except UserError:
        broken = _unreadable(files)
        if not broken:
            raise
        _refuse(broken, skip)
    if len(broken) == len(files):
        raise UserError(f"none of the {len(files)} pictures can be read")
    return _decoded([file for file in files if file not in broken], size, cache), broken


def _decoded(files: Sequence[Path], size: int | None, cache: Path) -> Any:
    """Return the pixels, uint8 (n, 3, height, width), in a mapped file."""
    root = Path(os.path.commonpath([file.parent for file in files]))
    return image_folder._images(root, files, size, cache)


def _unreadable(files: Sequence[Path]) -> dict[Path, str]:
    """Return the reason for each picture that cannot be decoded."""

    def reason(file: Path) -> str:
        try:
            regular(file)
            image_folder._picture(file, None)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool:
        return {file: text for file, text in zip(files, pool.map(reason, files), strict=True) if text}


def _refuse(broken: Mapping[Path, str], skip: bool) -> None:
    if skip:
        return
    some = "; ".join([*broken.values()][:LISTED]) + (f"; and {len(broken) - LISTED} more" if len(broken) > LISTED else "")
    count = f"{len(broken)} picture{'' if len(broken) == 1 else 's'}"
    raise UserError(f"{count} cannot be read (--skip-unreadable leaves them out): {some}")


def _header(path: Path) -> list[str]:
    try:
        return [str(name).strip() for name in pd.read_csv(path, nrows=0).columns]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from error
