"""The view of `benchmark.status --watch` in a terminal, by rich."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmark.launching.look import State
from benchmark.overview import RANKS, Overview, Row, duration, percent

NARROW = 90  # columns, below which a line does not say who trains
FOOTER = "Ctrl-C ends this view; training goes on."
STYLES = {"running": "cyan", "failed": "red", "done": "green"}


class View:
    """Draws each look over the one before, and leaves the last one there."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> View:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, grids: Sequence[Overview]) -> None:
        """Show this look at all grids."""
        self._live.update(drawn(grids, self._console.width, self._console.height), refresh=True)


def drawn(grids: Sequence[Overview], width: int, height: int) -> RenderableType:
    """The overviews in a terminal of so many columns and lines, which the grids share."""
    lines = height - 1
    parts: list[RenderableType] = []
    for number, grid in enumerate(grids):
        share = max(3, (lines - 1) // (len(grids) - number))
        drawn, used = _grid(grid, width, share)
        parts.append(drawn)
        lines -= used
    return Group(*parts, Text(FOOTER, style="dim", no_wrap=True, overflow="ellipsis"))


def _grid(grid: Overview, width: int, lines: int) -> tuple[RenderableType, int]:
    """One grid, and how many lines it takes, of the given number at most."""
    title = Text(str(grid), style="bold")
    used = _lines(title, width)
    failures, of_failures = _failures(grid, width, (lines - used) // 3)
    table, of_table = _table(grid, width, lines - used - of_failures)
    return Group(title, table, *failures), used + of_failures + of_table


def _lines(text: Text, width: int) -> int:
    return max(1, math.ceil(text.cell_len / width)) + (text.cell_len > width)  # words that wrap leave gaps


def _failures(grid: Overview, width: int, lines: int) -> tuple[list[Text], int]:
    """What failed, with reasons and logs, and the lines that this takes."""
    failed = [(row, seed, state) for row in grid.rows for seed, state in row.states.items() if state.kind == "failed"]
    shown: list[Text] = []
    used = 0
    for number, (row, seed, state) in enumerate(failed):
        text = Text(f"{row.name}, seed {seed} failed: {state.text}{f' (see {state.log})' if state.log else ''}", style=STYLES["failed"])
        last = number + 1 == len(failed)
        if used + _lines(text, width) + (not last) > lines:
            return [*shown, Text(f"and {len(failed) - number} more failed", style=STYLES["failed"])], used + 1
        shown.append(text)
        used += _lines(text, width)
    return shown, used


def _table(grid: Overview, width: int, lines: int) -> tuple[RenderableType, int]:
    """The cells, each with its trials that run, and at the end how many more there are."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("cell", no_wrap=True, overflow="ellipsis", ratio=1 if width < NARROW else None)
    for heading in ("done", "step", "accuracy", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    if width >= NARROW:
        table.add_column("on", no_wrap=True, overflow="ellipsis")
    room = lines - 1  # without the header
    for number, row in enumerate(grid.rows):
        entries = list(_entries(row))
        hidden = grid.rows[number + 1 :]
        if len(entries) + bool(hidden) > room:
            table.add_row(_more(grid.rows[number:]), style="dim")
            return table, lines - room + 1
        for entry, style in entries:
            table.add_row(*entry[: len(table.columns)], style=style)
        room -= len(entries)
    return table, lines - room


def _entries(row: Row) -> Iterator[tuple[tuple[str, ...], str]]:
    """The lines of a cell: what stands in each column, and the style."""
    counts = row.counts
    yield (row.name, f"{counts['done']}/{counts.total()}", "", percent(row.accuracy), "", ""), STYLES.get(row.rank, "")
    for seed, state in row.states.items():
        if state.kind == "running":
            yield _trial(row, seed, state), ""


def _trial(row: Row, seed: int, state: State) -> tuple[str, ...]:
    steps = row.cell.steps
    share = f"{100 * state.step // steps} %" if steps else ""
    left = "-" if state.seconds is None else duration(state.seconds)
    return f"  seed {seed}", "", f"{state.step}/{steps} {share:>5}", percent(state.accuracy), left, state.text


def _more(rows: Sequence[Row]) -> str:
    counts = Counter(row.rank for row in rows)
    return f"and {len(rows)} more cells: {', '.join(f'{counts[kind]} {kind}' for kind in reversed(RANKS) if counts[kind])}"
