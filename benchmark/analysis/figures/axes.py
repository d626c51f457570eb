"""Axes of options: the positions of tested values, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.analysis.figures.canvas import EM, POINTS, SMALL
from benchmark.analysis.words import value_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 20  # for a larger ratio of the largest to the smallest value, the axis is logarithmic


def scale_of(option: str, values: Sequence[float], logarithmic: bool = False) -> str:
    """The scale of the axis of an option: logit, log, even or linear.

    logit: for class ratios, which are shares of one class, log(share / (1 - share)); so 9:1, 99:1 and 999:1 have equal distances
    log: for `logarithmic` and for a wide range of values
    even: instead of log, if a value is not positive: equal distances
    """
    if option.rpartition(".")[2] == "ratio" and all(0 < value < 1 for value in values):
        return "logit"
    if logarithmic or max(values) > WIDE * min((value for value in values if value > 0), default=math.inf):
        return "log" if min(values) > 0 else "even"
    return "linear"


def positions(x: Iterable[float], scale: str, tested: Iterable[float]) -> np.ndarray:
    """The positions of the values `x` on an axis with this scale, (n,). tested: all values of the axis, including `x`"""
    given = np.asarray(list(x), dtype=float)
    if scale == "logit":
        return np.log10(given / (1 - given))
    if scale == "log":
        return np.log10(given)
    return np.searchsorted(np.unique(list(tested)), given).astype(float) if scale == "even" else given


def place_ticks(axis: Axes, option: str, tested: Sequence[float], scale: str) -> None:
    """Set ticks at the tested values, with labels that do not overlap."""
    values = sorted(set(tested))
    places = positions(values, scale, values)
    words = [value_words(option, int(value) if float(value).is_integer() and value >= 1 else value) for value in values]
    figure = axis.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    low, high = axis.get_xlim()
    inches = axis.get_window_extent().width / figure.dpi / (high - low)
    axis.set_xticks(places, apart(words, (places * inches * POINTS).tolist(), SMALL * EM))
    axis.set_xlim(low, high)


def apart(words: Sequence[str], places: Sequence[float], letter: float) -> list[str]:
    """The words, with '' instead of those that are closer than two letters to the word before.

    places: positions of their centres, increasing; letter: width of a letter

    >>> apart(["10", "20", "30"], [0, 20, 40], 5), apart(["1,000", "2,000", "3,000"], [0, 20, 40], 5)
    (['10', '20', '30'], ['1,000', '', '3,000'])
    """
    found, end = [], -math.inf
    for word, place in zip(words, places, strict=True):
        half = len(word) * letter / 2
        fits = place - half >= end
        found.append(word if fits else "")
        end = place + half + 2 * letter if fits else end
    return found
