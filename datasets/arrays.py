"""Tables instead of images: your own, from .csv, .parquet or .npz files, and the tables of scikit-learn.

Every table passes the same steps: a DataFrame, the roles of its columns, test rows, features from the training rows' statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas.api.types import infer_dtype

from datasets.encoding import KINDS, MIXED, Encoding, mixed
from datasets.source import UNKNOWN, Source
from datasets.streams import numpy_stream
from datasets.table_files import Roles, read
from robust_benchmark.errors import FEW, UserError, choice, in_range, unknown

BUNDLED = ("breast_cancer", "digits", "wine")


def load(
    path: str,
    label: str | None = "label",
    true_label: str | None = None,
    trusted: str | None = None,
    split: str | None = None,
    test_share: float = 0.2,
    features: Sequence[str] | None = None,
    true_labels: bool = True,
) -> Source:
    """Load the table in the file `path`: .csv, .parquet, or .npz with arrays X, y and optionally X_test, y_test.

    path: the file
    label: column of given labels; true_label: column of true labels
    trusted: column that is true if you trust a row's given label; split: column that contains train or test
    test_share: share of each class in the test set, in [0, 1], if there is no `split`; of the trusted rows if some are trusted
    features: columns; None takes all columns without a role
    true_labels: the given labels are true if neither `true_label` nor `trusted` is given; if false, true labels are unknown
    Raises UserError for a file that cannot be read, and for an error in its columns.
    """
    if label is None:
        raise UserError("dataset.label is null: true labels need given ones beside them, and so does training")
    names = (None if name is None else str(name) for name in (true_label, trusted, split))
    roles = Roles(str(label), *names)
    table, roles = read(Path(path), roles)
    return source_of(table, roles, test_share, features, true_labels)


def load_bundled(table: str, test_share: float = 0.2) -> Source:
    """Load a table of scikit-learn, one of BUNDLED; its test rows are the same in every trial (it publishes no split).

    table: one of breast_cancer, digits, wine
    test_share: share of each class in the test set, in [0, 1]
    """
    from sklearn import datasets as sklearn_datasets  # slow to import, and only these sources need it

    bunch = getattr(sklearn_datasets, f"load_{choice('bundled table', table, BUNDLED)}")()
    frame = pd.DataFrame(bunch.data, columns=list(bunch.feature_names))
    frame["label"] = np.asarray(bunch.target_names)[bunch.target]
    return source_of(frame, Roles("label"), test_share)


def source_of(
    table: pd.DataFrame, roles: Roles, test_share: float = 0.2, features: Sequence[str] | None = None, true_labels: bool = True
) -> Source:
    """Return the source of a table, by the options of `load`; `encoding` describes the features. Raises UserError."""
    _check_options(roles, true_labels)
    table = _numbered(table)
    chosen = _feature_columns(table, roles, features)
    given, true, classes = _labels(table, roles)
    trusted = None if roles.trusted is None else _trusted(table[roles.trusted])
    is_test = _test_rows(table, roles, true, trusted, test_share)
    _check_classes(classes, given[~is_test], None if trusted is None else trusted[~is_test])
    encoding = Encoding.fit(table.loc[~is_test, chosen])
    images, test_images = (torch.from_numpy(encoding.encode(table.loc[part])) for part in (~is_test, is_test))
    labels, test_labels = torch.from_numpy(given[~is_test]), torch.from_numpy(true[is_test])
    known = _known(roles, given, true, trusted, true_labels)
    known_labels = None if known is None else torch.from_numpy(known[~is_test])
    return Source(images, labels, test_images, test_labels, classes, known_labels, encoding.to_json())


def _check_options(roles: Roles, true_labels: bool) -> None:
    if not isinstance(true_labels, bool):
        raise UserError(f"dataset.true_labels must be true or false, not {true_labels!r}")
    if roles.true_label is not None and roles.trusted is not None:
        raise UserError("dataset.true_label says that all true labels are known, and dataset.trusted that some are: give one of both")
    if roles.true_label is not None and not true_labels:
        raise UserError("dataset.true_label says that true labels are known, and dataset.true_labels=false that they are not")
    if not true_labels and roles.split is None and roles.trusted is None:
        raise UserError("dataset.true_labels=false leaves no labels to test against: give dataset.split, and vouch for its test rows")


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with column names as text, and rows numbered from 1."""
    table = table.set_axis([str(name) for name in table.columns], axis=1).set_axis(range(1, len(table) + 1), axis=0)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UserError(f"two columns are named '{twice[0]}'")
    return table


def _feature_columns(table: pd.DataFrame, roles: Roles, features: Sequence[str] | None) -> list[str]:
    for role, name in roles.columns.items():
        if name not in table.columns:
            raise _no_column(role, name, table)
    if features is None:
        chosen = [name for name in table.columns if name not in roles.columns.values()]
    elif isinstance(features, str):
        raise UserError(f"dataset.features must be a list of columns, such as [age, height], not {features}")
    else:
        chosen = [str(name) for name in features]
    for name in chosen:
        if name not in table.columns:
            raise _no_column("features", name, table)
        if name in roles.columns.values():
            raise UserError(f"column '{name}' cannot be a feature, because it has another part in dataset")
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError("dataset.features must name at least one column, and each of them once")
    return chosen


