"""The terminal view of `benchmark.status --watch`, with rich."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from benchmark.launching.look import State
from benchmark.overview import RANKS, Overview, Row, described, duration, percent, printable

Columns = tuple[str, str, str, str, str, str]
Entry = tuple[Columns, str]  # the text of each column, and the style
COLUMNS: Columns = ("cell", "done", "accuracy", "step", "left", "on")
GAP = "  "
SHORTEST = 16  # the smallest width of a cell's name, in characters
FOOTER = "Ctrl-C ends this view; training continues."
STYLES = {"running": "cyan", "failed": "red", "done": "green"}


class View:
    """Draws each state over the previous one, and keeps the last one on the screen."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> View:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, grids: Sequence[Overview]) -> None:
        """Show the current state of all grids."""
        self._live.update(drawn(grids, self._console.width, self._console.height), refresh=True)


def drawn(grids: Sequence[Overview], width: int, height: int) -> Text:
    """The overviews in a terminal of this size, in columns and lines, which the grids share."""
    lines: list[Text] = []
    for number, grid in enumerate(grids):
        room = (height - 2 - len(lines)) // (len(grids) - number)
        lines += _grid(grid, width, room, alone=len(grids) == 1)
    if len(lines) > height - 2:
        lines[height - 3 :] = [Text("and more grids; this terminal has too few lines", style="dim")]
    lines.append(Text(FOOTER, style="dim"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines)


def _grid(grid: Overview, width: int, room: int, alone: bool) -> list[Text]:
    """The lines of one grid, at most `room`. A done grid among several takes a single line."""
    title = _wrapped(str(grid), "bold", width)
    if room < len(title) + 2 or (not alone and grid.counts["done"] == grid.counts.total()):
        return title
    failures = _failures(grid, width, (room - len(title)) // 3)
    return [*title, *_table(grid, width, room - len(title) - len(failures)), *failures]


def _wrapped(text: str, style: str, width: int) -> list[Text]:
    return [Text(line, style=style) for line in textwrap.wrap(printable(text), width, break_on_hyphens=False)]


def _failures(grid: Overview, width: int, room: int) -> list[Text]:
    """The failed trials with reasons and logs, and the number of further ones."""
    lines: list[Text] = []
    left = grid.counts["failed"]
    trials = [(row.name, seed, state) for row in grid.rows for seed, state in row.states.items()]
    for name, seed, state in (each for each in trials if each[2].kind == "failed"):
        more = _wrapped(f"{name}, seed {seed}: {described(state)}", STYLES["failed"], width)
        if len(lines) + len(more) + (left > 1) > room:
            return [*lines, Text(f"{'and ' if lines else ''}{left}{' more' if lines else ''} failed", style=STYLES["failed"])]
        lines += more
        left -= 1
    return lines


def _table(grid: Overview, width: int, room: int) -> list[Text]:
    """The cells with their running trials, and the number of further cells at the end."""
    entries: list[Entry] = [(COLUMNS, "dim")]
    for number, row in enumerate(grid.rows):
        mine = list(_entries(row))
        if len(entries) + len(mine) + (number + 1 < len(grid.rows)) > room:
            return [*_aligned(entries, width), Text(_more(grid.rows[number:]), style="dim")]
        entries += mine
    return _aligned(entries, width)


def _aligned(entries: Sequence[Entry], width: int) -> list[Text]:
    """A line for each entry. In a narrow terminal, names are shortened first. The training process comes last, where lines are cut."""
    widths = [max(len(columns[place]) for columns, _ in entries) for place in range(len(COLUMNS))]
    numbers = sum(widths[1:-1]) + len(GAP) * (len(widths) - 2)
    widths[0] = min(widths[0], max(width - numbers, SHORTEST))
    return [Text(printable(_line(columns, widths)), style=style) for columns, style in entries]


def _line(columns: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, on = columns
    aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
    return GAP.join([_shortened(name, widths[0]).ljust(widths[0]), *aligned, on]).rstrip()


def _shortened(name: str, width: int) -> str:
    """A name without its middle part, because methods are at the start and swept values at the end.

    >>> _shortened("l2rw digits/bgflip noise.rate=0.4", 16)
    'l2rw d...ate=0.4'
    """
    if len(name) <= width:
        return name
    tail = width // 2 - 1
    return f"{name[: width - tail - 3]}...{name[-tail:]}"


def _entries(row: Row) -> Iterator[Entry]:
    """The lines of a cell and of its running trials."""
    counts = row.counts
    yield (row.name, f"{counts['done']}/{counts.total()}", percent(row.accuracy), "", "", ""), STYLES.get(row.rank, "")
    for seed, state in row.states.items():
        if state.kind == "running":
            yield _trial(row, seed, state), ""


def _trial(row: Row, seed: int, state: State) -> Columns:
    steps = row.cell.steps
    step = f"{state.step}/{steps} {100 * state.step // max(steps, 1):3} %"
    return f"  seed {seed}", "", percent(state.accuracy), step, "-" if state.seconds is None else duration(state.seconds), state.text


def _more(rows: Sequence[Row]) -> str:
    counts = Counter(row.rank for row in rows)
    return f"and {len(rows)} more cells: {', '.join(f'{counts[rank]} {rank}' for rank in reversed(RANKS) if counts[rank])}"
