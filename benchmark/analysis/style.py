"""The colour, marker and dash pattern of each method, for figures and the HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark.records.store import Record

# Each has a contrast of at least 3 to white (WCAG 2.2, 1.4.11), and any two differ by at least 16 in CIELAB in normal vision and in
# simulated protanopia, deuteranopia and tritanopia (Machado et al., 2009).
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#000000", "#a3195b", "#8778ff", "#7a4a00", "#1e1ea5"),  # blue, orange, green, black, and so on
    *("#a587a5", "#4b1e69", "#003c1e", "#ff2d69", "#69693c"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # circle, square, triangle, diamond, triangle down, plus, cross, pentagon in matplotlib
DASHES = (
    (),
    (4.0, 1.5),
    (1.2, 1.2),
    (5.0, 1.2, 1.2, 1.2),
    (5.0, 1.2, 1.2, 1.2, 1.2, 1.2),
)  # lengths of line and gap in line widths; () is solid

USUAL = (  # methods that figures often show together; each has a colour of its own
    *("l2rw", "baseline", "baseline_ft", "clean_only", "random", "weighted", "reed", "mentornet", "elr", "dividemix", "resample"),
    *("hard_mining", "proportion"),
)
GRID, INK, MUTED = "#d9d9d9", "#1a1a1a", "#595959"  # grid lines, text, and secondary text


class Look(NamedTuple):
    """The look of a method: a colour as #rrggbb, a marker from MARKERS and a dash pattern from DASHES."""

    colour: str
    marker: str
    dash: tuple[float, ...]


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each distinct name, by their order. The first 520 looks differ.

    Colour, marker and dashes all change between consecutive names, so shapes are enough in grey and for colour-blind readers.

    >>> looks(["l2rw", "reed"])["reed"]
    Look(colour='#d55e00', marker='s', dash=(4.0, 1.5))
    """
    return {name: _look(place) for place, name in enumerate(dict.fromkeys(names))}


def _look(place: int) -> Look:
    """13, 8 and 5 are coprime, so all 520 combinations occur before one repeats, and all 40 of marker and dashes."""
    return Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])


def method_looks(records: Iterable[Record]) -> dict[str, Look]:
    """The look of each method (by its label) from all records of a report. The USUAL ones come first, then those with the most cells.

    All records count, also those that a figure omits, so a method has the same look in every figure.
    """
    cells: dict[str, set[str]] = {}
    for record in records:
        cells.setdefault(label(record), set()).add(record["key"])
    usual = {method: place for place, method in enumerate(USUAL)}
    return looks(sorted(cells, key=lambda method: (usual.get(method, len(usual)), -len(cells[method]), method)))


def label(record: Record) -> str:
    """The label of the record's method, also if `method` is the name of an experiment's row."""
    return str(record.get("label", record["method"]))
