"""Files that hold a table: .csv, .parquet, and .npz with arrays of features and labels."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from datasets.encoding import mixed
from robust_benchmark.errors import FEW, UserError, unknown
from robust_benchmark.files import regular

FEATURES, LABELS = ("X", "x", "features"), ("y", "labels")  # names of an .npz file's arrays
TIMES = 2  # a table's content is in memory at least, while it is read and encoded
PART = "train or test"  # the column that says which arrays of an .npz file a row comes from


@dataclass(frozen=True)
class Roles:
    """The names of the columns that are no features; None for those that a table has not.

    label: given labels; true_label: true ones; trusted: whether the user vouches for a row's given label; split: train or test
    """

    label: str
    true_label: str | None = None
    trusted: str | None = None
    split: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """The names that are given, by role. Raises UserError where two roles have one column."""
        found = {role: name for role, name in asdict(self).items() if name is not None}
        for role, name in found.items():
            others = [other for other in found if other != role and found[other] == name]
            if others:
                raise UserError(f"dataset.{role} and dataset.{others[0]} are both the column '{name}'")
        return found


def read(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    """The table in a file, and its roles: an .npz file with X_test and y_test has a split of its own.

    Raises UserError for a file that is missing, of another form, broken, or too large for the memory that is available, and for arrays
    that do not fit together.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
    regular(path, ": dataset=arrays reads the table in dataset.path")
    if path.suffix.lower() not in readers:
        raise unknown("form of a table", path.suffix, readers)
    try:
        _check_size(path)
        return readers[path.suffix.lower()](path, roles)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:  # all are the readers' words for a broken file
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from error


def _check_size(path: Path) -> None:
    """Raises UserError for a table that cannot be read in the memory that is available: it would end the process without a word."""
    size = path.stat().st_size
    if path.suffix.lower() == ".npz":
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    if TIMES * size > (free := available_memory()):
        raise UserError(
            f"{path} holds {size / 2**30:.2f} GiB, and reading a table takes at least {TIMES} times its size, "
            f"but {free / 2**30:.2f} GiB of memory is available: tables must fit in memory"
        )


def available_memory() -> int:
    """Bytes that the system can give without swapping; all it has, where it does not say."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_csv(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    table = pd.read_csv(path, low_memory=False, skipinitialspace=True)
    for name in table.columns[[infer_dtype(table[name]) == "string" for name in table.columns]]:
        texts = table[name].dropna()
        if pd.to_numeric(texts, errors="coerce").notna().any():  # a file without types: numbers beside text are a slip
            raise mixed(table[name])
    return table, roles


def _read_parquet(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    if find_spec("pyarrow") is None:
        raise UserError(f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow")
    return pd.read_parquet(path), roles


def _read_npz(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    """Features are named x0, x1, ...; X_test and y_test, where they are, are tested on."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    train = _part(arrays, roles, "")
    if not any(f"{name}_test" in arrays for name in (*FEATURES, *LABELS)):
        return train, roles
    if roles.split is not None:
        raise UserError(f"{path} has arrays to test on, which dataset.split={roles.split} contradicts")
    test = _part(arrays, roles, "_test")
    if test.shape[1] != train.shape[1]:
        raise UserError(f"X and X_test of {path} differ in their numbers of columns")
    parts = [train.assign(**{PART: "train"}), test.assign(**{PART: "test"})]
    return pd.concat(parts, ignore_index=True), replace(roles, split=PART)


def _part(arrays: dict[str, np.ndarray], roles: Roles, ending: str) -> pd.DataFrame:
    """The table of X and y, and of an array for each other role. ending: of the arrays' names

    The labels of arrays to test on are vouched for, so these need no others.
    """
    features, labels = _array(arrays, FEATURES, ending), _array(arrays, (roles.label, *LABELS), ending)
    if features.ndim != 2:
        raise UserError(f"X{ending} must be (rows, columns), not of the shape {features.shape}")
    vouched = {"true_label": labels, "trusted": np.ones(len(labels), dtype=bool)} if ending else {}
    table = pd.DataFrame(features, columns=[f"x{number}" for number in range(features.shape[1])])
    for role, name in roles.columns.items():
        values = labels if role == "label" else _array(arrays, (name,), ending, vouched.get(role))
        if values.shape != (len(table),):
            raise UserError(f"X{ending} has {len(table)} rows, and the {role}{ending} beside it has the shape {values.shape}")
        table[name] = values
    return table


def _array(arrays: dict[str, np.ndarray], names: Sequence[str], ending: str, otherwise: np.ndarray | None = None) -> np.ndarray:
    """The first array that there is of `names`, each with the ending."""
    found = [arrays[name + ending] for name in names if name + ending in arrays]
    found += [] if otherwise is None else [otherwise]
    if not found:
        raise unknown("array", names[0] + ending, arrays, FEW)
    return found[0]
