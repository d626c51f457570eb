"""The rows and columns that the user selects for a table: options, or other properties of records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.analysis.cells import Cell, Table
from benchmark.analysis.rows import Row
from benchmark.analysis.settings import distinguishing, in_order, leaves_of, natural, text_of, word, words
from robust_benchmark.errors import UserError, unknown

OWN = ("method", "sees", "setting", "selection")  # names that are not options
Place = tuple[str, ...]  # the texts of a row or a column, one for each name


class Axes(NamedTuple):
    """The names, from OWN or of options, whose values form the rows and the columns of a table."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"--rows {' '.join(self.rows)} --columns {' '.join(self.columns)}"


def axes(rows: Sequence[str], columns: Sequence[str], selections: int) -> Axes:
    """The axes with defaults for missing ones: methods against settings, and methods against options.

    Raises UserError for a repeated name.
    """
    twice = {name for name in rows if name in columns} | {name for given in (rows, columns) for name in given if given.count(name) > 1}
    if twice:
        raise UserError(f"--rows and --columns name {min(twice)} more than once")
    columns = columns or (["setting"] if "method" in rows else ["method"])
    rows = rows or (["setting"] if "method" in columns else ["sees", "method"])
    more = ["selection"] if selections > 1 and "selection" not in (*rows, *columns) else []
    return Axes(tuple(rows), (*columns, *more))


def arranged(rows: Sequence[Row], cells: Mapping[Any, Cell], configs: Mapping[str, Mapping[str, Any]], asked: Axes) -> list[Table]:
    """Tables of the rows. Options that the axes neither name nor determine split the table.

    rows: in order; cells: the content for each Row.place; configs: by key
    Raises UserError, with the nearest name, for an unknown name, and if several cells have the same place in a table.
    """
    options = leaves_of(configs)
    leaves = [options[row.key] | _own(row) for row in rows]
    known = dict.fromkeys([*OWN, *(name for each in leaves for name in each)])
    for name in (*asked.rows, *asked.columns):
        if name not in known:
            raise unknown("row or column", name, known)
    entries = [_Entry(cells[row.place], mine) for row, mine in zip(rows, leaves, strict=True)]
    order = _order(rows, leaves, (*asked.rows, *asked.columns))
    by_heading: dict[str, list[_Entry]] = {}
    for entry, heading in zip(entries, _headings(leaves, asked), strict=True):
        by_heading.setdefault(heading, []).append(entry)
    return [_table(heading, by_heading[heading], order, asked) for heading in sorted(by_heading, key=natural)]


class _Entry(NamedTuple):
    """The cell of a row, and its values by name."""

    cell: Cell
    leaves: Mapping[str, Any]

    def place(self, names: Iterable[str]) -> Place:
        return tuple(_shown(self.leaves.get(name)) for name in names)


def _own(row: Row) -> dict[str, Any]:
    return {"method": row.method, "sees": row.sees, "setting": text_of(row.setting), "selection": row.selection}


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _headings(leaves: Sequence[Mapping[str, Any]], asked: Axes) -> list[str]:
    """For each row, the heading that distinguishes its table."""
    named = {*asked.rows, *asked.columns}
    names = {name for each in leaves for name in each} - {*OWN}
    of_method = {name for name in names if name.partition(".")[0] == "method"}
    methods = distinguishing(leaves, {"method"} - named, given=of_method & named)
    settings = distinguishing(leaves, () if "setting" in named else names - of_method - named, given=(names - of_method) & named)
    return [
        text_of([each["method"] if method else "", *words(setting)])
        for each, method, setting in zip(leaves, methods, settings, strict=True)
    ]


def _order(rows: Sequence[Row], leaves: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, dict[str, int]]:
    """The rank of each value of each name. Values of options are sorted by their numbers; others keep the order of the rows."""
    found = {}
    for name in names:
        values = dict.fromkeys(_shown(each.get(name)) for each in leaves)
        in_place = map(text_of, in_order(row.setting for row in rows)) if name == "setting" else values
        found[name] = {value: rank for rank, value in enumerate(in_place if name in OWN else sorted(values, key=natural))}
    return found


def _table(heading: str, entries: Sequence[_Entry], order: Mapping[str, Mapping[str, int]], asked: Axes) -> Table:
    placed: dict[tuple[Place, Place], _Entry] = {}
    for entry in entries:
        place = entry.place(asked.rows), entry.place(asked.columns)
        if place in placed:
            raise _several(entry, placed[place], asked)
        placed[place] = entry
    lefts, tops = (_sorted({place[axis] for place in placed}, names, order) for axis, names in enumerate(asked))
    lines = [[*left, *(placed[left, top].cell if (left, top) in placed else "" for top in tops)] for left in lefts]
    return Table(heading, [*asked.rows, *(_header(top, asked.columns) for top in tops)], lines, len(asked.rows) > 1)


def _sorted(places: Iterable[Place], names: Sequence[str], order: Mapping[str, Mapping[str, int]]) -> list[Place]:
    return sorted(places, key=lambda place: [order[name][value] for name, value in zip(names, place, strict=True)])


def _header(place: Place, names: Sequence[str]) -> str:
    return " ".join(value if name in OWN else word(name, value) for name, value in zip(names, place, strict=True))


def _several(one: _Entry, other: _Entry, asked: Axes) -> UserError:
    """The error for two cells with the same place."""
    apart = next(name for name in ["method", *sorted({*one.leaves, *other.leaves})] if one.leaves.get(name) != other.leaves.get(name))
    named = [*asked.rows, *asked.columns]
    place = ", ".join(f"{name} {value}" for name, value in zip(named, one.place(named), strict=True))
    values = " and ".join(sorted(_shown(each.leaves.get(apart)) for each in (one, other)))
    return UserError(f"{asked} gives several cells the same place ({place}); also name {apart}, which distinguishes them ({values})")
