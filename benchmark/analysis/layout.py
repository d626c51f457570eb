"""The layout of tables in Markdown, LaTeX or plain text. This module maps cells to text, without records or methods.

Texts from records may contain any characters. Each format escapes them, so none of them becomes markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.analysis import latex
from benchmark.analysis.cells import Cell, Number, Table, printable

FORMATS = ("text", "markdown", "latex", "csv")


def page(tables: Sequence[Table], sentences: Sequence[str], origin: str, form: str, label: str, joint: str = " ") -> str:
    """The tables with their headings, and below them their caption, in one of FORMATS except CSV.

    sentences: the caption; in LaTeX, the caption of each table
    origin: the origin of the numbers; in LaTeX, a comment
    label: of a LaTeX table
    joint: text between sentences
    """
    if form == "latex":
        return latex.page(tables, sentences, origin, label)
    shown = markdown if form == "markdown" else printable
    blocks = []
    for table in tables:
        blocks += [shown(table.heading)] if table.heading else []
        blocks += [laid_out(table.headers, table.lines, form)]
    below = joint.join(shown(each) for each in (*sentences, origin) if each)
    return "\n\n".join([*blocks, f"{below}\n"])


def laid_out(headers: Sequence[str], lines: Sequence[Sequence[Cell]], form: str) -> str:
    """One table as text or Markdown. The first column shows a text only in the first of consecutive lines that share it."""
    above = ["", *(line[0] for line in lines)]
    once = [["" if line[0] == before else line[0], *line[1:]] for before, line in zip(above, lines, strict=False)]
    if form == "text":
        return _text([printable(header) for header in headers], [[plain(cell) for cell in line] for line in once])
    from tabulate import tabulate

    texts = [[_marked_up(cell) for cell in line] for line in once]
    return tabulate(texts, headers=[markdown(header) for header in headers], tablefmt="github", disable_numparse=True)


def _text(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The layout of tabulate, ten times as fast, because there may be hundreds of tables."""
    widths = [max([len(header) + 2, *map(len, column)]) for header, *column in zip(headers, *lines, strict=True)]
    rows = [headers, ["-" * width for width in widths], *lines]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def plain(cell: Cell) -> str:
    """A cell as plain text."""
    return cell.text if isinstance(cell, Number) else printable(cell)


def _marked_up(cell: Cell) -> str:
    if not isinstance(cell, Number):
        return markdown(cell)
    return f"**{cell.number}**{cell.after}" if cell.best else cell.text


def markdown(text: str) -> str:
    r"""The text with the markup characters of Markdown and HTML escaped. Underscores within a word are not markup.

    >>> print(markdown("a|b <i> s_model *x* _y_"))
    a\|b \<i> s_model \*x\* \_y\_
    """
    return re.sub(r"[\\`*|<&~]|(?<!\w)_|_(?!\w)|(?<=\])\(", r"\\\g<0>", printable(text))
