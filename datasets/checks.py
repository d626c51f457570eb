"""Checks of the results of noise and imbalance, including plug-ins; each error is a sentence before training."""

from __future__ import annotations

from typing import Any

import numpy as np

from robust_benchmark.errors import UserError


def check_rate(of: object, rate: Any) -> None:
    """Raise UserError if the rate is neither None nor in [0, 1]."""
    is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if rate is not None and not (is_number and 0 <= rate <= 1):
        raise UserError(f"{_name(of)}.rate must be None or a number in [0, 1], not {rate!r}")


def check_matrix(of: object, function: str, matrix: Any, num_classes: int) -> None:
    """Raise UserError unless the value is a row-stochastic matrix of the classes."""
    wanted = f"{_name(of)}.{function} must return a matrix ({num_classes}, {num_classes}) of numbers"
    if not isinstance(matrix, np.ndarray) or matrix.shape != (num_classes, num_classes) or matrix.dtype.kind not in "fiu":
        raise UserError(f"{wanted}, not {_form(matrix)}")
    wrong = ~((matrix >= 0).all(axis=1) & np.isclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-6))  # also rejects NaN
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{wanted} that are at least 0 and sum to 1 in each row; row {row} is {matrix[row].tolist()}")


def check_whole_numbers(of: object, function: str, values: Any, n: int | None, end: int) -> None:
    """Raise UserError unless the values are `n` whole numbers in 0 .. end - 1. n: None allows any number of them"""
    wanted = f"{_name(of)}.{function} must return {'whole' if n is None else n} numbers, int64 and in 0 .. {end - 1}"
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype != np.int64 or (n is not None and len(values) != n):
        raise UserError(f"{wanted}, not {_form(values)}")
    outside = values[(values < 0) | (values >= end)]
    if len(outside):
        raise UserError(f"{wanted}, and {outside[0]} is among them")


def check_counts(of: object, counts: Any, num_classes: int) -> None:
    """Raise UserError unless there is a whole number for each class."""
    if not isinstance(counts, np.ndarray) or counts.shape != (num_classes,) or counts.dtype.kind not in "iu":
        raise UserError(f"{_name(of)}.wanted must return a whole number for each of {num_classes} classes, not {_form(counts)}")


def _name(of: object) -> str:
    return type(of).__name__


def _form(values: Any) -> str:
    return f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
