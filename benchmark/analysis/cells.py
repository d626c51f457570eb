"""The content of a table: lines of texts and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Number(NamedTuple):
    """A number with its interval, as a table shows it.

    half_width: of the interval; NaN if there is none
    digits: number of decimals
    sign: '+' to show the sign of positive numbers
    after: text after the number, with a leading space
    best: whether to show it in bold
    """

    mean: float
    half_width: float = math.nan
    digits: int = 2
    sign: str = ""
    after: str = ""
    best: bool = False

    @property
    def number(self) -> str:
        """The number and its interval.

        >>> Number(61.0, 4.331).number, Number(1.0, 0.5, 1, "+").number
        ('61.00 ± 4.33', '+1.0 ± 0.5')
        """
        return self.middle + (f" ± {self.half}" if self.half else "")

    @property
    def middle(self) -> str:
        """The number without its interval."""
        return f"{self.mean:{self.sign}.{self.digits}f}"

    @property
    def half(self) -> str:
        """The half-width of the interval, or ''."""
        return "" if math.isnan(self.half_width) else f"{self.half_width:.{self.digits}f}"

    @property
    def text(self) -> str:
        """The number, its interval and the text after it."""
        return self.number + self.after


Cell = str | Number


class Table(NamedTuple):
    """A table. heading: text above it, or ''; grouped: whether the first column names groups of lines"""

    heading: str
    headers: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    grouped: bool = True


def printable(text: str) -> str:
    r"""The text on one line, with control characters as escape sequences.

    >>> print(printable("a\nb\x1b[31m"))
    a\nb\x1b[31m
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
