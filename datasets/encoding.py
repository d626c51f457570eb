"""The conversion of table columns to features: standardised numbers and one-hot categories, fitted on the training rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from pandas.api.types import infer_dtype

from robust_benchmark.errors import UserError

MOST_CATEGORIES = 1000
NUMBERS, CATEGORIES, MIXED = "numbers", "categories", "numbers and text"
KINDS = {
    **dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal"), NUMBERS),
    **dict.fromkeys(("string", "boolean", "categorical"), CATEGORIES),
    **dict.fromkeys(("mixed-integer", "mixed"), MIXED),
}  # by pandas' names of column types


@dataclass(frozen=True)
class Column:
    """The conversion of one column to features.

    Numbers become (value - mean) / std, or 0 where the value is missing or the column is constant (std is 0). With
    `indicator`, a second feature is 1 for a missing value and 0 otherwise. Categories become a feature for each of `categories`, 1 if
    the row has this one and 0 otherwise, so a missing or unknown category is 0 in all of them.

    mean, std: statistics of the training rows that have a value
    indicator: some training row has a missing value
    categories: categories of the training rows, as text, sorted; None for numbers
    """

    name: str
    mean: float = 0.0
    std: float = 0.0
    indicator: bool = False
    categories: tuple[str, ...] | None = None

    @classmethod
    def fit(cls, values: pd.Series) -> Column:
        """Fit to the training rows' values. Raises UserError for values that are neither numbers nor categories, and infinite ones."""
        name = str(values.name)
        if kind_of(values) == CATEGORIES:
            return cls(name, categories=_categories(values))
        numbers = _numbers(values)
        there = numbers[~np.isnan(numbers)]
        indicator = len(there) < len(numbers)
        if len(there) == 0 or there.min() == there.max():
            return cls(name, float(there[0]) if len(there) else 0.0, 0.0, indicator)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(there.mean()), float(there.std())
        if not np.isfinite([mean, std]).all():
            raise UserError(f"column '{name}' holds numbers too large to be standardised: leave it out by dataset.features")
        return cls(name, mean, std, indicator)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        if self.categories is not None:
            return tuple(f"{self.name}={category}" for category in self.categories)
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def encode(self, values: pd.Series) -> np.ndarray:
        """Return features, float64 (n, features), of values, (n,). Raises UserError for values of another kind than the training rows'."""
        kind = kind_of(values)
        if kind not in (None, NUMBERS if self.categories is None else CATEGORIES):
            raise UserError(f"column '{self.name}' holds {kind} here, and other values in training rows: make it one of both in all rows")
        if self.categories is not None:
            codes = pd.Index(self.categories).get_indexer(pd.Index(_texts(values)))
            return (codes[:, None] == np.arange(len(self.categories))).astype(np.float64)
        numbers = _numbers(values)
        missing = np.isnan(numbers)
        centred = np.where(missing, 0.0, numbers - self.mean)
        standardised = centred / self.std if self.std > 0 else np.zeros_like(centred)
        return np.stack([standardised, missing] if self.indicator else [standardised], axis=1)


@dataclass(frozen=True)
class Encoding:
    """The conversion of a table to features, column by column."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, rows: pd.DataFrame) -> Encoding:
        """Fit to the training rows. Raises UserError as Column.fit does."""
        return cls(tuple(Column.fit(rows[name]) for name in rows.columns))

    @property
    def features(self) -> tuple[str, ...]:
        """The name of each feature, in order."""
        return tuple(name for column in self.columns for name in column.features)

    def encode(self, rows: pd.DataFrame | np.ndarray | torch.Tensor) -> np.ndarray:
        """Return features, float32 (n, d), of rows in the format of the file.

        rows: a DataFrame, whose columns outside the encoding are not read, or values (n, columns) in the order of `columns`
        Raises UserError for a missing column, and for values of another kind than in the training rows.
        """
        table = self._table(rows)
        parts = []
        for column in self.columns:
            with np.errstate(over="ignore"):
                part = column.encode(table[column.name]).astype(np.float32)
            if not np.isfinite(part).all():
                raise UserError(f"column '{column.name}' holds a number that is too far from those of the training rows for float32")
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def _table(self, rows: pd.DataFrame | np.ndarray | torch.Tensor) -> pd.DataFrame:
        names = [column.name for column in self.columns]
        if not isinstance(rows, pd.DataFrame):
            values = np.asarray(rows)
            if values.ndim != 2 or values.shape[1] != len(names):
                raise UserError(f"rows must have {len(names)} columns, as the model's table, and not the shape {values.shape}")
            return pd.DataFrame(values, index=range(1, len(values) + 1), columns=names)
        table = rows.set_axis(rows.columns.map(str), axis=1)
        absent = [name for name in names if name not in table.columns]
        if absent:
            raise UserError(f"no column '{absent[0]}' in the rows, and the model needs it")
        return table

    def to_json(self) -> str:
        """Return the encoding as text, which `from_json` reads without loss."""
        return json.dumps([asdict(column) for column in self.columns])

    @classmethod
    def from_json(cls, text: str) -> Encoding:
        """Read the result of `to_json`."""
        columns = json.loads(text)
        for column in columns:
            column["categories"] = None if column["categories"] is None else tuple(column["categories"])
        return cls(tuple(Column(**column) for column in columns))


def kind_of(values: pd.Series) -> str | None:
    """Return NUMBERS or CATEGORIES (text, booleans, pandas' categories), None if all values are missing. Raises UserError for others."""
    there = values.dropna()
    if len(there) == 0:
        return None
    inferred = infer_dtype(there)
    kind = KINDS.get(inferred, inferred)
    if kind == MIXED:
        raise mixed(values)
    if kind not in (NUMBERS, CATEGORIES):
        raise UserError(f"column '{values.name}' holds {kind}: make it numbers or text, or leave it out by dataset.features")
    return kind


def mixed(values: pd.Series) -> UserError:
    """Return the error for a column of mixed numbers and text: a missing value must be blank, not text such as '?'."""
    is_number = pd.to_numeric(values.astype(str), errors="coerce").notna()
    there = values[values.notna()]
    number, text = (next(iter(there[is_number[there.index] == wanted]), None) for wanted in (True, False))
    if not isinstance(text, str | bool) or number is None:
        return UserError(f"column '{values.name}' holds values that are neither numbers nor text: leave it out by dataset.features")
    return UserError(
        f"column '{values.name}' mixes numbers and text, such as {number} and {text!r}: make it one of both, with blanks for missing values"
    )


def _numbers(values: pd.Series) -> np.ndarray:
    """Return float64 (n,), with NaN for missing values; contiguous, so sums do not depend on the origin of the values."""
    numbers = np.ascontiguousarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise UserError(f"column '{values.name}' is infinite in row {values.index[infinite[0]]}: make it a number or a blank")
    return numbers


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).map(str, na_action="ignore")


def _categories(values: pd.Series) -> tuple[str, ...]:
    found = sorted(_texts(values.dropna()).unique())
    if len(found) > MOST_CATEGORIES:
        raise UserError(
            f"column '{values.name}' has {len(found)} categories, and {MOST_CATEGORIES} are the most: leave it out by dataset.features"
        )
    return tuple(found)
