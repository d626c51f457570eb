"""Errors that a user can correct."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """The user's mistake, in one sentence; the command line prints it without a traceback."""


class ContractError(UserError):
    """A plug-in's mistake: the expected and the actual value, in one sentence.

    named: whether the sentence starts with the plug-in and its file
    trace: the traceback from the first frame of the plug-in's own code on, if the error came from there; else ''
    """

    named: bool = False
    trace: str = ""


def explained(error: BaseException) -> str:
    """Return a UserError's sentence with the traceback of a plug-in's own code; for other errors, the traceback, on separate lines."""
    if not isinstance(error, UserError):
        return "\n" + "".join(traceback.format_exception(error)).rstrip()
    trace = error.trace if isinstance(error, ContractError) else ""
    return f"{error}\n{trace}" if trace else str(error)


FEW = 12  # names of a user's data that a message lists


def unknown(kind: str, name: str, known: Iterable[str], most: int = 40) -> UserError:
    """Return the error for an unknown `name` of this `kind`, with the nearest known name and, if there are at most `most`, all of them.

    >>> print(unknown("method", "reeed", ["reed", "l2rw"]))
    no method 'reeed'; nearest: reed (2 known: l2rw, reed)
    >>> print(unknown("method", "L2RW", ["l2b", "l2rw"]))
    no method 'L2RW'; nearest: l2rw (2 known: l2b, l2rw)
    >>> print(unknown("class", "trout", ["truck", *map(str, range(99))], FEW))
    no class 'trout'; nearest: truck (100 known)
    """
    known = sorted(known)
    nearest = max(known, key=lambda each: (_likeness(each.lower(), name.lower()), _likeness(each, name), each), default=None)
    hint = f"nearest: {nearest} " if nearest is not None else ""
    listed = f": {', '.join(known)}" if len(known) <= most else ""
    return UserError(f"no {kind} '{name}'; {hint}({len(known)} known{listed})")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def in_range(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if low <= value <= high; else raise a UserError that names it and the range."""
    _number(name, value)
    if not low <= value <= high:  # also catches NaN
        raise UserError(f"{name} {value:g} is not in [{low:g}, {high:g}]")
    return value


def at_least(name: str, value: float, low: float) -> float:
    """Return `value` if value >= low; else raise a UserError that names it and the bound."""
    _number(name, value)
    if not value >= low:
        raise UserError(f"{name} must be at least {low:g}, not {value:g}")
    return value


def whole(name: str, value: int, low: int) -> int:
    """Return `value` if it is an integer >= low; else raise a UserError that names it and the bound."""
    at_least(name, value, low)
    if not isinstance(value, int):
        raise UserError(f"{name} must be a whole number, not {value}")
    return value


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of `allowed`; else raise a UserError with the nearest."""
    if value not in allowed:
        raise unknown(name, value, allowed)
    return value


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name} must be a number, not {value!r}")
