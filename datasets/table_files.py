"""Files with a table: .csv, .parquet, and .npz with arrays of features and labels."""

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
TIMES = 2  # minimum memory of a table relative to its content, while it is read and encoded
PART = "train or test"  # the column with the origin of a row among the arrays of an .npz file


@dataclass(frozen=True)
class Roles:
    """The names of the columns that are not features; None for a column that the table lacks.

    label: given labels; true_label: true labels; trusted: whether the user trusts a row's given label; split: train or test
    """

    label: str
    true_label: str | None = None
    trusted: str | None = None
    split: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Return the given names, by role. Raises UserError if two roles have one column."""
        found = {role: name for role, name in asdict(self).items() if name is not None}
        for role, name in found.items():
            others = [other for other in found if other != role and found[other] == name]
            if others:
                raise UserError(f"dataset.{role} and dataset.{others[0]} are both the column '{name}'")
        return found


def read(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    """Return the table in a file, and its roles: an .npz file with X_test and y_test has its own split.

    Raises UserError for a file that is missing, has another format, is broken, or is too large for the available memory, and for arrays
    that do not match.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
    regular(path, ": dataset=arrays reads the table in dataset.path")
    if path.suffix.lower() not in readers:
        raise unknown("form of a table", path.suffix, readers)
    try:
        _check_size(path)
        return readers[path.suffix.lower()](path, roles)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:  # the readers raise all of these for a broken file
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from error


def _check_size(path: Path) -> None:
    """Raise UserError for a table that does not fit in the available memory: reading it would end the process without a message."""
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
    """Return the bytes that the system can provide without swapping; its total memory if this is unknown."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_csv(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    table = pd.read_csv(path, low_memory=False, skipinitialspace=True)
    for name in table.columns[[infer_dtype(table[name]) == "string" for name in table.columns]]:
        texts = table[name].dropna()
        if pd.to_numeric(texts, errors="coerce").notna().any():  # in a file without types, numbers beside text are an error
            raise mixed(table[name])
    return table, roles


def _read_parquet(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    if find_spec("pyarrow") is None:
        raise UserError(f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow")
    return pd.read_parquet(path), roles


def _read_npz(path: Path, roles: Roles) -> tuple[pd.DataFrame, Roles]:
    """Read features named x0, x1, ...; X_test and y_test, if present, are the test rows."""
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
    """Return the table of X and y, and of an array for each other role. ending: suffix of the arrays' names

    The labels of test arrays are trusted, so these need no other arrays.
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
    """Return the first existing array of `names`, each with the suffix `ending`."""
    found = [arrays[name + ending] for name in names if name + ending in arrays]
    found += [] if otherwise is None else [otherwise]
    if not found:
        raise unknown("array", names[0] + ending, arrays, FEW)
    return found[0]