def _no_column(option: str, name: str, table: pd.DataFrame) -> UserError:
    return UserError(f"dataset.{option}: {unknown('column', name, table.columns, FEW)}")


def _labels(table: pd.DataFrame, roles: Roles) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return given and true labels, int64 (n,), and the names of the classes, in numeric or alphabetical order."""
    given = _named(table[roles.label])
    true = given if roles.true_label is None else _named(table[roles.true_label])
    values = sorted(set(given) | set(true), key=lambda value: (isinstance(value, str), value))
    if len({isinstance(value, str) for value in values}) > 1:
        raise UserError(f"labels are numbers in one of the columns '{roles.label}' and '{roles.true_label}' and text in the other")
    if len(values) < 2:
        raise UserError(f"column '{roles.label}' holds {len(values)} class; at least 2 are needed")
    index = pd.Index(values)
    positions = [index.get_indexer(pd.Index(each)).astype(np.int64) for each in (given, true)]
    return positions[0], positions[1], tuple(map(str, values))


def _named(values: pd.Series) -> list[int] | list[str]:
    """Return labels as whole numbers or as text. Raises UserError for blanks, for numbers mixed with text, and for fractions."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    blank = np.flatnonzero(values.isna())
    if len(blank):
        raise UserError(f"column '{values.name}' is blank in row {values.index[blank[0]]}: every row needs a label")
    kind = infer_dtype(values)
    if kind == "empty":
        raise UserError("the table has no rows")
    if KINDS.get(kind) == MIXED:
        raise mixed(values)
    if kind in ("string", "boolean"):
        return _stripped(values)
    if kind not in ("integer", "floating"):
        raise UserError(f"column '{values.name}' holds {kind}: labels are text or whole numbers")
    uneven = values[~(values % 1 == 0)]  # also infinite ones
    if len(uneven):
        raise UserError(f"column '{values.name}' holds {uneven.iloc[0]}: labels are text or whole numbers")
    return [int(value) for value in values]


def _stripped(values: pd.Series) -> list[str]:
    """Return text without surrounding spaces, which would create another class that looks the same."""
    texts = [str(value).strip() for value in values]
    if "" in texts:
        raise UserError(f"column '{values.name}' is blank in row {values.index[texts.index('')]}: every row needs a label")
    return texts


def _trusted(values: pd.Series) -> np.ndarray:
    odd = values[~values.isin([True, False])]
    if len(odd):
        raise UserError(f"column '{values.name}' holds {_shown(odd.iloc[0])} in row {odd.index[0]}; allowed: true, false")
    return values.astype(bool).to_numpy()


def _test_rows(table: pd.DataFrame, roles: Roles, true: np.ndarray, trusted: np.ndarray | None, test_share: float) -> np.ndarray:
    """Mark the test rows, bool (n,): the rows that the table names, or a share of each class, the same every time."""
    if roles.split is not None:
        return _named_test_rows(table[roles.split])
    in_range("dataset.test_share", test_share, 0, 1)
    rng = numpy_stream(0, "arrays", "test")
    is_test = np.zeros(len(table), dtype=bool)
    for label in range(true.max() + 1):
        members = rng.permutation(np.flatnonzero((true == label) & (True if trusted is None else trusted)))
        count = min(max(1, round(test_share * len(members))), max(0, len(members) - 1))  # every class needs a training row first
        is_test[members[:count]] = True
    if not is_test.any():
        raise UserError(f"no class has a row to spare for tests among {len(table)} rows: give more rows, or dataset.split")
    return is_test


def _named_test_rows(values: pd.Series) -> np.ndarray:
    odd = values[~values.isin(["train", "test"])]
    if len(odd):
        raise UserError(f"column '{values.name}' holds {_shown(odd.iloc[0])} in row {odd.index[0]}; allowed: train, test")
    is_test = (values == "test").to_numpy(dtype=bool)
    if is_test.all() or not is_test.any():
        raise UserError(f"column '{values.name}' says '{values.iloc[0]}' in all rows; both train and test are needed")
    return is_test


def _shown(value: object) -> str:
    return "a blank" if pd.isna(value) else repr(value)  # type: ignore[call-overload]


def _check_classes(classes: tuple[str, ...], given: np.ndarray, trusted: np.ndarray | None) -> None:
    """Raise UserError for a class without training rows, or without trusted training rows."""
    for label, name in enumerate(classes):
        members = given == label
        if not members.any():
            raise UserError(f"class '{name}' has no training row with this given label")
        if trusted is not None and not (members & trusted).any():
            raise UserError(f"no training row of class '{name}' is trusted: trust one, or leave dataset.trusted out")


def _known(roles: Roles, given: np.ndarray, true: np.ndarray, trusted: np.ndarray | None, true_labels: bool) -> np.ndarray | None:
    """Return each row's true label, int64 (n,), if known; None if the given labels are true."""
    if roles.true_label is not None:
        return true
    if trusted is not None:
        return np.where(trusted, given, UNKNOWN)
    return None if true_labels else np.full_like(given, UNKNOWN)
